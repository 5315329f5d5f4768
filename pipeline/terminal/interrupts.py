"""Ctrl-C ends a query as well, which runs in C, where Python itself would notice only once it is over."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol
from weakref import WeakSet


class Interruptible(Protocol):
    """What runs in C, such as a connection of DuckDB."""

    def interrupt(self) -> None:
        """End what runs at the moment, with an error there; nothing where nothing runs."""


_known: WeakSet[Interruptible] = WeakSet()


def interruptible(it: Interruptible) -> None:
    """Ctrl-C interrupts it from now on, inside `interrupting`."""
    _known.add(it)


@contextmanager
def interrupting() -> Iterator[None]:
    """Inside, SIGINT ends what runs in C, so that KeyboardInterrupt comes; the second ends the process at once.

    A command that handles the signal itself, to finish what is in work, is left alone. For the main thread.
    """
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    before = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(told,), name="interrupts", daemon=True).start()
    try:
        yield
    except RuntimeError as error:
        # What DuckDB makes of a signal that it notices itself.
        if str(error) != "Query interrupted":
            raise
        raise KeyboardInterrupt from None
    finally:
        signal.set_wakeup_fd(before)
        os.close(tell)


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, SIGINT ends the process without a word, as is right while a program loads. For the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _watch(told: int) -> None:
    interrupted = False
    while number := os.read(told, 1):
        if number[0] != signal.SIGINT or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            continue
        if interrupted:
            os._exit(128 + signal.SIGINT)
        interrupted = True
        for it in list(_known):
            # One that is closed already raises, and runs nothing.
            with suppress(Exception):
                it.interrupt()
    os.close(told)
