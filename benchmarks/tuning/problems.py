"""What to tune for: the problems that the calls of the ops' kernels have."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dasr_fast import kernels, ops
from dasr_fast.kernels.options import Options, Problem
from dasr_fast.ops.backends import BACKENDS
from tests.specification import SPECIFICATIONS, Case

DTYPES = ("float32", "float16", "bfloat16", "uint8")
FEATURE_DTYPES = ("float32", "float16", "bfloat16")
IMAGE_DTYPES = ("float32", "uint8")
LAYOUTS = ("contiguous", "channels_last")
MORE_FEATURES = ((1, 540, 960), (16, 48, 48))
"""Batch, height and width of features to tune for besides the timed cases."""
SCALES = (2, 3, 4)

FIRST_OPS = ("da_conv", "dynamic_depthwise_conv", "blur_downsample", "channel_modulation")
FIRST_KINDS = (("float16", "channels_last"), ("float32", "channels_last"), ("float32", "contiguous"))
"""Ops, and types and layouts of features, that most time is spent in: first, as time may not suffice for all."""

Run = Callable[[], Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Setting:
    """One call of an op, forward and backward.

    Attributes:
        dtype: Of the first tensor; the others have it too if it is a floating type, else float32.
        layout: Of the tensors of the first one's shape.
    """

    op: str
    case: Case
    dtype: str
    layout: str

    def __str__(self) -> str:
        return f"{self.op}, {self.case.label}, {self.dtype}, {self.layout}"


@dataclass(frozen=True)
class Planned:
    """A problem to tune, and where it occurs.

    Attributes:
        function: Name of the first function of the op's module, the op itself or a gradient, that has the problem.
        default: Options of the kernel if nothing was tuned.
    """

    setting: Setting
    function: str
    asked: Problem
    default: Options


def settings(names: Iterable[str], dtypes: Sequence[str]) -> list[Setting]:
    """What to tune for: the timed cases of these ops and more sizes, in each type and layout; what matters first."""

    def rank(setting: Setting) -> tuple[int, bool, int]:
        kind = place((setting.dtype, setting.layout), FIRST_KINDS) if "x" in setting.case.tensors else 0
        return kind, not setting.case.timed, place(setting.op, FIRST_OPS)

    return sorted(_settings(names, dtypes), key=rank)


def place(one: Any, some: Sequence[Any]) -> int:
    """Its index, or that after the last."""
    return some.index(one) if one in some else len(some)


def _settings(names: Iterable[str], dtypes: Sequence[str]) -> Iterator[Setting]:
    for op in names:
        for case in sizes(op):
            features = "x" in case.tensors
            possible = FEATURE_DTYPES if features else IMAGE_DTYPES if "hr" in case.tensors else DTYPES[:1]
            for dtype in possible:
                if dtype in dtypes:
                    for layout in LAYOUTS if features else LAYOUTS[:1]:
                        yield Setting(op, case, dtype, layout)


def sizes(op: str) -> list[Case]:
    """The timed cases of an op and more: images at every scale, features in other sizes."""
    timed = [case for case in SPECIFICATIONS[op].cases if case.timed]
    if any("hr" in case.tensors for case in timed):
        return [
            replace(case, label=f"{case.label} x{scale}", options={**case.options, "scale": scale})
            for case in timed
            for scale in SCALES
        ]
    if any("x" in case.tensors for case in timed):
        return [*timed, *(resized(timed[0], *size) for size in MORE_FEATURES)]
    return timed


def resized(case: Case, batch: int, height: int, width: int) -> Case:
    """The same case with features of another batch, height and width."""
    features = next(iter(case.tensors.values())) or ()

    def other(shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if shape == features:
            return (batch, shape[1], height, width)
        return (batch, *shape[1:]) if shape and shape[0] == features[0] else shape

    tensors = {name: other(shape) for name, shape in case.tensors.items()}
    return replace(case, label=f"{batch}x{features[1]}x{height}x{width}", tensors=tensors, timed=False)


def plan(wanted: Iterable[Setting], say: Say) -> Iterator[Planned]:
    """Every problem of the settings, once, found without computing anything; says which ops have no kernel."""
    known: set[Problem] = set()
    without: set[str] = set()
    for setting in wanted:
        module = implementation(setting.op)
        if isinstance(module, str):
            if setting.op not in without:
                say(f"{setting.op}: {module}")
            without.add(setting.op)
            continue
        shapes = {name: shape and torch.empty(shape, device="meta") for name, shape in setting.case.tensors.items()}
        runs = calls(setting, module, {**shapes, **setting.case.options}, say)
        for function, run in runs.items():
            for asked, default in record(run, computing=False).items():
                if asked not in known:
                    known.add(asked)
                    yield Planned(setting, function, asked, default)


def describe(asked: Problem) -> str:
    return f"{asked.kernel}, {asked.dtype}, {asked.layout}, {'x'.join(map(str, asked.sizes))}"


def implementation(op: str) -> ModuleType | str:
    """The module with an op's Triton kernels, whether or not there is a GPU, or the reason why there is none."""
    return replace(BACKENDS["triton"], device=None).implementation(op)


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the calls of this package's ops and their gradients: names and arguments."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: dict[str, tuple[Any, ...]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        namespace, name = func.name().split("::")
        if namespace == "dasr_fast":
            self.calls[name] = args
        return func(*args, **(kwargs or {}))


def calls(setting: Setting, module: ModuleType, arguments: Mapping[str, Any], say: Say) -> dict[str, Run]:
    """The functions of the op's kernels that its forward and backward pass call, with arguments, by name.

    Args:
        setting: What to call.
        module: Kernels of the op.
        arguments: Of the op; its tensors may be of any type and layout.
        say: Told why the kernels can't do it, if they can't; then there are no calls.
    """
    inputs = {name: as_set(value, setting, arguments) for name, value in arguments.items()}
    one_thread = torch.autograd.set_multithreading_enabled(False)  # The recorder's.
    with Recorder() as recorder, torch.enable_grad(), one_thread:
        # The reference runs on every device, and on "meta" it only works out shapes.
        y = getattr(ops, setting.op)(**inputs, backend="reference")
        if y.requires_grad:
            variables = [value for value in inputs.values() if isinstance(value, Tensor) and value.requires_grad]
            torch.autograd.grad(y, variables, torch.randn_like(y))
    functions = {name: values[:-1] for name, values in recorder.calls.items()}  # Without the backend.
    reason = module.unsupported(*functions[setting.op]) if hasattr(module, "unsupported") else None
    if reason is not None:
        say(f"{setting}: {reason}")
        return {}
    return {name: torch.no_grad()(partial(getattr(module, name), *values)) for name, values in functions.items()}


def as_set(value: Any, setting: Setting, arguments: Mapping[str, Any]) -> Any:
    """An argument in the setting's type and layout, to be differentiated if it can be."""
    if not isinstance(value, Tensor):
        return value
    first = next(iter(arguments.values()))
    dtype = getattr(torch, setting.dtype)
    value = value.detach().to(dtype if value is first or dtype.is_floating_point else torch.float32)
    if setting.layout == "channels_last" and value.shape == first.shape:
        value = value.contiguous(memory_format=torch.channels_last)
    return value.requires_grad_(value.is_floating_point())


@contextmanager
def substituted(**functions: Callable[..., Any]) -> Iterator[None]:
    """Let these functions stand in for those of their names in all modules of kernels."""
    with ExitStack() as stack:
        for found in pkgutil.iter_modules(kernels.__path__, f"{kernels.__name__}."):
            module = importlib.import_module(found.name)
            for name, function in functions.items():
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, function))
        yield


def record(run: Run, computing: bool = True) -> dict[Problem, Options]:
    """Problems that a call has and the default options of each, with which it runs, or doesn't if not `computing`."""
    found: dict[Problem, Options] = {}

    def choose(asked: Problem, default: Options, device: torch.device) -> Options:
        return found.setdefault(asked, default)

    def launch(*_: Any, **__: Any) -> None:
        pass

    with substituted(choose=choose) if computing else substituted(choose=choose, launch=launch):
        run()
    return found
