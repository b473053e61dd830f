"""Tables as plain data: cells that know how they are read and how they are written to CSV."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

EMPTY = "–"


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (ddof 1; None for one seed) over ``n`` of ``planned`` seeds.

    In per cent unless it was made with another ``scale``; shown with ``digits`` decimals.
    """

    mean: float
    std: float | None
    n: int
    planned: int
    digits: int = 2

    @classmethod
    def of(cls, values: NDArray[np.float64], planned: int, scale: float = 100.0, digits: int = 2) -> "Spread | None":
        """The spread of one value per seed, shape (n,), times ``scale``; None when there is none."""
        if values.size == 0:
            return None
        std = float(scale * values.std(ddof=1)) if values.size > 1 else None
        return cls(float(scale * values.mean()), std, values.size, planned, digits)

    def __str__(self) -> str:
        text = f"{self.mean:.{self.digits}f}"
        text += "" if self.std is None else f" ± {self.std:.{self.digits}f}"
        return f"{text} (n={self.n})" if self.n < self.planned else text


@dataclass(frozen=True)
class Change:
    """Before and after consolidation; written once where it changed nothing."""

    before: Spread | None
    after: Spread | None

    def __str__(self) -> str:
        before, after = (EMPTY if side is None else str(side) for side in (self.before, self.after))
        return after if before == after else f"{before} → {after}"


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its 95 % interval (None where there is none), as it is shown: per cent or points."""

    value: float
    low: float | None
    high: float | None
    signed: bool = False
    digits: int = 1

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "–"
        sign = "+" if self.signed else ""
        text = f"{self.value:{sign},.{self.digits}f}"
        if self.low is None or self.high is None:
            return text
        return f"{text} ({self.low:{sign},.{self.digits}f} to {self.high:{sign},.{self.digits}f})"


Cell = str | int | float | Spread | Change | Interval | None


@dataclass(frozen=True)
class Table:
    """A table to be shown as text, Markdown or CSV. The first column names the rows."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    caption: str
    name: str = "table"  # of its CSV file
    bold_last_row: bool = False

    def text_rows(self) -> list[list[str]]:
        """The cells as a person reads them."""
        return [[_text(cell) for cell in row] for row in self.rows]

    def to_markdown(self) -> str:
        """A GitHub table under its title, with the caption below."""
        rows = self.text_rows()
        if self.bold_last_row and rows:
            rows[-1] = [cell if cell == EMPTY else f"**{cell}**" for cell in rows[-1]]
        alignment = [":---", *["---:"] * (len(self.columns) - 1)]
        escaped = ([cell.replace("|", "\\|") for cell in row] for row in (self.columns, alignment, *rows))
        lines = [f"| {' | '.join(row)} |" for row in escaped]
        return "\n".join([f"### {self.title}", "", *lines, "", self.caption, ""])

    def write_csv(self, path: Path) -> None:
        """Numbers in full precision: a spread takes columns mean, std and n, a change these before and after."""
        columns = list(zip(*self.rows, strict=True)) if self.rows else [()] * len(self.columns)
        flat = [part for heading, cells in zip(self.columns, columns, strict=True) for part in _flatten(heading, cells)]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([heading for heading, _ in flat])
            writer.writerows(zip(*(cells for _, cells in flat), strict=True))


def p_text(p: float | None) -> str | None:
    """A p-value as a person reads it."""
    return None if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _flatten(heading: str, cells: Sequence[Cell]) -> Iterable[tuple[str, list[object]]]:
    if any(isinstance(cell, Change) for cell in cells):
        for moment in ("before", "after"):
            yield from _flatten(f"{heading} {moment}", [getattr(cell, moment, None) for cell in cells])
    elif any(isinstance(cell, Spread) for cell in cells):
        for part in ("mean", "std", "n"):
            yield f"{heading} {part}", [getattr(cell, part, None) for cell in cells]
    elif any(isinstance(cell, Interval) for cell in cells):
        for part in ("value", "low", "high"):
            yield f"{heading} {part}", [getattr(cell, part, None) for cell in cells]
    else:
        yield heading, list(cells)


def _text(cell: Cell) -> str:
    if isinstance(cell, int):
        return f"{cell:,}"
    return EMPTY if cell is None else str(cell)
