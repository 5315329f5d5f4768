"""A run that something unforeseen ends is done again in halves, so that one message does not stop the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from pipeline.graph import Plan, replay
from pipeline.ingestion.runs import run
from schemas.errors import TrailweaveError
from schemas.values import Message
from transforms.stores.faults import CallFault

FORESEEN = (TrailweaveError, CallFault)
"""What ends a run whatever messages are in it."""

Alone = Callable[[Message, Exception], Counter[str]]
"""What becomes of a message that ends a run of its own: its counts. Called where the error is handled."""


def run_or_halve(plan: Plan, messages: Sequence[Message], beam_flags: Sequence[str], alone: Alone) -> Counter[str]:
    """The counts of one run over `messages`, or of its halves, down to the message that ends it."""
    try:
        return run(lambda pipeline: replay(pipeline, plan, list(messages)), beam_flags)
    except FORESEEN:
        raise
    except Exception as error:
        if len(messages) == 1:
            return alone(messages[0], error)
    return run_halves(plan, messages, beam_flags, alone)


def run_halves(plan: Plan, messages: Sequence[Message], beam_flags: Sequence[str], alone: Alone) -> Counter[str]:
    """The counts of a run over each half of two messages or more."""
    middle = len(messages) // 2
    first, second = messages[:middle], messages[middle:]
    return run_or_halve(plan, first, beam_flags, alone) + run_or_halve(plan, second, beam_flags, alone)
