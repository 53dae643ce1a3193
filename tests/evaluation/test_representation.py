import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import arrays
from PIL import Image

from dasr_fast.evaluation import Setting
from dasr_fast.evaluation.representation import (
    Representations,
    degraded_patches,
    in_two_dimensions,
    isotropic_settings,
    represent,
    separability,
)
from dasr_fast.evaluation.representation_plot import Panel, plot
from dasr_fast.evaluation.setting import anisotropic_settings

HR = arrays("evaluation")["hr"].permute(2, 0, 1)


def made_up(spread: float, images: int = 6, degradations: int = 4, patches: int = 2) -> Representations:
    """Vectors around one centre for each degradation."""
    random = np.random.default_rng(0)
    degradation = np.tile(np.repeat(np.arange(degradations), patches), images)
    centres = np.eye(degradations, 8)
    vectors = centres[degradation] + spread * random.standard_normal((len(degradation), 8))
    of_images = np.repeat(np.arange(images), degradations * patches)
    return Representations(vectors.astype(np.float32), degradation, of_images)


def test_patches_are_cut_then_degraded():
    settings = [Setting(0), Setting(2.0), Setting(2.0, 0.5, 30), Setting(1.0, noise=20)]
    found = degraded_patches(HR, "a.png", settings, 2, patches=3, size=12, seed=1)
    assert found.shape == (4, 3, 3, 12, 12)
    height, width = HR.shape[1:]
    corners = [(y, x) for y in range(height - 24 + 1) for x in range(width - 24 + 1)]
    places = torch.stack([HR[:, y : y + 24, x : x + 24].float() for y, x in corners])
    without_blur = settings[0].degradation(2)(places)[0].byte()
    for i in range(3):
        (cut,) = places[(without_blur == found[0, i]).flatten(1).all(1)]
        for number in (1, 2):
            assert torch.equal(settings[number].degradation(2)(cut[None])[0][0].byte(), found[number, i])
        clean = Setting(1.0).degradation(2)(cut[None])[0][0]
        assert 10 < (found[3, i].float() - clean).std() < 25  # Less than 20 where values are clamped.
    assert torch.equal(found, degraded_patches(HR, "a.png", settings, 2, patches=3, size=12, seed=1))
    assert not torch.equal(found, degraded_patches(HR, "b.png", settings, 2, patches=3, size=12, seed=1))
    assert not torch.equal(found, degraded_patches(HR, "a.png", settings, 2, patches=3, size=12, seed=2))


def test_another_default_device():
    found = degraded_patches(HR, "a.png", [Setting(0)], 2, patches=3, size=12)
    with torch.device("meta"):
        assert torch.equal(degraded_patches(HR, "a.png", [Setting(0)], 2, patches=3, size=12), found)


def test_every_place_is_drawn():
    image = torch.arange(26 * 25).reshape(1, 26, 25).remainder(251).expand(3, -1, -1).byte()
    found = degraded_patches(image, "a.png", [Setting(0)], 1, patches=60, size=24)
    corners = {patch[0, 0, 0].item() for patch in found[0]}
    assert corners == {y * 25 + x for y in range(3) for x in range(2)}


def test_an_image_smaller_than_a_patch_is_refused():
    with pytest.raises(ValueError, match="at least 96 x 96 pixels for patches of 48 x 48 at scale 2; got 96 x 84"):
        degraded_patches(HR, "a.png", [Setting(1.0)], 2)


def test_represent_keeps_the_order():
    patches = [
        torch.arange(2 * n * 3).reshape(2, n, 3, 1, 1).remainder(256).byte() + 40 * image
        for image, n in enumerate((2, 3))
    ]
    found = represent(lambda lr: lr[:, :2, 0, 0], patches)
    assert found.degradations.tolist() == [0, 0, 1, 1, 0, 0, 0, 1, 1, 1]
    assert found.images.tolist() == [0] * 4 + [1] * 6
    for vector, degradation, image in zip(found.vectors, found.degradations, found.images, strict=True):
        assert any(np.array_equal(vector, patch[:2, 0, 0]) for patch in patches[image][degradation])


def test_separability_is_the_vote_of_other_images():
    representations = made_up(0.4)
    found = separability(representations, neighbours=5)
    right = []
    for i, vector in enumerate(representations.vectors):
        others = np.flatnonzero(representations.images != representations.images[i])
        distance = np.linalg.norm((representations.vectors[others] - vector).astype(np.float64), axis=1)
        votes = np.zeros(4)
        for j in np.argsort(distance)[:5]:
            votes[representations.degradations[others[j]]] += 1 / distance[j]
        right.append(votes.argmax() == representations.degradations[i])
    assert 0.4 < np.mean(right) < 0.99
    assert found.accuracy == pytest.approx(np.mean(right))
    assert found.by_degradation == pytest.approx([np.mean(np.array(right).reshape(6, 4, 2)[:, d]) for d in range(4)])
    assert found.chance == 0.25


def test_neighbours_of_the_same_image_do_not_count():
    # The nearest patch of the same image has the same degradation, the nearest of another image has another.
    images = np.repeat(np.arange(6), 8)
    degradations = np.tile(np.repeat(np.arange(4), 2), 6)
    vectors = np.stack((100 * images, (degradations + images) % 4), axis=1).astype(np.float32)
    assert separability(Representations(vectors, degradations, images), neighbours=1).accuracy == 0


def test_separability_needs_other_images():
    with pytest.raises(ValueError, match="got those of one image"):
        separability(made_up(0.1, images=1))
    with pytest.raises(ValueError, match="neighbours must be from 1 to 40, the patches of other images; got 41"):
        separability(made_up(0.1), neighbours=41)


def test_two_dimensions_keep_neighbours():
    representations = made_up(0.05)
    points = in_two_dimensions(representations)
    assert points.shape == (48, 2)
    flat = Representations(points, representations.degradations, representations.images)
    assert separability(flat, neighbours=3).accuracy > 0.9
    with pytest.raises(ValueError, match="4 patches or more; got 2"):
        in_two_dimensions(Representations(*(values[:2] for values in vars(representations).values())))


def test_settings():
    assert [setting.sigma for setting in isotropic_settings()] == [0.2, 0.7, 1.3, 1.8, 2.4, 2.9, 3.5, 4.0]
    expected = [Setting(sigma, noise=noise) for noise in (0, 5) for sigma in (1.0, 2.0)]
    assert isotropic_settings((1.0, 2.0), (0, 5)) == expected
    assert len(anisotropic_settings((0, 10))) == 18


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_plot(tmp_path: Path, suffix: str):
    settings = isotropic_settings((1.0, 2.0), (0, 5))
    representations = made_up(0.1)
    panel = Panel("one", representations, representations.vectors[:, :2], separability(representations, 3))
    path = tmp_path / f"plot{suffix}"
    plot([panel, panel], settings, path)
    assert path.stat().st_size > 1000
    if suffix == ".png":
        colours = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).astype(int)
        assert len(np.unique(colours[np.ptp(colours, axis=1) > 60] // 64, axis=0)) >= 2  # A colour for each kernel.
    with pytest.raises(ValueError, match=r"plots are written as \.png, \.svg, \.pdf"):
        plot([panel], settings, tmp_path / "plot.gif")


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sklearn" else find(name))
    with pytest.raises(ImportError, match=r"need the package scikit-learn: pip install 'dasr-fast\[plot\]'"):
        separability(made_up(0.1))
