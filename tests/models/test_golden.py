import pytest
import torch
import torch.nn.functional as F
from golden import arrays, error, fill, filled_moco, gradient_error, table
from torch import Tensor

from dasr_fast.models import BlindSR, DegradationEncoder, MoCo
from dasr_fast.ops import backends


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_keys_and_results(scale: int):
    golden = {key[3:]: value for key, value in arrays("network").items() if key.startswith(f"x{scale}/")}
    model = fill(BlindSR(scale)).eval()
    keys = table("state_dict_keys")[f"x{scale}"]
    own = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert (own, list(own)) == (keys, list(keys))
    lr = golden["lr"].float()
    with torch.no_grad():
        embedding = model.encode(lr)
        assert error(embedding, golden["embedding"]) < 1e-5
        assert error(model(lr), golden["sr"]) < 5e-5
        assert error(model.restore(lr, golden["embedding"]), golden["sr"]) < 5e-5


def test_encoder():
    golden = arrays("contrastive")
    for mode in ("train", "eval"):
        encoder = fill(DegradationEncoder()).train(mode == "train")
        embedding, projection = encoder(golden["encoder_train/x"])
        assert error(embedding, golden[f"encoder_{mode}/embedding"]) < 1e-5
        assert error(projection, golden[f"encoder_{mode}/projection"]) < 1e-5


def test_contrastive_step(monkeypatch: pytest.MonkeyPatch):
    golden = arrays("contrastive")

    def step(moco: MoCo) -> tuple[Tensor, Tensor, Tensor]:
        embedding, logits, labels = moco(golden["moco/q"], golden["moco/k"])
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        return embedding, logits, loss

    moco = filled_moco()
    embedding, logits, loss = step(moco)
    assert error(embedding, golden["moco/embedding"]) < 1e-5
    assert error(logits[:, :64], golden["moco/logits_first64"]) < 1e-5
    assert error(logits.double().sum(1), golden["moco/logits_sum"]) < 1e-5
    assert loss.item() == pytest.approx(golden["moco/loss"].item(), rel=1e-5)
    assert error(moco.queue[:, -8:], golden["moco/queue_last8"]) < 1e-5
    assert torch.equal(moco.queue_ptr, golden["moco/queue_ptr"])
    assert error(moco.encoder_k.E[0].weight, golden["moco/encoder_k_conv0"]) < 1e-5
    # With convolutions that round in another way than those of the fixture more signs would be doubtful.
    monkeypatch.setitem(backends.IMPLEMENTATIONS, ("conv3x3", "cpp"), "it rounds otherwise")
    assert gradient_error(step) < 1e-4
