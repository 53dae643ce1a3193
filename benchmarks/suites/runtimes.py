"""Other runtimes, where they are installed, with the network as `dasr-fast export` writes it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness.work import AbsentError, Contender, Settings
from dasr_fast.inference import export_onnx

Restores = Callable[[Tensor], Tensor]


def contenders(scale: int, settings: Settings, network: Callable[[], nn.Module]) -> dict[str, Contender]:
    """onnxruntime, on a GPU TensorRT by it too, and on a CPU OpenVINO; all processes share one file of the network."""

    def exported() -> Path:
        path = settings.folder / f"x{scale}.onnx"
        if not path.exists():
            export_onnx(network(), path)
        return path

    if settings.device == "cuda":
        tensorrt = partial(by_onnxruntime, exported, scale, "Tensorrt", trt_fp16_enable=True)
        plain = partial(by_onnxruntime, exported, scale, "CUDA")
        return {"onnxruntime": Contender(plain), "TensorRT fp16": Contender(tensorrt, dtype="float16")}
    return {
        "onnxruntime": Contender(lambda: by_onnxruntime(exported, scale, "CPU")),
        "OpenVINO": Contender(lambda: by_openvino(exported, "f32")),
        "OpenVINO bf16": Contender(lambda: by_openvino(exported, "bf16"), dtype="bfloat16"),
    }


def by_onnxruntime(exported: Callable[[], Path], scale: int, provider: str, **options: Any) -> Restores:
    """By a session whose inputs and outputs stay where PyTorch has them."""
    import numpy as np
    import onnxruntime

    name = f"{provider}ExecutionProvider"
    if name not in onnxruntime.get_available_providers():
        raise AbsentError(f"onnxruntime has no {name}")
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = torch.get_num_threads()
    chosen.add_session_config_entry("session.force_spinning_stop", "1")  # Others run between the calls.
    session = onnxruntime.InferenceSession(str(exported()), chosen, providers=[(name, options)])

    def restore(lr: Tensor) -> Tensor:
        lr = lr.contiguous()
        place = {"device_type": lr.device.type, "device_id": 0}
        bound = session.io_binding()
        bound.bind_input("lr", **place, element_type=np.float32, shape=lr.shape, buffer_ptr=lr.data_ptr())
        b, c, h, w = lr.shape
        sr = lr.new_empty(b, c, h * scale, w * scale)
        bound.bind_output("sr", **place, element_type=np.float32, shape=sr.shape, buffer_ptr=sr.data_ptr())
        session.run_with_iobinding(bound)
        return sr

    return restore


def by_openvino(exported: Callable[[], Path], precision: str) -> Restores:
    """On the CPU, compiled for the size of the first image."""
    import openvino

    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise AbsentError("OpenVINO computes in bfloat16 only where the processor does")
    model = core.read_model(exported())
    threads = torch.get_num_threads()
    wanted = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled: list[Any] = []

    def restore(lr: Tensor) -> Tensor:
        if not compiled:
            model.reshape(list(lr.shape))
            compiled.append(core.compile_model(model, "CPU", wanted).create_infer_request())
        return torch.from_numpy(compiled[0].infer([lr.numpy()], share_inputs=True, share_outputs=True)[0])

    return restore
