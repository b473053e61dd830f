"""Studies from outside: found, refused in one line, and kept apart from our own packages."""

import sys
from pathlib import Path

import pytest
from commands import call

from study.plugins import find_study, keep_source, trainable_of
from study.ray_tune.resources import Machine
from study.resolve.options import Options
from study.resolve.study import resolve
from trainables.errors import ContractError, InputError
from trainables.methods.plain import PlainConfig, plain
from trainables.packs.checkpoint import Checkpoints

DEEP = "analysis/deep.py"
STUDY = """
from lora_study import Objective, Study

def train(config, seed):
    return {"accuracy": 0.5 + config["lr"]}

mine = Study(name="mine", question="Which rate?", trainable=train, objective=Objective(metric="accuracy"),
             configurations={"low": {"lr": 0.1}, "high": {"lr": 0.2}})
"""


def written(folder: Path, text: str = STUDY, name: str = "mine.py") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_study_by_file_by_name_and_by_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, STUDY + 'other = mine.model_copy(update={"name": "theirs"})\n')
    assert find_study(str(path))[0].name == "mine"  # the file's namesake
    assert find_study(f"{path}:other")[0].name == "theirs" and find_study(f"{path}:theirs")[0].name == "theirs"
    monkeypatch.chdir(tmp_path)
    study, origin = find_study("mine:mine")
    assert study.name == "mine" and origin is not None and origin.files == ("mine.py",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no file"),
        ("import nothing_like_this\n", "does not import (ModuleNotFoundError"),
        ("def broken(:\n", "does not import (SyntaxError"),
        ("raise SystemExit(3)\n", "does not import (SystemExit"),
        ("x = 1\n", "defines no study"),
        (STUDY.replace('"mine"', '"a"') + 'b = mine.model_copy(update={"name": "b"})\n', "defines 2 studies"),
        (STUDY.replace('"mine"', '"lora_rank"'), "is taken"),
        (STUDY.replace("(config, seed)", "(config)"), "train(config, seed) is expected"),
    ],
)
def test_a_bad_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, said: str
) -> None:
    path = tmp_path / "outside.py"
    if text is not None:
        written(tmp_path, text, "outside.py")
    code, out, err = call(capsys, "run", path, "--dry-run")
    *trace, last = err.strip().splitlines()
    assert code == 2 and not out and last.startswith("error: ") and said in last
    assert all(str(path) in line or line.startswith("    ") for line in trace), "its own traceback and no other"


def test_an_unknown_key_or_name_says_what_is_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path)
    assert call(capsys, path, "--dry-run")[0] == 0
    code, _, err = call(capsys, path, "--dry-run", "--set", "rate=1")
    assert code == 2 and "rate" in err
    code, _, err = call(capsys, f"{path}:nobody", "--dry-run")
    assert code == 2 and "allowed: mine" in err


def test_our_names_beside_the_file_are_theirs_inside_and_ours_outside(tmp_path: Path) -> None:
    written(tmp_path, "WHOSE = 'theirs'\n", "analysis/__init__.py")
    written(
        tmp_path, "from analysis import WHOSE\nimport analysis\nassert analysis.WHOSE == WHOSE\n", "analysis/deep.py"
    )
    written(tmp_path, "import analysis.deep\nfrom analysis.deep import WHOSE\n", "study.py")
    text = "import study\nfrom analysis import WHOSE, deep\nassert study.WHOSE == deep.WHOSE == WHOSE == 'theirs'\n"
    study, origin = find_study(str(written(tmp_path, text + STUDY)))
    assert study.name == "mine" and origin is not None
    assert origin.files == ("analysis/__init__.py", "analysis/deep.py", "mine.py", "study.py")
    import analysis
    import study as ours

    assert not hasattr(analysis, "WHOSE") and not hasattr(ours, "WHOSE")


def test_a_run_trains_from_its_copy_when_the_file_is_gone(tmp_path: Path) -> None:
    helper = "from pathlib import Path\nBASE = 0.25\nHERE = Path(__file__)\n"
    text = "from helper import BASE, HERE\n" + STUDY.replace("0.5", "BASE")
    path = written(tmp_path / "lab", text)
    written(tmp_path / "lab", helper, "helper.py")
    resolved, _ = resolve(Options(name=str(path)), Machine(2, 0, "here"))
    keep_source(resolved.origin, tmp_path / "run")
    (tmp_path / "lab" / "helper.py").write_text("BASE = 99\n")
    path.unlink()
    spec = trainable_of(resolved, tmp_path / "run")
    rows: list[dict] = []
    checkpoints = Checkpoints(tmp_path / "checkpoints", {0: "r"}, "epoch")
    config = spec.config.model_validate(resolved.trials[0].params)
    spec.load().train(config, [0], lambda new: rows.extend(new[0]), checkpoints)
    assert [row["value"] for row in rows if row["phase"] == "final"] == [0.35]
    assert trainable_of(resolved, tmp_path / "run") is not None
    copies = (vars(module) for name, module in sys.modules.items() if name.endswith(".mine"))
    (here,) = {
        content["HERE"] for content in copies if content.get("BASE") == 0.25 and "run" in content["__spec__"].origin
    }
    assert here == tmp_path / "lab" / "helper.py"  # data beside the file are found where they were


def test_an_entry_point_is_listed_run_and_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, STUDY.replace('"mine"', '"of_a_lab"'), "lab_package.py")
    info = tmp_path / "lab-1.0.dist-info"
    written(info, "Metadata-Version: 2.1\nName: lab\nVersion: 1.0\n", "METADATA")
    written(info, "[lora_study.studies]\nof_a_lab = lab_package:mine\n", "entry_points.txt")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_study("of_a_lab")[0].question == "Which rate?"
    assert "of_a_lab" in call(capsys, "list")[1]
    written(info, "[lora_study.studies]\nof_a_lab = lab_package:gone\n", "entry_points.txt")
    code, _, err = call(capsys, "of_a_lab", "--dry-run")
    assert code == 2 and err.startswith("error: entry point of_a_lab = lab_package:gone") and len(err.splitlines()) == 1


class TestContract:
    def train(self, function, folder: Path) -> list[dict]:  # noqa: ANN001
        rows: list[dict] = []
        config = PlainConfig.model_validate({"lr": 0.1})
        checkpoints = Checkpoints(folder, {7: "r"}, "epoch")
        plain(function, "t").load().train(config, [7], lambda new: rows.extend(new[7]), checkpoints)
        return rows

    @pytest.mark.parametrize(
        ("gives", "said"),
        [
            (None, "returned nothing"), ("0.9", "returned str '0.9'"), (0.9, "returned float 0.9"), ({}, "an empty"),
            ({"accuracy": "high"}, "returned 'high' for 'accuracy'"), ({"accuracy": [1, 2]}, "for 'accuracy'"),
        ],
    )  # fmt: skip
    def test_what_is_no_number_by_name(self, tmp_path: Path, gives: object, said: str) -> None:
        with pytest.raises(ContractError, match="a dictionary of numbers is expected") as error:
            self.train(lambda config, seed: gives, tmp_path)
        assert said in str(error.value)

    def test_nothing_yielded(self, tmp_path: Path) -> None:
        def silent(config: dict, seed: int):  # noqa: ANN202
            print("accuracy 0.9")
            return
            yield

        with pytest.raises(ContractError, match="yielded nothing"):
            self.train(silent, tmp_path)

    def test_steps_last_values_and_divergence(self, tmp_path: Path) -> None:
        def steps(config: dict, seed: int):  # noqa: ANN202
            yield {"loss": 2.0, "accuracy": 0.1}
            yield {"loss": 1.0}
            return {"test": 0.3}

        rows = self.train(steps, tmp_path)
        last = {row["name"]: row["value"] for row in rows if row["phase"] == "final" and row["epoch"] == 2}
        assert last == {"loss": 1.0, "accuracy": 0.1, "test": 0.3}
        rows = self.train(lambda config, seed: {"accuracy": float("nan")}, tmp_path)
        assert any(row["name"] == "diverged" for row in rows)

    def test_generators_are_seeded_by_the_seed(self, tmp_path: Path) -> None:
        def draw(config: dict, seed: int) -> dict[str, float]:
            import random

            import numpy as np
            import torch

            return {"a": random.random(), "b": np.random.rand(), "c": torch.rand(())}

        def values() -> list[float]:
            return [row["value"] for row in self.train(draw, tmp_path) if row["phase"] == "final"]

        assert values() == values()

    def test_a_function_of_one_argument_is_refused(self) -> None:
        with pytest.raises(ValueError, match="train\\(config, seed\\) is expected"):
            plain(lambda config: {"a": 1.0})


def test_names_that_exist_are_no_files() -> None:
    with pytest.raises(InputError, match="did you mean 'nested_alpha'"):
        find_study("nested_alfa")
