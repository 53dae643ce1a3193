"""Ways to learn the representation of degradations."""

from collections.abc import Callable

from dasr_fast.degradation.description import Quantity
from dasr_fast.models import MoCo
from dasr_fast.training.representation.ablation import OracleLearner, PredictorLearner, SRLossLearner
from dasr_fast.training.representation.contrast import InBatchLearner, MemoryBankLearner, MoCoLearner
from dasr_fast.training.representation.fixed import FixedLearner
from dasr_fast.training.representation.learner import DegradationTarget, EncoderLearner, Learned, Learner

LEARNERS: dict[str, Callable[[MoCo, int, tuple[Quantity, ...]], Learner]] = {
    "moco": lambda moco, images, quantities: MoCoLearner(moco),
    "in-batch": lambda moco, images, quantities: InBatchLearner(moco.encoder_q, temperature=moco.temperature),
    "memory-bank": lambda moco, images, quantities: MemoryBankLearner(
        images, moco.encoder_q, temperature=moco.temperature
    ),
    "predictor": lambda moco, images, quantities: PredictorLearner(moco.encoder_q, quantities),
    "fixed": lambda moco, images, quantities: FixedLearner(moco.encoder_q),
    "sr-loss": lambda moco, images, quantities: SRLossLearner(moco.encoder_q),
    "oracle": lambda moco, images, quantities: OracleLearner(quantities),
}
"""Makers of learners by name, from a `MoCo`, whose place they take, the number of images and what is predicted."""

__all__ = [
    "LEARNERS",
    "DegradationTarget",
    "EncoderLearner",
    "FixedLearner",
    "InBatchLearner",
    "Learned",
    "Learner",
    "MemoryBankLearner",
    "MoCoLearner",
    "OracleLearner",
    "PredictorLearner",
    "SRLossLearner",
]
