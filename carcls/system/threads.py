"""Runs one action on many items in threads."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def for_each(action: Callable[[Item], object], items: Iterable[Item], *, threads: int) -> None:
    """Calls `action` with each item, `threads` at once. Raises the first error; what has not begun then is left out."""
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(action, item) for item in items]:
            try:
                done.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
