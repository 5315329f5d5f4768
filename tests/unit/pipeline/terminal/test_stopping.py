"""What a signal does to a command that finishes what is in work."""

from __future__ import annotations

import signal
from collections.abc import Callable

from pipeline.terminal import stopping as module
from pipeline.terminal.stopping import stopping
from transforms.receive_messages import STOP


def test_signals_are_handled_within_and_as_before_after() -> None:
    before = signal.getsignal(signal.SIGTERM)
    ended: list[int] = []
    original: Callable[[int], None] = module.os._exit
    module.os._exit = ended.append  # type: ignore[assignment]
    try:
        with stopping():
            assert not STOP.is_set()
            signal.raise_signal(signal.SIGTERM)
            assert STOP.is_set()
            assert ended == []
            signal.raise_signal(signal.SIGINT)
        assert ended == [128 + signal.SIGINT]
    finally:
        module.os._exit = original  # type: ignore[assignment]
    assert signal.getsignal(signal.SIGTERM) is before
