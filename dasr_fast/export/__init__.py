"""Models for other runtimes: `torch.export` and ONNX."""

from dasr_fast.export.program import Form, export_onnx, export_program, verify

__all__ = ["Form", "export_onnx", "export_program", "verify"]
