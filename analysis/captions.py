"""Where the numbers in a table or a picture come from: data set, backbone and seeds, measured and reported."""

from analysis.records import Run
from analysis.series import configurations, reported, task_count

_SETTING = {"dataset": "data set", "backbone": "backbone"}


def measured_setting(run: Run) -> str:
    """Data set, backbone and seeds of this run, in a few words."""
    seeds = sorted(run.trials["seed"].unique()) or run.study.get("seeds") or []
    # Only the last part of a path or a hub name: the whole is in the provenance.
    parts = [str(run.study[key]).rstrip("/").split("/")[-1] for key in ("dataset", "backbone") if run.study.get(key)]
    parts.append(f"seed{'' if len(seeds) == 1 else 's'} {_listed([int(seed) for seed in seeds]) or '-'}")
    if run.study.get("shown"):
        parts.append(str(run.study["shown"]))
    return ", ".join(parts)


def reported_setting(run: Run, shown: str = "columns") -> str:
    """Source of the reported numbers, and whether they come from the same experiment as the measured ones.

    Args:
        shown: what the measured numbers are in the table: its columns, or its rows.
    """
    source = run.study.get("reported_source") or "source not recorded"
    differing = _differing(run)
    if differing:
        verb = "differs" if len(differing) == 1 else "differ"
        judgement = f"not the same experiment as the measured {shown}: {' and '.join(differing)} {verb}"
    elif same_setting(run):
        judgement = f"same data set and backbone as the measured {shown}"
    else:
        judgement = f"not the same experiment as the measured {shown} where data set or backbone differ"
    return f"{source}; {judgement}."


def same_setting(run: Run) -> bool:
    """Whether the reported numbers are known to come from the data set and the backbone of this run."""
    return set(run.study.get("reported_setting") or {}) >= set(_SETTING) and not _differing(run)


def measured_caption(run: Run) -> str:
    """The sentence under a table of measured values."""
    text = f"Measured: {measured_setting(run)}; mean ± standard deviation over seeds"
    if (run.trials["configuration"].value_counts() == 1).any():
        text += "; of a single seed no spread can be said"
    unfinished = int((run.trials["status"] != "finished").sum())
    if unfinished:
        text += f"; {unfinished} of {count(len(run.trials), 'replica')} did not finish"
        text += ", n is the number of seeds in a cell"
    return text + "."


def reported_caption(run: Run) -> str:
    """The sentence to follow ``measured_caption`` under a table with reported columns; empty where there are none."""
    entries = [entry for label in configurations(run) for entry in reported(run, label)]
    if not entries:
        return ""
    text = f" Reported: {reported_setting(run)}"
    if any(len(entry.accuracy) != task_count(run) for entry in entries):
        text += f" Reported columns with other than {count(task_count(run), 'task')} are left empty."
    return text


def count(n: int, noun: str, plural: str | None = None) -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{n} {noun}" if n == 1 else f"{n} {plural or noun + 's'}"


def _listed(seeds: list[int]) -> str:
    """``0-4`` for consecutive seeds, else all of them, or how many where they are many."""
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}-{seeds[-1]}"
    if len(seeds) > 10:
        return f"{seeds[0]}, {seeds[1]}, ... ({len(seeds)} in all)"
    return ", ".join(map(str, seeds))


def _letters(text: str) -> str:
    return "".join(character for character in text.lower().split("/")[-1] if character.isalnum())


def _differing(run: Run) -> list[str]:
    """What is known to differ between the reported and the measured numbers.

    ``study["reported_setting"]`` ({"dataset": ..., "backbone": ...}, in the names that the study uses) decides; without
    it only a data set that the source does not name can be told to differ.
    """
    setting = run.study.get("reported_setting") or {}
    source = run.study.get("reported_source") or "source not recorded"
    if not setting and _letters(str(run.study.get("dataset", ""))) not in _letters(source):
        return ["data set"]
    return [_SETTING[key] for key in _SETTING if key in setting and setting[key] != run.study.get(key)]
