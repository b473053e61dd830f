"""What a report is made of, whatever its kind."""

from dataclasses import dataclass, field
from pathlib import Path

from analysis.charts.chart import Chart
from analysis.report.tables import Table


@dataclass(frozen=True)
class Section:
    """A part of the page under its own heading, folded; ``methods``: how its numbers were computed."""

    title: str
    sentences: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)


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
        own = [self.table] if self.table else []
        return [*own, *(table for section in self.sections for table in section.tables)]

    @property
    def charts(self) -> list[Chart]:
        """All charts, in the order in which they are read."""
        own = [self.chart] if self.chart else []
        return [*own, *(chart for section in self.sections for chart in section.charts)]

    @property
    def pictures(self) -> list[Path]:
        """Paths of the PNGs."""
        return [self.folder / f"{chart.name}.png" for chart in self.charts]
