"""The code in the documentation runs, quotes what is there, and calls commands with options that exist."""

import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest
from docs.pages import PAGES, ROOT, Block, blocks, command_lines, make_files, names
from training.small_run import NETWORK, as_options

from dasr_fast.cli import commands, run

SMALL = {**NETWORK, "scale": 4, "encoder_steps": 2, "steps": 2, "device": "cpu"}
"""Settings of `train` in place of those of the pages, whose runs take hours."""


def some(language: str, mark: str | None = None) -> list[Any]:
    """Pages that have such blocks, with those."""
    found = ((page, [b for b in blocks(page) if b.language == language and b.mark == mark]) for page in PAGES)
    return [pytest.param(page, these, id=str(page.relative_to(ROOT))) for page, these in found if these]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the pages' files."""
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize(("page", "these"), some("python"))
def test_python_runs(page: Path, these: list[Block], here: Path):
    defined = names()
    for block in these:
        code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
        exec(code, defined)


@pytest.mark.parametrize(("page", "these"), some("sh"))
def test_commands_run(page: Path, these: list[Block], here: Path):
    for block in these:
        for line in command_lines(block):
            assert run(_small(line)) == 0, f"{page}: {line}"


def _small(line: str) -> list[str]:
    """The arguments of a command, a training run's as small as it gets."""
    arguments = shlex.split(line)[1:]
    if arguments[0] == "train" and "--resume" not in arguments:
        if "--initial-weights" in arguments:
            arguments += ["--initial-weights", "small.safetensors"]
        arguments += as_options(SMALL)
    if arguments[0] == "represent":
        arguments += ["--size", "16"]
    return arguments


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_exist(page: Path):
    for block in blocks(page):
        for line in command_lines(block):
            name, *arguments = shlex.split(line)[1:]
            with suppress(click.exceptions.Exit):  # --help
                commands.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_quotations_are_those_of_the_files(page: Path):
    for block in blocks(page):
        if block.mark == "from":
            assert block.said is not None
            assert block.code in (ROOT / block.said).read_text(), f"{page}:{block.line} isn't in {block.said}."


def test_blocks_are_found():
    found = [block for page in PAGES for block in blocks(page)]
    fences = sum(line.strip().startswith("```") for page in PAGES for line in page.read_text().splitlines())
    assert (2 * len(found), {block.mark for block in found}) == (fences, {None, "not run", "from"})
    marks = sum(page.read_text().count(f"<!-- {mark}: ") for page in PAGES for mark in ("not run", "from"))
    assert marks == sum(block.mark is not None for block in found) + 2  # CONTRIBUTING.md tells of both.
