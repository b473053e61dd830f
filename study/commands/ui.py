"""``ui``: servers that show a run: MLflow, TensorBoard, optuna-dashboard. They listen on this machine alone."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

from study.records.run_directory import RunDirectory
from study.search.plan import restored
from trainables.errors import InputError

HOST = "127.0.0.1"
Server = Literal["mlflow", "tensorboard", "optuna"]


def serve(path: Path, server: Server, port: int) -> int:
    """Start a server, print its address and wait for its end; returns its exit code.

    Raises:
        InputError: no run directory, no search in it, or a server that is not installed.
    """
    command, environment = command_of(path, server, port)
    print(f"http://{HOST}:{port}  (Ctrl-C ends it)", flush=True)
    process = subprocess.Popen(command, env=os.environ | environment)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return 0


def command_of(path: Path, server: Server, port: int) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of a server; raises as ``serve``."""
    run = RunDirectory.open(path.expanduser().absolute())
    if server == "tensorboard":
        logs = str(run.path / "tensorboard")
        return [sys.executable, "-m", "tensorboard.main", "--logdir", logs, "--host", HOST, "--port", str(port)], {}
    if server == "mlflow":
        uri = run.study.mlflow_uri
        if uri.startswith("http"):
            raise InputError(f"ui: this run is recorded at {uri}; open that address")
        words = ["-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--backend-store-uri", uri]
        return [sys.executable, *words], {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    if run.study.search is None:
        raise InputError(f"ui --optuna: {path} holds {run.study.study}, which is no search")
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise InputError("ui --optuna: optuna-dashboard is not installed; pip install 'lora-study[dashboard]'")
    from study.records.optuna_mirror import build_mirror

    storage = build_mirror(run.study, restored(run.study, run.path), run.path)
    program = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    return [sys.executable, "-c", program, storage, "--host", HOST, "--port", str(port)], {}
