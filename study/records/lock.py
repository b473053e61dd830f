"""One command at a time changes a run."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.records.run_directory import RunDirectory
from trainables.errors import InputError

LOCK_FILE = ".lock"


@contextmanager
def locked(path: Path) -> Iterator[RunDirectory]:
    """A run that no other command changes meanwhile, read when that is certain. The lock ends with its process, however
    that ends; where the file system has no locks there is none.

    Raises:
        InputError: no run directory, or another command is at work on it.
    """
    RunDirectory.open(path)  # before anything is written there
    try:
        opened = (path / LOCK_FILE).open("a+")
    except OSError as error:
        raise InputError(f"{path}: cannot be written to ({error.strerror})") from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                f"{path}: {file.read() or 'another process'} works on this run; wait for its end"
            ) from None
        except OSError:
            pass
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield RunDirectory.open(path)
