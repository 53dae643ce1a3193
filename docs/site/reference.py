"""The reference, from the code: `<!-- names: MODULE -->` becomes the public names of a module, `<!-- commands -->` the
command line."""

import importlib
import re
from collections.abc import Iterator
from inspect import cleandoc
from typing import Any

import click

from dasr_fast.cli import commands


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in what the comments of a page ask for."""
    markdown = re.sub(r"<!-- names: (\S+) -->", lambda found: "\n\n".join(_names(found[1])), markdown)
    return re.sub(r"<!-- commands -->", lambda _: "\n\n".join(_commands()), markdown)


def _names(module: str) -> Iterator[str]:
    """The module's introduction, and what mkdocstrings makes of each name that it exports."""
    found = importlib.import_module(module)
    assert found.__doc__ is not None
    yield cleandoc(found.__doc__)
    for name in found.__all__:
        shown = getattr(found, name)
        # Where it is defined, since a module may have the same name: `dasr_fast.ops.da_conv`.
        yield f"::: {shown.__module__}.{shown.__qualname__}\n    options:\n      heading: {module}.{name}"


def _commands() -> Iterator[str]:
    """Each command: what it does, examples, arguments and options."""
    for name, command in commands.commands.items():
        context = click.Context(command, info_name=f"dasr-fast {name}")
        yield f"## dasr-fast {name}"
        yield f"```\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```"
        for paragraph in cleandoc(command.help or "").split("\n\n"):
            verbatim = paragraph.startswith("\b\n")
            yield f"```\n{paragraph[2:]}\n```" if verbatim else paragraph.replace("--", "\\--")
        options = filter(lambda parameter: isinstance(parameter, click.Option), command.get_params(context))
        records = filter(None, (option.get_help_record(context) for option in options))
        rows = (f"| {_option(name)} | {_cell(text)} |" for name, text in records)
        yield "\n".join(["| option | is |", "|---|---|", *rows])


def _option(record: str) -> str:
    """Its names, then what it takes; choices in a form that can be broken on narrow screens."""
    names, takes = re.fullmatch(r"((?:-\w, )?--[\w-]+(?: / --[\w-]+)?) ?(.*)", record).groups()
    shown = " / ".join(f"`{name}`{{.option}}" for name in names.split(" / "))
    return f"{shown} {_cell(takes.replace(' RANGE', '').replace('|', ' | '))}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("--", "\\--").replace("<", "&lt;")
