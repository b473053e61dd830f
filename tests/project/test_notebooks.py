"""The notebooks run from top to bottom on the exports that come with the project, and are stored without outputs."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from conftest import REPOSITORY

from analysis.io.records import read_run
from analysis.report import build_report

FOLDER = REPOSITORY / "analysis" / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
EXPORTS = sorted(path.name for path in (FOLDER / "data").iterdir() if path.is_dir())


def test_the_notebooks_are_there() -> None:
    assert {"instability", "pareto", "hybrid", "rank", "search"} <= set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_stored_without_outputs_and_with_a_parameter_cell(name: str) -> None:
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    (parameters,) = (cell for cell in cells if "parameters" in cell["metadata"].get("tags", []))
    assert "RUN_DIR = " in "".join(parameters["source"]) and "LORA_STUDY_RUN" in "".join(parameters["source"])


def test_the_exports_are_small_and_name_no_machine() -> None:
    folders = sorted(path for path in (FOLDER / "data").iterdir() if path.is_dir())
    assert sum(file.stat().st_size for folder in folders for file in folder.iterdir()) <= 1_500_000
    for folder in folders:
        run = read_run(folder)
        assert len(run.trials) >= 24 and set(run.trials["status"]) <= {"finished", "diverged"}
        assert not run.trials["mlflow_run_id"].notna().any()
        text = (folder / "study.json").read_text()
        assert "sqlite:" not in text and "/tmp" not in text and "/home" not in text


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name != "lora_rank" else []) for name in EXPORTS]
)
def test_the_exports_of_earlier_versions_are_still_reported(name: str, tmp_path: Path) -> None:
    run_dir = Path(shutil.copytree(FOLDER / "data" / name, tmp_path / name))
    report = build_report(run_dir)
    assert 1 <= len(report.answer) <= 3 and report.table and report.chart
    assert not re.search(r"\bnan\b", report.markdown.read_text(), re.IGNORECASE)


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "extra notebooks is not installed"
    nbclient = pytest.importorskip("nbclient", reason=reason)
    pytest.importorskip("ipykernel", reason=reason)
    nbformat = pytest.importorskip("nbformat", reason=reason)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("LORA_STUDY_RUN", raising=False)
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=250, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert kinds.count("image/png") >= 1 and {"text/html", "text/markdown"} & set(kinds)
    assert not [output for output in outputs if output.get("name") == "stderr"]
