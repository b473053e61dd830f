"""What a report is made of, whatever its kind."""

from dataclasses import dataclass, field
from pathlib import Path

from analysis.cells import Table


@dataclass(frozen=True)
class Section:
    """One part of a report under its own heading; ``pictures``: paths of PNGs; ``methods``: how it was computed."""

    title: str
    sentences: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """What a run says.

    ``answer``: three sentences. ``details``: the same with intervals and p-values. ``tables``, ``sentences`` and
    ``pictures`` (paths of PNGs) are what its kind shows, ``sections`` what follows. ``markdown``: path of the page with
    everything in it as Markdown; the same for a browser, in one file, is ``page``.
    """

    question: str
    answer: list[str]
    tables: list[Table]
    sentences: list[str]
    pictures: list[Path]
    markdown: Path
    details: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    @property
    def page(self) -> Path:
        return self.markdown.with_name("index.html")

    @property
    def parts(self) -> list[Section]:
        """Everything after the answer, in the order in which it is read."""
        own = Section("Results", self.sentences, self.tables, self.pictures, self.methods)
        return [own, *self.sections]
