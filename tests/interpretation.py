"""What makes the tests of Triton kernels bearable in its interpreter, where a program costs milliseconds."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

LARGE_TILES = {
    "depthwise": {"BLOCK_C": 64, "BLOCK_W": 64, "ROWS": 8},
    "depthwise_backward": {"BLOCK_C": 64, "BLOCK_W": 64, "ROWS": 8},
    "modulated_depthwise_backward": {"BLOCK_C": 64, "BLOCK_W": 64, "ROWS": 8},
    "modulation": {"BLOCK_C": 64, "BLOCK_W": 128},
    "modulation_backward": {"BLOCK_C": 64, "BLOCK_W": 128},
    "da_conv": {"BLOCK_P": 256, "BLOCK_C": 64},
    "da_conv_backward": {"BLOCK_P": 256, "BLOCK_C": 64},
    "blur_downsample": {"BLOCK_M": 16, "GROUP": 4, "BLOCK_J": 16, "BLOCK_K": 128},
    "blur_grad_kernel": {"BLOCK_H": 32, "BLOCK_W": 32, "BLOCK_K": 64},
}


@contextmanager
def large_tiles() -> Iterator[None]:
    """Launch every kernel with few large tiles."""
    from dasr_fast.kernels.options import forced

    with ExitStack() as stack:
        for kernel, options in LARGE_TILES.items():
            stack.enter_context(forced(kernel, options))
        yield


def few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Split the sums of backward passes among few programs."""
    from dasr_fast.kernels import blur_downsample, da_conv

    for module in (blur_downsample, da_conv):
        monkeypatch.setattr(module, "PROGRAMS", 8)


def replace_once_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a launch patch Triton's language once, not again at each call of a device function."""
    from triton.runtime import interpreter

    replace = interpreter._patch_lang
    replaced: set[str] = set()

    def once(function: Any) -> Any:
        modules = {value.__name__ for value in function.__globals__.values() if isinstance(value, ModuleType)}
        modules = {name for name in modules if name in ("triton.language", "triton.language.core")}
        if modules <= replaced:
            return SimpleNamespace(restore=lambda: None)
        launching = not replaced
        replaced.update(modules)
        scope = replace(function)
        restore = scope.restore

        def put_back() -> None:
            if launching:
                replaced.clear()
            restore()

        scope.restore = put_back
        return scope

    monkeypatch.setattr(interpreter, "_patch_lang", once)
