"""A report as Markdown and as one HTML file that needs nothing else: no network, no folder beside it."""

import json
import re
from functools import cache

import pandas as pd
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.charts.chart import Chart
from analysis.io.records import Run
from analysis.report.document import Report
from analysis.report.tables import EMPTY, Cell, Estimate, Table, cell_text

TEMPLATES = ("report.md.j2", "report.html.j2")
NUMERIC = re.compile(rf"[-+<]?\s?\d|{EMPTY}$")
SNIPPET = "window.vegaEmbed = vegaEmbed;"
METHODS = (
    "The unit is a configuration measured over seeds. Seeds share initialisation, data order and augmentation between "
    "configurations, so differences are taken seed by seed.",
    "Numbers labelled as reported come from the notes and enter no statistic.",
)


def write_pages(run: Run, report: Report) -> None:
    """Write ``report.markdown`` and ``report.page``."""
    environment = Environment(
        loader=PackageLoader("analysis"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=lambda name: name == TEMPLATES[1],
    )  # fmt: skip
    environment.filters |= {"cell": cell_text, "key": _sort_key, "words": _words, "behind": _behind}
    methods = dict.fromkeys([*METHODS, *(one for section in report.sections for one in section.methods)])
    content = {"report": report, "study": run.study, "methods": list(methods), "provenance": provenance(run)}
    for path, template in zip((report.markdown, report.page), TEMPLATES, strict=True):
        path.write_text(environment.get_template(template).render(content, vega=vega), encoding="utf-8")


@cache
def vega() -> str:
    """Vega, Vega-Lite and their embedding as one script, which can stand inside a page."""
    return str(vl_convert.javascript_bundle(SNIPPET)).replace("</script", "<\\/script")


def provenance(run: Run) -> dict[str, str]:
    """Where the numbers come from: nested keys of study.json joined by a dot, values as text."""
    keys = ("study", "run_id", "profile", "dataset", "backbone", "seeds", "schema_version")
    lines = {key: run.study[key] for key in keys if key in run.study}
    lines |= pd.json_normalize([run.study.get("provenance") or {}], max_level=2).to_dict("records")[0]
    return {key: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for key, value in lines.items()}


def _behind(chart: Chart) -> Table:
    rows = chart.behind.to_dict("split")["data"]
    return Table(chart.name, "", [str(one) for one in chart.behind.columns], rows)


def _words(table: Table) -> list[bool]:
    """Columns of words, which are read from the left; numbers are compared from the right."""
    return [not all(NUMERIC.match(cell) for cell in cells) for cells in zip(*table.text_rows(), strict=True)]


def _sort_key(cell: Cell) -> str:
    """What a click on the heading sorts by."""
    value = cell.value if isinstance(cell, Estimate) else cell
    return "" if value is None else str(value)
