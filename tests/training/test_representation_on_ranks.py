"""Learners in two processes (gloo) against one process with the joint batch.

Batch normalisation has statistics of a rank's images, so that results are compared with it in evaluation mode; that
buffers are the same on all ranks is checked in training mode too.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import step_on_ranks
import torch
from step_on_ranks import INDICES, make_learner, step
from torch import Tensor

WORLD = 2


def run(name: str, lr: Tensor, folder: Path) -> list[dict[str, Any]]:
    """Results by rank."""
    torch.save(lr, folder / "lr.pt")
    processes = [
        subprocess.Popen(
            [sys.executable, step_on_ranks.__file__, name, str(rank), str(WORLD), folder], stderr=subprocess.PIPE
        )
        for rank in range(WORLD)
    ]
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error.decode()
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize("name", ["moco", "in-batch", "memory-bank"])
def test_two_ranks_are_one_process_with_the_joint_batch(name: str, tmp_path: Path):
    lr = (torch.rand(6, 2, 3, 16, 16) * 255).round()
    ranks = run(name, lr, tmp_path)
    for kind in ("plain", "normalised"):
        first, second = (result[kind] for result in ranks)
        for key, value in first["buffers"].items():
            assert torch.equal(value, second["buffers"][key])

    expected = step(make_learner(name, normalised=False), lr, INDICES)
    first, second = (result["plain"] for result in ranks)
    assert expected["buffers"] or name == "in-batch"
    for key, value in expected["buffers"].items():
        torch.testing.assert_close(first["buffers"][key], value, rtol=0, atol=1e-5)
    torch.testing.assert_close((first["loss"] + second["loss"]) / 2, expected["loss"], rtol=1e-5, atol=0)
    torch.testing.assert_close((first["accuracy"] + second["accuracy"]) / 2, expected["accuracy"])
    torch.testing.assert_close(torch.cat((first["embedding"], second["embedding"])), expected["embedding"])
    for key, gradient in expected["gradients"].items():
        difference = (first["gradients"][key] - gradient).abs().max() / gradient.abs().max().clamp(min=1e-12)
        assert difference < 1e-4, key
    if name == "moco":
        # Keys are encoded among those of the other rank.
        for rank, result in enumerate((first, second)):
            assert torch.equal(result["key_patches"][0], lr[rank::WORLD, 1])
