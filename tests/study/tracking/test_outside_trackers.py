"""Trackers of entry points hear what MLflow hears; one that fails is left out aloud."""

from pathlib import Path

import pytest

from study.resolved import TrialSpec
from study.tracking.outside import OutsideTrackers
from study.tracking.points import OverSeeds, Point
from study.tracking.tracker import Tracker
from trainables.errors import InputError

CODE = """
HEARD = []

class Mine:
    def __init__(self, run_dir, study):
        HEARD.append(("made", study))
    def log(self, configuration, seed, rows):
        HEARD.append((configuration, seed, [row["value"] for row in rows]))
    def finish(self, configuration, seed, status, metrics):
        HEARD.append((configuration, seed, status, metrics))
        if seed == 1:
            raise OSError("the disk is full")
    def over_seeds(self, configuration, metrics, curves):
        HEARD.append((configuration, metrics, curves))
    def close(self):
        HEARD.append("closed")
"""


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (folder / f"{name}.py").write_text(CODE)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[lora_study.trackers]\nmine = {name}:Mine\n")
    monkeypatch.syspath_prepend(str(folder))


def test_it_hears_all_until_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch, "lab_tracker")
    trial = TrialSpec(trial_id="t", configuration="c", params={}, seeds=(0, 1), trainable_params=1, total_params=1,
                      boundaries=1)  # fmt: skip
    tracker = Tracker(tmp_path / "run", "s", "r", f"sqlite:///{tmp_path}/ml.db")
    tracker.prepare([trial])
    row = {"phase": "eval", "task": 0, "epoch": None, "step": 1, "name": "accuracy", "value": 0.5, "wall_s": 0.1}
    tracker.log_rows("t-s0", [row, row | {"phase": "final"}], 0.0)
    tracker.finish_replica("t-s0", "finished", {"accuracy": 0.5})
    together = OverSeeds("finished", {"seeds/n": 1.0}, [Point("eval/accuracy/mean", 0, 0.5, 0)])
    tracker.finish_trial("t", together)
    tracker.finish_replica("t-s1", "finished", {})
    (warning,) = tracker.close()
    assert "mine failed" in warning and "the disk is full" in warning
    import lab_tracker  # type: ignore[import-not-found]

    assert lab_tracker.HEARD == [
        ("made", "s"), ("c", 0, [0.5]), ("c", 0, "finished", {"accuracy": 0.5}),
        ("c", {"seeds/n": 1.0}, {"eval/accuracy/mean": [(0, 0.5)]}), ("c", 1, "finished", {}),
    ]  # fmt: skip


def test_one_of_before_there_were_numbers_over_seeds_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch, "lab_older")
    module = tmp_path / "lab_older.py"
    module.write_text(CODE.replace("def over_seeds", "def unknown"))
    trackers = OutsideTrackers(tmp_path / "run", "s")
    trackers.over_seeds("c", {}, {})
    trackers.tell(lambda to: to.close())
    import lab_older  # type: ignore[import-not-found]

    assert trackers.warnings == [] and lab_older.HEARD[-1] == "closed"


def test_one_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch, "lab_broken")
    (tmp_path / "lab_broken.py").write_text("Mine = None\n")
    with pytest.raises(InputError, match="entry point mine = lab_broken:Mine: no tracker can be made of it"):
        Tracker(tmp_path / "run", "s", "r", f"sqlite:///{tmp_path}/ml.db")
