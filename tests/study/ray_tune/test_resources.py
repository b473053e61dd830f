"""Who runs where: profiles and shares of machines that the tests do not have."""

import pytest

from study.catalog import STUDIES
from study.ray_tune.resources import Machine, allocate, choose_profile, worker_environment
from trainables.errors import InputError

LAPTOP = Machine(cpus=4, gpus=0, name="this machine")
SERVER = Machine(cpus=16, gpus=2, name="the cluster")
PROFILES = STUDIES["nested_alpha"].profiles


def test_auto_takes_paper_where_there_is_a_gpu_and_says_why() -> None:
    assert choose_profile("auto", PROFILES, LAPTOP, "auto")[0] == "embedded"
    name, why = choose_profile("auto", PROFILES, SERVER, "auto")
    assert name == "paper" and "2 GPU" in why
    assert choose_profile("auto", PROFILES, SERVER, "cpu")[0] == "embedded"


def test_a_cpu_runs_one_single_threaded_replica_per_core() -> None:
    found = allocate(LAPTOP, "auto", PROFILES["embedded"], 5, "auto", None, None)
    assert (found.device, found.pack, found.max_concurrent, found.gpus_per_trial) == ("cpu", "auto", 4, 0)
    environment = worker_environment("cpu")
    assert environment["OMP_NUM_THREADS"] == "1" and environment["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["MALLOC_ARENA_MAX"] == "1" and "MALLOC_MMAP_MAX_" not in worker_environment("gpu")


@pytest.mark.parametrize(
    ("profile", "share", "expected"),
    [("embedded", None, (0.2, 10)), ("paper", None, (1.0, 2)), ("paper", 0.5, (0.5, 4)), ("paper", 2.0, (2.0, 1))],
)
def test_gpus_are_shared_by_fractions(profile, share, expected) -> None:
    found = allocate(SERVER, "auto", PROFILES[profile], 5, "auto", share, None)
    assert (found.gpus_per_trial, found.max_concurrent) == expected
    assert found.device == "gpu" and found.pack == "auto"


@pytest.mark.parametrize("share", [-0.5, 1.5, 3.0])
def test_impossible_gpu_shares_are_refused(share: float) -> None:
    with pytest.raises(InputError, match="allowed"):
        allocate(SERVER, "auto", PROFILES["paper"], 5, "auto", share, None)


def test_zero_gpus_means_the_cpu() -> None:
    assert allocate(SERVER, "auto", PROFILES["embedded"], 5, "auto", 0.0, 3).device == "cpu"
    assert allocate(SERVER, "auto", PROFILES["embedded"], 5, "auto", 0.0, 3).max_concurrent == 3
