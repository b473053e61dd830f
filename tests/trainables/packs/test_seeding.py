"""Random streams, the cache and the device that replicas rely on."""

import multiprocessing
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from trainables.data.cache import cached
from trainables.packs import device as devices
from trainables.packs.seeding import generator


def test_the_whole_state_is_drawn_from_the_seed() -> None:
    """Every word of the Mersenne twister, of which ``manual_seed`` sets all from 32 bits; numpy's has the same law."""
    words = np.random.SeedSequence(3, spawn_key=(0, 5)).generate_state(624, np.uint32)
    reference = np.random.MT19937()
    reference.state = reference.state | {"state": {"key": words, "pos": 624}}
    expected = [(int(word) & 0xFFFFFF) / 2**24 for word in reference.random_raw(2000)]  # past one turn of the state
    assert torch.rand(2000, generator=generator(3, "init", 5)).tolist() == expected


def test_streams_and_positions_differ_and_repeat() -> None:
    keys: list[tuple] = [(0, "init"), (0, "order"), (1, "init"), (0, "init", 0), (0, "init", 1), (2**40, "init")]
    draws = {key: tuple(torch.rand(3, generator=generator(*key)).tolist()) for key in keys}
    assert len(set(draws.values())) == len(draws)
    assert tuple(torch.rand(3, generator=generator(2**40, "init")).tolist()) == draws[2**40, "init"]
    seeds = {generator(0, "dropout", epoch).initial_seed() for epoch in range(100)}
    assert len(seeds) == 100 and max(seeds) > 2**32  # what generators on a GPU are seeded with


def fill(folder: Path) -> None:
    with (folder.parent / "builds").open("a") as log:
        log.write("x")
    time.sleep(0.3)
    (folder / "content").write_text("whole")


def ask(root: str) -> None:
    import os

    os.environ["LORA_STUDY_CACHE"] = root
    assert (cached("kind", ["a"], fill) / "content").read_text() == "whole"


def test_the_cache_is_built_once_whoever_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("spawn")
    asking = [context.Process(target=ask, args=(str(tmp_path),)) for _ in range(3)]
    for process in asking:
        process.start()
    for process in asking:
        process.join()
    assert [process.exitcode for process in asking] == [0, 0, 0]
    assert (tmp_path / "kind" / "builds").read_text() == "x"


def test_a_build_that_was_killed_is_no_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_STUDY_CACHE", str(tmp_path))

    def killed(folder: Path) -> None:
        (folder / "content").write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("kind", ["a"], killed)
    assert (cached("kind", ["a"], fill) / "content").read_text() == "whole"


def test_cuda_that_does_not_start_is_said_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("CUDA error: initialization error\nmore")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", broken)
    devices.device.cache_clear()
    with pytest.warns(UserWarning, match=r"cannot start \(CUDA error: initialization error\): the CPU is used"):
        assert devices.device() == torch.device("cpu")
    devices.device.cache_clear()


def test_the_driver_counts_gpus_that_start(monkeypatch: pytest.MonkeyPatch) -> None:
    from study.ray_tune.resources import allocate, choose_profile, this_machine
    from trainables.errors import InputError

    def failing(*args: object, **kwargs: object) -> None:
        raise subprocess.CalledProcessError(1, "python", stderr=b"Traceback\nRuntimeError: no driver")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(subprocess, "run", failing)
    devices.gpus.cache_clear()
    machine = this_machine()
    devices.gpus.cache_clear()
    assert machine.gpus == 0
    from study.catalog import STUDIES

    profiles = STUDIES["nested_alpha"].profiles
    name, why = choose_profile("auto", profiles, machine, "auto")
    assert name == "embedded" and "cannot start (RuntimeError: no driver)" in why
    with pytest.raises(InputError, match="--device gpu: .*no driver.*allowed here: cpu or auto"):
        allocate(machine, "gpu", profiles["embedded"], 5, "auto", None, None)
