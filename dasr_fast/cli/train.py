"""`dasr-fast train`."""

import signal
import types
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from dasr_fast.cli.common import PATH, Function, make_folder, warn
from dasr_fast.training.configuration import Configuration, configure, resumed

FAILED = 1
"""Exit code when training ended before its time."""


def configuration_options(function: Function) -> Function:
    """An option for each setting of a run; those that aren't given are left out of the call."""
    for name, field in reversed(Configuration.model_fields.items()):
        function = _option(name, field)(function)
    return function


def _option(name: str, field: FieldInfo) -> Callable[[Function], Function]:
    kind = _kind(field.annotation)
    help_text = field.description or ""
    if not field.is_required() and field.default is not None and field.default is not False:
        help_text += f"  [default: {field.default}]"
    option = name.replace("_", "-")
    if kind is bool:
        return click.option(f"--{option}/--no-{option}", name, default=None, help=help_text)
    return click.option(f"--{option}", name, type=kind, default=None, help=help_text)


def _kind(annotation: Any) -> Any:
    """What click makes of an option; pydantic checks the bounds."""
    if get_origin(annotation) is types.UnionType or type(None) in get_args(annotation):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    if hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        return click.Choice(choices) if isinstance(choices[0], str) else type(choices[0])
    return PATH if annotation is Path else annotation


@click.command()
@click.option("--config", type=PATH, help="TOML file of settings, named as the options are.")
@click.option("-o", "--output", type=PATH, help="New folder of the run; by default runs/xSCALE.")
@click.option("--resume", type=PATH, help="Folder of a run to go on with.")
@configuration_options
def train(config: Path | None, output: Path | None, resume: Path | None, **options: Any) -> int:
    """Train DASR with a folder of HR images.

    The encoder is trained first, then everything. The defaults are the paper's recipe for x4. The folder of the run
    holds its settings (configuration.toml), figures (log.jsonl, and tensorboard/ if TensorBoard is installed),
    checkpoints (the last two, and that with the highest PSNR of all validations), the weights (weights.safetensors) and
    a model card. Ctrl-C and SIGTERM save before they stop the run.

    Exit code: 0 if all steps were taken, 1 if training failed, 2 if nothing was tried, 128 and the signal's number if
    the run was stopped.

    \b
    dasr-fast train --data photos/ --scale 4 --validation set14/ --output runs/first
    dasr-fast train --resume runs/first
    torchrun --nproc-per-node 2 -m dasr_fast train --data photos/ --precision bf16
    """
    options = {name: value for name, value in options.items() if value is not None}
    folder, configuration = _begun(resume, config, output, options) if resume else _new(config, output, options)

    from dasr_fast.device import find_device
    from dasr_fast.memory import is_out_of_memory
    from dasr_fast.precision import emulates_bfloat16
    from dasr_fast.processes import interruptible, joined
    from dasr_fast.training.folder import is_unused, owned
    from dasr_fast.training.trainer import Trainer

    with ExitStack() as stack:
        processes = stack.enter_context(joined(find_device(configuration.device)))
        if resume:
            stack.enter_context(owned(folder, processes))
        trainer = Trainer(configuration, folder, processes)
        remarks = trainer.resume() if resume else []
        if processes.rank == 0:
            for images in (trainer.images, trainer.validation):
                remarks += [f"Left out: {reason}" for reason in images.skipped.values()] if images else []
            if configuration.precision == "bf16" and emulates_bfloat16(processes.device.type):
                remarks.append("bf16 is emulated on this processor, many times slower than fp32.")
            for remark in remarks:
                warn(remark)
        if not resume:
            if processes.rank == 0:
                make_folder(folder)
            stack.enter_context(owned(folder, processes))
            if processes.any(not is_unused(folder)):  # Another process may have begun and ended meanwhile.
                raise _taken(folder)
        with interruptible(lambda: warn("Stopping after this step; once more stops at once.")) as stop:
            try:
                finished = trainer.train(stop)
            except (ValueError, OSError) as error:
                warn(f"Training ended after step {trainer.taken}: {error}")
                return FAILED
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                warn(
                    f"Training ended after step {trainer.taken}: there isn't enough memory; a smaller --batch, "
                    "--patch, --queue or network needs less."
                )
                return FAILED
        if processes.rank == 0:
            click.echo(
                f"Trained to {folder}"
                if finished
                else f"Stopped after step {trainer.taken}; go on with dasr-fast train --resume {folder}"
            )
        return 0 if finished else 128 + (stop.signal or signal.SIGTERM)  # The signal of another process.


def _new(config: Path | None, output: Path | None, options: dict[str, Any]) -> tuple[Path, Configuration]:
    from dasr_fast.training.folder import is_unused

    configuration = configure(config, options)
    folder = output or Path("runs") / f"x{configuration.scale}"
    if not is_unused(folder):
        raise _taken(folder)
    return folder, configuration


def _taken(folder: Path) -> click.UsageError:
    return click.UsageError(f"{folder} exists already; name another --output, or go on with --resume {folder}.")


def _begun(
    folder: Path, config: Path | None, output: Path | None, options: dict[str, Any]
) -> tuple[Path, Configuration]:
    if config is not None or output is not None:
        raise click.UsageError(
            "--resume goes on with a run's own settings in its folder; leave out --config and --output."
        )
    stored = folder / "configuration.toml"
    if not stored.is_file():
        raise click.UsageError(f"{folder} holds no run to resume: there is no {stored.name} in it.")
    return folder, resumed(stored, options)
