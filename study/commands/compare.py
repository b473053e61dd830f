"""``compare``: what changed between two runs of the same configurations and seeds, and what moved the number."""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.cause import Cause, cause_of_runs, cause_sentence
from analysis.comparison import Comparison, compare
from analysis.comparison_tables import comparison_sentences, comparison_tables
from analysis.document import Section
from analysis.records import read_run
from study.terminal.summary import print_section
from trainables.errors import InputError


def compare_runs(first: Path, second: Path, reruns: Sequence[Path], out: Path | None, as_json: bool) -> None:
    """Compare two run directories, print what was found and write it as Markdown.

    Args:
        first: the run that is taken as it was.
        second: the run that may have changed.
        reruns: runs of the same code as ``first``, which show the rerun noise.
        out: Markdown file; None: ``report/compare_<first run>.md`` in ``second``.

    Raises:
        RecordsError: not run directories that this version reads, or nothing in common.
        InputError: the file cannot be written.
    """
    runs = [read_run(path.expanduser().absolute()) for path in (first, second, *reruns)]
    found = compare(runs[0], runs[1], runs[2:])
    cause = cause_of_runs(runs, np.random.default_rng(0), found.metric)
    section = Section(
        f"{found.second} against {found.first}",
        [*comparison_sentences(found), cause_sentence(cause)],
        comparison_tables(found),
    )
    target = out or runs[1].path / "report" / f"compare_{re.sub(r'[^A-Za-z0-9._-]+', '_', found.first)}.md"
    _write(target.expanduser().absolute(), section)
    if as_json:
        print(json.dumps(_content(found, cause, target), indent=2))
        return
    print_section(section)
    print(f"\nMarkdown     {target}")


def _write(path: Path, section: Section) -> None:
    lines = [f"# {section.title}", "", *(f"- {sentence}" for sentence in section.sentences), ""]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([*lines, *(table.to_markdown() for table in section.tables)]), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another file with --out") from error


def _content(found: Comparison, cause: Cause, target: Path) -> dict[str, Any]:
    """Differences are fractions, second minus first; non-finite values are null, which JSON has no number for."""
    content = dataclasses.asdict(found) | {"cause": dataclasses.asdict(cause), "markdown": str(target)}
    for change, one in zip(content["changes"], found.changes, strict=True):
        if one.first_difference:
            change["first_difference"]["place"] = one.first_difference.place
    return _finite(content)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
