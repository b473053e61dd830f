"""Tables as CSV, Markdown and LaTeX: what is in the cells comes out again, whatever it is."""

import csv
import io
import re
import shutil
import subprocess

import pytest

from analysis.export.tables import csv_text, latex_text, markdown_text

COLUMNS = ["configuration", "mean, %"]
NASTY = [
    "a|b", "<script>alert(1)</script>", "50 % & $x_1$ #{~^\\}", "line\nbreak", 'say "hi", then', "*bold* [a](b) `c`",
    "_init_", "🚀 fast", "café", "a → b ≤ c", "[starts", "=1+1",
]  # fmt: skip


def test_csv_gives_back_what_went_in():
    rows = [[label, None if place else 1.5] for place, label in enumerate(NASTY)]
    read = list(csv.reader(io.StringIO(csv_text(COLUMNS, rows))))
    assert read == [COLUMNS, *[[label, "" if value is None else str(value)] for label, value in rows]]


def test_markdown_has_as_many_cells_as_columns_and_no_html():
    text = markdown_text(COLUMNS, [[label, 1] for label in NASTY])
    lines = text.splitlines()
    assert len(lines) == 2 + len(NASTY) and lines[1] == "| :--- | ---: |"
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}
    assert "<" not in text and "| line break | 1 |" in lines and r"| \_init\_ | 1 |" in lines
    # What needs no escape stays as it is.
    assert markdown_text(["lr_fast"], [["alpha=0.1"]]).splitlines()[::2] == ["| lr_fast |", "| alpha=0.1 |"]


def test_latex_escapes_specials_and_writes_emoji_out():
    text = latex_text(COLUMNS, [[label, 1] for label in NASTY], "100 %", "tab:x")
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(body) == len(NASTY) and all(line.endswith(r" & 1 \\") for line in body)
    assert r"50 \% \& \$x\_1\$ \#\{\textasciitilde{}\textasciicircum{}\textbackslash{}\}" in text
    assert "{[}rocket{]} fast" in text and "café" in text and r"a $\rightarrow$ b $\leq$ c" in text
    # After \\, a bracket would be taken for its argument.
    assert body[NASTY.index("[starts")].startswith("{[}starts")
    assert r"\caption{100 \%}" in text and r"\label{tab:x}" in text and text.count(r"\toprule") == 1
    assert "🚀" not in text


def test_a_letter_with_a_combining_accent_stays():
    assert "café" in latex_text(["x"], [["cafe\u0301"]])


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(tmp_path):
    table = latex_text(COLUMNS, [[label, 1] for label in NASTY], "100 %", "tab:x")
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{table}\end{{document}}"
    (tmp_path / "t.tex").write_text(document, encoding="utf-8")
    subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
