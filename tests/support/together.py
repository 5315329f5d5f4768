"""Threads that begin the same call at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def at_once(call: Callable[[], T], threads: int = 8) -> list[T]:
    """What each of so many threads gets of the call."""
    together = threading.Barrier(threads, timeout=30)

    def begin(_: int) -> T:
        together.wait()
        return call()

    with ThreadPoolExecutor(threads) as pool:
        return [*pool.map(begin, range(threads))]
