"""Other people's models made fast in place, for inference and training."""

from dasr_fast.acceleration.accelerate import Report, accelerate, report, revert

__all__ = ["Report", "accelerate", "report", "revert"]
