import pytest

pytest.importorskip("pytest_benchmark")

from benchmarks.acceptance.targets import STEP, compared
from benchmarks.results import Result, Run


def test_rows_say_what_was_reached():
    def timed(contender: str, milliseconds: float, **more: object) -> Result:
        return Result("network", "x4 of 320x180", contender, [milliseconds / 1e3] * 3, **more)  # type: ignore[arg-type]

    results = [
        timed("released", 8.0),
        timed("released, CUDA graph bf16", 1.0),
        timed("Engine fp16", 0.5),
        timed("Engine bf16", 0.1, error=1.0, tolerance=0.1),
        Result("memory", STEP, "released", peak=100),
        Result("memory", STEP, "dasr-fast", peak=40),
    ]
    rows = {(row["work"], row["wanted"]): row for row in compared(Run({}, "", {}, [], results))}
    inference = "x4 inference, 320x180"
    assert rows[inference, "10x released"]["measured"] == "16x (Engine fp16 and released)"
    assert rows[inference, "10x released"]["reached"] is True
    assert rows[inference, "2.5x the best alternative"]["reached"] is False
    assert rows[inference, "<= 0.8 ms"]["measured"] == "0.5 ms"
    assert rows["peak memory, training step", "2x released"]["reached"] is True
    assert rows["x4 inference, 960x540", "<= 8 ms"]["reached"] is None
