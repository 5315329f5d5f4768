"""SIGTERM and SIGINT finish what is in work."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from transforms.receive_messages import STOP

log = logging.getLogger(__name__)


@contextmanager
def stopping() -> Iterator[None]:
    """SIGTERM and SIGINT finish the run in work; a second one ends the process at once, which loses nothing."""
    STOP.clear()

    def stop(number: int, _: FrameType | None) -> None:
        if STOP.is_set():
            os._exit(128 + number)
        STOP.set()
        log.warning("stopping: finishing the run in work; a second signal ends at once")

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
