"""`trailweave ingest` on one machine: a loop of bounded runs, one micro-batch each."""

from __future__ import annotations

import logging
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from pipeline.graph import Plan, ingest, replay
from pipeline.ingestion.runs import run
from pipeline.ingestion.summary import Summary
from pipeline.terminal.progress import Display
from pipeline.terminal.stopping import stopping
from schemas import counters
from schemas.errors import AccessError, TrailweaveError
from schemas.values import Message
from transforms.fetch_objects import reads_again
from transforms.parse_notifications import parse_notification
from transforms.receive_messages import IN_HAND, ON_HAND, STOP, Limits
from transforms.stores.aws import AwsFault, faults_since
from transforms.stores.files import open_store, prove

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 300.0
_FIRST_SAMPLE_S = 600.0
_FAILURES_BEFORE_EXIT = 10
# A poll takes longer where nothing comes.
_ONE_POLL_S = 0.5
_FIRST_REST_S = 1.0
# With the poll of one second itself: an idle queue is asked 4,320 times a day.
_LONGEST_REST_S = 19.0


@dataclass(frozen=True)
class Breaker:
    """A source's circuit breaker: open while every object is denied, so that its queue is not emptied for nothing.

    While it is open nothing is received. After a pause that doubles it is tried whether the denied object, or one
    that was read before, can be read: that closes it. In case these alone are denied, one message is sampled after
    ten minutes, twenty, forty and so on: every receive brings a message nearer to the dead-letter queue.
    """

    pause_s: float = 0.0
    until: float = 0.0
    sample_s: float = 0.0
    sample_at: float = math.inf

    @property
    def open(self) -> bool:
        """Whether nothing may be received."""
        return self.pause_s > 0

    def after(self, source: str, counts: Counter[str], now: float) -> Breaker:
        """The state after a run that ended at `now` (monotonic seconds)."""
        if counts[f"{counters.READ}/{source}"]:
            return Breaker()
        if not counts[f"{counters.DENIED}/{source}"]:
            sampled = self.sample_at <= now and counts[counters.MESSAGES_RECEIVED]
            return replace(self, sample_at=now + self.sample_s) if sampled else self
        log.error(
            "circuit_open: every object of source %r was denied; nothing is received until one is not",
            source,
            extra={"source": source},
        )
        sample_s = self.sample_s * 2 or _FIRST_SAMPLE_S
        return replace(self.later(now), sample_s=sample_s, sample_at=now + sample_s)

    def later(self, now: float) -> Breaker:
        """Still open, and the next try after a longer pause."""
        pause_s = min(_LONGEST_PAUSE_S, max(_FIRST_PAUSE_S, self.pause_s * 2))
        return replace(self, pause_s=pause_s, until=now + pause_s)

    def tried(self, now: float, reads_again: Callable[[], bool]) -> Breaker:
        """The state before a run that may begin at `now`."""
        if not self.open or self.until > now or self.sample_at <= now:
            return self
        return Breaker() if reads_again() else self.later(now)

    def limits(self, limits: Limits, now: float) -> Limits | None:
        """What a run that begins at `now` may receive; None: nothing."""
        if not self.open:
            return limits
        return replace(limits, messages=1, wait_s=0.1) if self.sample_at <= now else None


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


def ingest_until_stopped(
    plan: Plan,
    limits: Limits,
    *,
    until_idle_s: float | None = None,
    beam_flags: Sequence[str] = (),
    quiet: bool = False,
    on_run: Callable[[Counter[str]], None] | None = None,
    on_turn: Callable[[Turn], None] | None = None,
) -> Summary:
    """Run micro-batches until a signal, or until no message has come for `until_idle_s` seconds.

    Without `until_idle_s` queues that have nothing are asked less and less often, every twenty seconds at last.
    A run that something unforeseen ends is done again in halves, so that one message does not stop the others.
    One that fails as a whole is tried again after a pause: its messages were not deleted. Nothing is received before
    the output can be written again. Raises what a run raised
    when the first one was denied access, or when ten have failed in a row.
    """
    started = idle_since = time.monotonic()
    total: Counter[str] = Counter()
    breakers = {name: Breaker() for name, it in plan.sources.items() if it.queue_url}
    failures = 0
    rest = Rest.within(limits.wait_s)
    if until_idle_s is not None:
        limits = replace(limits, idle_s=min(limits.idle_s, max(1.0, until_idle_s)))
    turn = Turn(os.getpid())

    def received(messages: int) -> None:
        if on_turn:
            on_turn(replace(turn, in_flight=messages))

    with stopping(), _on_hand(received), Display("ingesting", bounded=False, quiet=quiet) as display:
        while not STOP.is_set():
            now = time.monotonic()
            breakers = {
                name: it.tried(now, partial(reads_again, plan.sources[name])) for name, it in breakers.items()
            }
            turn = Turn(os.getpid(), tuple(name for name, it in breakers.items() if it.open), failures)
            if on_turn:
                on_turn(replace(turn, faults=tuple((*kind, n) for kind, n in faults_since().items())))
            due = {name: given for name, it in breakers.items() if (given := it.limits(rest.limits(limits), now))}
            if due:
                try:
                    if failures:
                        # A message that is received while nothing can be written is used up for nothing.
                        prove(open_store(plan.output))
                    counts = _run(plan, due, beam_flags)
                    failures = 0
                    _tell(counts, plan, time.monotonic() - now)
                except Exception as error:
                    failures = _failed(error, failures, ever=bool(total))
                    idle_since = time.monotonic()
                    continue
            else:
                counts = Counter()
                STOP.wait(max(0.0, min(min(it.until, it.sample_at) for it in breakers.values()) - now))
            total += counts
            breakers = {name: it.after(name, counts, time.monotonic()) for name, it in breakers.items()}
            display.show(total)
            if on_run:
                on_run(counts)
            if counts[counters.MESSAGES_RECEIVED]:
                idle_since = time.monotonic()
                rest = replace(rest, seconds=0.0)
            elif until_idle_s is not None and time.monotonic() - idle_since >= until_idle_s:
                break
            elif due and until_idle_s is None:
                rest = rest.longer()
                STOP.wait(rest.seconds)
    shut = [name for name, it in breakers.items() if it.open]
    if shut:
        raise AccessError(
            f"every object of source {', '.join(shut)} was denied; the messages are still in the queue."
            " The log above names the call, the resource and the principal"
        )
    return Summary(total, time.monotonic() - started)


def _run(plan: Plan, limits: Mapping[str, Limits], beam_flags: Sequence[str]) -> Counter[str]:
    """One micro-batch. If something unforeseen ends it, its messages in halves, down to the one that does it."""
    IN_HAND.clear()
    try:
        return run(lambda pipeline: ingest(pipeline, plan, limits), beam_flags)
    except (TrailweaveError, AwsFault):
        raise
    except Exception as error:
        messages = [parse_notification(it, plan.sources[it.source]) for it in IN_HAND]
        if len(messages) < 2:
            raise
        log.error(
            "run_failed: %s: %s; its %d messages are done in halves",
            type(error).__name__,
            error,
            len(messages),
            extra={"run_id": plan.run_id, "messages": len(messages), "error_type": type(error).__name__},
        )
        failed: list[Message] = []
        counts = Counter({counters.MESSAGES_RECEIVED: len(messages)})
        for half in _halves(messages):
            counts += _run_or_halve(plan, half, beam_flags, failed)
        if len(failed) == len(messages):
            raise
        return counts


def _run_or_halve(
    plan: Plan, messages: Sequence[Message], beam_flags: Sequence[str], failed: list[Message]
) -> Counter[str]:
    try:
        return run(lambda pipeline: replay(pipeline, plan, list(messages)), beam_flags)
    except (TrailweaveError, AwsFault):
        raise
    except Exception as error:
        if len(messages) == 1:
            failed += messages
            keys = ", ".join(ref.key for ref in messages[0].objects)
            log.exception(
                "message_failed: %s of %s; it is left in the queue",
                type(error).__name__,
                keys,
                extra={"run_id": plan.run_id, "source": messages[0].source, "error_type": type(error).__name__},
            )
            if len(failed) > _FAILURES_BEFORE_EXIT:
                raise
            return Counter()
        halves = _halves(messages)
        return sum((_run_or_halve(plan, half, beam_flags, failed) for half in halves), Counter())


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


def _halves(messages: Sequence[Message]) -> tuple[Sequence[Message], Sequence[Message]]:
    middle = len(messages) // 2
    return messages[:middle], messages[middle:]


def _failed(error: Exception, failures: int, *, ever: bool) -> int:
    failures += 1
    if isinstance(error, AwsFault):
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
