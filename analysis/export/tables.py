"""A table as CSV, Markdown or LaTeX. A table is its columns and rows; cells are written as ``str`` has them.

Labels are other people's: what has a meaning in Markdown, HTML or LaTeX is escaped, line breaks become spaces.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

Row = Sequence[Any]
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "[": "{[}", "]": "{]}", "±": r"$\pm$", "×": r"$\times$", "→": r"$\rightarrow$",
    "≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$", "−": r"$-$", "∞": r"$\infty$", "–": "--", "—": "---",
}  # fmt: skip
_MARKDOWN = re.compile(r"[\\`*\[\]|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_SYMBOLS = ("So", "Sk", "Sm", "Sc", "Cs", "Co", "Cn")
_INVISIBLE = ("Cf", "Mn", "Cc")


def csv_text(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """RFC 4180 with ``\\n``; None is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([columns, *rows])
    return file.getvalue()


def markdown_text(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """A GitHub table; the first column is set left, the others right."""
    rule = [":---", *["---:"] * (len(columns) - 1)]
    cells = [_cells(columns, _markdown), rule, *(_cells(row, _markdown) for row in rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def latex_text(columns: Sequence[str], rows: Sequence[Row], caption: str = "", label: str = "") -> str:
    r"""A ``table`` with the rules of ``booktabs``, which the document has to load. Emoji and other symbols that
    pdfLaTeX has no glyph for are written out: ``[rocket]``; ``label``, for ``\ref``, stands as it is."""
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}", r"\toprule", _latex_row(columns), r"\midrule"]
    lines += [*map(_latex_row, rows), r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\caption{{{_latex(caption)}}}"] if caption else []
    lines += [rf"\label{{{label}}}"] if label else []
    return "\n".join([r"\begin{table}", r"\centering", *lines, r"\end{table}", ""])


def _cells(row: Row, escape: Callable[[str], str]) -> list[str]:
    return ["" if cell is None else escape(" ".join(str(cell).split())) for cell in row]


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", text.replace("&", "&amp;").replace("<", "&lt;"))


def _latex_row(row: Row) -> str:
    return " & ".join(_cells(row, _latex)) + r" \\"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(part) or _plain(part) for part in unicodedata.normalize("NFC", text))


def _plain(character: str) -> str:
    kind = unicodedata.category(character)
    if character.isascii() or kind not in _SYMBOLS + _INVISIBLE:
        return character
    return "" if kind in _INVISIBLE else f"{{[}}{unicodedata.name(character, 'symbol').lower()}{{]}}"
