"""Find the fastest launch options of the Triton kernels on this GPU, and keep them where `kernels/launch.py` looks."""

import importlib
import json
import math
import pkgutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, combinations, groupby
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any
from unittest import mock

import click
import torch
import triton
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.benchmark import Timer
from triton.errors import TritonError
from triton.testing import do_bench, do_bench_cudagraph

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dasr_fast import kernels, ops
from dasr_fast.files import written_whole
from dasr_fast.kernels.launch import CONFIGURATIONS, Options, Problem, file_stem, forced
from dasr_fast.ops.backends import BACKENDS
from dasr_fast.specification import SPECIFICATIONS, Case

DTYPES = ("float32", "float16", "bfloat16", "uint8")
FEATURE_DTYPES = ("float32", "float16", "bfloat16")
IMAGE_DTYPES = ("float32", "uint8")
LAYOUTS = ("contiguous", "channels_last")
MORE_FEATURES = ((1, 540, 960), (16, 48, 48))
"""Batch, height and width of features to tune for besides the timed cases."""
SCALES = (2, 3, 4)

CHOICES = {"num_warps": (1, 2, 4, 8), "num_stages": (1, 2, 3, 4)}
MOST = {"BLOCK": 256, "other": 16}
"""Largest side of a tile, and largest other size: ROWS are unrolled, and twice as many compile for twice as long."""
MOST_GROWTH = 4
"""How much larger than the default's a thread's part of a tile may be."""
CLOSE = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Largest difference from the default's result over its largest value; TF32 rounds to 5e-4 of one term of a sum."""
FASTER = 0.98
"""Share of the default's time that options may take to be kept instead of it."""
ROUNDS = 3
"""How often the default and the fastest options are timed once more, in turn."""

Run = Callable[[], Any]
Entry = dict[str, Any]
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


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--op", "names", multiple=True, type=click.Choice(list(SPECIFICATIONS)), help="Only these; may be repeated."
)
@click.option("--dtype", "dtypes", multiple=True, type=click.Choice(DTYPES), help="Only these; may be repeated.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    show_default="kernels/configs/<GPU>.json",
    help="File that receives the options; what else it holds stays.",
)
@click.option(
    "--budget",
    type=click.FloatRange(0, min_open=True),
    default=1800.0,
    show_default=True,
    help="Seconds in all, shared among the problems; the comparison under way as they end is finished.",
)
@click.option("--dry-run", is_flag=True, help="List what would be tried at first; needs no GPU.")
def main(names: tuple[str, ...], dtypes: tuple[str, ...], output: Path | None, budget: float, dry_run: bool) -> None:
    """Tune the Triton kernels for the sizes that matter, on this GPU, starting from their defaults and tuned options.

    Each function that contains a kernel is timed as a whole, as a CUDA graph, with one option of the kernel varied at
    a time. Options that fail to compile, or change the result, are dropped.
    """
    console = Console()
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    if not dry_run and not torch.cuda.is_available():
        raise click.ClickException("No NVIDIA GPU was found; --dry-run lists what would be tried on one.")
    planned = list(plan(settings(names or tuple(SPECIFICATIONS), dtypes or DTYPES), say))
    if dry_run:
        for one in planned:
            say(listing(one))
        say(f"{len(planned)} problems")
        return
    device = torch.cuda.get_device_name()
    path = output or CONFIGURATIONS / f"{file_stem(device)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "device": device,
        "capability": list(torch.cuda.get_device_capability()),
        "torch": torch.__version__,
        "triton": triton.__version__,
    }
    shown = partial(track, description="Tuning", total=len(planned), console=console, disable=not console.is_terminal)
    tune(planned, "cuda", path, facts, budget, say, shown)
    say(f"Written: {path}")


def settings(names: Iterable[str], dtypes: Sequence[str]) -> Iterator[Setting]:
    """What to tune for: the timed cases of these ops and more sizes, in each type and layout."""
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
    return replace(case, label=f"{batch}x{features[1]}x{height}x{width}", tensors=tensors)


def plan(wanted: Iterable[Setting], say: Say) -> Iterator[Planned]:
    """Every problem of the settings, once, found without computing anything; says which ops have no kernel."""
    known: set[Problem] = set()
    for op, of_op in groupby(wanted, key=lambda setting: setting.op):
        module = implementation(op)
        if isinstance(module, str):
            say(f"{op}: {module}")
            continue
        for setting in of_op:
            shapes = {name: shape and torch.empty(shape, device="meta") for name, shape in setting.case.tensors.items()}
            runs = calls(setting, module, {**shapes, **setting.case.options}, say)
            for function, run in runs.items():
                for asked, default in record(run, computing=False).items():
                    if asked not in known:
                        known.add(asked)
                        yield Planned(setting, function, asked, default)


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
    """Let these functions of `kernels/launch.py` stand in for its own in all modules of kernels."""
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


def compile_ahead(run: Run, kernel: str, batch: Sequence[Options]) -> None:
    """Compile a kernel with each of these options at once; errors are left for the launch to raise."""

    def launch(function: Any, programs: int, *arguments: Any, **options: Any) -> None:
        function.warmup(*arguments, grid=(programs,), **options)

    with (
        substituted(launch=launch),
        ThreadPoolExecutor() as executor,
        triton.AsyncCompileMode(executor, ignore_errors=True),
    ):
        for options in batch:
            with forced(kernel, options), suppress(TritonError, RuntimeError):
                run()


def allowed(asked: Problem, default: Options, options: Options) -> bool:
    """Whether options are worth a try: within bounds, and with tiles not much larger than the default's."""

    def thread(some: Options) -> float:
        return math.prod(value for name, value in some.items() if name.startswith("BLOCK_")) / some.get("num_warps", 4)

    def within(name: str, value: int) -> bool:
        if name in CHOICES:
            return value in CHOICES[name] or value == default[name]
        most = MOST["BLOCK" if name.startswith("BLOCK_") else "other"]
        if name == "BLOCK_C":
            most = min(most, 1 << (max(1, asked.sizes[1]) - 1).bit_length())
        elif default[name] > most:
            most = MOST_GROWTH * default[name]
        return 1 <= value <= max(most, default[name])

    fits = all(within(name, value) for name, value in options.items())
    return fits and thread(options) <= MOST_GROWTH * thread(default)


def alternatives(asked: Problem, default: Options, options: Options, name: str) -> list[Options]:
    """The same options but one, which is halved, doubled or quadrupled, or has any other of its few values."""
    value = options[name]
    values = CHOICES.get(name) or ((value // 2, 2 * value, 4 * value) if name.isupper() else ())
    others = [{**options, name: other} for other in values if other != value]
    return [other for other in others if allowed(asked, default, other)]


def pairs(asked: Problem, default: Options, options: Options) -> list[Options]:
    """The same options but two: one side of the tile doubled and another halved, or a side and the warps alike."""
    names = [name for name in options if name.startswith("BLOCK_") or name == "num_warps"]
    others = []
    for one, two in combinations(names, 2):
        doubled, halved = {one: 2 * options[one]}, {one: options[one] // 2}
        if "num_warps" in (one, two):
            doubled[two], halved[two] = 2 * options[two], options[two] // 2
        else:
            doubled[two], halved[two] = options[two] // 2, 2 * options[two]
        others += [{**options, **doubled}, {**options, **halved}]
    return [other for other in others if allowed(asked, default, other)]


@dataclass
class Search:
    """Options tried for one problem.

    Attributes:
        milliseconds: Times options; infinite if they don't work.
        prepare: Told what is timed next, all that is known of it.
        in_time: Whether there is time to try more.
        tried: All of them with their times, in order.
    """

    milliseconds: Callable[[Options], float]
    prepare: Callable[[Sequence[Options]], None]
    in_time: Callable[[], bool]
    tried: list[tuple[Options, float]] = field(default_factory=list)

    def attempt(self, batch: Iterable[Options]) -> None:
        """Time those that are new, if there is time."""
        known = [options for options, _ in self.tried]
        new: list[Options] = []
        for options in batch:
            if options not in known and options not in new:
                new.append(options)
        if not new or not self.in_time():
            return
        self.prepare(new)  # Takes much longer than what follows.
        self.tried += [(options, self.milliseconds(options)) for options in new]

    @property
    def best(self) -> Options:
        """The fastest; of equals the one that was tried first."""
        return self._fastest(self.tried)[0]

    def descend(self, asked: Problem, seeds: Sequence[Options]) -> None:
        """From the best of the seeds, the first of which is the default, vary one option at a time while it helps.

        The best values of all options together are tried too, and changes of two where none of one helps.
        """
        default = seeds[0]
        self.tried.append((default, self.milliseconds(default)))
        self.attempt(seeds)
        while self.in_time():
            start = self.best
            around = [alternatives(asked, default, start, name) for name in start]
            self.attempt(chain(*around))
            self.attempt(some for some in [self._together(start)] if allowed(asked, default, some))
            if self.best == start:
                self.attempt(pairs(asked, default, start))
            if self.best == start:
                return

    def _together(self, start: Options) -> Options:
        """`start` with the fastest value of each option that alone is faster than `start`."""
        changes: dict[str, int] = {}
        for name in start:
            alone = [(other, ms) for other, ms in self.tried if {**other, name: start[name]} == start]
            changes[name] = self._fastest(alone)[0][name]
        return {**start, **changes}

    @staticmethod
    def _fastest(tried: Iterable[tuple[Options, float]]) -> tuple[Options, float]:
        return min(tried, key=lambda pair: pair[1])


def tune(
    planned: Sequence[Planned],
    device: str,
    path: Path,
    facts: Mapping[str, Any],
    budget: float,
    say: Say,
    shown: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> None:
    """Tune for each problem, and after each write all to `path`.

    Args:
        planned: The problems, those of one setting in succession.
        device: "cuda", or "cpu" where Triton kernels are interpreted.
        path: File that receives the options; entries of other problems stay.
        facts: What the file tells besides the options; "device" must be that of the file, if there is one.
        budget: Seconds in all; each problem may take an equal part of what is left.
        say: Receives lines of text.
        shown: Wraps the problems in a progress bar.

    Raises:
        click.UsageError: The file is another device's.
    """
    entries = read(path, facts["device"])
    end = time.monotonic() + budget
    left = len(planned)
    for one, run in shown(with_calls(planned, device, say)):
        now = time.monotonic()
        if now >= end:
            say(f"No time left for {left} of {len(planned)} problems, from {describe(one.asked)} on.")
            break
        entry = tune_one(one, run, device, (end - now) / left, entries, say)
        if entry is not None:
            entries = merge(entries, [entry])
            write(path, facts, entries)
        left -= 1


def with_calls(planned: Iterable[Planned], device: str, say: Say) -> Iterator[tuple[Planned, Run]]:
    """Each problem with the call that has it."""
    for (op, case), of_case in groupby(planned, key=lambda one: (one.setting.op, one.setting.case)):
        arguments = SPECIFICATIONS[op].arguments(case, torch.float64, device)
        for setting, of_setting in groupby(of_case, key=lambda one: one.setting):
            module = implementation(op)
            assert isinstance(module, ModuleType)
            runs = calls(setting, module, arguments, say)
            for one in of_setting:
                yield one, runs[one.function]


def tune_one(one: Planned, run: Run, device: str, seconds: float, entries: Sequence[Entry], say: Say) -> Entry | None:
    """The entry for a problem: its default, or faster options if they were found in about so many seconds.

    `entries` are what is known already; None if even the default doesn't run.
    """
    asked, kernel = one.asked, one.asked.kernel
    try:
        default = record(run).get(asked, one.default)
        with forced(kernel, default):
            expected = tensors(run())
            clock = stopwatch(run, device)
    except (TritonError, RuntimeError) as error:
        say(f"{describe(asked)}: the default {show(one.default)} failed: {first_line(error)}")
        return None

    def milliseconds(options: Options) -> float:
        try:
            with forced(kernel, options):
                check(tensors(run()), expected)
                return clock(run)
        except (TritonError, RuntimeError, AssertionError) as error:
            say(f"{describe(asked)}: {show(options)} dropped: {first_line(error)}")
            return math.inf

    def prepare(batch: Sequence[Options]) -> None:
        if device == "cuda":
            compile_ahead(run, kernel, batch)

    deadline = time.monotonic() + seconds  # The default has been compiled by now.
    search = Search(milliseconds, prepare, lambda: time.monotonic() < deadline)
    search.descend(asked, seeds(asked, default, entries))
    best = search.best
    times = in_turn([default, best], milliseconds) if best != default else [search.tried[0][1]] * 2
    if not math.isfinite(times[0]):
        return None
    entry = as_entry(asked, default, best, *times)
    say(
        f"{describe(asked)}: {entry['milliseconds']} ms with {show(entry['options'])}, "
        f"{entry['default_milliseconds']} ms by default; {len(search.tried)} tried"
    )
    return entry


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


def in_turn(contenders: Sequence[Options], milliseconds: Callable[[Options], float]) -> list[float]:
    """Median times of contenders that are timed one after the other, several times, so that clocks favour none."""
    rounds = [[milliseconds(options) for options in contenders] for _ in range(ROUNDS)]
    return [median(times) for times in zip(*rounds, strict=True)]


def tensors(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def check(results: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Raises AssertionError where results differ by more than sums in another order do."""
    for result, target in zip(results, expected, strict=True):
        close = CLOSE[target.dtype]
        most = target.abs().max().item() if target.numel() else 0.0
        torch.testing.assert_close(result, target, rtol=close, atol=close * most)


def seeds(asked: Problem, default: Options, entries: Sequence[Entry]) -> list[Options]:
    """Options to begin with: the default, and of each type the known ones for the sizes nearest in proportion."""

    def distance(entry: Entry) -> float:
        return sum(abs(math.log((a + 1) / (b + 1))) for a, b in zip(asked.sizes, entry["sizes"], strict=True))

    alike = [entry for entry in entries if (entry["kernel"], entry["layout"]) == (asked.kernel, asked.layout)]
    by_dtype: dict[str, Entry] = {}
    for entry in sorted(alike, key=distance):
        by_dtype.setdefault(entry["dtype"], entry)
    first = [entry["options"] for dtype, entry in by_dtype.items() if dtype == asked.dtype]
    known = [*first, *(entry["options"] for entry in by_dtype.values())]
    return [default, *(options for options in known if options.keys() == default.keys())]


def as_entry(
    asked: Problem, default: Options, best: Options, default_milliseconds: float, milliseconds: float
) -> Entry:
    """What the file keeps of a problem: the best options if they are clearly faster, else the default."""
    faster = milliseconds <= FASTER * default_milliseconds
    return {
        "kernel": asked.kernel,
        "dtype": asked.dtype,
        "layout": asked.layout,
        "sizes": list(asked.sizes),
        "options": dict(best if faster else default),
        "milliseconds": float(f"{milliseconds if faster else default_milliseconds:.4g}"),
        "default_milliseconds": float(f"{default_milliseconds:.4g}"),
    }


def merge(old: Iterable[Entry], new: Iterable[Entry]) -> list[Entry]:
    """Both, sorted; a new entry replaces the old one of the same problem."""

    def key(entry: Entry) -> tuple[str, str, str, tuple[int, ...]]:
        return entry["kernel"], entry["dtype"], entry["layout"], tuple(entry["sizes"])

    return sorted({key(entry): entry for entry in chain(old, new)}.values(), key=key)


def read(path: Path, device: str) -> list[Entry]:
    """Entries of the file; none if there is no file.

    Raises:
        click.UsageError: They are another device's.
    """
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    if content["device"] != device:
        raise click.UsageError(f"{path} holds options for {content['device']}, and this is {device}.")
    return list(content["tuned"])


def write(path: Path, facts: Mapping[str, Any], entries: Iterable[Entry]) -> None:
    """JSON with one line for each fact and each entry."""
    head = "".join(f" {json.dumps(name)}: {json.dumps(value)},\n" for name, value in facts.items())
    lines = ",\n".join(f"  {json.dumps(entry)}" for entry in entries)
    with written_whole(path) as temporary:
        temporary.write_text(f'{{\n{head} "tuned": [\n{lines}\n ]\n}}\n')


def listing(one: Planned) -> str:
    """A problem, and the values that its options have and may take at first."""
    parts = []
    for name, value in one.default.items():
        others = alternatives(one.asked, one.default, one.default, name)
        parts.append(f"{name} {value}" + (f" or {', '.join(str(other[name]) for other in others)}" if others else ""))
    parts.append(f"{len(pairs(one.asked, one.default, one.default))} changes of two")
    return f"{describe(one.asked)} in {one.function}: {'; '.join(parts)}"


def describe(asked: Problem) -> str:
    return f"{asked.kernel}, {asked.dtype}, {asked.layout}, {'x'.join(map(str, asked.sizes))}"


def show(options: Options) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())


def first_line(error: Exception) -> str:
    """The reason in one line; compilers put it last, after the source."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if isinstance(error, triton.compiler.CompilationError) else lines[0]


if __name__ == "__main__":
    main()
