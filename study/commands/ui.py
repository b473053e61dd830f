"""``ui``: servers that show a run: MLflow, TensorBoard, optuna-dashboard. They listen on this machine alone."""

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import webbrowser
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

from analysis.io.records import STUDY_FILE
from study.records.run_directory import RunDirectory
from study.search.plan import restored
from study.tracking.mlflow_connection import without_password
from trainables.errors import InputError

HOST = "127.0.0.1"
Server = Literal["mlflow", "tensorboard", "optuna"]


def serve(path: Path | None, server: Server, port: int) -> int:
    """Start a server, print the address of the run there and open it where there is a desktop, wait for the server's
    end; returns its exit code.

    Args:
        path: run directory; None: the newest below ``runs/``.

    Raises:
        InputError: no run directory, no search in it, a server that is not installed, or a port in use.
    """
    path = (path or newest(Path("runs"))).expanduser().absolute()
    study = RunDirectory.open(path).study
    if server == "mlflow" and study.mlflow_uri.startswith("http"):
        _show(pages(path, study.run_id, without_password(study.mlflow_uri)))
        return 0
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise InputError(f"ui --port {port}: in use; allowed: a free port")
    command, environment = command_of(path, server, port)
    address = f"http://{HOST}:{port}"
    process = subprocess.Popen(command, env=os.environ | environment)
    try:
        if _answers(port, process):
            _show(pages(path, study.run_id, address) if server == "mlflow" else {study.run_id: address})
            print("Ctrl-C ends it", flush=True)
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return 0


def pages(path: Path, run_id: str, address: str) -> dict[str, str]:
    """What a run has in MLflow's pages: a list of its runs alone, and the page with its answer and report.

    The page that MLflow itself opens for an experiment is about traces of language models, and empty here.
    """
    try:
        record = json.loads((path / "tracking.json").read_text())
    except (OSError, ValueError):
        return {run_id: address}
    base = f"{address.rstrip('/')}/#/experiments/{record['experiment_id']}/runs"
    quote = '"' if "'" in run_id else "'"
    shown = {"workflowType": "machine_learning", "searchFilter": f"tags.run_id = {quote}{run_id}{quote}",
             "orderByKey": "attributes.start_time", "orderByAsc": "false"}  # fmt: skip
    found = {f"run {run_id}": f"{base}?{urlencode(shown)}"}
    if top := record["runs"].get("study"):
        found["its answer and report"] = f"{base}/{top}?workflowType=machine_learning"
    return found


def newest(runs: Path) -> Path:
    """The run directory below ``runs`` that was started last.

    Raises:
        InputError: there is none.
    """
    found = max(runs.glob(f"*/*/{STUDY_FILE}"), key=lambda file: file.stat().st_mtime, default=None)
    if found is None:
        raise InputError(f"ui: no run below {runs.absolute()}; allowed: ui RUN_DIR")
    return found.parent


def _answers(port: int, process: subprocess.Popen) -> bool:
    """Wait until a server listens; False where its process has ended."""
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return True
        time.sleep(0.2)
    return False


def _show(places: dict[str, str]) -> None:
    """Print addresses; open the first one where a person sits before a desktop."""
    for name, address in places.items():
        print(f"{name}: {address}", flush=True)
    desktop = sys.platform in ("darwin", "win32") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    if desktop and sys.stdout.isatty():
        webbrowser.open(next(iter(places.values())))


def command_of(path: Path, server: Server, port: int) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of a server; raises as ``serve``."""
    run = RunDirectory.open(path.expanduser().absolute())
    if server == "tensorboard":
        logs = str(run.path / "tensorboard")
        return [sys.executable, "-m", "tensorboard.main", "--logdir", logs, "--host", HOST, "--port", str(port)], {}
    if server == "mlflow":
        words = ["-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
        words += ["--backend-store-uri", run.study.mlflow_uri]
        return [sys.executable, *words], {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    if run.study.search is None:
        raise InputError(f"ui --optuna: {path} holds {run.study.study}, which is no search")
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise InputError("ui --optuna: optuna-dashboard is not installed; pip install 'lora-study[dashboard]'")
    from study.records.optuna_mirror import build_mirror

    storage = build_mirror(run.study, restored(run.study, run.path), run.path)
    program = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    return [sys.executable, "-c", program, storage, "--host", HOST, "--port", str(port)], {}
