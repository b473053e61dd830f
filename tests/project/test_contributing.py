"""CONTRIBUTING.md, "Add a study in 15 minutes", followed literally in a copy of the project."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY


def blocks(language: str) -> list[str]:
    section = (REPOSITORY / "CONTRIBUTING.md").read_text().split("## Add a study in 15 minutes")[1].split("\n## ")[0]
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
