"""CONTRIBUTING.md followed literally: a study in a copy of the project, a function of one's own outside of it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from commands import call, run
from conftest import REPOSITORY


def blocks(language: str, title: str = "Add a study in 15 minutes") -> list[str]:
    section = (REPOSITORY / "CONTRIBUTING.md").read_text().split(f"## {title}")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, flags=re.DOTALL)


@pytest.mark.slow
def test_the_page_works(tmp_path: Path) -> None:
    for package in ("study", "search_spaces", "trainables", "analysis"):
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (addition,) = blocks("python")
    with (tmp_path / "study" / "catalog" / "nested.py").open("a") as catalog:
        catalog.write("\n\n" + addition)
    commands = [line for block in blocks("bash") for line in block.splitlines() if line]
    assert len(commands) == 4
    for line in commands:
        words = line.split()
        assert words[0] == "python"
        done = subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert "nested_interval" in done.stdout + done.stderr
    (records,) = tmp_path.glob("runs/nested_interval/*/trials.parquet")
    frame = pd.read_parquet(records)
    assert set(frame["configuration"]) == {"every 1", "every 4", "every 16"} and set(frame["status"]) == {"finished"}


@pytest.mark.slow
def test_a_function_of_ones_own_outside_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    title = "Your own training function in 5 minutes"
    (content,) = blocks("python", title)
    (tmp_path / "my_study.py").write_text(content)
    for line in (line for block in blocks("bash", title) for line in block.splitlines()):
        words = line.split()[1:]
        if words[0] in ("show", "status") or "--dry-run" in words:  # nothing is trained
            code, out, err = call(capsys, *words)
            assert code == 0 and "my_study" in out + err
        else:
            done = run(tmp_path, *words)
            assert "my_study" in done.stdout + done.stderr
    frame = pd.read_parquet(tmp_path / "my_run" / "trials.parquet")
    assert len(frame) == 8 and set(frame["status"]) == {"finished"} and frame["metric.error"].notna().all()


def test_the_tree_is_true() -> None:
    tree = (REPOSITORY / "CONTRIBUTING.md").read_text().split("## The cut")[1].split("```")[1]
    told: set[str] = set()
    for line in tree.strip().splitlines():
        names = [word for word in line.split() if word.endswith("/") and word.count("/") == 1]
        top = line.split()[0] if not line.startswith(" ") else top  # noqa: F821
        told |= {f"{top}{names[0]}"} if line.startswith(" ") else set(names)
    rooms = {f"{path.relative_to(REPOSITORY).as_posix()}/" for top in ("study", "trainables", "analysis") for path in
             (REPOSITORY / top).iterdir() if (path / "__init__.py").exists()}  # fmt: skip
    assert rooms == {name for name in told if name.count("/") == 2}
    assert all((REPOSITORY / name).is_dir() for name in told)
