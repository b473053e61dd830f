"""Tables as plain data: cells that know how they are read and how they are written to CSV."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.export.tables import csv_text, latex_text, markdown_text

EMPTY = "–"


@dataclass(frozen=True)
class Estimate:
    """A value and the ends of its 95 % interval, None or NaN where there is none; in the unit that is shown."""

    value: float
    low: float | None = None
    high: float | None = None
    signed: bool = False
    digits: int = 1

    @classmethod
    def of(cls, row: Any, value: str = "estimate", digits: int = 1, scale: float = 1.0) -> "Estimate":
        """From a row with a value, low and high; differences are signed."""
        middle, low, high = (scale * float(getattr(row, name)) for name in (value, "low", "high"))
        return cls(middle, low, high, value == "difference", digits)

    def __str__(self) -> str:
        return self.said()

    def said(self, unit: str = "") -> str:
        """``value unit (low to high)``."""
        if not math.isfinite(self.value):
            return EMPTY
        text = f"{self._text(self.value)} {unit}".rstrip()
        if self.low is None or self.high is None or not (math.isfinite(self.low) and math.isfinite(self.high)):
            return text
        return f"{text} ({self._text(self.low)} to {self._text(self.high)})"

    def _text(self, value: float) -> str:
        text = f"{value:{'+' if self.signed else ''},.{self.digits}f}"
        return text.lstrip("+-") if not text.strip("+-0.,") else text


Cell = str | int | float | Estimate | None


@dataclass(frozen=True)
class Table:
    """A table to be shown as text, Markdown, HTML or CSV. The first column names the rows; ``name`` is its file's."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[Cell]]
    caption: str = ""

    @classmethod
    def of(cls, name: str, title: str, rows: Sequence[Mapping[str, Cell]], caption: str = "") -> "Table | None":
        """From rows by heading, which all have the same ones; None without a row."""
        return cls(name, title, list(rows[0]), [list(row.values()) for row in rows], caption) if rows else None

    def text_rows(self) -> list[list[str]]:
        """The cells as a person reads them."""
        return [[cell_text(cell) for cell in row] for row in self.rows]

    def to_markdown(self) -> str:
        """A GitHub table under its title, with the caption below."""
        return f"### {self.title}\n\n{markdown_text(self.columns, self.text_rows())}\n{self.caption}".strip() + "\n"

    def write(self, folder: Path) -> None:
        """Write ``<name>.csv``, numbers in full precision and estimates as value, low and high, and ``<name>.tex``."""
        columns = list(zip(*self.rows, strict=True))
        flat = [part for heading, cells in zip(self.columns, columns, strict=True) for part in _flat(heading, cells)]
        rows = list(zip(*(cells for _, cells in flat), strict=True))
        (folder / f"{self.name}.csv").write_text(csv_text([heading for heading, _ in flat], rows), encoding="utf-8")
        latex = latex_text(self.columns, self.text_rows(), self.caption or self.title, f"tab:{self.name}")
        (folder / f"{self.name}.tex").write_text(latex, encoding="utf-8")


def cell_text(cell: Cell) -> str:
    """A cell as a person reads it."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return EMPTY
    if isinstance(cell, bool | str):
        return str(cell)
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _flat(heading: str, cells: Sequence[Cell]) -> Iterable[tuple[str, list[object]]]:
    if any(isinstance(cell, Estimate) for cell in cells):
        for part in ("value", "low", "high"):
            yield f"{heading} {part}", [getattr(cell, part, None) for cell in cells]
    else:
        yield heading, list(cells)
