"""The page of a report: one file with everything in it, the same as Markdown, exactly three sentences, honest input."""

import json
import re
from html.parser import HTMLParser

import pandas as pd
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from synthetic import make_run, make_tuning_run, seeded_finals
from synthetic_rank import make_rank_run
from synthetic_search import make_search_run
from synthetic_theory import make_theory_run

from analysis import selection, style
from analysis.records import RecordsError, read_run
from analysis.report import REPORTS, SECTIONS, Section, build_report
from analysis.selection import shortened
from study.cli import main

MEANS = {"norm": 0.86, "lora": 0.87, "deep_lora": 0.88}
RANKS = {"head": 0.6, "r=1": 0.7, "r=2": 0.72, "r=1 fixed": 0.7}


def plain_run(folder):
    """A run of which no more is known than its metrics."""
    make_run(folder, seeded_finals({"baseline": 0.44, "b <&> c": 0.45}, 5))
    path = folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"report": "plain"}))
    return folder


# By kind of report; one with a bad seed, so that there is a departure to draw.
KINDS = {
    "continual": lambda folder: make_run(
        folder, seeded_finals({"baseline": 0.44, "b <&> c": 0.45}, 5) | {"bad": [0.44, 0.45, 0.44, 0.45, 0.1]}
    ),
    "tuning": lambda folder: make_tuning_run(folder, seeded_finals(MEANS, 3)),
    "rank": lambda folder: make_rank_run(folder, seeded_finals(RANKS, 3)),
    "theory": make_theory_run,
    "search": make_search_run,
    "plain": plain_run,
}


@pytest.fixture(scope="module", params=KINDS)
def built(request, tmp_path_factory):
    """Kind, folder and report of a run of each kind."""
    folder = tmp_path_factory.mktemp(request.param)
    KINDS[request.param](folder)
    return request.param, folder, build_report(folder)


class Outline(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data.strip())

    def of(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def page_of(report):
    return Outline(report.page.read_text(encoding="utf-8"))


def test_every_kind_is_tried():
    assert set(KINDS) == set(REPORTS) == set(SECTIONS)


def test_the_page_is_one_file_with_everything_that_the_markdown_has(built):
    _, _, report = built
    page, markdown = page_of(report), report.markdown.read_text()
    html = report.page.read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", html) and "@import" not in html and "<script" not in html
    text = " ".join(page.text)
    for line in [*report.answer, *report.details, *(line for part in report.parts for line in part.sentences)]:
        assert line in text and line in markdown
    for table in (table for part in report.parts for table in part.tables):
        assert table.caption in text and table.caption in markdown
        assert all(cell in page.text for row in table.text_rows() for cell in row)
        assert (report.page.parent / "tables" / f"{table.name}.csv").exists()
    pictures = [path for part in report.parts for path in part.pictures]
    assert len(page.of("img")) == len(pictures) >= 1
    for image, path in zip(page.of("img"), pictures, strict=True):
        assert image["src"].startswith(("data:image/png;base64,", "data:image/svg+xml;base64,"))
        assert len(image["alt"]) > 40 and f"![{image['alt']}]({path.name})" in markdown
    assert page.of("html")[0]["lang"] == "en" and page.of("meta")[1]["name"] == "viewport"
    assert {cell["scope"] for cell in page.of("th")} == {"col", "row"}
    assert len(page.of("h1")) == 1


def test_every_picture_has_its_data_with_a_caption(built):
    kind, folder, report = built
    known = set(read_run(folder).trials["configuration"])
    pictures = [path for part in report.parts for path in part.pictures]
    assert ("departures.png" in {path.name for path in pictures}) == (kind == "continual")
    for path in pictures:
        assert path.read_bytes().startswith(b"\x89PNG") and b"<svg" in path.with_suffix(".svg").read_bytes()
        data = path.parent / "data" / f"{path.stem}.parquet"
        frame = pd.read_parquet(data)
        assert len(frame) and set(frame.get("configuration", [])) <= known, path.name
        assert "configuration" in frame or path.name == "variance.png"
        assert len(pq.read_schema(data).metadata[b"caption"]) > 40


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_every_kind_can_be_drawn(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(style.Picture, "savefig", Figure.savefig)
    monkeypatch.setattr(style, "DPI", 40)
    report = build_report(KINDS[kind](tmp_path) or tmp_path)
    for path in (path for part in report.parts for path in part.pictures):
        assert path.stat().st_size > 2_000 and path.with_suffix(".svg").stat().st_size > 2_000


@pytest.mark.slow
def test_a_picture_that_is_no_more_drawn_does_not_stay(tmp_path):
    report = build_report(make_tuning_run(tmp_path, seeded_finals(MEANS, 2)))
    assert report.page.with_name("pareto.svg").exists()
    report = build_report(make_tuning_run(tmp_path, {"lora": [0.9]}))
    left = [path.name for path in report.page.parent.rglob("pareto*") if path.suffix != ".csv"]
    assert left == []


def test_a_section_is_added_by_appending_to_a_list(tmp_path, monkeypatch):
    section = Section("Rerun noise", ["Nothing moved."], methods=["By running it again."])
    monkeypatch.setitem(SECTIONS, "continual", [lambda run, folder: section, lambda run, folder: None])
    report = build_report(make_run(tmp_path, {"baseline": [0.4]}))
    assert [part.title for part in report.parts] == ["Results", "Rerun noise"]
    assert {"Rerun noise", "Nothing moved.", "By running it again."} <= set(page_of(report).text)


@pytest.mark.parametrize("lines", [[], ["One."], ["One.", "Two."], ["One.", "Two.", "Three.", "Four."]])
def test_any_kind_of_report_gets_three_sentences_at_the_top(tmp_path, monkeypatch, lines):
    from dataclasses import replace

    kind = REPORTS["continual"]
    monkeypatch.setitem(REPORTS, "continual", lambda run, folder: replace(kind(run, folder), answer=lines, details=[]))
    report = build_report(make_run(tmp_path, {"baseline": [0.4, 0.5]}))
    assert len(report.answer) == 3 and len(set(report.answer)) == 3
    assert [*report.answer, *report.details][: len(lines)] == lines


def test_many_configurations_are_shortened_and_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(selection, "MOST_SHOWN", 5)
    finals = {f"c{number}": [0.3 + number / 100, 0.31 + number / 100] for number in (4, 0, 1, 2, 3, 5, 6, 7, 8, 9)}
    run = shortened(read_run(make_run(tmp_path, finals, reported=[])))
    assert list(run.study["configurations"]) == ["c4", "c0", "c1", "c8", "c9"]
    assert set(run.metrics["trial_id"]) == set(run.trials["trial_id"]) and len(run.trials) == 10
    assert len(run.whole.trials) == 20
    report = build_report(tmp_path)
    note = "5 of 10 configurations (the first, the best and the worst)"
    assert all(note in table.caption for table in report.tables if table.name in ("accuracy_by_task", "ablation"))
    differences = next(table for table in report.tables if table.name == "differences")
    assert len(differences.rows) == 4 and "Holm-corrected over 9 configurations" in differences.caption
    assert "; 20 of 20 replicas finished" in report.answer[1]


def test_of_many_seeds_only_some_are_drawn_and_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(style, "MOST_SEEDS", 3)
    from analysis.plots import REFERENCES, accuracy_by_task

    picture = accuracy_by_task(read_run(make_run(tmp_path, {"baseline": [0.4, 0.41, 0.42, 0.43, 0.44]}, reported=[])))
    assert "thin: 3 of 5 seeds" in picture.caption and "thick: mean" in picture.caption
    assert len(picture.axes[0].lines) == 3 + 1 + len(REFERENCES)
    assert picture.data is not None and picture.data["seed"].nunique() == 5


def test_no_table_and_no_sentence_comes_twice(built):
    parts = built[2].parts
    names = [table.name for part in parts for table in part.tables]
    assert len(names) == len(set(names))
    said = [sentence for part in parts for sentence in part.sentences]
    assert len(said) == len(set(said))


ALL = [(label, seed) for label in ("baseline", "b") for seed in (0, 1)]


@pytest.mark.parametrize(
    ("finals", "unfinished"),
    [
        ({"baseline": [0.4], "b": [0.5]}, {}),  # a single seed
        ({"baseline": [0.4, 0.41], "b": [0.5]}, {}),  # a seed is missing
        ({"baseline": [0.4, 0.4], "b": [0.4, 0.4]}, {}),  # constant
        ({"baseline": [0.4, 0.4], "b": [0.4, 0.4]}, dict.fromkeys(ALL, ("diverged", 0))),
        ({}, {}),
    ],
)
def test_poor_runs_get_an_honest_page(tmp_path, finals, unfinished):
    report = build_report(make_run(tmp_path, finals, unfinished=unfinished))
    assert len(report.answer) == 3
    text = " ".join(page_of(report).text)
    assert not re.search(r"\b(nan|None|inf)\b", text)
    if finals and len(finals["baseline"]) == 1:
        assert "With a single finished seed per configuration nothing can be said about the spread" in report.answer[1]


@pytest.mark.parametrize("kind", ["none", "empty", "newer"])
def test_report_of_what_is_not_a_run_is_one_line(tmp_path, capsys, kind):
    path = tmp_path / "run"
    if kind == "empty":
        path.mkdir()
    if kind == "newer":
        make_run(path, {"baseline": [0.4]}, schema_version=9)
    with pytest.raises(SystemExit) as caught:
        main(["report", str(path)])
    said = capsys.readouterr()
    assert caught.value.code == 2 and said.out == ""
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and str(path) in said.err
    with pytest.raises(RecordsError):
        build_report(path)
