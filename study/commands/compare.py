"""``compare``: what moved between runs of the same configurations, seed by seed."""

import dataclasses
import json
import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.compare.cause import cause
from analysis.compare.runs import Comparison, compare
from analysis.compare.tables import Rows, provenance_table, sentences, verdict_table
from analysis.export.tables import markdown_text
from analysis.io.records import Run, read_run
from trainables.errors import InputError

WIDTH, PROSE = 120, 110  # of the table where nobody can widen it, and of sentences
MOST_ROWS = 40  # of a table that is printed


def compare_runs(
    paths: Sequence[Path], baseline: Path | None, all_pairs: bool, out: Path | None, as_json: bool
) -> None:
    """Compare run directories and print what was found.

    Args:
        baseline: one of the runs, or another; None: the first.
        all_pairs: every run with every other, not only with the baseline.
        out: Markdown file; None: none is written.

    Raises:
        RecordsError: not run directories that this version reads, or nothing in common.
        InputError: fewer than two runs, one given twice, or the file cannot be written.
    """
    found = compare(_runs(paths, baseline), all_pairs)
    if out:
        _write(out.expanduser().absolute(), found)
    if as_json:
        print(json.dumps(_content(found), indent=2))
    else:
        _show(found)


def _runs(paths: Sequence[Path], baseline: Path | None) -> list[Run]:
    wanted = {path.expanduser().resolve(): path for path in paths}
    if len(wanted) < len(paths):
        raise InputError(f"compare: {', '.join(map(str, paths))}: a run is given twice")
    if baseline is not None:
        first = baseline.expanduser().resolve()
        wanted = {first: baseline} | wanted
    if len(wanted) < 2:
        raise InputError("compare: one run given; two or more are needed")
    return [read_run(path) for path in wanted]


def _parts(found: Comparison) -> Iterator[tuple[str, list[str], Rows | None]]:
    """Heading, sentences and table of what is said, pair by pair and then together."""
    for pair in found.pairs:
        heading = f"{pair.run} against {pair.baseline}: {found.metric.text}"
        yield heading, sentences(pair, found.metric), provenance_table(pair) if pair.provenance else None
    yield "Verdicts", [], verdict_table(found)


def _show(found: Comparison) -> None:
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    for heading, said, table in _parts(found):
        console.print(Text(heading, style="bold"))
        for line in said:
            text = textwrap.fill(line, PROSE, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
            console.print(text, highlight=False, markup=False, soft_wrap=True)
        if table:
            columns, rows = table
            console.print(_rich(columns, rows[:MOST_ROWS]))
            if len(rows) > MOST_ROWS:
                console.print(f"{len(rows) - MOST_ROWS} more rows: --out FILE.md or --json", highlight=False)
        console.print()


def _rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table()
    for place, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if place else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _write(path: Path, found: Comparison) -> None:
    lines = []
    for heading, said, table in _parts(found):
        lines += [f"## {heading}", "", *(f"- {line}" for line in said), "", markdown_text(*table) if table else ""]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another file with --out") from error


def _content(found: Comparison) -> dict[str, Any]:
    """Differences are in the metric's unit, run minus baseline; what is not finite is null."""
    content = dataclasses.asdict(found)
    for written, pair in zip(content["pairs"], found.pairs, strict=True):
        for row, one in zip(written["verdicts"], pair.verdicts, strict=True):
            row |= {"cause": str(cause(one, pair)), "gap": one.gap and one.gap._asdict()}
            if one.first_difference:
                row["first_difference"]["place"] = one.first_difference.place
    return _finite(content)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
