"""A report as Markdown and as one HTML file that needs nothing else: no network, no folder beside it."""

import json
import re
from collections.abc import Iterator
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.cells import EMPTY, Table
from analysis.document import Report, Section
from analysis.pictures import caption, data_uri
from analysis.records import Run

NUMERIC = re.compile(rf"[-+<]?\s?\d|{EMPTY}$")
TEMPLATE = "report.html.j2"
COMMON_METHODS = (
    "The unit is a configuration measured over seeds; seeds share initialisation, data order and augmentation between "
    "configurations, so configurations are compared within a seed (paired).",
    "Unfinished, failed and diverged replicas are counted and never enter a mean, but for contrasts, which give failed "
    "and diverged ones the worst value of the run; numbers labelled as reported come from the notes and enter no "
    "statistic.",
)


def write_pages(run: Run, report: Report) -> None:
    """Write ``report.markdown`` and ``report.page``."""
    report.markdown.write_text(_markdown(run, report), encoding="utf-8")
    report.page.write_text(_html(run, report), encoding="utf-8")


def _markdown(run: Run, report: Report) -> str:
    blocks = [f"# {report.question}", "\n".join(f"{number}. {one}" for number, one in enumerate(report.answer, 1))]
    if report.details:
        blocks += ["## Details", _bullets(report.details)]
    for part in report.parts:
        blocks.append(f"## {part.title}")
        blocks += [_bullets(part.sentences)] if part.sentences else []
        blocks += [table.to_markdown() for table in part.tables]
        for path in part.pictures:
            relative = path.relative_to(report.markdown.parent).as_posix()
            text = caption(path).replace("[", "(").replace("]", ")")
            blocks.append(f"![{text}]({relative})\n\n{text}")
    blocks += ["## Methods", _bullets(_methods(report)), "## Provenance"]
    blocks.append("\n".join(f"- {key}: `{value}`" for key, value in provenance(run).items()))
    return "\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _html(run: Run, report: Report) -> str:
    layout: dict[str, Any] = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=PackageLoader("analysis"), undefined=StrictUndefined, **layout)
    return environment.get_template(TEMPLATE).render(
        question=report.question,
        study=str(run.study.get("study", "")),
        run_id=str(run.study.get("run_id", "")),
        answer=report.answer,
        details=report.details,
        sections=[_section(part) for part in report.parts],
        methods=_methods(report),
        provenance=provenance(run),
    )


def _section(part: Section) -> dict[str, Any]:
    return {
        "title": part.title,
        "sentences": part.sentences,
        "tables": [_table(table) for table in part.tables],
        "pictures": [{"name": path.stem, "caption": caption(path), "uri": data_uri(path)} for path in part.pictures],
    }


def _table(table: Table) -> dict[str, Any]:
    rows = table.text_rows()
    return {
        "title": table.title,
        "columns": table.columns,
        "rows": rows,
        "caption": table.caption,
        "bold_last_row": table.bold_last_row,
        # A column of words is read from the left, one of numbers compared from the right.
        "words": [not all(NUMERIC.match(cell) for cell in cells) for cells in zip(*rows, strict=True)],
    }


def _methods(report: Report) -> list[str]:
    said = [sentence for part in report.parts for sentence in part.methods]
    return list(dict.fromkeys([*COMMON_METHODS, *said]))


def _bullets(sentences: list[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def provenance(run: Run) -> dict[str, str]:
    """Where the numbers come from: nested keys of study.json joined by a dot, values as text."""
    keys = ("study", "run_id", "profile", "dataset", "backbone", "seeds", "schema_version")
    lines = {key: run.study[key] for key in keys if key in run.study}
    lines.update(_flat("", run.study.get("provenance") or {}, 3))
    lines.update(_flat("configurations.", run.study.get("configurations") or {}, 1))
    return {key: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for key, value in lines.items()}


def _flat(prefix: str, values: dict[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and depth > 1:
            yield from _flat(f"{prefix}{key}.", value, depth - 1)
        else:
            yield prefix + key, value
