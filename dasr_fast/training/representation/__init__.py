"""Ways to learn the representation of degradations."""

from collections.abc import Callable

from dasr_fast.models import MoCo
from dasr_fast.training.representation.ablation import OracleLearner, PredictorLearner, SRLossLearner
from dasr_fast.training.representation.contrast import InBatchLearner, MemoryBankLearner, MoCoLearner
from dasr_fast.training.representation.learner import DegradationTarget, EncoderLearner, Learned, Learner

LEARNERS: dict[str, Callable[[MoCo, int], Learner]] = {
    "moco": lambda moco, images: MoCoLearner(moco),
    "in-batch": lambda moco, images: InBatchLearner(moco.encoder_q, temperature=moco.temperature),
    "memory-bank": lambda moco, images: MemoryBankLearner(images, moco.encoder_q, temperature=moco.temperature),
    "predictor": lambda moco, images: PredictorLearner(moco.encoder_q),
    "sr-loss": lambda moco, images: SRLossLearner(moco.encoder_q),
    "oracle": lambda moco, images: OracleLearner(),
}
"""Makers of learners by name, from a `MoCo`, whose place they take, and the number of images."""

__all__ = [
    "LEARNERS",
    "DegradationTarget",
    "EncoderLearner",
    "InBatchLearner",
    "Learned",
    "Learner",
    "MemoryBankLearner",
    "MoCoLearner",
    "OracleLearner",
    "PredictorLearner",
    "SRLossLearner",
]
