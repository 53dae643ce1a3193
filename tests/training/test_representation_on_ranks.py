"""Learners in two processes (gloo) against one process with the joint batch.

Results are compared with batch normalisation in evaluation mode, and with its statistics synchronized; that buffers are
the same on all ranks is checked with each rank's own statistics too.
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
    for kind in ("plain", "normalised", "synchronized"):
        first, second = (result[kind] for result in ranks)
        for key, value in first["buffers"].items():
            assert torch.equal(value, second["buffers"][key])
    for kind in ("plain", "synchronized"):
        compare([result[kind] for result in ranks], step(make_learner(name, normalised=kind != "plain"), lr, INDICES))
    if name == "moco":
        # Keys are encoded among those of the other rank.
        for rank, result in enumerate(ranks):
            assert torch.equal(result["plain"]["key_patches"][0], lr[rank::WORLD, 1])


def compare(ranks: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    """Both ranks' results with those of one process."""
    first, second = ranks
    for part in ("buffers", "statistics"):
        for key, value in expected[part].items():
            torch.testing.assert_close(first[part][key], value, rtol=0, atol=1e-10)
    torch.testing.assert_close((first["loss"] + second["loss"]) / 2, expected["loss"])
    torch.testing.assert_close((first["accuracy"] + second["accuracy"]) / 2, expected["accuracy"])
    torch.testing.assert_close(torch.cat((first["embedding"], second["embedding"])), expected["embedding"])
    largest = max(gradient.abs().max().item() for gradient in expected["gradients"].values())
    for key, gradient in expected["gradients"].items():  # Those of biases before a normalisation are 0.
        torch.testing.assert_close(first["gradients"][key], gradient, rtol=1e-6, atol=1e-10 * largest, msg=key)
