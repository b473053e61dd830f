"""What the user sees while a study runs: a live display on a terminal, plain lines elsewhere. Always on stderr."""

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.rundir import Outcome
from study.spec import ResolvedStudy, TrialSpec


class Progress(AbstractContextManager["Progress"]):
    """Replicas done, running, best so far, time left.

    Args:
        quiet: show nothing.
        done_before: replicas that an earlier session has completed.
    """

    def __init__(self, study: ResolvedStudy, quiet: bool, done_before: int) -> None:
        self.study, self.quiet = study, quiet
        self.console = Console(stderr=True)
        self.replicas = sum(len(trial.seeds) for trial in study.trials)
        self.done = done_before
        self.tasks_done: dict[str, int] = {}
        self.tasks_resumed: dict[str, int] = {}
        self.tasks_left_at_start = (self.replicas - done_before) * study.tasks
        self.finals: dict[str, list[float]] = {}
        self.began = time.monotonic()
        self.live: Live | None = None
        if self.console.is_terminal and not quiet:
            self.live = Live(get_renderable=self._render, console=self.console, refresh_per_second=2, transient=True)

    def __enter__(self) -> "Progress":
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def task_done(self, replica_id: str, task: int, resumed: bool) -> None:
        """A replica has completed ``task`` (0-based); ``resumed``: an earlier session did."""
        if resumed:
            self.tasks_resumed[replica_id] = task + 1
        self.tasks_done[replica_id] = task + 1

    def replica_done(self, trial: TrialSpec, seed: int, outcome: Outcome, metrics: dict[str, float]) -> None:
        self.done += 1
        self.tasks_done[trial.replica_id(seed)] = self.study.tasks
        objective = self.study.objective.metric
        if objective in metrics:
            self.finals.setdefault(trial.configuration, []).append(metrics[objective])
        if self.live or self.quiet:
            return
        number = f"{objective.replace('_', ' ')} {metrics[objective]:.2%}" if objective in metrics else outcome.error or ""
        line = f"[{self.done}/{self.replicas}] {trial.configuration} seed {seed}: {outcome.status}"
        self._line(f"{line}, {number}".rstrip(", ") + f" · {self._time_left()}")

    def notice(self, text: str) -> None:
        """A line for the user, not part of the results."""
        if not self.quiet:
            self._line(text)

    def _line(self, text: str) -> None:
        if self.live:
            self.console.print(text, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _running(self) -> int:
        return sum(1 for count in self.tasks_done.values() if count < self.study.tasks)

    def _time_left(self) -> str:
        here = sum(self.tasks_done.values()) - sum(self.tasks_resumed.values())
        left = self.tasks_left_at_start - sum(self.tasks_resumed.values()) - here
        if left <= 0:
            return "last numbers are written"
        if not here:
            return "time left not known yet"
        return f"about {duration((time.monotonic() - self.began) / here * left)} left"

    def _best(self) -> str:
        if not self.finals:
            return "no result yet"
        sign = 1 if self.study.objective.direction == "maximize" else -1
        means: Callable[[str], float] = lambda label: sum(self.finals[label]) / len(self.finals[label])  # noqa: E731
        label = max(self.finals, key=lambda name: sign * means(name))
        return f"best so far {label} {means(label):.2%} (mean of {len(self.finals[label])})"

    def _render(self) -> Table:
        grid = Table.grid(padding=(0, 2))
        completed = sum(self.tasks_done.values()) + (self.replicas * self.study.tasks - self.tasks_left_at_start)
        bar = ProgressBar(total=self.replicas * self.study.tasks, completed=completed, width=24)
        numbers = f"{self.done}/{self.replicas} replicas · {self._running()} running · {self._best()} · {self._time_left()}"
        grid.add_row(Text(self.study.study, style="bold"), bar, Text(numbers))
        return grid


def duration(seconds: float) -> str:
    """``95`` -> ``1 min 35 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
