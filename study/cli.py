"""The command line: run, list, show, resume, extend, status, report, compare, rerun, export, ui.

Exit codes: 0 done, 1 some replicas failed, 2 bad input (one line), 130 interrupted. Results go to stdout, progress and
logs to stderr.
"""

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from analysis.io.records import RecordsError
from study.resolve.options import Options
from study.search.options import SearchOptions
from study.tracking.mlflow_connection import TrackingError
from trainables.errors import InputError

STARTED = time.time()

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Hyperparameter studies of parameter-efficient fine-tuning, measured over seeds.",
)  # fmt: skip


class Device(StrEnum):
    auto = "auto"
    gpu = "gpu"
    cpu = "cpu"


RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="a run directory")]
Address = Annotated[
    str, typer.Option(metavar="auto|local|HOST:PORT", help="Ray cluster to join; local starts one here")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="no progress")]


@app.command()
def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a study; see list")],
    profile: Annotated[str, typer.Option(metavar="auto|embedded|paper")] = "auto",
    dataset: Annotated[str | None, typer.Option(help="data set name, hub name or folder")] = None,
    backbone: Annotated[str | None, typer.Option(help="timm ViT name or FILE.safetensors")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override a key; see show")
    ] = None,
    config: Annotated[
        list[Path] | None, typer.Option(metavar="FILE.json", help="run this configuration instead")
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="N|a,b,c", help="number of seeds, or the seeds")] = None,
    trials: Annotated[int | None, typer.Option(help="only the first N configurations; of a search: how many")] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(metavar="[STATISTIC:]METRIC", help="search: what for, e.g. worst:final_val_accuracy; repeatable"),
    ] = None,
    constraint: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME<=NUMBER", help="search: bound, e.g. trainable_params<=50000; repeatable"),
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(metavar="tpe|nsga2|nsga3|gp|random", help="search: who suggests")
    ] = None,
    racing: Annotated[
        str | None, typer.Option(metavar="RULE:N,N,...", help="search: seeds, e.g. halving:2,4,8 or fixed:5")
    ] = None,
    stopping: Annotated[
        str | None, typer.Option(metavar="asha:GRACE,REDUCTION", help="search: stop packs over tasks or epochs")
    ] = None,
    confirm: Annotated[
        str | None, typer.Option(metavar="KxN", help="search: the best K again on N fresh seeds, then tested")
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(metavar="N", help="search: at most, all used; confirmation aside")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="run directory [runs/NAME/RUN_ID]")] = None,
    mlflow: Annotated[str | None, typer.Option(metavar="URI", help="tracking URI [sqlite:///runs/mlflow.db]")] = None,
    address: Address = "local",
    max_concurrent: Annotated[int | None, typer.Option(help="packs that run at once")] = None,
    device: Annotated[Device, typer.Option()] = Device.auto,
    gpus_per_trial: Annotated[float | None, typer.Option(help="share of a GPU per pack")] = None,
    pack: Annotated[str, typer.Option(metavar="N|auto", help="replicas trained together in one process")] = "auto",
    budget: Annotated[
        float | None, typer.Option(metavar="MINUTES", help="stop after this long; resume continues")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the resolved trials and stop")] = False,
    json: Annotated[bool, typer.Option("--json", help="results as JSON on stdout")] = False,
    quiet: Quiet = False,
) -> None:
    """Run a study."""
    options = Options(
        name=name, profile=profile, dataset=dataset, backbone=backbone, settings=set_ or [], config_files=config or [],
        seeds=seeds, trials=trials, mlflow=mlflow, device=device.value, gpus_per_trial=gpus_per_trial, pack=pack,
        max_concurrent=max_concurrent, budget_min=budget,
        search=SearchOptions(
            objectives=objective or [], constraints=constraint or [], sampler=sampler, racing=racing, stopping=stopping,
            confirm=confirm, replicas=replicas,
        ),
    )  # fmt: skip
    from study.commands import run as commands

    if dry_run:
        commands.dry_run(options, address, json)
        return
    raise typer.Exit(commands.run(options, address, out, json, quiet, STARTED))


@app.command("list")
def list_() -> None:
    """The studies of the catalogue."""
    from study.commands.show import list_studies

    list_studies()


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """A study's question, configurations, profiles and keys."""
    from study.commands.show import show as print_study

    print_study(name)


@app.command()
def resume(
    run_dir: RunDir,
    address: Address = "local",
    json: Annotated[bool, typer.Option("--json", help="results as JSON on stdout")] = False,
    quiet: Quiet = False,
) -> None:
    """Complete an interrupted run from its checkpoints; failed replicas are tried again."""
    from study.commands import run as commands

    raise typer.Exit(commands.resume(run_dir, address, json, quiet, STARTED))


@app.command()
def extend(
    run_dir: RunDir,
    seeds: Annotated[int, typer.Option(metavar="N", help="how many more; the next ones that did not run")],
    only: Annotated[
        list[str] | None, typer.Option(metavar="CONFIGURATION", help="not of all configurations; repeatable")
    ] = None,
    allow_changes: Annotated[
        bool, typer.Option("--allow-changes", help="also where code, data or versions are not those of the run")
    ] = False,
    address: Address = "local",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print what would be added and stop")] = False,
    json: Annotated[bool, typer.Option("--json", help="results as JSON on stdout")] = False,
    quiet: Quiet = False,
) -> None:
    """Train more seeds of a finished run, in the same run; its intervals and verdicts are then those of a further look.

    Whatever stops it, resume continues.
    """
    from study.commands.extend import extend as add_seeds

    raise typer.Exit(add_seeds(run_dir, seeds, only or [], allow_changes, address, dry_run, json, quiet, STARTED))


@app.command()
def status(run_dir: RunDir) -> None:
    """How far the replicas of a run are."""
    from study.commands.status import status as print_status

    print_status(run_dir)


@app.command()
def report(
    run_dir: RunDir,
    margin: Annotated[
        float | None, typer.Option(help="a difference that does not matter, in points; 1 where it is not given")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="CONFIGURATION", help="what the others are compared with; default: the first")
    ] = None,
) -> None:
    """Write and show the closing report of a run again."""
    from study.commands.report import report as print_report

    print_report(run_dir, margin, baseline)


@app.command()
def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="run directories; the first is the baseline")
    ],
    baseline: Annotated[
        Path | None, typer.Option(metavar="RUN", help="compare with this run instead; one of them, or another")
    ] = None,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="every run with every other, and the corrections for as many")
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE.md", help="also write what was found as Markdown")] = None,
    json: Annotated[bool, typer.Option("--json", help="results as JSON on stdout")] = False,
) -> None:
    """What moved between runs of the same configurations: hyperparameter, seed, rerun, or code and environment.

    A run of the same code on the same machine shows what a mere repetition changes.
    """
    from study.commands.compare import compare_runs

    compare_runs(runs, baseline, all_pairs, out, json)


@app.command()
def rerun(
    run_dir: RunDir,
    replica: Annotated[str, typer.Option(metavar="REPLICA_ID", help="which one; see trials.parquet")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="keep what is trained as a run directory")] = None,
    json: Annotated[bool, typer.Option("--json", help="results as JSON on stdout")] = False,
) -> None:
    """Train one replica again, on this machine, and say whether it is bit-equal: exit code 0, else 1.

    The run itself is only read; nothing goes to MLflow.
    """
    from study.commands.rerun import rerun as again

    raise typer.Exit(again(run_dir, replica, out, json))


@app.command()
def export(
    run_dirs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR...", help="run directories; one for --peft")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="--parquet, --peft: new or empty folder; --parquet also an earlier data set"),
    ] = None,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="all runs as one data set: DIR/trials and DIR/metrics, partitioned")
    ] = False,
    peft: Annotated[
        bool, typer.Option("--peft", help="trained LoRA replicas as adapter folders that PEFT loads")
    ] = False,
    rliable: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="scores by configuration, (seeds x runs), for rliable")
    ] = None,
    marl_eval: Annotated[
        Path | None, typer.Option("--marl-eval", metavar="FILE.json", help="scores at every boundary, for marl-eval")
    ] = None,
    replica: Annotated[
        str | None, typer.Option(metavar="REPLICA_ID", help="--peft: which one [the best finished one with LoRA]")
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="--peft: every finished one with LoRA, each in DIR/REPLICA_ID")
    ] = False,
) -> None:
    """Write runs, or trained LoRA replicas, for other tools.

    --parquet merges the records of many runs: DIR/trials/study=NAME/run_id=ID/trials.parquet and the same under
    DIR/metrics. Exporting a run again replaces it. --rliable and --marl-eval take a run for a task.
    """
    from study.commands.export import export_runs

    export_runs(run_dirs, out, parquet, peft, rliable, marl_eval, replica, all_)


@app.command()
def ui(
    run_dir: Annotated[Path | None, typer.Argument(metavar="RUN_DIR", help="[the newest below runs/]")] = None,
    optuna: Annotated[bool, typer.Option("--optuna", help="a search in optuna-dashboard")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="curves in TensorBoard")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
) -> None:
    """Look at a run in MLflow, or in another server; on this machine alone, until Ctrl-C."""
    if optuna and tensorboard:
        raise InputError("ui: --optuna or --tensorboard, not both")
    from study.commands.ui import serve

    raise typer.Exit(serve(run_dir, "optuna" if optuna else "tensorboard" if tensorboard else "mlflow", port))


def main(arguments: list[str] | None = None) -> None:
    """Entry point: a first word that is no command is the name of a study to run."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    if words and not words[0].startswith("-") and words[0] not in names:
        words.insert(0, "run")
    try:
        code = app(args=words, prog_name="lora-study", standalone_mode=False)
    except Exception as error:
        if hasattr(error, "format_message"):  # click's own, whichever copy of click typer uses
            _fail(error.format_message())
        if type(error).__name__ == "Abort":
            raise SystemExit(130) from None
        if not isinstance(error, (InputError, TrackingError, RecordsError)):
            raise
        _fail(str(error))
    raise SystemExit(code or 0)


def _fail(message: str) -> None:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    raise SystemExit(2)
