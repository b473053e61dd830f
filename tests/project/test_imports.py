"""The arrows between the packages point one way (docs: DESIGN, "The cut").

Imports are read from the syntax tree, not from a run, so that one inside a function counts too.
"""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).resolve().parents[2]

PACKAGES = ("study", "search_spaces", "trainables", "analysis")
TRACKING_AND_SEARCH = {"ray", "optuna", "optuna_integration", "mlflow"}
MOST_MODULES, MOST_LINES = 12, 300
MODELS = {"torch", "torchvision", "timm", "transformers"}

# What each package must not import: package -> top-level module names.
FORBIDDEN: dict[str, set[str]] = {
    "study": set(),
    "trainables": TRACKING_AND_SEARCH | {"study", "search_spaces", "analysis"},
    "search_spaces": TRACKING_AND_SEARCH | MODELS | {"study", "trainables", "analysis"},
    "analysis": TRACKING_AND_SEARCH | MODELS | {"study", "trainables", "search_spaces"},
}

# Inside a package: what each part may import of the others, besides itself. Arrows point down.
LAYERS: dict[str, tuple[set[str], ...]] = {
    "study": (
        {"run"}, {"cli"}, {"commands"}, {"resolve"}, {"ray_tune"}, {"terminal", "tracking"}, {"records"}, {"search"},
        {"plugins"}, {"catalog"}, {"resolved"}, {"spec"},
    ),
    "analysis": ({"compare", "report"}, {"export"}, {"charts"}, {"io", "stats"}),
}  # fmt: skip
RAY_ONLY_IN = "ray_tune"


def imported_modules(source: str) -> list[tuple[int, str]]:
    """Line and full name of every absolute import in a source text, those inside functions included.

    ``importlib.import_module("name")`` and ``__import__("name")`` count where the name is written out.
    """
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(node.lineno, name) for name in (whole if node.module in PACKAGES else [node.module])]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                found.append((node.lineno, node.args[0].value))
    return found


def wrong_arrows(root: Path) -> list[str]:
    """One line ``file:line: package must not import module`` for each wrong import under ``root``."""
    wrong = []
    for package, forbidden in FORBIDDEN.items():
        for path in sorted((root / package).rglob("*.py")):
            for line, module in imported_modules(path.read_text(encoding="utf-8")):
                if module.split(".")[0] in forbidden:
                    wrong.append(f"{path.relative_to(root)}:{line}: {package} must not import {module}")
    return wrong


def part_of(path: Path, package: Path) -> str:
    """Folder or module of a package that a file belongs to."""
    return path.relative_to(package).parts[0].removesuffix(".py")


def wrong_arrows_inside(root: Path, package: str) -> list[str]:
    """Imports of ray outside of ``RAY_ONLY_IN``, and imports of a part of a package that lies above or beside."""
    level = {part: place for place, layer in enumerate(LAYERS[package]) for part in layer}
    wrong = []
    for path in sorted((root / package).rglob("*.py")):
        own = part_of(path, root / package)
        if own == "__init__":
            continue
        for line, module in imported_modules(path.read_text(encoding="utf-8")):
            head, _, rest = module.partition(".")
            other = rest.split(".")[0]
            ray = head == "ray" and own != RAY_ONLY_IN
            upward = head == package and other != own and level[other] <= level[own]
            if ray or upward:
                wrong.append(f"{path.relative_to(root)}:{line}: {package}.{own} must not import {module}")
    return wrong


def test_arrows_point_the_right_way() -> None:
    assert wrong_arrows(ROOT) == []
    assert {package: wrong_arrows_inside(ROOT, package) for package in LAYERS} == {package: [] for package in LAYERS}


@pytest.mark.parametrize("package", LAYERS)
def test_every_part_of_a_package_has_a_place(package: str) -> None:
    found = {part_of(path, ROOT / package) for path in (ROOT / package).rglob("*.py")} - {"__init__"}
    assert found == {part for layer in LAYERS[package] for part in layer}


def test_folders_and_modules_stay_small() -> None:
    modules = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py") if path.name != "__init__.py"]
    folders = Counter(path.parent.relative_to(ROOT).as_posix() for path in modules)
    assert {name: n for name, n in folders.items() if n > MOST_MODULES} == {}
    lines = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in modules}
    assert {name: n for name, n in lines.items() if n > MOST_LINES} == {}


@pytest.mark.parametrize(
    ("place", "statement"),
    [
        ("study/search/planted.py", "from ray import tune"),
        ("study/search/planted.py", "from study.records.run_directory import RunDirectory"),
        ("study/records/planted.py", "import study.ray_tune.tuner"),
        ("study/terminal/planted.py", "from study.tracking.tracker import Tracker"),
        ("study/spec.py", "from study import catalog"),
        ("analysis/stats/planted.py", "from analysis.io.records import Run"),
        ("analysis/charts/planted.py", "import analysis.report.tables"),
    ],
)
def test_a_planted_wrong_import_inside_a_package_is_caught(tmp_path: Path, place: str, statement: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(f"import math\n\n\ndef late():\n    {statement}\n")
    found = wrong_arrows_inside(tmp_path, place.split("/")[0])
    assert [line.split(":")[:2] for line in found] == [[place, "5"]]


def test_the_four_packages_are_there() -> None:
    """Otherwise the test above would pass on nothing."""
    assert [name for name in PACKAGES if not list((ROOT / name).glob("*.py"))] == []


@pytest.mark.parametrize(
    ("package", "statement"),
    [
        ("trainables", "import ray"),
        ("trainables", "from mlflow.entities import Metric"),
        ("trainables", "import study.spec"),
        ("trainables", "from search_spaces import nested"),
        ("search_spaces", "import torch.nn as nn"),
        ("search_spaces", "from ray import tune"),
        ("analysis", "from trainables.data.images import load"),
        ("analysis", "import numpy, timm"),
        ("analysis", "__import__('transformers')"),
        ("trainables", "import importlib; importlib.import_module('optuna.samplers')"),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_a_planted_wrong_import_is_caught(tmp_path: Path, package: str, statement: str, lazy: bool) -> None:
    source = f"def late():\n    {statement}\n" if lazy else f"{statement}\n"
    folder = tmp_path / package / "deeper"
    folder.mkdir(parents=True)
    (folder / "planted.py").write_text(source)
    assert [line.split(":")[:2] for line in wrong_arrows(tmp_path)] == [
        [f"{package}/deeper/planted.py", "2" if lazy else "1"]
    ]


def test_right_imports_are_left_alone(tmp_path: Path) -> None:
    for package, source in {
        "study": "import ray, optuna, mlflow\nfrom trainables import nested\nimport analysis.io.records",
        "trainables": "import torch\nfrom . import study\nfrom .ray import x",
        "search_spaces": "from search_spaces.nested import SPACE\nimport math",
        "analysis": "import pandas\nimport pyarrow.parquet",
    }.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "module.py").write_text(source)
    assert wrong_arrows(tmp_path) == []


def test_every_package_is_installed() -> None:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    listed = find_packages(str(ROOT), include=found["include"])
    folders = {
        path.parent.relative_to(ROOT)
        for name in (*PACKAGES, "lora_study")
        for path in (ROOT / name).rglob("__init__.py")
    }
    assert set(listed) == {".".join(folder.parts) for folder in folders}
