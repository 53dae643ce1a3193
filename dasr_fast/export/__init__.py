"""Models for other runtimes: `torch.export` and ONNX."""

from dasr_fast.export.program import export_onnx, export_program, verify

__all__ = ["export_onnx", "export_program", "verify"]
