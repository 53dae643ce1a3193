"""Ways to learn the representation of degradations, one file each."""

from collections.abc import Callable

from dasr_fast.models import MoCo
from dasr_fast.training.representation.in_batch import InBatchLearner
from dasr_fast.training.representation.learner import DegradationTarget, EncoderLearner, Learned, Learner
from dasr_fast.training.representation.memory_bank import MemoryBankLearner
from dasr_fast.training.representation.moco import MoCoLearner
from dasr_fast.training.representation.oracle import OracleLearner
from dasr_fast.training.representation.predictor import PredictorLearner
from dasr_fast.training.representation.sr_loss import SRLossLearner

LEARNERS: dict[str, Callable[[MoCo, int], Learner]] = {
    "moco": lambda moco, images: MoCoLearner(moco),
    "in-batch": lambda moco, images: InBatchLearner(moco.encoder_q, temperature=moco.temperature),
    "memory-bank": lambda moco, images: MemoryBankLearner(images, moco.encoder_q, temperature=moco.temperature),
    "predictor": lambda moco, images: PredictorLearner(moco.encoder_q),
    "sr-loss": lambda moco, images: SRLossLearner(moco.encoder_q),
    "oracle": lambda moco, images: OracleLearner(),
}
"""Makers of learners by name, from the `MoCo` of a `BlindSR`, whose tensors they share, and the number of images."""

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
