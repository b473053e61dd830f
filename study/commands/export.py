"""``export``: records of many runs as one data set, scores for other tools, trained replicas as adapters for PEFT."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file

from analysis.export.scores import marl_eval_data, rliable_scores, write_marl_eval, write_rliable
from analysis.io.data_set import merge_runs
from analysis.io.records import read_run
from study.plugins import trainable_of
from study.records.run_directory import RunDirectory
from study.resolved import TrialSpec
from trainables.errors import InputError
from trainables.peft.export import LoraReplica, require_empty, write_folder


def export_runs(
    run_dirs: Sequence[Path], out: Path | None, parquet: bool, peft: bool, rliable: Path | None, marl_eval: Path | None,
    replica: str | None, every: bool,
) -> None:  # fmt: skip
    """Write runs in the one format that was asked for; the arguments are the options of the command.

    Raises:
        InputError: no format or several, or options that do not go with it.
        RecordsError: see ``export_parquet``, ``export_scores``.
    """
    formats = {"--parquet": parquet, "--peft": peft, "--rliable": rliable, "--marl-eval": marl_eval}
    chosen = [name for name, given in formats.items() if given]
    if len(chosen) != 1:
        raise InputError(f"export: one format is needed; allowed: {', '.join(formats)}")
    if not peft and (replica is not None or every):
        raise InputError("export: --replica and --all choose adapters; allowed with --peft only")
    if (parquet or peft) == (out is None):
        raise InputError(f"export {chosen[0]}: --out DIR {'is missing' if out is None else 'is for --parquet, --peft'}")
    if peft and len(run_dirs) > 1:
        raise InputError(f"export --peft: {len(run_dirs)} run directories given; one is allowed")
    if out is None:
        export_scores(run_dirs, rliable, marl_eval)
    elif parquet:
        export_parquet(run_dirs, out)
    else:
        export_peft(run_dirs[0], replica, every, out)


def export_parquet(run_dirs: Sequence[Path], out: Path) -> None:
    """Merge runs into the data set in ``out`` and print what each contributed.

    Raises:
        RecordsError: see ``merge_runs``.
    """
    target = out.expanduser().absolute()
    for one in merge_runs([path.expanduser().absolute() for path in run_dirs], target):
        what = "replaced" if one.replaced else "added"
        print(f"{one.study} {one.run_id}: {one.replicas:,} replicas, {one.rows:,} metric rows {what}")
    print(f"{target / 'trials'}\n{target / 'metrics'}")


def export_scores(run_dirs: Sequence[Path], rliable: Path | None, marl_eval: Path | None) -> None:
    """Write the scores of runs for rliable (``.npz``), or marl-eval (JSON), and print what is in the file.

    Raises:
        RecordsError: no runs, nothing that all of them have, or a file that exists.
    """
    runs = [read_run(path.expanduser().absolute()) for path in run_dirs]
    if rliable:
        scores, target = rliable_scores(runs), rliable.expanduser().absolute()
        write_rliable(target, scores)
        for label, values in scores.items():
            print(f"{label}: scores {values.shape[0]} x {values.shape[1]} (seeds x runs)")
        print(target)
    if marl_eval:
        data, target = marl_eval_data(runs), marl_eval.expanduser().absolute()
        write_marl_eval(target, data)
        for environment, tasks in data.items():
            for task, algorithms in tasks.items():
                runs_each = max(map(len, algorithms.values()))
                print(f"{environment}, {task}: {len(algorithms)} algorithms x {runs_each} runs")
        print(target)


def export_peft(path: Path, replica_id: str | None, every: bool, out: Path) -> None:
    """Write LoRA replicas of a run as PEFT adapter folders and print where they are.

    Args:
        replica_id: which replica; None: the best finished one with LoRA by the study's objective.
        every: all finished replicas with LoRA, each in ``out/<replica id>``.

    Raises:
        InputError: no such replica, nothing to export, adapters that PEFT cannot express, ``out`` not empty.
    """
    directory = RunDirectory.open(path.expanduser().absolute())
    replicas = {trial.replica_id(seed): (trial, seed) for trial, seed in directory.replicas}
    if every and replica_id is not None:
        raise InputError(f"--all and --replica {replica_id}: one of the two is allowed")
    if replica_id is not None and replica_id not in replicas:
        raise InputError(f"--replica {replica_id}: not in {path}; allowed: {', '.join(replicas)}")
    out = out.expanduser().absolute()
    require_empty(out)
    chosen = [replica_id] if replica_id is not None else _finished_with_lora(directory, replicas)
    if replica_id is None and not every:
        chosen = [_best(directory, chosen)]
    adapters = {name: _replica(directory, name, *replicas[name]) for name in chosen}  # all or nothing
    for name, adapter in adapters.items():
        trial, seed = replicas[name]
        notes = {"study": directory.study.study, "run_id": directory.study.run_id, "replica_id": name}
        folder = out / name if every else out
        backbone = Path(str(trial.params["backbone"])).name  # of a weights file only the name: folders are one's own
        write_folder(folder, adapter, backbone, notes)
        print(f"{folder}: {trial.configuration}, seed {seed}; {backbone}, {adapter.state['head.bias'].numel()} classes")


def _finished_with_lora(directory: RunDirectory, replicas: Mapping[str, tuple[TrialSpec, int]]) -> list[str]:
    finished = [name for name in replicas if (end := directory.outcome(name)) and end.status == "finished"]
    if not finished:
        raise InputError(f"{directory.path}: no replica has finished; name one with --replica")
    chosen = [name for name in finished if any(key.endswith(".down") for key in _tensor_names(directory, name))]
    if not chosen:
        raise InputError(f"{directory.path}: no finished replica has LoRA")
    if len(chosen) < len(finished):
        print(f"{len(finished) - len(chosen)} finished replicas have no LoRA and are left out", file=sys.stderr)
    return chosen


def _best(directory: RunDirectory, names: list[str]) -> str:
    """By the final value of the study's objective; that of a lucky best epoch, which earlier versions had as
    objective, does not count."""
    objective = directory.study.objective
    metric = f"final_{objective.metric.removeprefix('best_')}" if objective.metric[:5] == "best_" else objective.metric
    scores = {name: directory.final_metrics(name).get(metric) for name in names}
    known = {name: score for name, score in scores.items() if score is not None}
    if not known:
        raise InputError(f"{directory.path}: no finished replica has {metric}; name one with --replica")
    return (max if objective.direction == "maximize" else min)(known, key=lambda name: known[name])


def _tensor_names(directory: RunDirectory, replica_id: str) -> list[str]:
    with safe_open(_last_checkpoint(directory, replica_id), framework="pt") as file:
        return list(file.keys())


def _last_checkpoint(directory: RunDirectory, replica_id: str) -> Path:
    files = directory.checkpoints(replica_id)
    if not files:
        raise InputError(f"--replica {replica_id}: has no checkpoint yet")
    return files[-1]


def _replica(directory: RunDirectory, replica_id: str, trial: TrialSpec, seed: int) -> LoraReplica:
    """As its method gives it, from its last checkpoint."""
    tensors = load_file(_last_checkpoint(directory, replica_id))
    if not any(name.endswith(".down") for name in tensors):
        raise InputError(f"--replica {replica_id}: {trial.configuration} is a replica without LoRA")
    spec = trainable_of(directory.study, directory.path)
    method = spec.load()
    if not hasattr(method, "lora_replica"):
        raise InputError(f"--peft: trainable {spec.name!r} has no lora_replica, which says what of it PEFT can load")
    try:
        return method.lora_replica(trial.params, tensors, seed)
    except InputError as error:
        raise InputError(f"--replica {replica_id}: {error}") from error
