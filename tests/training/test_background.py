import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasr_fast.training.background import computed_ahead


def threads() -> int:
    return sum(thread.name.startswith("computed_ahead") for thread in threading.enumerate())


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 12), st.integers(1, 5), st.integers(1, 4))
def test_is_the_loop_in_order(count: int, ahead: int, workers: int):
    def square(item: int) -> int:
        time.sleep((7 * item) % 3 * 1e-3)  # Later ones are ready first.
        return item * item

    results = list(computed_ahead(square, range(count), ahead=ahead, workers=workers))
    assert results == [(item, item * item) for item in range(count)]
    assert threads() == 0


def test_no_more_than_ahead_are_begun():
    begun = []
    results = computed_ahead(begun.append, range(100), ahead=3, workers=2)
    for taken in range(1, 6):
        next(results)
        time.sleep(0.02)
        assert sorted(begun) == list(range(taken + 3))
    results.close()


@pytest.mark.parametrize("end", ["close", "drop"])
def test_threads_end_with_the_iterator(end: str):
    begun = []

    def slow(item: int) -> None:
        begun.append(item)
        time.sleep(0.1)

    results = computed_ahead(slow, range(100), ahead=5, workers=1)
    next(results)
    assert threads() > 0
    if end == "close":
        results.close()
    else:
        del results
    assert threads() == 0
    assert len(begun) <= 3  # Not the three others that were to come.


def test_errors_come_in_their_place():
    results = computed_ahead(lambda item: 1 // (item - 2), range(9), ahead=5, workers=3)
    assert [next(results)[0] for _ in range(2)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert threads() == 0

    def items() -> Iterator[int]:
        yield 0
        raise OSError("gone")

    results = computed_ahead(abs, items(), ahead=1, workers=1)
    with pytest.raises(OSError, match="gone"):
        list(results)
    assert threads() == 0


@pytest.mark.parametrize("wrong", [{"ahead": 0, "workers": 1}, {"ahead": 1, "workers": 0}])
def test_wrong_arguments(wrong: dict[str, int]):
    with pytest.raises(ValueError, match=r"(ahead|workers) must be a whole number of at least 1; got 0\."):
        next(computed_ahead(abs, [1], **wrong))
