"""`trailweave ingest` on one machine: a loop of bounded runs, one micro-batch each."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pipeline.graph import Plan, ingest
from pipeline.ingestion.breaker import Breakers
from pipeline.ingestion.halving import FORESEEN, run_halves
from pipeline.ingestion.runs import run
from pipeline.ingestion.summary import Summary
from pipeline.memory import give_back
from pipeline.terminal.progress import Display
from pipeline.terminal.stopping import stopping
from schemas import counters
from schemas.errors import AccessError, TrailweaveError
from schemas.values import Message
from transforms.parse_notifications import parse_notification
from transforms.receive_messages import IN_HAND, ON_HAND, STOP, Limits
from transforms.stores.aws import faults_since
from transforms.stores.faults import CallFault
from transforms.stores.files import open_store, prove

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 300.0
_FAILURES_BEFORE_EXIT = 10
# A poll takes longer where nothing comes.
_ONE_POLL_S = 0.5
_FIRST_REST_S = 1.0
# With the poll of one second itself: an idle queue is asked 4,320 times a day.
_LONGEST_REST_S = 19.0


@dataclass(frozen=True, slots=True)
class Turn:
    """What a loop says of itself each time it turns: sources whose circuit is open, runs that failed in a row.

    `loop` is its process; `in_flight` are the messages in its hand; `faults` the calls of AWS that failed since its
    last turn, by action and code; `ended` is the last word about it.
    """

    loop: int
    circuits_open: tuple[str, ...] = ()
    failures: int = 0
    in_flight: int = 0
    faults: tuple[tuple[str, str, int], ...] = ()
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Rest:
    """How long the queues are left alone, since they had nothing: each time twice as long, until they have something.

    A message may come at the start of a rest, so the next micro-batch waits the less to be filled: the rest is at
    most two thirds of that wait, and nothing is later for it.
    """

    longest_s: float
    seconds: float = 0.0

    @classmethod
    def within(cls, wait_s: float) -> Rest:
        """None as yet, for micro-batches that wait so long."""
        return cls(min(_LONGEST_REST_S, wait_s * 2 / 3))

    def longer(self) -> Rest:
        """The next one, after nothing has come."""
        return replace(self, seconds=min(self.longest_s, max(_FIRST_REST_S, self.seconds * 2)))

    def limits(self, limits: Limits) -> Limits:
        """Those of the run after it: one poll, unless it gives something."""
        if not self.seconds:
            return limits
        return replace(limits, wait_s=limits.wait_s - self.seconds, idle_s=_ONE_POLL_S)


def unheard(_: object) -> None:
    """Nobody wants to be told."""


def ingest_until_stopped(
    plan: Plan,
    limits: Limits,
    *,
    until_idle_s: float | None = None,
    beam_flags: Sequence[str] = (),
    quiet: bool = False,
    on_run: Callable[[Counter[str]], None] = unheard,
    on_turn: Callable[[Turn], None] = unheard,
) -> Summary:
    """Run micro-batches until a signal, or until no message has come for `until_idle_s` seconds.

    Without `until_idle_s` queues that have nothing are asked less and less often, every twenty seconds at last.
    A run that something unforeseen ends is done again in halves, so that one message does not stop the others.
    One that fails as a whole is tried again after a pause: its messages were not deleted. Nothing is received before
    the output can be written again. Raises what a run raised when the first one was denied access, or when ten have
    failed in a row.
    """
    started = idle_since = time.monotonic()
    total: Counter[str] = Counter()
    breakers = Breakers.closed(plan.sources)
    failures = 0
    rest = Rest.within(limits.wait_s)
    limits = _until_idle(limits, until_idle_s)
    turn = Turn(os.getpid())

    with (
        stopping(),
        _on_hand(lambda messages: on_turn(replace(turn, in_flight=messages))),
        Display("ingesting", bounded=False, quiet=quiet) as display,
    ):
        while not STOP.is_set():
            now = time.monotonic()
            breakers = breakers.tried(now, plan.sources)
            turn = Turn(os.getpid(), breakers.open, failures)
            on_turn(replace(turn, faults=tuple((*kind, n) for kind, n in faults_since().items())))
            due = breakers.limits(rest.limits(limits), now)
            counts: Counter[str] = Counter()
            if due:
                try:
                    counts = _run(plan, due, beam_flags, after_failure=failures > 0)
                    failures = 0
                except Exception as error:
                    failures = _failed(error, failures, ever=bool(total))
                    idle_since = time.monotonic()
                    continue
            else:
                STOP.wait(breakers.pause_s(now))
            total += counts
            breakers = breakers.after(counts, time.monotonic())
            display.show(total)
            on_run(counts)
            if counts[counters.MESSAGES_RECEIVED]:
                idle_since = time.monotonic()
                rest = replace(rest, seconds=0.0)
            elif until_idle_s is not None and time.monotonic() - idle_since >= until_idle_s:
                break
            elif due and until_idle_s is None:
                rest = _left_alone(rest)
    breakers.refuse()
    return Summary(total, time.monotonic() - started)


def _until_idle(limits: Limits, until_idle_s: float | None) -> Limits:
    """Those of a loop that ends when no message has come for so long: it waits no longer for the first one."""
    if until_idle_s is None:
        return limits
    return replace(limits, idle_s=min(limits.idle_s, max(1.0, until_idle_s)))


def _left_alone(rest: Rest) -> Rest:
    """Wait before queues that have nothing are asked again: how long that was. Memory is not kept meanwhile."""
    if not rest.seconds:
        give_back()
    longer = rest.longer()
    STOP.wait(longer.seconds)
    return longer


def _run(plan: Plan, limits: Mapping[str, Limits], beam_flags: Sequence[str], *, after_failure: bool) -> Counter[str]:
    """One micro-batch, told in the log. If something unforeseen ends it, it is done in halves."""
    if after_failure:
        # A message that is received while nothing can be written is used up for nothing.
        prove(open_store(plan.output))
    began = time.monotonic()
    IN_HAND.clear()
    try:
        counts = run(lambda pipeline: ingest(pipeline, plan, limits), beam_flags)
    except FORESEEN:
        raise
    except Exception as error:
        counts = _in_halves(plan, error, beam_flags)
    _tell(counts, plan, time.monotonic() - began)
    return counts


def _in_halves(plan: Plan, error: Exception, beam_flags: Sequence[str]) -> Counter[str]:
    """The messages that are in hand in halves, down to the one that ends a run; `error`, if each does."""
    messages = [parse_notification(it, plan.sources[it.source]) for it in IN_HAND]
    if len(messages) < 2:
        raise error
    log.error(
        "run_failed: %s: %s; its %d messages are done in halves",
        type(error).__name__,
        error,
        len(messages),
        extra={"run_id": plan.run_id, "messages": len(messages), "error_type": type(error).__name__},
    )
    failed: list[Message] = []

    def alone(message: Message, why: Exception) -> Counter[str]:
        failed.append(message)
        log.exception(
            "message_failed: %s of %s; it is left in the queue",
            type(why).__name__,
            ", ".join(ref.key for ref in message.objects),
            extra={"run_id": plan.run_id, "source": message.source, "error_type": type(why).__name__},
        )
        if len(failed) > _FAILURES_BEFORE_EXIT:
            raise why
        return Counter()

    counts = run_halves(plan, messages, beam_flags, alone)
    if len(failed) == len(messages):
        raise error
    return counts + Counter({counters.MESSAGES_RECEIVED: len(messages)})


def _tell(counts: Counter[str], plan: Plan, seconds: float) -> None:
    """A line in the log for a run that did something."""
    messages = counts[counters.MESSAGES_RECEIVED]
    if messages:
        log.info(
            "run_done: %d messages, %d deleted, %d events written, %d dead letters, in %.1f s",
            messages,
            counts[counters.MESSAGES_DELETED],
            counts[counters.EVENTS_WRITTEN],
            counts[counters.DEAD_LETTERS],
            seconds,
            extra={
                "run_id": plan.run_id,
                "messages": messages,
                "events": counts[counters.EVENTS_WRITTEN],
                "bytes": counts[counters.DECOMPRESSED_BYTES],
                "duration_s": round(seconds, 3),
            },
        )


def _failed(error: Exception, failures: int, *, ever: bool) -> int:
    failures += 1
    if isinstance(error, CallFault):
        error = AccessError(str(error))
    if (isinstance(error, TrailweaveError) and not ever) or failures >= _FAILURES_BEFORE_EXIT:
        raise error
    pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**failures)
    log.error(
        "run_failed: %s: %s; nothing was acknowledged, next try in %.0f s",
        type(error).__name__,
        error,
        pause_s,
        extra={"error_type": type(error).__name__},
    )
    STOP.wait(pause_s)
    return failures


@contextmanager
def _on_hand(told: Callable[[int], None]) -> Iterator[None]:
    """Tell how many messages a run has received, as soon as it has."""
    ON_HAND.append(told)
    try:
        yield
    finally:
        ON_HAND.remove(told)
