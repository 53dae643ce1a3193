import pytest

from dasr_fast.training.schedule import Schedule

PAPER = Schedule(97_000, 485_000, 1e-3, 1e-4)


@pytest.mark.parametrize(
    ("epoch", "stage", "rate"),
    [
        (0, "encoder", 1e-3),
        (59, "encoder", 1e-3),
        (60, "encoder", 1e-4),
        (99, "encoder", 1e-4),
        (100, "everything", 1e-4),
        (224, "everything", 1e-4),
        (225, "everything", 5e-5),
        (349, "everything", 5e-5),
        (350, "everything", 2.5e-5),
        (475, "everything", 1.25e-5),
        (599, "everything", 1.25e-5),
    ],
)
def test_the_papers_epochs(epoch: int, stage: str, rate: float):
    for step in (970 * epoch, 970 * epoch + 969):
        assert PAPER.stage(step) == stage
        assert PAPER.rate(step) == pytest.approx(rate)
    assert PAPER.total == 600 * 970


def test_without_a_stage():
    assert Schedule(0, 4, 1e-3, 1e-4).stage(0) == "everything"
    assert [Schedule(0, 4, 1e-3, 8.0).rate(step) for step in range(4)] == [8, 4, 2, 1]
    assert Schedule(2, 0, 1e-3, 1e-4).total == 2


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 1e-3),
        (4, 1e-4),
        (5, 1e-4 / 11),
        (6, 2e-4 / 11),
        (14, 1e-4 * 10 / 11),
        (15, 1e-4),
        (500, 1e-4),
        (804, 1e-4),
        (805, 1e-4 * 200 / 201),
        (905, 1e-4 * 100 / 201),
        (1004, 1e-4 / 201),
    ],
)
def test_warm_up_stable_decay(step: int, rate: float):
    assert Schedule(5, 1000, 1e-3, 1e-4, decay_steps=200, warm_up_steps=10).rate(step) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(("steps", "decay", "rates"), [(4, 2, [3, 3, 2, 1]), (3, 0, [3, 3, 3])])
def test_a_stable_rate_of_few_steps(steps: int, decay: int, rates: list[float]):
    schedule = Schedule(0, steps, 1e-3, 3.0, decay_steps=decay, warm_up_steps=0)
    assert [schedule.rate(step) for step in range(steps)] == pytest.approx(rates)


def test_rates_before_the_decay_do_not_depend_on_its_place():
    shorter, longer = (Schedule(5, steps, 1e-3, 1e-4, decay_steps=decay) for steps, decay in ((3000, 200), (9000, 50)))
    assert shorter.decay_begins == 2805
    assert all(shorter.rate(step) == longer.rate(step) for step in range(2805))
    assert shorter.rate(2805) < longer.rate(2805)
    assert Schedule(5, 3000, 1e-3, 1e-4).decay_begins is None
