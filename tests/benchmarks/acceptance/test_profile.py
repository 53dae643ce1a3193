from pathlib import Path

from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEventAvg

from benchmarks.acceptance.profile import device_events, read_counters, resources, share

USAGE = """
Fatbin elf code:
 Function _Z7forwardv:
  REG:40 STACK:0 SHARED:1024 LOCAL:0 CONSTANT[0]:584 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _Z8backwardv:
  REG:255 STACK:16 SHARED:0 LOCAL:0 CONSTANT[0]:600 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
CODE = """
		Function : _Z7forwardv
        /*0000*/                   LDC R1, c[0x0][0x28] ;       /* 0x00000a00ff017b82 */
                                                                /* 0x000fe20000000800 */
        /*0010*/                   EXIT ;                       /* 0x000000000000794d */
		Function : _Z8backwardv
        /*0000*/                   STL [R1], R0 ;               /* 0x0000000001007387 */
        /*0010*/                   @P0 LDL R2, [R1] ;           /* 0x0000000001027983 */
        /*0020*/                   LDLE R2 ;                    /* 0x0000000001027983 */
"""
COUNTERS = """==PROF== Connected to process 1
"ID","Kernel Name","Grid Size","gpu__time_duration.sum","launch__registers_per_thread"
"","","","ns","register/thread"
"0","dasr_fast::forward(int, float)","(8, 1, 1)","4,032","40"
==PROF== Disconnected
"""


def test_kernels_are_counted_once():
    def event(name: str, device: DeviceType, time: float, annotation: bool = False) -> FunctionEventAvg:
        one = FunctionEventAvg()
        one.key, one.device_type, one.is_user_annotation = name, device, annotation
        one.self_device_time_total = time
        return one

    events = [
        event("aten::convolution", DeviceType.CPU, 30),
        event("aten::mul", DeviceType.CPU, 10),
        event("convolve<float>", DeviceType.CUDA, 30),
        event("multiply<float>", DeviceType.CUDA, 10),
        event("Optimizer.step#Adam.step", DeviceType.CUDA, 40, annotation=True),
    ]
    assert share(device_events(events), "self_device_time_total") == "convolve<float> takes 75%"
    assert share(device_events(events[:2]), "self_device_time_total") == "nothing was recorded"


def test_resources_of_machine_code():
    backward, forward = sorted(resources(USAGE, CODE), key=lambda row: -row["registers"])
    assert forward == {
        "registers": 40, "stack": 0, "shared": 1024, "spills": 0, "instructions": 2, "name": "_Z7forwardv"
    }  # fmt: skip
    assert (backward["spills"], backward["instructions"], backward["stack"]) == (2, 3, 16)


def test_counters(tmp_path: Path):
    path = tmp_path / "counters.csv"
    assert read_counters(path) == []
    path.write_text(COUNTERS)
    (row,) = read_counters(path)
    assert row == {
        "kernel": "dasr_fast::forward(int, float)",
        "grid": "(8, 1, 1)",
        "time": "4,032 ns",
        "registers": "40 register/thread",
    }
