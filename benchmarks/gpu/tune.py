"""Find the fastest launch options of the Triton kernels on this GPU, and keep them where `kernels/options.py` looks.

Each function that contains a kernel is timed as a whole, as a CUDA graph. The kernel's own default options say what can
be varied; options that fail to compile, or change the result, are dropped.
"""

import importlib
import json
import math
import pkgutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from itertools import combinations, product
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import click
import torch
import triton
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.benchmark import Timer
from triton.errors import TritonError
from triton.testing import do_bench, do_bench_cudagraph

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dasr_fast import kernels, ops
from dasr_fast.files import write_json
from dasr_fast.kernels.launch import COMPILED
from dasr_fast.kernels.options import CONFIGURATIONS, Options, Problem, file_stem, forced
from dasr_fast.ops.backends import BACKENDS
from tests.kernels.compilation import compiled_together
from tests.specification import SPECIFICATIONS, Case

DTYPES = ("float16", "float32", "bfloat16")
LAYOUTS = ("channels_last", "contiguous")
SCALES = (2, 3, 4)

MOST = {"num_warps": 8, "num_stages": 4}
GROWTH = 4
"""How much larger than the default's a thread's part of a tile may be."""

CLOSE = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Largest difference from the default's result over its largest value; TF32 rounds to 5e-4 of one term of a sum."""
FASTER = 0.98
"""Share of the default's time that options may take to be kept instead of it."""
LEAST = 4.0
"""Seconds for a problem at least: what it takes to compile the alternatives of one option after the other."""

Run = Callable[[], Any]
Say = Callable[[str], None]
Entry = dict[str, Any]


class Setting(NamedTuple):
    """One call of an op, forward and backward.

    The first tensor has the type, the others too if it is a floating one, else float32; all of its shape the layout.
    """

    op: str
    case: Case
    dtype: str
    layout: str

    def arguments(self, device: str) -> dict[str, Any]:
        """Of the op, to be differentiated where they can be; on "meta" they are shapes alone."""
        if device == "meta":
            shapes = {name: shape and torch.empty(shape, device="meta") for name, shape in self.case.tensors.items()}
            wide: dict[str, Any] = {**shapes, **self.case.options}
        else:
            wide = SPECIFICATIONS[self.op].arguments(self.case, torch.float32, device)
        first, dtype = next(iter(wide.values())), getattr(torch, self.dtype)

        def typed(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            value = value.detach().to(dtype if value is first or dtype.is_floating_point else torch.float32)
            if self.layout == "channels_last" and value.shape == first.shape:
                value = value.contiguous(memory_format=torch.channels_last)
            return value.requires_grad_(value.is_floating_point())

        return {name: typed(value) for name, value in wide.items()}


class Planned(NamedTuple):
    """A problem to tune, the function of the op's module where it occurs, and the kernel's default options."""

    setting: Setting
    function: str
    asked: Problem
    default: Options

    def __str__(self) -> str:
        sizes = "x".join(map(str, self.asked.sizes))
        return f"{self.asked.kernel}, {self.asked.dtype}, {self.asked.layout}, {sizes}"


def settings(names: Iterable[str]) -> list[Setting]:
    """What to tune for: the timed cases of these ops, images at every scale, in each type and layout.

    Kernels take the options of the nearest sizes for all others.
    """
    found = []
    for op in names:
        for case in (case for case in SPECIFICATIONS[op].cases if case.timed):
            if "hr" in case.tensors:
                every = [replace(case, label=f"x{s}", options={**case.options, "scale": s}) for s in SCALES]
                found += [Setting(op, one, dtype, "contiguous") for one in every for dtype in ("float32", "uint8")]
            else:
                found += [Setting(op, case, dtype, layout) for dtype in DTYPES for layout in LAYOUTS]
    return sorted(found, key=lambda one: ((*DTYPES, "uint8").index(one.dtype), LAYOUTS.index(one.layout)))


def plan(wanted: Iterable[Setting], say: Say) -> Iterator[Planned]:
    """Every problem of the settings, once, found without computing anything; says what has no kernel."""
    known: set[Problem] = set()
    for setting in wanted:
        for function, run in calls(setting, "meta", say).items():
            for asked, default in record(run, computing=False).items():
                if asked not in known:
                    known.add(asked)
                    yield Planned(setting, function, asked, default)


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


def calls(setting: Setting, device: str, say: Say) -> dict[str, Run]:
    """The functions of the op's kernels that its forward and backward pass call, by name; says why there are none."""
    module = replace(BACKENDS["triton"], device=None).implementation(setting.op)  # Whether or not there is a GPU.
    if not isinstance(module, ModuleType):
        say(f"{setting.op}: {module}")
        return {}
    inputs = setting.arguments(device)
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
        say(f"{setting.op}, {setting.case.label}, {setting.dtype}, {setting.layout}: {reason}")
        return {}
    return {name: torch.no_grad()(partial(getattr(module, name), *values)) for name, values in functions.items()}


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

    with substituted(choose=choose, **({} if computing else {"launch": lambda *_, **__: None})):
        run()
    return found


def neighbours(default: Options, options: Options, changes: int) -> Iterator[Options]:
    """The same options but so many, each of which is halved or doubled (stages: one more or less), within bounds."""

    def thread(some: Options) -> float:
        return math.prod(value for name, value in some.items() if name.startswith("BLOCK_")) / some.get("num_warps", 4)

    def allowed(name: str, value: int) -> bool:
        return 1 <= value <= max(MOST.get(name, value), default[name])

    varied = [name for name in options if name.isupper() or name in MOST]
    for names in combinations(varied, changes):
        for ups in product((True, False), repeat=changes):
            new = dict(options)
            for name, up in zip(names, ups, strict=True):
                value = options[name]
                new[name] = value + (1 if up else -1) if name == "num_stages" else 2 * value if up else value // 2
            if all(allowed(name, new[name]) for name in names) and thread(new) <= GROWTH * thread(default):
                yield new


def fastest(
    seeds: Sequence[Options],
    milliseconds: Callable[[Options], float],
    prepare: Callable[[Sequence[Options]], None],
    in_time: Callable[[], bool],
) -> tuple[Options, int]:
    """The fastest options, and how many were tried: from the best of the seeds, change one at a time while it helps.

    Changes of two are tried where none of one helps. The first seed is the default, which is timed in any case. Times
    are infinite where options don't work. `prepare` is told what is timed next.
    """
    tried: list[tuple[float, Options]] = [(milliseconds(seeds[0]), seeds[0])]

    def best() -> Options:
        return min(tried, key=lambda pair: pair[0])[1]

    def attempt(batch: Iterable[Options]) -> None:
        known = [options for _, options in tried]
        new = [options for options in batch if options not in known]
        if new and in_time():
            prepare(new)  # Takes much longer than what follows.
            tried.extend((milliseconds(options), options) for options in new)

    attempt(seeds)
    start: Options = {}
    while start != best() and in_time():
        start = best()
        attempt(neighbours(seeds[0], start, 1))
        if best() == start:
            attempt(neighbours(seeds[0], start, 2))
    return best(), len(tried)


def tune(
    planned: Sequence[Planned], device: str, path: Path, facts: Mapping[str, Any], budget: float, say: Say
) -> None:
    """Tune for each problem, and after each write all to `path`, with `facts` and the entries of other problems.

    Each may take an equal part of what is left of `budget` seconds, or `LEAST`. On a CPU kernels are interpreted.
    """
    entries = json.loads(path.read_text())["tuned"] if path.exists() else []
    end = time.monotonic() + budget
    for number, one in enumerate(planned):
        now, left = time.monotonic(), len(planned) - number
        if now >= end:
            say(f"No time left for {left} of {len(planned)} problems, from {one} on.")
            break
        run = calls(one.setting, device, say)[one.function]
        entry = tune_one(one, run, device, max(LEAST, (end - now) / left), entries, say)
        if entry is not None:
            known = {json.dumps(list(each.values())[:4]): each for each in [*entries, entry]}  # By problem.
            entries = [known[problem] for problem in sorted(known)]
            write_json(path, {**facts, "tuned": entries})


def tune_one(one: Planned, run: Run, device: str, seconds: float, entries: Sequence[Entry], say: Say) -> Entry | None:
    """The entry for a problem: its default, or faster options if they were found in about so many seconds.

    `entries` are what is known already; None if even the default doesn't run.
    """
    asked, kernel = one.asked, one.asked.kernel
    try:
        default = record(run).get(asked, one.default)
        with forced(kernel, default):
            expected = run()
            clock = stopwatch(run, device)
    except (TritonError, RuntimeError) as error:
        say(f"{one}: the default {show(one.default)} failed: {first_line(error)}")
        return None

    def milliseconds(options: Options) -> float:
        try:
            with forced(kernel, options):
                check(run(), expected)
                return clock(run)
        except (TritonError, RuntimeError, AssertionError) as error:
            say(f"{one}: {show(options)} dropped: {first_line(error)}")
            return math.inf

    def prepare(batch: Sequence[Options]) -> None:
        if device == "cuda":
            compile_ahead(run, kernel, batch)

    deadline = time.monotonic() + seconds  # The default has been compiled by now.
    alike = [entry["options"] for entry in entries if entry["kernel"] == kernel and entry["layout"] == asked.layout]
    seeds = [default, *({show(some): some for some in alike if some.keys() == default.keys()}).values()]
    best, tried = fastest(seeds, milliseconds, prepare, lambda: time.monotonic() < deadline)
    rounds = [[milliseconds(options) for options in (default, best)] for _ in range(3)]  # Once more, in turns.
    by_default, tuned = (median(some) for some in zip(*rounds, strict=True))
    if not math.isfinite(by_default):
        return None
    if tuned > FASTER * by_default:
        best, tuned = default, by_default
    say(f"{one}: {tuned:.4g} ms with {show(best)}, {by_default:.4g} ms by default; {tried} tried")
    times = {"milliseconds": float(f"{tuned:.4g}"), "default_milliseconds": float(f"{by_default:.4g}")}
    return {**asdict(asked), "options": dict(best), **times}


def compile_ahead(run: Run, kernel: str, batch: Sequence[Options]) -> None:
    """Compile a kernel with each of these options at once; errors are left for the launch to raise."""

    def launch(function: Any, programs: int, *arguments: Any, **options: Any) -> None:
        function.warmup(*arguments, grid=(programs,), **COMPILED, **options)

    with substituted(launch=launch), compiled_together():
        for options in batch:
            with forced(kernel, options), suppress(TritonError, RuntimeError):
                run()


def stopwatch(run: Run, device: str) -> Callable[[Run], float]:
    """What measures the milliseconds of calls like `run`: of a replayed CUDA graph, if `run` can be captured.

    Replays find in the cache what the one before left there, as a layer finds what the one before it wrote.
    """
    if device != "cuda":
        return lambda other: Timer("other()", globals={"other": other}).timeit(1).median * 1e3
    graph: Callable[[Run], float] = partial(do_bench_cudagraph, rep=5, return_mode="median")
    try:
        graph(run)
        return graph
    except RuntimeError:
        return partial(do_bench, warmup=5, rep=25, return_mode="median")


def check(result: Any, expected: Any) -> None:
    """Raises AssertionError where results differ by more than sums in another order do."""
    for y, target in zip(*((x,) if isinstance(x, Tensor) else x for x in (result, expected)), strict=True):
        close = CLOSE[target.dtype]
        most = target.abs().max().item() if target.numel() else 0.0
        torch.testing.assert_close(y, target, rtol=close, atol=close * most)


def show(options: Options) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())


def first_line(error: Exception) -> str:
    """The reason in one line; compilers put it last, after the source."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1] if isinstance(error, triton.compiler.CompilationError) else lines[0]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--op", "names", multiple=True, type=click.Choice(list(SPECIFICATIONS)), help="Only these; repeatable.")
@click.option("--budget", type=click.FloatRange(1), default=1800.0, show_default=True, help="Seconds for all problems.")
@click.option("--dry-run", is_flag=True, help="List what would be tried at first; needs no GPU.")
def main(names: tuple[str, ...], budget: float, dry_run: bool) -> None:
    """Tune the Triton kernels for the sizes that matter on this GPU, for kernels/configs/<GPU>.json.

    The search begins at their defaults and at what was tuned before.
    """
    say = click.echo
    if not dry_run and not torch.cuda.is_available():
        raise click.ClickException("No NVIDIA GPU was found; --dry-run lists what would be tried on one.")
    planned = list(plan(settings(names or tuple(SPECIFICATIONS)), say))
    if dry_run:
        for one in planned:
            count = len(list(neighbours(one.default, one.default, 1)))
            say(f"{one} in {one.function}: {show(one.default)}, {count} changes of one")
        say(f"{len(planned)} problems")
        return
    device = torch.cuda.get_device_name()
    path = CONFIGURATIONS / f"{file_stem(device)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    capability = list(torch.cuda.get_device_capability())
    facts = {"device": device, "capability": capability, "torch": torch.__version__, "triton": triton.__version__}
    tune(planned, "cuda", path, facts, budget, say)
    say(f"Written: {path}")


if __name__ == "__main__":
    main()
