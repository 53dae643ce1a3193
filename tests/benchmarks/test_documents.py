"""Figures of README, the start page and docs/benchmarks.md are those of the committed results."""

import re
from pathlib import Path

import pytest

from benchmarks.harness.documents import DOCUMENTS, IMAGES, loose, rebuilt, source
from benchmarks.harness.results import RESULTS, read
from benchmarks.harness.tables import markdown


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_figures_are_those_of_the_results(document: Path):
    text = document.read_text()
    assert rebuilt(text) == text, "Call `python benchmarks/report.py`."
    assert loose(text) == []


def test_a_changed_figure_is_noticed():
    text = next(text for document in DOCUMENTS if " ms" in (text := document.read_text()))
    assert rebuilt(text.replace(" ms", "1 ms", 1)) == text
    assert loose("That is 3 times as fast, 1.5x, in 20 ms and 7 MB, for x4 of 320x180.") == [
        "3 times",
        "1.5x",
        "20 ms",
        "7 MB",
    ]


def test_accuracy_is_that_of_its_page():
    marked = "<!-- psnr: x4 | Set14 | 0 | bicubic | 2.4 -->{}<!-- end -->"
    assert rebuilt(marked.format("1 dB")) == marked.format("24.39 dB")
    with pytest.raises(ValueError, match=r"no PSNR of Set14, 0, bicubic, 9 at x4"):
        rebuilt(marked.format("").replace("2.4", "9"))


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_tables_are_those_of_the_results(path: Path):
    assert path.with_suffix(".md").read_text() == markdown(read(path)), "Call `python benchmarks/report.py`."


def test_plots_are_those_of_the_results():
    (stem,) = [stem for document in DOCUMENTS for stem in re.findall(r"<!-- plots: (\S+)", document.read_text())]
    plots = sorted(IMAGES.glob("*.svg"))
    assert len(plots) == 6
    assert all(source(stem) in path.read_text() for path in plots), "Call `python benchmarks/report.py`."
