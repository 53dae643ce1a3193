"""Figures of README, the start page and docs/benchmarks.md: all of them come from the committed results.

A table stands between `<!-- table: FILE -->` and `<!-- end -->`, FILE being a name in benchmarks/results without its
ending; `<!-- table: FILE | WORK | WORK -->` keeps to some works. Within a line `<!-- figure: FILE | WORK | KIND -->` is
what a contender takes, KIND being a field of `Best`, or "ratio", what the best of this project gains.
`<!-- plots: FILE -->` says what the plots show. `<!-- psnr: SCALE | SET | NOISE | METHOD | KERNEL -->` is a PSNR of the
paper's Table 2 in docs/accuracy.md.
"""

import hashlib
import re
from pathlib import Path

from benchmarks.harness import plots, tables
from benchmarks.harness.machine import title
from benchmarks.harness.results import RESULTS, read
from dasr_fast.files import write_text

ROOT = RESULTS.parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "index.md", ROOT / "docs" / "benchmarks.md")
ACCURACY = ROOT / "docs" / "accuracy.md"
IMAGES = ROOT / "docs" / "images"

_BLOCK = re.compile(r"(<!-- (table|figure|plots|psnr): (\S+)((?: \| [^|<>\n]+?)*) -->).*?(<!-- end -->)", re.DOTALL)
_FIGURE = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?: ?(?:ms|s|MB|GB|GFLOP/s|TFLOP/s|seconds|minutes|times)\b|x(?!\w))")
_QUOTED = re.compile(r"## The paper's figures\n.*", re.DOTALL)


def rebuild() -> list[Path]:
    """Write the tables of all results, the plots, and the documents anew; returns what was written."""
    written = []
    for path in sorted(RESULTS.glob("*.json")):
        written.append(path.with_suffix(".md"))
        written[-1].write_text(tables.markdown(read(path)))
    for document in DOCUMENTS:
        text = document.read_text()
        for _, kind, stem, *_ in _BLOCK.findall(text):
            if kind == "plots":
                written += plots.draw(read(RESULTS / f"{stem}.json"), IMAGES, source=source(stem))
        write_text(document, rebuilt(text))
    return [*written, *DOCUMENTS]


def rebuilt(text: str) -> str:
    """A document with the figures of the results as they are now."""

    def block(found: re.Match[str]) -> str:
        begin, kind, stem, works, end = found.groups()
        if kind == "psnr":
            return f"{begin}{_psnr(stem, *works.split(' | ')[1:])}{end}"
        run = read(RESULTS / f"{stem}.json")
        about = f"{title(run.machine)}, against {run.baseline}"
        if kind == "plots":
            return f"{begin}\nThe plots are of {about}.\n{end}"
        wanted = works.split(" | ")[1:]
        if kind == "figure":
            return f"{begin}{tables.figure(run, *wanted)}{end}"
        table = tables.summary(run, lambda work: not wanted or work in wanted)
        return f"{begin}\n{about}:\n\n{table}\n{end}"

    return _BLOCK.sub(block, text)


def _psnr(scale: str, *wanted: str) -> str:
    """PSNR of a set, noise level, method and kernel."""
    *row, kernel = wanted
    section, header = "", [""]
    for line in ACCURACY.read_text().splitlines():
        cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
        if line.endswith(":"):
            section = line
        elif cells[0] == "set":
            header = cells
        elif cells[:3] == row and kernel in header and f" {scale}" in section:
            return f"{cells[header.index(kernel)].split(' / ')[0]} dB"
    raise ValueError(f"{ACCURACY} has no PSNR of {', '.join(wanted)} at {scale}.")


def source(stem: str) -> str:
    """What tells one state of a file of results from another."""
    content = (RESULTS / f"{stem}.json").read_bytes()
    return f"{stem}.json, SHA-256 {hashlib.sha256(content).hexdigest()}"


def loose(text: str) -> list[str]:
    """Times, sizes of memory and speed-ups of a document that come from nowhere; the paper's own are quoted."""
    return _FIGURE.findall(_QUOTED.sub("", _BLOCK.sub("", text)))
