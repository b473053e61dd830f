"""What the user sees while a study runs: a live display on a terminal, plain lines elsewhere. Always on stderr."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from analysis.io.metrics import metric_info
from study.records.run_directory import Outcome
from study.resolved import ResolvedStudy, TrialSpec


class Progress(AbstractContextManager["Progress"]):
    """Replicas done, running, best so far, time left.

    Args:
        trials: those that are known now.
        quiet: show nothing.
        done_before: replicas that an earlier session has completed.

    Attributes:
        expected: replicas in all, where more trials will follow; None: those of the trials.
        metric: what is shown of a replica and by which the best is named.
    """

    def __init__(
        self, study: ResolvedStudy, trials: Sequence[TrialSpec], quiet: bool, done_before: set[str]
    ) -> None:  # fmt: skip
        self.study, self.quiet = study, quiet
        self.console = Console(stderr=True)
        self.done = len(done_before)
        self.expected: int | None = None
        self.metric = study.search.objectives[0].metric if study.search else study.objective.metric
        self.info = metric_info(study.metrics, self.metric)
        self.length: dict[str, int] = {}
        self.open_ended: set[str] = set()
        for trial in trials:
            self.add(trial)
        self.reached: dict[str, int] = {}  # tasks or epochs, by replica of this session
        self.resumed: dict[str, int] = {}  # how many of these an earlier session did
        self.before = sum(self.length[replica_id] for replica_id in done_before)
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

    @property
    def replicas(self) -> int:
        return max(self.expected or 0, len(self.length))

    def add(self, trial: TrialSpec) -> None:
        """A trial begins, or is given more seeds."""
        self.length |= {trial.replica_id(seed): max(trial.boundaries, 1) for seed in trial.seeds}
        if not trial.boundaries:
            self.open_ended |= {trial.replica_id(seed) for seed in trial.seeds}

    def started(self, replica_id: str) -> None:
        """A worker has taken a replica."""
        self.reached.setdefault(replica_id, 0)

    def boundary_done(self, replica_id: str, position: int, resumed: bool) -> None:
        """A replica has completed a task or epoch (0-based); ``resumed``: an earlier session did."""
        if replica_id in self.open_ended:  # only its end tells how far it is
            return
        if resumed:
            self.resumed[replica_id] = position + 1
        self.reached[replica_id] = position + 1

    def replica_done(self, trial: TrialSpec, seed: int, outcome: Outcome, metrics: dict[str, float]) -> None:
        self.done += 1
        self.reached[trial.replica_id(seed)] = self.length[trial.replica_id(seed)]
        objective = self.metric
        if objective in metrics:
            self.finals.setdefault(trial.configuration, []).append(metrics[objective])
        if self.live or self.quiet:
            return
        number = outcome.error or ""
        if objective in metrics:
            number = f"{objective.replace('_', ' ')} {self.info.shown(metrics[objective])}"
        about = "~" if self.expected else ""
        line = f"[{self.done}/{about}{self.replicas}] {trial.configuration} seed {seed}: {outcome.status}"
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
        return sum(1 for replica_id, count in self.reached.items() if count < self.length[replica_id])

    def _time_left(self) -> str:
        here = sum(self.reached.values()) - sum(self.resumed.values())
        left = self._all_boundaries() - self.before - sum(self.reached.values())
        if left <= 0:
            return "last numbers are written"
        if not here:
            return "time left not known yet"
        return f"about {duration((time.monotonic() - self.began) / here * left)} left"

    def _all_boundaries(self) -> int:
        """Of the known replicas, and of those that will follow as many each as the longest has."""
        more = self.replicas - len(self.length)
        return sum(self.length.values()) + more * max(self.length.values(), default=1)

    def _best(self) -> str:
        if not self.finals:
            return "no result yet"
        objective = self.study.search.objectives[0] if self.study.search else self.study.objective
        sign = 1 if objective.direction == "maximize" else -1
        means: Callable[[str], float] = lambda label: sum(self.finals[label]) / len(self.finals[label])  # noqa: E731
        label = max(self.finals, key=lambda name: sign * means(name))
        return f"best so far {label} {self.info.shown(means(label))} (mean of {len(self.finals[label])})"

    def _render(self) -> Table:
        grid = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=self._all_boundaries(), completed=self.before + sum(self.reached.values()), width=24)
        numbers = (
            f"{self.done}/{self.replicas} replicas · {self._running()} running · {self._best()} · {self._time_left()}"
        )
        grid.add_row(Text(self.study.study, style="bold"), bar, Text(numbers))
        return grid


def duration(seconds: float) -> str:
    """``95`` -> ``1 min 35 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
