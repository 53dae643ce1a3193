"""Learners in two processes (gloo) against one process with the joint batch.

Results are compared with batch normalisation in evaluation mode, and with its statistics synchronized; that buffers are
the same on all ranks is checked with each rank's own statistics too.
"""

import subprocess
import sys
from typing import Any

import pytest
import step_on_ranks
import torch
from step_on_ranks import INDICES, NAMES, make_learner, step

WORLD = 2


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The joint batch and results of all learners, by rank."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.save((torch.rand(6, 2, 3, 16, 16) * 255).round(), folder / "lr.pt")
    program = [sys.executable, step_on_ranks.__file__]
    processes = [
        subprocess.Popen([*program, str(rank), str(WORLD), folder], stderr=subprocess.PIPE) for rank in range(WORLD)
    ]
    for process in processes:
        _, error = process.communicate(timeout=600)
        assert process.returncode == 0, error.decode()
    return [{"lr": torch.load(folder / "lr.pt"), **torch.load(folder / f"{rank}.pt")} for rank in range(WORLD)]


@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_are_one_process_with_the_joint_batch(name: str, ranks: list[dict[str, Any]]):
    lr = ranks[0]["lr"]
    results = [result[name] for result in ranks]
    for kind in ("plain", "normalised", "synchronized"):
        first, second = (result[kind] for result in results)
        for key, value in first["buffers"].items():
            assert torch.equal(value, second["buffers"][key])
    for kind in ("plain", "synchronized"):
        compare([result[kind] for result in results], step(make_learner(name, normalised=kind != "plain"), lr, INDICES))
    if name == "moco":
        # Keys are encoded among those of the other rank.
        for rank, result in enumerate(results):
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
