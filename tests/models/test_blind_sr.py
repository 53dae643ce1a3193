import pytest
import torch

from dasr_fast.models import BlindSR

SMALL = {"channels": 8, "groups": 1, "blocks": 1}


def test_training_step_reaches_every_parameter():
    model = BlindSR(2, **SMALL).train()
    sr, logits, labels = model(torch.rand(2, 2, 3, 16, 16) * 255)
    assert sr.shape == (2, 3, 32, 32)
    assert logits.shape == (2, 8193)
    assert labels.tolist() == [0, 0]
    (sr.mean() + torch.nn.functional.cross_entropy(logits, labels)).backward()
    without = {n for n, p in model.named_parameters() if p.grad is None}
    assert without == {n for n, p in model.named_parameters() if not p.requires_grad}


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 5)])
def test_tiny_images(size: tuple[int, int]):
    model = BlindSR(3, **SMALL).eval()
    with torch.no_grad():
        assert model(torch.rand(2, 3, *size)).shape == (2, 3, 3 * size[0], 3 * size[1])


def test_bounds_are_for_evaluation_alone():
    model = BlindSR(2, **SMALL).eval()
    lr, mean = torch.rand(2, 3, 8, 9) * 255, torch.randn(256)
    inside = mean + torch.rand(2, 256) - 0.5
    far = mean + 8 * (inside - mean)
    keys = list(model.state_dict())
    with torch.no_grad():
        expected, unbounded = (
            model.restore(lr, mean + (far - mean) / (far - mean).abs().amax(1, True)),
            model.G(lr, far),
        )
        model.G.bounds = torch.stack((mean - 1, mean, mean + 1))
        torch.testing.assert_close(model.restore(lr, far), expected, rtol=1e-5, atol=1e-3)
        assert torch.equal(model.train().G(lr, far), unbounded)
    assert not torch.allclose(expected, unbounded, atol=0.1)
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize("compiler", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_channels_last_and_compiled_agree(compiler: str):
    model = BlindSR(4, **SMALL).eval()
    lr = torch.rand(1, 3, 12, 10) * 255
    with torch.no_grad():
        expected = model(lr)
        compiled = torch.compile(model, fullgraph=True, backend=compiler)(lr)
        torch.testing.assert_close(compiled, expected, rtol=1e-4, atol=1e-2)
        last = model.to(memory_format=torch.channels_last)(lr.to(memory_format=torch.channels_last))
        torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    ("images", "training", "kind", "message"),
    [
        (torch.rand(1, 1, 8, 8), False, ValueError, r"images must be \[B, 3, H, W\]; got \[1, 1, 8, 8\]"),
        (torch.rand(3, 8, 8), False, ValueError, r"images must be \[B, 3, H, W\]; got \[3, 8, 8\]"),
        (torch.rand(1, 3, 0, 8), False, ValueError, r"images must be \[B, 3, H, W\]; got \[1, 3, 0, 8\]"),
        (torch.rand(2, 3, 8, 8), True, ValueError, r"\[B, 2, 3, H, W\] in training mode; got \[2, 3, 8, 8\]"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), False, TypeError, "must be floating point in 0 to 255; got uint8"),
    ],
)
def test_wrong_images(images: torch.Tensor, training: bool, kind: type[Exception], message: str):
    with pytest.raises(kind, match=message):
        BlindSR(2, **SMALL).train(training)(images)


def test_wrong_embedding_and_scale():
    model = BlindSR(2, **SMALL).eval()
    with pytest.raises(ValueError, match=r"v must be \[B, 256\] with B = 1"):
        model.restore(torch.rand(1, 3, 8, 8), torch.rand(1, 64))
    with pytest.raises(ValueError, match="scale must be 2, 3 or 4; got 5"):
        BlindSR(5)
