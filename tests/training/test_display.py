from dataclasses import dataclass

import pytest

from dasr_fast.training import display


@dataclass
class Clock:
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


def test_time_left_is_of_the_stage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    clock = Clock()
    monkeypatch.setattr(display, "time", clock)
    with display.Display(0, 100, 4) as shown:
        for step, end, now in ((10, 20, 60), (20, 20, 120), (30, 100, 720), (40, 100, 1320)):
            clock.now = now
            shown.figures(step, end, 1.5, shown.rate(step), "stage")
    lines = [line.partition(": ") for line in capsys.readouterr().err.splitlines()]
    assert [before for before, _, _ in lines] == [
        "step 10 of 100, 1.0 min left of this stage",
        "step 20 of 100, 0.0 min left of this stage",
        "step 30 of 100, 70.0 min left",
        "step 40 of 100, 60.0 min left",
    ]
    assert [after.split(", ")[1] for _, _, after in lines] == ["0.667 images/s"] * 2 + ["0.0667 images/s"] * 2


def test_nothing_is_shown_in_other_processes(capsys: pytest.CaptureFixture[str]):
    with display.Display(0, 100, 4, shown=False) as shown:
        shown.figures(10, 100, 1.5, 1.0, "stage")
        shown.say("something")
    assert capsys.readouterr() == ("", "")
