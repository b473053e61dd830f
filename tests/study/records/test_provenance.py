"""Provenance identifies code, environment and inputs, quickly and wherever the command was started."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from study.records import provenance


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clean repository with the four packages in it."""
    root = tmp_path / "project"
    for package in provenance.PACKAGES:
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").write_text(f'"""{package}"""\n')
    (root / ".gitignore").write_text(".venv/\n")
    git(root.parent, "init", "--quiet", str(root))
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "start")
    return root


def collect(root: Path) -> dict[str, Any]:
    return provenance.collect("study/run.py nested_alpha", "d" * 64, None, root=root)


def test_says_what_is_needed_to_run_again(repository: Path) -> None:
    found = collect(repository)
    assert json.loads(json.dumps(found)) == found
    assert found["git_commit"] == git(repository, "rev-parse", "HEAD")
    assert (found["git_dirty"], found["diff_hash"]) == (False, "")
    assert (found["data_hash"], found["weights_hash"]) == ("d" * 64, None)
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "torchvision", "timm", "ray", "optuna", "mlflow", "numpy", "lora-study"} < set(found["versions"])
    assert found["versions"]["numpy"]
    assert found["hardware"]["cores"] >= 1
    assert found["hardware"]["memory_mib"] > 100
    assert isinstance(found["hardware"]["gpus"], list)
    assert datetime.fromisoformat(found["started_at"]).utcoffset() == timedelta(0)


def test_current_directory_does_not_matter(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "elsewhere"
    git(tmp_path, "init", "--quiet", str(other))
    monkeypatch.chdir(other)
    assert collect(repository)["git_commit"] == git(repository, "rev-parse", "HEAD")


def test_uncommitted_changes_have_a_hash(repository: Path) -> None:
    hashes = [collect(repository)["diff_hash"]]
    source = repository / "trainables" / "__init__.py"
    source.write_text("ALPHA = 0.1\n")
    hashes.append(collect(repository)["diff_hash"])
    source.write_text("ALPHA = 0.5\n")
    hashes.append(collect(repository)["diff_hash"])
    (repository / "study" / "new.py").write_text("x = 1\n")
    hashes.append(collect(repository)["diff_hash"])
    (repository / "study" / "new.py").write_text("x = 2\n")
    found = collect(repository)
    hashes.append(found["diff_hash"])
    assert found["git_dirty"]
    assert len(set(hashes)) == len(hashes)

    git(repository, "add", ".")
    assert collect(repository)["git_dirty"], "staged is not committed"
    git(repository, "commit", "--quiet", "-m", "change")
    assert collect(repository)["diff_hash"] == ""


def test_untracked_notes_and_results_do_not_make_it_dirty(repository: Path) -> None:
    (repository / "notes.md").write_text("to do\n")
    (repository / "runs").mkdir()
    (repository / "runs" / "plot.py").write_text("x = 1\n")
    assert not collect(repository)["git_dirty"]


@pytest.mark.parametrize("where", ["outside", "no commit yet", "ignored", "site-packages", "no git"])
def test_no_commit_is_named_where_there_is_none(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    root = {"ignored": repository / ".venv", "site-packages": repository / "site-packages"}.get(where, tmp_path / "new")
    for package in provenance.PACKAGES:
        (root / package).mkdir(parents=True)
        (root / package / "module.py").write_text("x = 1\n")
    if where == "no commit yet":
        git(tmp_path, "init", "--quiet", str(root))
    if where == "no git":
        root = repository
        monkeypatch.setenv("PATH", str(tmp_path))
    found = collect(root)
    assert (found["git_commit"], found["git_dirty"], found["diff_hash"]) == (None, False, "")
    assert len(found["source_hash"]) == 64


def test_source_hash_follows_the_code_and_not_the_place(repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for package in provenance.PACKAGES:
        (copy / package).mkdir(parents=True)
        (copy / package / "__init__.py").write_bytes((repository / package / "__init__.py").read_bytes())
    assert provenance.source_hash(copy) == provenance.source_hash(repository)
    (copy / "analysis" / "__init__.py").rename(copy / "analysis" / "other.py")
    assert provenance.source_hash(copy) != provenance.source_hash(repository)


def test_environment_hash_follows_the_versions(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    before = collect(repository)["environment_hash"]
    assert collect(repository)["environment_hash"] == before
    monkeypatch.setattr(provenance.metadata, "version", lambda name: "0.0")
    assert collect(repository)["environment_hash"] != before


def test_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, time; from study.records import provenance\n"
        "start = time.perf_counter(); provenance.collect('c', None, None); took = time.perf_counter() - start\n"
        "heavy = {'torch', 'ray', 'mlflow', 'optuna', 'numpy'} & set(sys.modules)\n"
        "print(took); assert not heavy, heavy"
    )
    root = Path(provenance.__file__).parents[2]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Ten times the usual, for a busy machine and for nvidia-smi.
    assert float(done.stdout) < 3, f"{done.stdout} of {time.perf_counter() - start} s"
