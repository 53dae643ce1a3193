import pytest
import torch
import torch.nn.functional as F

from dasr_fast.models import BlindSR, MoCo

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
        inner = mean + (far - mean) / (far - mean).abs().amax(1, True)
        expected, unbounded = model.restore(lr, inner), model.G(lr, far)
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


def test_queue_takes_any_batch_and_wraps():
    moco = MoCo(queue_size=8).train()
    before = moco.queue.clone()
    moco.queue_ptr.fill_(6)
    patches = torch.rand(3, 3, 16, 16) * 255
    moco(patches, patches)
    keys = F.normalize(moco.encoder_k(patches)[1], dim=1)
    torch.testing.assert_close(moco.queue[:, [6, 7, 0]], keys.T)
    assert torch.equal(moco.queue[:, 1:6], before[:, 1:6])
    assert moco.queue_ptr.item() == 1


def test_momentum_update_keeps_the_parameter_objects():
    moco = MoCo(queue_size=8, momentum=0.9).train()
    with torch.no_grad():
        for parameter in moco.encoder_q.parameters():
            parameter.add_(1.0)
    objects = [p.data_ptr() for p in moco.encoder_k.parameters()]
    before = [p.clone() for p in moco.encoder_k.parameters()]
    patches = torch.rand(2, 3, 16, 16) * 255
    moco(patches, patches)
    assert objects == [p.data_ptr() for p in moco.encoder_k.parameters()]
    for old, key, query in zip(before, moco.encoder_k.parameters(), moco.encoder_q.parameters(), strict=True):
        torch.testing.assert_close(key, 0.9 * old + 0.1 * query)
        assert not key.requires_grad


def test_evaluation_returns_the_embedding_and_changes_nothing():
    moco = MoCo(queue_size=8).eval()
    state = {key: value.clone() for key, value in moco.state_dict().items()}
    patches = torch.rand(2, 3, 16, 16) * 255
    assert torch.equal(moco(patches, patches), moco.encoder_q(patches)[0])
    assert all(torch.equal(value, state[key]) for key, value in moco.state_dict().items())


def test_a_copy_by_data_parallel_is_refused():
    moco = MoCo(queue_size=8).train()
    for module in moco.encoder_k.modules():
        module._parameters = dict.fromkeys(module._parameters)
    with pytest.raises(RuntimeError, match="train with DistributedDataParallel"):
        moco(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8))


def test_batch_larger_than_the_queue():
    patches = torch.rand(3, 3, 8, 8)
    with pytest.raises(ValueError, match="a batch of 3 doesn't fit into a queue of 2 keys"):
        MoCo(queue_size=2).train()(patches, patches)
