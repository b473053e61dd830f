"""Where MLflow keeps its records, and a quiet client for it.

MLflow is imported only when a client is opened: it takes more than a second, and ``--dry-run`` does without it.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import urllib.error
import urllib.request
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock

from study.tracking.outbox import one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALLOWED = "allowed: sqlite:///FILE, http(s)://HOST:PORT, or a postgresql://, mysql:// or mssql:// database"
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
PROBE_TIMEOUT_S = 5.0


class TrackingError(ValueError):
    """MLflow cannot be used as asked: one line that names the URI and what is allowed."""

    def __init__(self, uri: str, why: str) -> None:
        super().__init__(f"mlflow: {without_password(uri)!r}: {why}; {ALLOWED}")


def resolve_uri(argument: str | None, runs_root: Path) -> tuple[str, Path | None]:
    """Tracking URI and artifact folder: the argument, else ``MLFLOW_TRACKING_URI``, else a database in ``runs_root``.

    Returns:
        The URI (a SQLite file made absolute), and the folder for artifacts: beside a SQLite file, in ``runs_root``
        for another database, None where a server decides.

    Raises:
        TrackingError: a scheme that MLflow cannot keep runs in.
    """
    uri = argument or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs_root.resolve() / 'mlflow.db'}"
    database = _sqlite_file(uri)
    if database is not None:
        return f"sqlite:///{database}", database.parent / "mlartifacts"
    scheme = _scheme(uri)
    if scheme in DATABASE_PORTS:
        return uri, runs_root.resolve() / "mlartifacts"
    if scheme not in {"http", "https"} or not urlsplit(uri).hostname:
        raise TrackingError(uri, "not a place where MLflow can keep runs")
    return uri, None


def open_client(uri: str) -> MlflowClient:
    """A client whose database or server is there; creates the database and its tables where they are missing.

    Raises:
        TrackingError: it cannot be reached, written or read.
    """
    _configure()
    database = _sqlite_file(uri)
    try:
        if database is not None:
            _check_writable(uri, database)
        else:
            _probe(uri)
        try:
            from mlflow import MlflowClient
        finally:  # the import sets levels itself; what matters reaches the user as an exception
            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.ERROR)
        # Two processes that create the tables at the same time break each other's schema.
        with FileLock(f"{database}.lock") if database else nullcontext():
            client = MlflowClient(tracking_uri=uri)
            client.get_experiment_by_name("Default")
        return client
    except TrackingError:
        raise
    except Exception as error:  # drivers and servers raise types of their own; for the user they are one line
        raise TrackingError(uri, f"cannot be used ({one_line(error)})") from error


def hopeless(error: Exception) -> bool:
    """Whether MLflow will answer a call that ended in ``error`` in the same way for ever."""
    final = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST"}
    return isinstance(error, (TypeError, KeyError, FileNotFoundError)) or getattr(error, "error_code", "") in final


def without_password(uri: str) -> str:
    """``uri`` fit to be shown and written down."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rsplit("@", 1)[1]))


def _scheme(uri: str) -> str:
    """``postgresql`` for ``postgresql+psycopg2://...``."""
    return urlsplit(uri).scheme.split("+", 1)[0].lower()


def _sqlite_file(uri: str) -> Path | None:
    """Absolute path of the database file; None for another scheme."""
    if _scheme(uri) != "sqlite":
        return None
    match = re.fullmatch(r"sqlite:///([^?]+)(\?.*)?", uri)
    if match is None or ":memory:" in uri:
        raise TrackingError(uri, "needs a file, or a resume would find nothing")
    return Path(match[1]).expanduser().resolve()


def _check_writable(uri: str, database: Path) -> None:
    """MLflow would try for a minute to open what can never be opened."""
    database.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(database if database.exists() else database.parent, os.W_OK) or database.is_dir():
        raise TrackingError(uri, "cannot be written")
    if database.exists():
        with database.open("rb") as file:
            if file.read(16) not in {b"", b"SQLite format 3\0"}:
                raise TrackingError(uri, "is not a SQLite database")


def _probe(uri: str) -> None:
    """Find out in seconds that nobody listens; MLflow's own retries take minutes."""
    if _scheme(uri) in DATABASE_PORTS:
        parts = urlsplit(uri)
        address = (parts.hostname or "localhost", parts.port or DATABASE_PORTS[_scheme(uri)])
        socket.create_connection(address, timeout=PROBE_TIMEOUT_S).close()
        return
    # An error page is an answer; whether it is MLflow and lets us in is for the first real call to find out.
    with suppress(urllib.error.HTTPError):
        urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=PROBE_TIMEOUT_S).close()


def _configure() -> None:
    """Settings that MLflow reads from the environment; what the user has set stays."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # The outbox tries again; a call in the middle of a study must not block it for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
