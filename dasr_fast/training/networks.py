"""The networks of a run, as they are before its first step."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from dasr_fast.degradation import Degradation, Pipeline
from dasr_fast.models import BlindSR
from dasr_fast.models.checkpoint import find_weights, load_weights, read_weights, settings_of
from dasr_fast.models.moco import MoCo
from dasr_fast.processes import Processes
from dasr_fast.training.configuration import Configuration
from dasr_fast.training.representation import LEARNERS, Learner
from dasr_fast.training.representation.batch_statistics import synchronize

Network = TypeVar("Network", bound=nn.Module)


def make_networks(
    c: Configuration, images: int, degradation: Degradation | Pipeline, processes: Processes, *, begun: bool
) -> tuple[BlindSR, Learner]:
    """The network that is trained, and the learner of its representation, which stands in it as `E`.

    Random numbers are drawn with the seed of the settings. `images` is the number of training images, and `degradation`
    theirs; a run that has `begun` doesn't need its initial weights.

    Raises:
        FileNotFoundError: There are no initial weights.
        CheckpointError: They can't be read, or belong to another network.
    """
    torch.manual_seed(c.seed)
    network = BlindSR(
        c.scale, channels=c.channels, groups=c.groups, blocks=c.blocks, depthwise=c.depthwise, gate=c.gate
    )
    network.E = MoCo(queue_size=c.queue, momentum=c.momentum)
    network.noise = None if degradation.noise is None else degradation.noise[1]
    if c.initial_weights is not None and not begun:
        _begin_with(c.initial_weights, network)
        network.E.copy_query_to_key()
    learner = LEARNERS[c.representation](network.E, images, degradation.quantities)
    network.E = learner  # type: ignore[assignment]  # It has the encoder, and all that is trained beside G.
    placed(network, processes.device)
    if processes.world > 1 and c.batch_statistics != "shuffled":
        synchronize(learner)
    return network, learner


def followed(network: BlindSR, learner: Learner) -> dict[str, Tensor]:
    """What a moving average follows: all that is trained, and running statistics of an encoder that is."""
    trained = {f"E.{name}": x for name, x in learner.named_parameters() if x.requires_grad}
    encoder = learner.encoder if trained else None
    statistics = {} if encoder is None else {f"E.encoder_q.{name}": x for name, x in encoder.named_buffers()}
    return {**{f"G.{name}": x for name, x in network.G.state_dict().items()}, **trained, **statistics}


def placed(network: Network, device: torch.device) -> Network:
    """The network itself, ready to be trained on the device: there, and with activations that work in place.

    On a GPU its weights are channels-last, as convolutions there compute.
    """
    network.to(device)
    if device.type == "cuda":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in network.modules():
        if isinstance(module, nn.LeakyReLU):
            module.inplace = True  # Results and gradients are the same to the last bit.
    return network


def _begin_with(weights: str, network: BlindSR) -> None:
    """Load weights of a path or shipped name; all but the tail if they are for another scale."""
    path = find_weights(weights)
    state = read_weights(path)
    if settings_of(state, path)["scale"] != network.G.scale:
        own = {f"G.tail.{name}": x for name, x in network.G.tail.state_dict().items()}
        state = {key: x for key, x in state.items() if not key.startswith("G.tail.")} | own
    load_weights(network, state, path)
