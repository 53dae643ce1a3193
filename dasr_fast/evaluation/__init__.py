"""PSNR, SSIM and the paper's evaluation protocol."""

from dasr_fast.evaluation.metrics import psnr, quantize, ssim
from dasr_fast.evaluation.protocol import Score, bicubic, evaluate_image, evaluate_pair, mean_score, network
from dasr_fast.evaluation.scores import find_metric
from dasr_fast.evaluation.setting import PresetSetting, Setting, table2, table3

__all__ = [
    "PresetSetting",
    "Score",
    "Setting",
    "bicubic",
    "evaluate_image",
    "evaluate_pair",
    "find_metric",
    "mean_score",
    "network",
    "psnr",
    "quantize",
    "ssim",
    "table2",
    "table3",
]
