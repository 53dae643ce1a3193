import pytest
import torch
import torch.nn.functional as F

from dasr_fast.models import MoCo


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
