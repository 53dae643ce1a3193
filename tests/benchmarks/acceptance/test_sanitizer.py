import pytest

from benchmarks.acceptance.part import AbsentError, Report
from benchmarks.acceptance.sanitizer import judge

CLEAN = "========= COMPUTE-SANITIZER\nda_conv, cuda, small\nMade 1 of 3 calls.\n========= ERROR SUMMARY: 0 errors\n"
WRITE = """========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at forward+0x90
========= ERROR SUMMARY: 1 error
"""
RACE = """========= Error: Race reported between Write access at forward+0x4 and Read access at forward+0x9 [4 hazards]
========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)
"""
FREE = "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n"
REFUSED = '========= Error: Device not supported. Please refer to the "Supported Devices" section\n'


def test_nothing_found():
    report = Report("sanitizer")
    judge({"memcheck": (0, CLEAN), "racecheck": (0, FREE), "initcheck": (None, "a\nb\n")}, report)
    assert report.failures == []
    assert (
        report.line == "memcheck found 0 in 1 of 3 calls, racecheck found 0 in 0 calls, initcheck was stopped: 2 calls"
    )


def test_findings_are_failures():
    report = Report("sanitizer")
    judge({"memcheck": (0, WRITE), "racecheck": (0, RACE)}, report)
    assert report.failures[0] == "memcheck: Invalid __global__ write of size 4 bytes"
    assert report.failures[1].startswith("racecheck: Error: Race reported between Write access")
    assert len(report.failures) == 2


def test_calls_that_fail_are_failures():
    report = Report("sanitizer")
    judge({"memcheck": (1, CLEAN)}, report)
    assert report.failures == ["memcheck: the calls ended with status 1"]


def test_where_it_does_not_work():
    with pytest.raises(AbsentError, match="memcheck doesn't support this device"):
        judge({"memcheck": (255, REFUSED)}, Report("sanitizer"))
