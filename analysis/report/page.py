"""A report as Markdown and as one HTML file that needs nothing else: no network, no folder beside it."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.charts.chart import Chart
from analysis.io.records import Run
from analysis.report.document import Report, Section
from analysis.report.tables import EMPTY, Cell, Estimate, Table, cell_text

TEMPLATE = "report.html.j2"
NUMERIC = re.compile(rf"[-+<]?\s?\d|{EMPTY}$")
SNIPPET = "window.vegaEmbed = vegaEmbed;"
METHODS = (
    "The unit is a configuration measured over seeds. Seeds share initialisation, data order and augmentation between "
    "configurations, so differences are taken seed by seed.",
    "Numbers labelled as reported come from the notes and enter no statistic.",
)


def write_pages(run: Run, report: Report) -> None:
    """Write ``report.markdown`` and ``report.page``."""
    report.markdown.write_text(_markdown(run, report), encoding="utf-8")
    report.page.write_text(_html(run, report), encoding="utf-8")


@cache
def vega() -> str:
    """Vega, Vega-Lite and their embedding as one script, which can stand inside a page."""
    return str(vl_convert.javascript_bundle(SNIPPET)).replace("</script", "<\\/script")


def provenance(run: Run) -> dict[str, str]:
    """Where the numbers come from: nested keys of study.json joined by a dot, values as text."""
    keys = ("study", "run_id", "profile", "dataset", "backbone", "seeds", "schema_version")
    lines = {key: run.study[key] for key in keys if key in run.study}
    lines.update(_flat("", run.study.get("provenance") or {}, 3))
    return {key: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for key, value in lines.items()}


def _markdown(run: Run, report: Report) -> str:
    blocks = [f"# {report.question}", *report.answer]
    blocks += [report.table.to_markdown()] if report.table else []
    blocks += [_picture(report.chart)] if report.chart else []
    if report.next_step:
        blocks += [report.next_step[0], f"    {report.next_step[1]}"]
    for section in report.sections:
        blocks.append(f"## {section.title}")
        blocks += ["\n".join(f"- {sentence}" for sentence in section.sentences)] if section.sentences else []
        blocks += [_picture(chart) for chart in section.charts]
        blocks += [table.to_markdown() for table in section.tables]
    blocks += ["## Methods", "\n".join(f"- {sentence}" for sentence in _methods(report)), "## Provenance"]
    blocks.append("\n".join(f"- {key}: `{value}`" for key, value in provenance(run).items()))
    return "\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _picture(chart: Chart) -> str:
    title = chart.title.replace("[", "(").replace("]", ")")
    return f"![{title}]({chart.name}.png)\n\n{chart.reading}"


def _html(run: Run, report: Report) -> str:
    layout: dict[str, Any] = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=PackageLoader("analysis"), undefined=StrictUndefined, **layout)
    return environment.get_template(TEMPLATE).render(
        question=report.question, study=str(run.study.get("study", "")), run_id=str(run.study.get("run_id", "")),
        answer=report.answer, table=_table(report.table) if report.table else None,
        chart=_chart(report.chart) if report.chart else None, next_step=report.next_step,
        sections=[_section(section) for section in report.sections], methods=_methods(report),
        provenance=provenance(run), vega=Markup(vega()) if report.charts else "",
    )  # fmt: skip


def _section(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "sentences": section.sentences,
        "tables": [_table(table) for table in section.tables],
        "charts": [_chart(chart) for chart in section.charts],
    }


def _chart(chart: Chart) -> dict[str, Any]:
    cells = [[cell_text(_plain(cell)) for cell in row] for row in chart.behind.itertuples(index=False)]
    behind = Table(chart.name, "", [str(one) for one in chart.behind.columns], [list(r) for r in cells])
    return {
        "name": chart.name, "title": chart.title, "reading": chart.reading, "spec": Markup(chart.as_json),
        "behind": _table(behind),
    }  # fmt: skip


def _plain(value: Any) -> Cell:
    return value.item() if hasattr(value, "item") else value


def _table(table: Table) -> dict[str, Any]:
    rows = table.text_rows()
    # A column of words is read from the left, one of numbers compared from the right.
    words = [not all(NUMERIC.match(cell) for cell in cells) for cells in zip(*rows, strict=True)]
    keys = [[_sort_key(cell) for cell in row] for row in table.rows]
    cells = [list(zip(row, known, strict=True)) for row, known in zip(rows, keys, strict=True)]
    return {"title": table.title, "columns": table.columns, "rows": cells, "caption": table.caption, "words": words}


def _sort_key(cell: Cell) -> str:
    """What a click on the heading sorts by."""
    value = cell.value if isinstance(cell, Estimate) else cell
    return "" if value is None else str(value)


def _methods(report: Report) -> list[str]:
    return list(dict.fromkeys([*METHODS, *(one for section in report.sections for one in section.methods)]))


def _flat(prefix: str, values: dict[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and depth > 1:
            yield from _flat(f"{prefix}{key}.", value, depth - 1)
        else:
            yield prefix + key, value
