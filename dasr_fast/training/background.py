"""Results computed in background threads before they are asked for, in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def computed_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int, workers: int
) -> Generator[tuple[Item, Result], None, None]:
    """Each item and what `function` makes of it, in the order of the items.

    Closing the iterator, or dropping it, ends the threads; what hasn't begun then is never computed.

    Args:
        function: Called in several threads at once; what it raises comes in that item's place.
        items: Taken one by one in the caller's thread, `ahead` of the result that is waited for.
        ahead: How many results are kept or under way at most.
        workers: Threads.

    Raises:
        ValueError: `ahead` or `workers` is less than 1.
    """
    for name, value in (("ahead", ahead), ("workers", workers)):
        if value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}.")
    following = iter(items)
    under_way: deque[tuple[Item, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="computed_ahead")
    try:
        under_way.extend((item, pool.submit(function, item)) for item in islice(following, ahead))
        while under_way:
            item, future = under_way.popleft()
            result = future.result()
            under_way.extend((item, pool.submit(function, item)) for item in islice(following, 1))
            yield item, result
    finally:
        pool.shutdown(cancel_futures=True)
