"""What a kind of study adds to the report that every study gets."""

from collections.abc import Callable
from dataclasses import dataclass

from analysis.io.records import Run
from analysis.report.document import Section
from analysis.report.findings import Findings


def whole(run: Run) -> Run:
    """The run as it is."""
    return run


@dataclass(frozen=True)
class Kind:
    """A kind of study.

    Attributes:
        name: as study.json has it under ``report``.
        claims: sentences of the answer that are this kind's own, the most important first; "" where there is nothing
            to say. Of at most 25 words.
        sections: what follows the first screen, in this order; None where a run has nothing to show.
        scope: the part of the run that the first screen is about.
        waiting: what is said while nothing of that part has a value; None for the number of seeds that ended.
    """

    name: str
    claims: tuple[Callable[[Findings], str], ...] = ()
    sections: tuple[Callable[[Findings], Section | None], ...] = ()
    scope: Callable[[Run], Run] = whole
    waiting: Callable[[Findings], str] | None = None
