"""The networks of DASR with the released model's parameter names, and their weights in and out of files."""

from dasr_fast.models.blind_sr import BlindSR
from dasr_fast.models.checkpoint import CheckpointError, read_weights, save_weights
from dasr_fast.models.dasr import DASR
from dasr_fast.models.encoder import DegradationEncoder
from dasr_fast.models.moco import MoCo

__all__ = ["DASR", "BlindSR", "CheckpointError", "DegradationEncoder", "MoCo", "read_weights", "save_weights"]
