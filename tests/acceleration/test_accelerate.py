import copy
import functools
import io
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from acceleration import models_related as related
from acceleration.models_related import RELATED, UNCOVERED, accelerated, call, size_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import dasr_fast
from dasr_fast.acceleration.accelerate import report
from dasr_fast.nn import DAConv
from tests.released.network import Adaptive, Blind, Block, Contrast, Group, Restorer


@pytest.fixture
def pair() -> list[Tensor]:
    """Features of 16 channels and the representation."""
    return [torch.randn(2, 16, 6, 5), torch.randn(2, 16)]


def inputs(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Features and representation for one of the related models."""
    channels, representation = size_of(model)
    x = torch.randn(2, channels, 9, 7, requires_grad=True)
    return x, torch.randn(2, representation, requires_grad=True)


def result_and_gradients(model: nn.Module, x: Tensor, v: Tensor) -> list[Tensor]:
    y = call(model, x, v)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    return [y, *torch.autograd.grad((y * weights).sum(), [x, v, *model.parameters()], allow_unused=True)]


@pytest.mark.parametrize("kind", RELATED)
@pytest.mark.parametrize("training", [True, False])
def test_related_models_agree(kind: type[nn.Module], training: bool):
    model, original = accelerated(kind().train(training))
    assert "" in report(model).replaced
    assert not report(model).left
    x, v = inputs(model)
    expected = result_and_gradients(original, x, v)
    for result, other in zip(result_and_gradients(model, x, v), expected, strict=True):
        if other is None:
            assert result is None
        else:
            torch.testing.assert_close(result, other, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(call(model, x, v), expected[0].detach(), rtol=1e-4, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels_last=st.booleans(),
    grad=st.booleans(),
)
def test_any_size_and_layout(batch: int, height: int, width: int, channels_last: bool, grad: bool):
    model, original = _pair_of_groups()
    x, v = torch.randn(batch, 16, height, width), torch.randn(batch, 16)
    expected = original([x, v]).detach()
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(model([x, v]).detach(), expected, rtol=1e-4, atol=1e-4)


@functools.cache
def _pair_of_groups() -> tuple[nn.Module, nn.Module]:
    original = Group(16, 2)
    return dasr_fast.accelerate(copy.deepcopy(original)), original


def test_weights_that_are_not_there_yet():
    lazy = nn.ModuleList([Adaptive(16)])
    lazy[0].kernel[0] = nn.LazyLinear(16)
    for model in (lazy, Adaptive(16).to("meta")):
        dasr_fast.accelerate(model)
        assert "DA_conv" not in report(model).replaced.values()


@pytest.mark.parametrize("kind", UNCOVERED)
def test_what_no_option_covers_is_left_alone(kind: type[nn.Module]):
    model = kind()
    dasr_fast.accelerate(model)
    assert type(model) is kind
    why = f"{kind.__name__} looks like the released DA_conv, but computes something else"
    assert report(model).left == {"": why}


def test_layers_gain_in_another_trunk():
    model, original = accelerated(related.UNet().eval().to(memory_format=torch.channels_last))
    layers = {f"{name}.adapt": "DA_conv" for name in ("outer", "inner")}
    assert report(model).replaced == layers | {"leave": "Conv2d"}
    assert report(model).left.keys() == {"outer", "inner"}
    image, v = torch.rand(2, 3, 12, 8), torch.randn(2, 16)
    torch.testing.assert_close(model(image, v), original(image, v), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_whole_model_agrees(scale: int):
    model, original = accelerated(Blind(scale, 1, 1).eval())
    kinds = set(report(model).replaced.values())
    assert kinds == {"DASR", "DAG", "DAB", "DA_conv", "MoCo"}
    for shape in ((1, 3, 1, 1), (2, 3, 3, 5), (1, 3, 17, 24)):
        lr = torch.rand(shape) * 255
        expected = original(lr).detach()
        torch.testing.assert_close(model(lr).detach(), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
        with torch.no_grad():
            torch.testing.assert_close(model(lr), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def losses(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(steps):
        images = torch.rand(2, 2, 3, 8, 8, generator=generator) * 255
        hr = torch.rand(2, 3, 16, 16, generator=generator) * 255
        sr, logits, labels = model(images)
        loss = F.l1_loss(sr, hr) + F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def test_training_goes_as_before_with_an_optimizer_from_before():
    model = Blind(2, 1, 1)
    original = copy.deepcopy(model)
    optimizers = [torch.optim.Adam(m.parameters(), 1e-4) for m in (model, original)]
    dasr_fast.accelerate(model)
    found = losses(model, optimizers[0], 3)
    assert found == pytest.approx(losses(original, optimizers[1], 3), rel=1e-4)
    assert found[0] != found[-1]
    torch.testing.assert_close(model.E.queue, original.E.queue, rtol=0, atol=1e-4)
    assert model.E.queue_ptr.item() == original.E.queue_ptr.item() == 6


def snapshot(model: nn.Module) -> tuple:
    """Everything that must stay: objects, their values, keys, flags."""
    return (
        [(name, id(p), p.requires_grad) for name, p in model.named_parameters()],
        [(name, id(b)) for name, b in model.named_buffers()],
        [(name, id(m), m.training) for name, m in model.named_modules()],
        list(model.state_dict()),
    )


def test_nothing_but_the_computation_changes_and_revert_undoes_it():
    model = Blind(2, 1, 1)
    model.E.encoder_q.E[1].eval()
    model.G.head.requires_grad_(False)
    before, values = snapshot(model), copy.deepcopy(model.state_dict())
    classes = [type(module) for module in model.modules()]
    attributes = [set(vars(module)) for module in model.modules()]
    random = torch.get_rng_state()
    assert dasr_fast.accelerate(model) is model
    assert torch.equal(random, torch.get_rng_state())
    assert snapshot(model) == before
    assert all(isinstance(module, kind) for module, kind in zip(model.modules(), classes, strict=True))
    done = report(model)
    dasr_fast.accelerate(model)
    assert report(model) == done
    assert dasr_fast.revert(model) is model
    assert snapshot(model) == before
    assert [type(module) for module in model.modules()] == classes
    assert [set(vars(module)) for module in model.modules()] == attributes
    assert all(torch.equal(value, values[key]) for key, value in model.state_dict().items())
    assert report(model).replaced == {}


def test_copies_and_files():
    model = dasr_fast.accelerate(Blind(2, 1, 1).eval())
    lr = torch.rand(1, 3, 8, 8) * 255
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    with torch.no_grad():
        for twin in (copy.deepcopy(model), torch.load(file, weights_only=False)):
            assert report(twin).replaced == report(model).replaced
            assert torch.equal(twin(lr), model(lr))
            twin.G.head[0].weight.zero_()
            assert not torch.equal(twin(lr), model(lr))


def test_weights_loaded_later_count(pair: list[Tensor]):
    model, other = dasr_fast.accelerate(Block(16)), Block(16)
    model.load_state_dict(other.state_dict())
    torch.testing.assert_close(model(pair), other(pair), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_before_and_after(dtype: torch.dtype, pair: list[Tensor]):
    expected = Block(16).eval()
    before, after = copy.deepcopy(expected).to(dtype), copy.deepcopy(expected)
    dasr_fast.accelerate(before)
    dasr_fast.accelerate(after)
    after.to(dtype)
    x, v = pair
    with torch.no_grad():
        for model in (before, after):
            y = model([x.to(dtype), v.to(dtype)])
            assert y.dtype == dtype
            torch.testing.assert_close(y.float(), expected([x, v]), rtol=0.05, atol=0.05)


def test_autocast(pair: list[Tensor]):
    model, original = accelerated(Block(16))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(pair), original(pair), rtol=0.05, atol=0.05)


def test_data_parallel_is_opened():
    model = nn.DataParallel(Blind(2, 1, 1).eval())
    lr = torch.rand(1, 3, 8, 8) * 255
    expected = model(lr).detach()
    dasr_fast.accelerate(model)
    assert "module.G" in report(model).replaced
    torch.testing.assert_close(model(lr).detach(), expected, rtol=0, atol=1e-2)


def test_replicas_of_data_parallel_compute_with_their_own_weights(pair: list[Tensor]):
    model = dasr_fast.accelerate(Block(16))
    replica = copy.copy(model)  # As nn.Module._replicate_for_data_parallel makes them: a class and a dictionary.
    replica._modules = {name: copy.deepcopy(child) for name, child in model._modules.items()}
    replica.conv2.bias.data += 1
    torch.testing.assert_close(replica(pair), model(pair) + 1)


def test_random_generators_of_gpus_are_left_alone(monkeypatch: pytest.MonkeyPatch):
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    model, state = Block(16), torch.get_rng_state()
    assert report(dasr_fast.accelerate(model)).replaced
    assert seeded == []
    assert torch.equal(torch.get_rng_state(), state)


def test_distributed_data_parallel(tmp_path, pair: list[Tensor]):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        original = Group(16, 1)
        model = nn.parallel.DistributedDataParallel(copy.deepcopy(original))
        dasr_fast.accelerate(model)
        assert report(model).replaced["module"] == "DAG"
        model(pair).square().mean().backward()
        original(pair).square().mean().backward()
        for p, expected in zip(model.module.parameters(), original.parameters(), strict=True):
            torch.testing.assert_close(p.grad, expected.grad, rtol=1e-3, atol=1e-5)
    finally:
        torch.distributed.destroy_process_group()


def test_hooks_on_parts_are_called(pair: list[Tensor]):
    model = Block(16)
    early: list[nn.Module] = []
    model.da_conv1.conv.register_forward_hook(lambda module, *_: early.append(module))
    original = copy.deepcopy(model)
    dasr_fast.accelerate(model)
    assert report(model).left == {"da_conv1": "there are hooks on parts of it that would no longer be called"}
    assert report(model).replaced["da_conv2"] == "DA_conv"
    late: list[nn.Module] = []
    for name in ("da_conv2", "da_conv2.conv", "conv1"):
        model.get_submodule(name).register_forward_hook(lambda module, *_: late.append(module))
    early.clear()
    with torch.no_grad():
        y = model(pair)
        assert early == [model.da_conv1.conv]
        assert late == [model.conv1, model.da_conv2.conv, model.da_conv2]
        torch.testing.assert_close(y, original(pair), rtol=1e-4, atol=1e-5)


def test_a_hook_that_can_not_be_copied_is_not_in_the_way():
    model = Adaptive(16)
    model.register_forward_hook(lambda *_: None)
    model.ca.register_full_backward_hook(io.TextIOWrapper(io.BytesIO()).write)
    dasr_fast.accelerate(model)
    assert report(model).left == {"": "there are hooks on parts of it that would no longer be called"}


def test_a_part_that_is_exchanged_later_computes(pair: list[Tensor]):
    model = dasr_fast.accelerate(Block(16))
    model.da_conv1 = nn.Sequential(nn.Identity())
    model.da_conv1.forward = lambda pair: 2 * pair[0]
    model.da_conv2.conv = nn.Sequential(model.da_conv2.conv, nn.Tanh())
    plain = dasr_fast.revert(copy.deepcopy(model))
    with torch.no_grad():
        torch.testing.assert_close(model(pair), plain(pair), rtol=1e-4, atol=1e-5)


def test_a_forward_that_was_replaced_is_left_alone():
    model = Adaptive(16)
    model.forward = lambda pair: pair[0]
    dasr_fast.accelerate(model)
    assert type(model) is Adaptive
    x = torch.randn(1, 16, 4, 4)
    assert model([x, torch.randn(1, 16)]) is x


def test_other_calls_reach_the_original_forward():
    model = dasr_fast.accelerate(Adaptive(16))
    with pytest.raises(ValueError, match="not enough values to unpack"):
        model([torch.randn(1, 16, 4, 4)])
    x, v = torch.randn(2, 16, 4, 4), torch.randn(2, 16)
    torch.testing.assert_close(model(pair=[x, v]), model([x, v]), rtol=1e-4, atol=1e-5)


def test_the_queue_wraps_and_other_batches_fit():
    moco = dasr_fast.accelerate(Contrast(queue_size=5))
    patches = torch.rand(3, 3, 16, 16) * 255
    moco(patches, patches)
    moco(patches, patches)
    assert moco.queue_ptr.item() == 1
    moco.eval()
    torch.testing.assert_close(moco(patches, patches), moco.encoder_q(patches)[0])


def test_what_is_unknown_stays():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.TransformerEncoderLayer(8, 2, 8), DAConv(8, 8))
    classes = [type(module) for module in model.modules()]
    dasr_fast.accelerate(model)
    assert [type(module) for module in model.modules()] == classes
    assert report(model).replaced == report(model).left == {}


def test_an_object_or_a_list_of_models():
    class Trainer:
        def __init__(self) -> None:
            self.model, self.step = Restorer(2, 1, 1, channels=16), 0

    trainer = Trainer()
    dasr_fast.accelerate(trainer)
    assert report(trainer).replaced["model"] == "DASR"
    models = [trainer, {"layer": Adaptive(16)}]
    dasr_fast.accelerate(models)
    assert report(models).replaced["1.layer"] == "DA_conv"


@pytest.mark.parametrize("model", [None, 3, "model.pt", Adaptive])
def test_what_can_not_hold_a_module(model: object):
    with pytest.raises(TypeError, match="accelerate: model must be a module, or an object"):
        dasr_fast.accelerate(model)


def test_log(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "dasr_fast"):
        dasr_fast.accelerate(Block(16))
        dasr_fast.accelerate(UNCOVERED[0]())
    done, left = caplog.records
    assert done.levelno == logging.INFO
    assert done.getMessage() == "accelerate: Replaced 2 DA_conv, 1 DAB."
    assert left.levelno == logging.WARNING
    assert "Left the model: NormalizedKernel looks like the released DA_conv, but" in left.getMessage()


def test_the_report_groups_and_says_why():
    model = nn.ModuleList([nn.Sequential(*(related.ThreeArguments() for _ in range(3))), Restorer(2, 1, 1), Trunk()])
    dasr_fast.accelerate(model)
    assert str(report(model)).splitlines() == [
        "Replaced 4 DA_conv, 2 DAB, 1 DAG, 1 DASR.",
        "Left 0.0 and 2 like it: ThreeArguments looks like the released DA_conv, but isn't called with the same "
        "arguments.",
        "Left 2: Trunk combines its DAB in a way of its own, so that only those are replaced.",
    ]


class Trunk(nn.Module):
    """A block in a trunk of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.block, self.leave = nn.Conv2d(3, 16, 3, padding=1), Block(16), nn.Conv2d(16, 3, 1)

    def forward(self, image: Tensor, v: Tensor) -> Tensor:
        return self.leave(self.block([self.enter(image), v])) + image


def test_another_default_dtype(other_default: torch.dtype):
    model = Blind(2, 1, 1).eval()
    torch.set_default_dtype(other_default)
    dasr_fast.accelerate(model, inference=True)
    lr = torch.rand(1, 3, 8, 8, dtype=torch.float32) * 255
    result = model(lr)
    torch.testing.assert_close(result, dasr_fast.revert(model)(lr).detach(), rtol=0, atol=0.02)


def test_weights_that_are_loaded_later():
    model = Blind(2, 1, 1)  # As `skip_init` leaves them.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    dasr_fast.accelerate(model.eval(), inference=True)
    assert report(model).replaced[""] == "BlindSR"


def test_a_model_on_meta_is_told():
    model = Blind(2, 1, 1).to("meta").eval()
    dasr_fast.accelerate(model, inference=True)
    assert not report(model).replaced.keys() & {"", "G", "G.body.0"}
    assert 'its weights are on the device "meta"; accelerate it once they are loaded.' in str(report(model))
    assert model(torch.empty(1, 3, 8, 8, device="meta")).shape == (1, 3, 16, 16)


@pytest.mark.usefixtures("_hurried_threads")
@pytest.mark.parametrize("inference", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_revert_and_accelerate_during_calls_of_other_threads(inference: bool, pair: list[Tensor]):
    model = Blind(2, 1, 1).eval() if inference else Group(16, 2)
    x, tolerance = (torch.rand(1, 3, 6, 6) * 255, 0.02) if inference else (pair, 1e-4)
    expected = model(x).detach()
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            with torch.no_grad():
                torch.testing.assert_close(model(x), expected, rtol=0, atol=tolerance)

    with ThreadPoolExecutor(3) as threads:
        try:
            running = [threads.submit(compute) for _ in range(2)]
            changing = [threads.submit(dasr_fast.revert, model)]
            for _ in range(2):
                dasr_fast.accelerate(model, inference=inference)
                dasr_fast.revert(model)
        finally:
            stop.set()
        for future in (*running, *changing):
            future.result()


def test_an_activation_in_place_after_a_replaced_layer_can_be_trained():
    model = related.DepthwiseBlock()
    dasr_fast.accelerate(model.adapt)
    model([torch.randn(1, 16, 4, 4), torch.randn(1, 16)]).sum().backward()
    assert model.adapt.kernel[0].weight.grad.abs().max() > 0


def test_features_leave_in_the_format_in_which_they_came(pair: list[Tensor]):
    model, alone = dasr_fast.accelerate(Group(16, 2)), dasr_fast.accelerate(Adaptive(16))
    x, v = pair
    for memory_format in (torch.contiguous_format, torch.channels_last):
        features = [x.contiguous(memory_format=memory_format), v]
        for unit in (model, model.body[0]):
            assert unit(features).is_contiguous(memory_format=memory_format)
        torch.testing.assert_close(alone(features), alone(pair))  # The original can't view those in channels-last.


def test_layers_that_were_quantized_or_normalized_later(pair: list[Tensor]):
    model = dasr_fast.accelerate(Block(16).eval())
    nn.utils.weight_norm(model.da_conv1.conv)
    model.da_conv1.kernel[2] = nn.Sequential(nn.Linear(16, 16 * 9))
    original = copy.deepcopy(dasr_fast.revert(model).state_dict())
    expected = model(pair)
    dasr_fast.accelerate(model)
    assert model.state_dict().keys() == original.keys()
    torch.testing.assert_close(model(pair), expected, rtol=1e-4, atol=1e-5)
