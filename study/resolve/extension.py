"""A finished run and the wish for more seeds -> the same study with them, or why not."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from search_spaces.seeds import MAX_SEED, MAX_SEEDS
from study.plugins import SOURCE, files_hash, trainable_of
from study.records.provenance import collect
from study.records.run_directory import RunDirectory
from study.resolve.keys import suggest
from study.resolve.study import command_line
from study.resolved import Extension, ResolvedStudy, TrialSpec
from trainables.configs.names import validated
from trainables.errors import InputError

WITHOUT_EFFECT = ("ray", "optuna", "mlflow", "lora-study")
"""Packages whose versions do not change what a given configuration and seed give; the project's own code is hashed."""


def extend(run: RunDirectory, number: int, only: Sequence[str], allow_changes: bool) -> tuple[ResolvedStudy, list[str]]:
    """The study of a run with ``number`` further seeds for all configurations, or those of ``only``.

    Args:
        only: labels or trial ids; none: all.
        allow_changes: add seeds also where code, data or versions are not those of the run.

    Returns:
        The study as it is to be written down, and notices for the user, one line each.

    Raises:
        InputError: a search, an unfinished run, an unknown configuration, too few or too many seeds, data that cannot
            be had, or changes since the run; one line.
    """
    study = run.study
    if study.search:
        raise InputError(
            f"{run.path}: a search gives its configurations seeds by its race and confirms the best on fresh ones (run "
            "... --confirm KxN); extend adds seeds to studies of fixed configurations"
        )
    if left := run.unfinished(failed=False):
        raise InputError(
            f"{run.path}: {len(left)} of {len(run.replicas)} replicas are not finished; complete the run first with "
            f"`lora-study resume {run.path}`"
        )
    chosen = _chosen(run.trials, only)
    most = MAX_SEEDS - max(len(trial.seeds) for trial in chosen)
    if not 1 <= number <= most:
        raise InputError(f"--seeds {number}: a number of further seeds in 1..{most} is allowed")
    added = {trial.trial_id: further_seeds(trial.seeds, number) for trial in chosen}
    now, notices = _provenance(run)
    changed = changes(study.provenance, now)
    if changed and not allow_changes:
        raise InputError(
            f"{run.path}: changed since this run: {'; '.join(changed)}; seeds of both would be mixed as if they were "
            "of one: go back to what the run had, start a new run, or mix them knowingly with --allow-changes"
        )
    notices += [f"changed since this run and mixed with it: {line}" for line in changed]
    if failed := len(run.unfinished()):
        notices.append(f"failed before: {failed} of {len(run.replicas)} replicas; they stay so until a resume")
    packable = trainable_of(study, run.path).packable
    return _with(study, added, Extension(seeds=added, provenance=now, changed=tuple(changed)), packable), notices


def further_seeds(known: Collection[int], number: int) -> tuple[int, ...]:
    """The next seeds after the largest; below it only where there is no room above."""
    after = max(known) + 1
    free = (seed for seed in chain(range(after, MAX_SEED + 1), range(after)) if seed not in known)
    return tuple(islice(free, number))


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs in two provenances and can change a number, one text each."""
    found = []
    code = ("source_hash",) if before.get("source_hash") else ("git_commit", "diff_hash")
    if any(before.get(key) != now.get(key) for key in code):
        commits = [
            str(one.get("git_commit") or "not in git")[:10] + "*" * bool(one.get("diff_hash")) for one in (before, now)
        ]
        where = f"commit {commits[0]}, now {commits[1]}" if commits[0] != commits[1] else f"both at commit {commits[0]}"
        found.append(f"code ({where})")
    for name in ("data", "weights"):
        if before.get(f"{name}_hash") != now.get(f"{name}_hash"):
            found.append(name)
    first, second = (one.get("versions") or {} for one in (before, now))
    for package in dict.fromkeys([*first, *second]):
        if first.get(package) != second.get(package) and package not in WITHOUT_EFFECT:
            found.append(f"{package} {first.get(package) or 'not recorded'}, now {second.get(package) or 'not there'}")
    return found


def _chosen(trials: Sequence[TrialSpec], only: Sequence[str]) -> list[TrialSpec]:
    for name in only:
        if not any(name in (trial.configuration, trial.trial_id) for trial in trials):
            labels = [trial.configuration for trial in trials]
            raise InputError(
                f"--only {name!r}: not a configuration of this run{suggest(name, labels)}; allowed: {', '.join(labels)}"
            )
    return [trial for trial in trials if not only or {trial.configuration, trial.trial_id} & set(only)]


def _provenance(run: RunDirectory) -> tuple[dict[str, Any], list[str]]:
    """Code, data, weights and versions as they are now, and what the user should know of them."""
    study, notices = run.study, []
    spec, outside = trainable_of(study, run.path), None
    try:
        configs = [validated(spec.config, trial.params) for trial in run.trials]
    except InputError as error:
        raise InputError(f"{run.path}: its parameters are not those of this version ({error})") from error
    materials = spec.load().materials(configs, True)
    if study.origin:
        outside = files_hash(run.path / SOURCE, study.origin.files)
        if files_hash(Path(study.origin.folder), study.origin.files) != study.origin.source_hash:
            notices.append(f"{study.origin.module}.py is not what it was; the copy that this run keeps is trained")
    now = collect(command_line(), materials.data_hash, materials.weights_hash, outside)
    before = study.provenance.get("hardware") or {}
    for part in ("cpu", "gpus"):
        if part in before and before[part] != now["hardware"][part]:
            notices.append(f"{part}: {now['hardware'][part]}, originally {before[part]}: the last digits may differ")
    return now, notices


def _with(
    study: ResolvedStudy, added: Mapping[str, tuple[int, ...]], extension: Extension, packable: bool
) -> ResolvedStudy:  # fmt: skip
    trials = [trial.model_copy(update={"seeds": trial.seeds + added.get(trial.trial_id, ())}) for trial in study.trials]
    first, now = ({trial.configuration: len(trial.seeds) for trial in some} for some in (study.trials, trials))
    resources, longest = study.resources, max(map(len, added.values()))
    if packable and longest > 1 and all(len(trial.seeds) == 1 for trial in study.trials):
        resources = resources.model_copy(update={"pack": "auto"})  # with one seed there was nothing to pack
    return study.model_copy(
        update={
            "trials": tuple(trials), "resources": resources, "looks": (*(study.looks or (first,)), now),
            "seeds": tuple(dict.fromkeys([*study.seeds, *chain.from_iterable(added.values())])),
            "extensions": (*study.extensions, extension),
        }
    )  # fmt: skip
