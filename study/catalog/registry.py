"""Where studies are entered under their names."""

from study.spec import Study

STUDIES: dict[str, Study] = {}


def register(study: Study) -> Study:
    """Add a study to the catalogue.

    Raises:
        ValueError: the name is taken.
    """
    if study.name in STUDIES:
        raise ValueError(f"study {study.name!r} is registered twice")
    STUDIES[study.name] = study
    return study
