"""All reports on one page."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.acceptance.part import Report


def write(reports: Sequence[Report], facts: dict[str, Any], folder: Path) -> None:
    """Write `summary.md` and `summary.json`."""
    content = {**facts, "parts": [asdict(report) for report in reports]}
    (folder / "summary.json").write_text(json.dumps(content, indent=1) + "\n")
    (folder / "summary.md").write_text(markdown(reports, facts))


def markdown(reports: Sequence[Report], facts: dict[str, Any]) -> str:
    """Facts, a line for each part, failures, targets, and figures."""
    lines = ["# Acceptance", "", ", ".join(f"{name} {value}" for name, value in facts.items() if value), ""]
    lines += ["| part | state | seconds | |", "|---|---|---:|---|"]
    lines += [f"| {r.part} | {shown(r)} | {r.seconds:.0f} | {cell(r.line)} |" for r in reports]
    failures = [f"- {report.part}: {cell(failure)}" for report in reports for failure in report.failures]
    if failures:
        lines += ["", "## Failures", "", *failures]
    targets = [target for report in reports for target in report.targets]
    if targets:
        lines += ["", "## Targets", "", "| work | wanted | measured | |", "|---|---:|---:|---|"]
        lines += [f"| {t['work']} | {t['wanted']} | {t['measured']} | {verdict(t['reached'])} |" for t in targets]
    for report in reports:
        if report.figures:
            lines += ["", f"## {report.part}", ""]
            lines += [line for name, value in report.figures.items() for line in listed(name, value)]
    return "\n".join(lines) + "\n"


def listed(name: str, value: Any) -> list[str]:
    """A figure as items of a list."""
    if isinstance(value, dict):
        return [f"- {name}:", *(f"  - {key}: {cell(str(one))}" for key, one in value.items())] if value else []
    if isinstance(value, list):
        return [f"- {name}:", *(f"  - {cell(str(one))}" for one in value)] if value else []
    return [f"- {name}: {cell(str(value))}"]


def shown(report: Report) -> str:
    """The state, such that what needs a look stands out."""
    return f"**{report.state}**" if report.state in ("failed", "late") else report.state


def verdict(reached: bool | None) -> str:
    """Whether a target was reached, in a word; None if it wasn't measured."""
    return {True: "reached", False: "**missed**", None: "not measured"}[reached]


def cell(text: str) -> str:
    """Text that doesn't break a table."""
    return text.replace("|", r"\|").replace("\n", " ")
