"""What a report is made of, whatever its kind."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from analysis.charts.chart import Chart
from analysis.io.records import Run
from analysis.report.findings import Findings
from analysis.report.tables import Table


@dataclass(frozen=True)
class Section:
    """A part of the page under its own heading, folded; ``methods``: how its numbers were computed."""

    title: str
    sentences: list[str]
    tables: list[Table]
    charts: list[Chart]
    methods: list[str]

    @classmethod
    def of(
        cls, title: str, sentences: Iterable[str] = (), tables: Iterable[Table | None] = (),
        charts: Iterable[Chart | None] = (), methods: Iterable[str] = (),
    ) -> "Section":  # fmt: skip
        """Of whatever there is: without empty sentences, and without None."""
        return cls(title, [*filter(None, sentences)], [*filter(None, tables)], [*filter(None, charts)], [*methods])


@dataclass(frozen=True)
class Kind:
    """What a kind of study adds to the report that every study gets.

    Attributes:
        name: as study.json has it under ``report``.
        claims: sentences of the answer that are this kind's own, the most important first; "" where there is nothing
            to say. Of at most 25 words.
        sections: what follows the first screen, in this order; None where a run has nothing to show.
        scope: the part of the run that the first screen is about.
        waiting: what is said while nothing of that part has a value; None for the number of seeds that ended.
    """

    name: str
    claims: tuple[Callable[[Findings], str], ...] = ()
    sections: tuple[Callable[[Findings], Section | None], ...] = ()
    scope: Callable[[Run], Run] = lambda run: run
    waiting: Callable[[Findings], str] | None = None


@dataclass(frozen=True)
class Report:
    """What a run says.

    ``answer``: at most three sentences. ``table`` and ``chart``: the one table and the one picture of the first screen,
    None where nothing has ended. ``sections``: what follows. ``next_step``: a sentence and a command that would settle
    what is undecided, None where nothing would. ``folder``: where the page and its files are.
    """

    question: str
    answer: list[str]
    table: Table | None
    chart: Chart | None
    sections: list[Section]
    folder: Path
    next_step: tuple[str, str] | None = None

    @property
    def page(self) -> Path:
        return self.folder / "index.html"

    @property
    def markdown(self) -> Path:
        return self.folder / "report.md"

    @property
    def tables(self) -> list[Table]:
        """All tables, in the order in which they are read."""
        return [*filter(None, [self.table]), *(table for section in self.sections for table in section.tables)]

    @property
    def charts(self) -> list[Chart]:
        """All charts, in the order in which they are read."""
        return [*filter(None, [self.chart]), *(chart for section in self.sections for chart in section.charts)]

    @property
    def pictures(self) -> list[Path]:
        """Paths of the PNGs."""
        return [self.folder / f"{chart.name}.png" for chart in self.charts]
