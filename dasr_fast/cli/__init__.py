"""The command `dasr-fast`: one file a subcommand."""

import sys
from collections.abc import Sequence

import click

from dasr_fast.cli.common import reason, warn, warnings_as_lines
from dasr_fast.cli.degrade import degrade
from dasr_fast.cli.demo import demo
from dasr_fast.cli.doctor import doctor
from dasr_fast.cli.evaluate import evaluate
from dasr_fast.cli.export import export
from dasr_fast.cli.represent import represent
from dasr_fast.cli.train import train
from dasr_fast.cli.upscale import upscale
from dasr_fast.cli.weights import weights

USAGE = 2
"""Exit code when nothing was tried because the call was wrong."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="dasr-fast", prog_name="dasr-fast")
def commands() -> None:
    """Blind super-resolution with DASR: upscale, degrade and evaluate images; train, export and inspect networks."""


for command in (upscale, degrade, evaluate, train, export, represent, weights, demo, doctor):
    commands.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; mistakes are one line on standard error, without a traceback."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """As `main`, and return the exit code instead of leaving."""
    try:
        with warnings_as_lines():
            return commands.main(arguments, prog_name="dasr-fast", standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
    except click.ClickException as error:
        warn(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        warn("Interrupted.")
        return 130
    except (ValueError, OSError) as error:
        warn(reason(error))
    except (RuntimeError, MemoryError) as error:
        from dasr_fast.memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        warn("There isn't enough memory for what was asked.")
    return USAGE
