"""docs/parquet.md: its columns are those of the schemas, and its examples run and agree with the records."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import REPOSITORY
from synthetic import replica_rows, tuning_rows

from analysis.io.records import METRICS_SCHEMA, SCHEMA_VERSION, TRIALS_SCHEMA
from analysis.io.search_tables import DYNAMIC, IMPORTANCE_SCHEMA, SEARCH_SCHEMA
from trainables.metrics.continual import continual_finals
from trainables.metrics.finals import epoch_finals

TEXT = (REPOSITORY / "docs" / "parquet.md").read_text(encoding="utf-8")
EXAMPLES = dict(zip(("pandas", "duckdb", "polars"), re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL), strict=True))


def rows_under(heading: str) -> list[list[str]]:
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize(
    ("heading", "schema"),
    [
        ("trials.parquet", TRIALS_SCHEMA),
        ("metrics.parquet", METRICS_SCHEMA),
        ("search.parquet", SEARCH_SCHEMA),
        ("importance.parquet", IMPORTANCE_SCHEMA),
    ],
)
def test_columns_types_units_and_meanings_are_those_of_the_schema(heading: str, schema: pa.Schema) -> None:
    expected = [
        [
            f"`{field.name}`",
            f"{field.type}{'' if field.nullable else ', never null'}",
            field.metadata[b"unit"].decode(),
            field.metadata[b"meaning"].decode(),
        ]
        for field in schema
    ]
    if heading == "search.parquet":
        expected += [
            [f"`{name}.<{'constraint' if name == 'violation' else 'objective'}>`", *texts]
            for name, texts in DYNAMIC.items()
        ]
    assert rows_under(heading) == expected
    assert f"`schema_version` (now {SCHEMA_VERSION})" in TEXT


def test_the_final_metrics_are_those_that_replicas_have() -> None:
    named = {name for row in rows_under("Final metrics") for name in re.findall(r"`([a-z0-9_]+)`", row[0])}
    tuning = tuning_rows("t", 0, 0.9, {"method": "lora", "eta_min": 0.0, "epochs": 3, "freeze_lora_steps": 0})
    known = continual_finals(replica_rows("t", 0, 0.5, 3), 3) | epoch_finals(tuning, 3)
    assert named <= set(known) and len(named) > 20


@pytest.mark.parametrize("library", EXAMPLES)
def test_the_examples_run_and_agree(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed (extra docs)")
    monkeypatch.chdir(REPOSITORY)
    known: dict = {}
    exec(EXAMPLES[library], known)
    trials = pd.read_parquet("analysis/notebooks/data/nested_alpha/trials.parquet")
    means = trials.groupby("configuration")["metric.final_accuracy"].mean()
    if library == "pandas":
        found = known["result"]["mean"]
    elif library == "duckdb":
        found = pd.Series({row[0]: row[1] for row in known["result"]})
    else:
        last = known["result"].filter(known["pl"].col("task") == 9)
        found = pd.Series(dict(zip(last["configuration"], last["mean"], strict=True)))
    assert np.allclose(found.reindex(means.index), means)
