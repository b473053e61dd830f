"""``search.jsonl``: what a search has done, line by line; a search is restored from it alone.

Lines are the events of ``SeedSearch`` in their order and, before the event that starts a job, a ``configuration`` line
with the trial as it runs, unless study.json has it. A line that a killed process left unfinished does not count.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from study.resolved import TrialSpec
from trainables.errors import InputError

JOURNAL_FILE = "search.jsonl"
CONFIGURATION = "configuration"


def read_journal(path: Path) -> tuple[list[dict[str, Any]], list[TrialSpec]]:
    """Events of the search, and its trials in the order of their start, each with all seeds that it was given.

    Raises:
        InputError: a line that is not JSON, or a trial that this version cannot read.
    """
    events: list[dict[str, Any]] = []
    trials: dict[str, TrialSpec] = {}
    for number, line in enumerate(_complete(path).splitlines(), 1):
        try:
            entry = json.loads(line)
            if entry["event"] == CONFIGURATION:
                trial = TrialSpec.model_validate(entry["spec"])
                trials[trial.trial_id] = trial
            else:
                events.append(entry)
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: line {number} is not an event of a search ({reason})") from error
    return events, list(trials.values())


class JournalWriter:
    """Appends to a journal; every call is on disk when it returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and (whole := len(_complete(path).encode())) < path.stat().st_size:
            os.truncate(path, whole)

    def append(self, trials: Iterable[TrialSpec], events: Iterable[Mapping[str, Any]]) -> None:
        """Write trials, then events, in one go."""
        entries = [{"event": CONFIGURATION, "spec": trial.model_dump(mode="json")} for trial in trials]
        text = "".join(json.dumps(entry) + "\n" for entry in [*entries, *map(dict, events)])
        if not text:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def _complete(path: Path) -> str:
    """The lines that were written to their end."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return text[: text.rfind("\n") + 1]
