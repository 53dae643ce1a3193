"""Whether an object computes what its structure suggests, found out on copies with other weights."""

import copy
import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dasr_fast.acceleration.replacement import PROBED, Plan, Proposal, is_replaced, replace, restore
from dasr_fast.torch_state import observer

OUTPUTS = 2e-5
"""Largest sum of the differences, as a part of the sum: where results are rounded, a few numbers differ by one."""

GRADIENTS = 0.1
"""Norm of the differences, as a part of the norm. Rounding moves a few numbers to the other side of a ReLU, which made
0.016 in 25 blocks; a gradient that is stopped or added is of the size of the whole."""

logger = logging.getLogger("dasr_fast")


def find_plan(candidate: Any, kind: type[Plan]) -> Plan | str | None:
    """The plan of `kind` that computes what `candidate` does.

    Copies on the CPU in float32 with random weights are compared: outputs, gradients and buffers, in training and in
    evaluation mode. The candidate, random numbers and global settings stay as they are.

    Returns:
        The plan; or the reason why there is none; or None if `candidate` isn't even like a `kind`.
    """
    ours = type(candidate).__module__.partition(".")[0] in ("torch", "dasr_fast")
    possible = [] if ours or not isinstance(candidate, kind.candidates) else kind.proposals(candidate)
    proposals = [(proposal, plans) for proposal in possible if (plans := list(proposal.plans))]
    if not proposals:
        return None
    watcher = observer()
    if watcher is not None:
        return f"{watcher} wants to see its own operations"
    if any(parameter.is_meta for parameter in _parameters_of(candidate)):
        return 'its weights are on the device "meta"; accelerate it once they are loaded'
    called = False
    with _undisturbed():
        try:
            own, fast = _copy(candidate), _copy(candidate)
            _restore_all(own)
            _set_random_weights(own, fast)
        except Exception as error:  # Foreign objects can hold anything.
            return f"it can't be copied for a comparison: {error}"
        for proposal, plans in proposals:
            training = _attempt(_outcome, own, proposal, True)
            evaluation = None if training is None else _attempt(_outcome, own, proposal, False)
            if evaluation is None:
                continue
            called = True
            for plan in plans:
                if _attempt(_agrees, fast, plan, proposal, training, evaluation):
                    return plan
    name = type(candidate).__name__
    if called:
        return f"{name} looks like the released {kind.released}, but computes something else"
    if kind.is_likely(candidate):
        return f"{name} looks like the released {kind.released}, but isn't called with the same arguments"
    return None


def _attempt(compute: Callable[..., Any], *arguments: Any) -> Any:
    """What `compute` returns, or None if it fails: foreign forwards raise anything when called in another way."""
    try:
        return compute(*arguments)
    except Exception:
        logger.debug("a probe failed", exc_info=True)
        return None


class _OnCPU(TorchFunctionMode):
    """Leaves tensors on the CPU where foreign code sends them to a GPU."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is Tensor.cuda:
            return args[0]
        return function(*args, **(kwargs or {}))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Random numbers and settings of the process are the same after the block."""
    threads = torch.get_num_threads()
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        torch.set_num_threads(1)  # Copies are small, and threads would wait for each other.
        with (
            torch.random.fork_rng(devices=[]),
            torch.inference_mode(False),
            torch.autocast("cpu", enabled=False),
            torch.device("cpu"),
            _OnCPU(),
        ):
            yield
    finally:
        torch.set_num_threads(threads)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def _copy(candidate: Any) -> Any:
    """A copy on the CPU, in float32, without hooks."""
    memo: dict[int, Any] = {}
    for module in _modules_of(candidate):
        for name, value in vars(module).items():
            if name.endswith("_hooks") and isinstance(value, dict):
                memo[id(value)] = OrderedDict()
            elif isinstance(value, Tensor) and not value.is_leaf:  # As weight normalization leaves it.
                memo[id(value)] = value.detach().to("cpu", torch.float32)
    with torch.no_grad():
        twin = copy.deepcopy(candidate, memo)
        for root in _roots(twin):
            root.to("cpu", torch.float32).requires_grad_(True)
    return twin


def _roots(candidate: Any) -> list[nn.Module]:
    """The module itself, or the modules that are attributes of an object which is none."""
    if isinstance(candidate, nn.Module):
        return [candidate]
    return [value for value in vars(candidate).values() if isinstance(value, nn.Module)]


def _modules_of(candidate: Any) -> list[nn.Module]:
    """All modules in an object."""
    return [module for root in _roots(candidate) for module in root.modules()]


def _parameters_of(candidate: Any) -> list[nn.Parameter]:
    """All parameters in an object."""
    return [parameter for root in _roots(candidate) for parameter in root.parameters()]


def _restore_all(own: Any) -> None:
    for replaced in [own, *_modules_of(own), *vars(own).values()]:
        if is_replaced(replaced):
            restore(replaced)


@torch.no_grad()
def _set_random_weights(own: Any, fast: Any) -> None:
    """The same weights for both, none of them zero, of a size that keeps the features'."""
    generator = torch.Generator().manual_seed(0)
    for parameter, twin in zip(_parameters_of(own), _parameters_of(fast), strict=True):
        inputs = parameter[0].numel() if parameter.dim() > 1 else 4
        parameter.copy_(torch.randn(parameter.shape, generator=generator, **PROBED) / inputs**0.5)
        twin.copy_(parameter)


_Outcome = tuple[list[Tensor], list[Tensor], list[Tensor]]
"""Outputs, gradients and buffers."""


def _outcome(
    candidate: Any, proposal: Proposal, training: bool, memory_format: torch.memory_format = torch.contiguous_format
) -> _Outcome:
    """What calls leave: outputs, gradients (if training), parameters and buffers, which are then set back."""
    generator = torch.Generator().manual_seed(1)
    torch.default_generator.manual_seed(1)  # `torch.manual_seed` would change those of GPUs, too.
    roots = _roots(candidate)
    before = [{key: value.clone() for key, value in root.state_dict().items()} for root in roots]
    for root in roots:
        root.train(training)
    inputs: list[Tensor] = []

    def prepared(argument: Any) -> Any:
        if isinstance(argument, (list, tuple)):
            return type(argument)(map(prepared, argument))
        if not isinstance(argument, Tensor) or not argument.is_floating_point():
            return argument
        inputs.append(argument.requires_grad_(training))
        return argument.clone(memory_format=memory_format if argument.dim() == 4 else torch.preserve_format)

    try:
        with torch.set_grad_enabled(training):
            calls = [list(map(prepared, example(generator))) for example in proposal.examples]
            outputs = _tensors([candidate(*arguments) for arguments in calls])
            inputs += _parameters_of(candidate)
            gradients = _gradients(outputs, inputs, generator) if training else []
        buffers = [value.detach().clone() for root in roots for value in root.state_dict().values()]
    finally:
        for root, state in zip(roots, before, strict=True):
            root.load_state_dict(state)
    return [output.detach() for output in outputs], gradients, buffers


def _tensors(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return [tensor for output in outputs for tensor in _tensors(output)] if isinstance(outputs, (list, tuple)) else []


def _gradients(outputs: list[Tensor], inputs: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Gradients of a random linear function of the outputs; zeros where there is none."""
    outputs = [output for output in outputs if output.requires_grad]
    inputs = [tensor for tensor in inputs if tensor.requires_grad]
    if not outputs:
        return []
    directions = [
        torch.randn(output.shape, generator=generator, dtype=output.dtype, device="cpu") for output in outputs
    ]
    found = torch.autograd.grad(outputs, inputs, directions, allow_unused=True)
    return [torch.zeros_like(tensor) if grad is None else grad for tensor, grad in zip(inputs, found, strict=True)]


def _agrees(fast: Any, plan: Plan, proposal: Proposal, training: _Outcome, evaluation: _Outcome) -> bool:
    replace(fast, plan.of_any_size())
    try:
        return (
            plan.is_intact(fast)  # Otherwise its own forward would be compared with itself.
            and _agree(_outcome(fast, proposal, False), evaluation)
            and _agree(_outcome(fast, proposal, True), training)
            and _agree(_outcome(fast, proposal, False, torch.channels_last), evaluation)
        )
    finally:
        restore(fast)


def _agree(outcome: _Outcome, expected: _Outcome) -> bool:
    limits = ((OUTPUTS, 1), (GRADIENTS, 2), (OUTPUTS, 1))
    return all(_close(own, other, *limit) for own, other, limit in zip(outcome, expected, limits, strict=True))


def _close(tensors: list[Tensor], expected: list[Tensor], tolerance: float, order: int) -> bool:
    if [(tensor.shape, tensor.dtype) for tensor in tensors] != [(tensor.shape, tensor.dtype) for tensor in expected]:
        return False

    def size(tensor: Tensor) -> float:
        return torch.linalg.vector_norm(tensor.double(), order).item() if tensor.numel() else 0.0

    sizes = [size(tensor) for tensor in expected]
    differences = [size(tensor.double() - other) for tensor, other in zip(tensors, expected, strict=True)]
    # What is zero but for rounding, such as gradients of biases before a normalization, is compared with the others.
    least = max(sizes, default=0.0) / 100
    return all(difference <= tolerance * max(own, least) for difference, own in zip(differences, sizes, strict=True))
