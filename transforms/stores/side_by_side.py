"""Files one after the other, or side by side.

Threads that read and write files of a near disk cost more processor time than they save waiting: with each call
Python's lock, and the heap's, goes from one to the other. They pay where there is waiting to share: over a network,
or on a slow disk.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

_EVIDENCE = 8


class SideBySide:
    """Does work in `threads` threads; with a `patience_s`, in the caller's until it proves to be mostly waiting.

    That is: until a piece of work has waited for more than `patience_s`, on average of all so far, eight or more.
    Waiting is the time in which it had no processor.
    """

    def __init__(self, threads: int, name: str, patience_s: float | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._patience_s = patience_s
        self._waited_s = 0.0
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    @property
    def in_turn(self) -> bool:
        """Whether work is better done in the caller's thread."""
        return self._patience_s is not None

    def here(self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """The work's result, done in the caller's thread; how long it waited is noted."""
        started, worked = time.perf_counter(), time.thread_time()
        result = work(*args, **kwargs)
        self._note(time.perf_counter() - started - (time.thread_time() - worked))
        return result

    def _note(self, waited_s: float) -> None:
        self._waited_s += waited_s
        self._done += 1
        if self._done >= _EVIDENCE and self._waited_s > self._done * (self._patience_s or 0.0):
            self._patience_s = None

    def submit(self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """The future of work that is done in a thread."""
        return self._pool.submit(work, *args, **kwargs)

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """The work's result for each item. Raises what the first of them raised; what has not begun then is not."""
        rest = deque(items)
        done: list[R] = []
        while rest and self.in_turn:
            done.append(self.here(work, rest.popleft()))
        futures = [self.submit(work, item) for item in rest]
        try:
            return done + [it.result() for it in futures]
        finally:
            for future in futures:
                future.cancel()

    def shutdown(self) -> None:
        """End the threads; what has not begun is left undone."""
        self._pool.shutdown(wait=False, cancel_futures=True)
