"""The nodes, loaded and called as ComfyUI does: by the folder's path, images `[B, H, W, C]` in 0 to 1."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import dasr_fast
from dasr_fast.integrations import comfyui


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """By display name."""
    path = Path(comfyui.__file__)
    spec = importlib.util.spec_from_file_location("nodes_of_dasr", path, submodule_search_locations=[str(path.parent)])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "nodes_of_dasr", module)
    spec.loader.exec_module(module)
    return {name: module.NODE_CLASS_MAPPINGS[key]() for key, name in module.NODE_DISPLAY_NAME_MAPPINGS.items()}


def call(node: Any, **inputs: Any) -> torch.Tensor:
    """As ComfyUI calls it: all required inputs by keyword."""
    types = node.INPUT_TYPES()
    assert types["required"].keys() <= inputs.keys() <= {**types["required"], **types["optional"]}.keys()
    (result,) = getattr(node, node.FUNCTION)(**inputs)
    assert node.RETURN_TYPES == ("IMAGE",)
    return result


def test_upscale(nodes: Any, weights: Path):
    image = torch.rand(2, 14, 19, 3)
    sr = call(nodes["Upscale (DASR)"], image=image, weights="x4", path=str(weights))
    assert list(sr.shape) == [2, 28, 38, 3]
    right = dasr_fast.upscale(image.permute(0, 3, 1, 2), weights=str(weights))
    torch.testing.assert_close(sr, right.permute(0, 2, 3, 1), rtol=0, atol=0)
    with_alpha = torch.cat((image, torch.rand(2, 14, 19, 1)), 3)
    torch.testing.assert_close(call(nodes["Upscale (DASR)"], image=with_alpha, weights="x4", path=str(weights)), sr)


def test_the_degradation_of_another_image(nodes: Any, weights: Path):
    node = nodes["Upscale (DASR) with the degradation of another image"]
    image, reference = torch.rand(1, 33, 34, 3), torch.rand(1, 40, 50, 3)
    image = (image * 65535).round() / 65535
    own = call(nodes["Upscale (DASR)"], image=image, weights="x4", path=str(weights))
    torch.testing.assert_close(call(node, image=image, reference=image, weights="x4", path=str(weights)), own)
    assert not torch.equal(call(node, image=image, reference=reference, weights="x4", path=str(weights)), own)


def test_shipped_weights_are_offered(nodes: Any):
    (names, options) = nodes["Upscale (DASR)"].INPUT_TYPES()["required"]["weights"]
    assert options["default"] in names
    assert "x2" in names
