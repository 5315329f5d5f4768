"""ReceiveMessages: deliveries from the queues, one micro-batch of them or, on a streaming engine, for ever.

For a micro-batch every source is polled by its own thread, in long polls of one second, until enough messages have
come, the time is up, or the process is asked to stop. What was received is given on in any case. On a streaming
engine a source is a splittable DoFn: it polls within its limits, checkpoints itself, and is called again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import apache_beam as beam
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.metrics import Metrics
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Duration, Timestamp

from schemas import counters
from schemas.errors import AccessError
from schemas.values import Delivery
from transforms.dofn import StageFn
from transforms.stores import queue
from transforms.stores.faults import CallFault
from transforms.stores.sources import Source

log = logging.getLogger(__name__)


class Wish:
    """What a signal handler sets and loops look at; without a lock, unlike `threading.Event`.

    A handler runs in the main thread. If that was just about to wait for the event, it would hold the lock that the
    handler needs to set it, and neither would ever go on.
    """

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """Wish it."""
        self._is_set = True

    def clear(self) -> None:
        """Wish it no more."""
        self._is_set = False

    def is_set(self) -> bool:
        """Whether it is wished."""
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until shortly after it is wished: whether it is."""
        until = time.monotonic() + seconds
        while not self._is_set and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_S))
        return self._is_set


_LOOK_S = 0.1
# Set by the runtime's signal handler; every poll ends within `_POLL_S` seconds of it.
STOP = Wish()

# What the last micro-batch of this process received: a run that fails is done again from here.
IN_HAND: list[Delivery] = []
# Told when that has changed, if somebody wants to know.
ON_HAND: list[Callable[[int], None]] = []

_POLL_S = 1
_MOST_POLLERS = 8
# Not more than one long poll where nothing waits.
_BRIEF_S = 1.0
# Some engines cut a delay to whole seconds.
_ERROR_PAUSE_S = 6.0


@dataclass(frozen=True, slots=True)
class Limits:
    """When a micro-batch of a source is full: so many messages, or `wait_s` after its first one.

    The wait is at most half the visibility timeout of the queue, so that a message in hand stays ours. Without any
    message the poll ends after `idle_s`.
    """

    messages: int = 1000
    wait_s: float = 30.0
    idle_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Received:
    """What one source gave, and the fault that ended its poll, if one did."""

    deliveries: list[Delivery] = field(default_factory=list)
    fault: CallFault | None = None


def receive_messages(source: Source, limits: Limits) -> Received:
    """Poll one source until `limits` are met; a fault ends the poll and keeps what was received before."""
    received = Received()
    try:
        visibility_s = queue.traits(source).visibility_s
        wait_s = min(limits.wait_s, visibility_s / 2)
        until = time.monotonic() + limits.idle_s
        pollers = 1
        while not STOP.is_set() and time.monotonic() < until:
            wanted = limits.messages - len(received.deliveries)
            if wanted <= 0:
                break
            found, fault = _poll(source, wanted, visibility_s, pollers)
            if found and not received.deliveries:
                until = time.monotonic() + wait_s
            received.deliveries.extend(found)
            if fault:
                return Received(received.deliveries, fault)
            # More pollers while each comes back full: a backlog. One is enough for a trickle.
            pollers = min(pollers * 2, _MOST_POLLERS) if len(found) >= 10 * pollers else 1
    except CallFault as fault:
        return Received(received.deliveries, fault)
    return received


def _poll(source: Source, wanted: int, visibility_s: int, pollers: int) -> tuple[list[Delivery], CallFault | None]:
    """One long poll by as many threads as can be of use: a poll of a queue gives ten messages at most.

    What one of them received is kept when another fails.
    """

    def poll(_: int) -> list[Delivery] | CallFault:
        try:
            return queue.receive(source, wait_s=_POLL_S, visibility_s=visibility_s, maximum=wanted)
        except CallFault as fault:
            return fault

    pollers = min(pollers, -(-wanted // 10))
    if pollers == 1:
        answers = [poll(0)]
    else:
        with ThreadPoolExecutor(pollers) as pool:
            answers = [*pool.map(poll, range(pollers))]
    deliveries = [it for answer in answers if not isinstance(answer, CallFault) for it in answer]
    return deliveries, next((it for it in answers if isinstance(it, CallFault)), None)


def receive_from_all(sources: Sequence[tuple[Source, Limits]]) -> list[Received]:
    """Poll all sources side by side.

    Raises `AccessError` when a source failed and none gave anything; else a fault is only logged, since the
    next micro-batch meets it again and what is here must not wait for it.
    """
    with ThreadPoolExecutor(len(sources)) as pool:
        received = [*pool.map(lambda it: receive_messages(*it), sources)]
    faults = [each.fault for each in received if each.fault]
    for fault in faults:
        log.error("receive_failed: %s", fault, extra={"error_type": fault.kind, "error_code": fault.code})
    if faults and not any(each.deliveries for each in received):
        raise AccessError("; ".join(map(str, faults)))
    return received


@dataclass(eq=False)
class ReceiveMessages(beam.PTransform[Any, Any]):
    """Pipeline in, Delivery out. A message that is not deleted is delivered again.

    With `limits` by the names of the sources, one micro-batch of every source; with `pollers`, everything that comes,
    by so many restrictions a source, each of which polls within `limits` again and again.
    """

    sources: tuple[Source, ...]
    limits: Mapping[str, Limits] | Limits
    pollers: int = 1

    def expand(self, pipeline: Any) -> Any:
        """Poll once, at the start of the run, or for ever."""
        limits = self.limits
        if not isinstance(limits, Limits):
            start = pipeline | "Start" >> beam.Create([tuple((it, limits[it.name]) for it in self.sources)])
            return start | "Poll" >> beam.ParDo(_Receive()).with_output_types(Delivery)
        start = pipeline | "Start" >> beam.Create(
            [(it, number) for it in self.sources for number in range(self.pollers)]
        )
        # An engine may keep what one bundle made on one worker.
        spread = start | "Spread" >> beam.Reshuffle()
        return spread | "Poll" >> beam.ParDo(_Stream(limits)).with_output_types(Delivery)


class _Receive(StageFn):
    def __init__(self) -> None:
        self._count = Metrics.counter(counters.NAMESPACE, counters.MESSAGES_RECEIVED)
        self._errors = Metrics.counter(counters.NAMESPACE, counters.RECEIVE_ERRORS)

    def process(self, sources: tuple[tuple[Source, Limits], ...]) -> Iterator[Delivery]:
        IN_HAND.clear()
        for received in receive_from_all(sources):
            IN_HAND.extend(received.deliveries)
            for told in ON_HAND:
                told(len(IN_HAND))
            self._errors.inc(1 if received.fault else 0)
            self._count.inc(len(received.deliveries))
            yield from received.deliveries


class PollTracker(RestrictionTracker):
    """The restriction of a poller: open (True) until the engine or the poller itself checkpoints it.

    A split anywhere but at the present position is refused: an engine would multiply the pollers by it.
    """

    def __init__(self, is_open: bool) -> None:
        self._open = is_open

    def current_restriction(self) -> bool:
        return self._open

    def try_claim(self, position: Any) -> bool:  # noqa: ARG002
        return self._open

    def try_split(self, fraction_of_remainder: float) -> tuple[bool, bool] | None:
        if fraction_of_remainder != 0 or not self._open:
            return None
        self._open = False
        return False, True

    def check_done(self) -> bool:
        if self._open:
            raise ValueError("the poller stopped without a checkpoint")
        return True

    def current_progress(self) -> RestrictionProgress:
        # Not as work done and left: Beam puts the bytes of the output in place of the first, which may be NaN as yet,
        # and then fails at the next split.
        return RestrictionProgress(fraction=0.0)

    def is_bounded(self) -> bool:
        return False


class _OpenForEver(RestrictionProvider):
    def initial_restriction(self, element: Any) -> bool:  # noqa: ARG002
        return True

    def create_tracker(self, restriction: bool) -> PollTracker:
        return PollTracker(restriction)

    def restriction_size(self, element: Any, restriction: bool) -> int:  # noqa: ARG002
        return 1

    def split(self, element: Any, restriction: bool) -> Iterator[bool]:  # noqa: ARG002
        yield restriction

    def restriction_coder(self) -> Any:
        return beam.coders.BooleanCoder()

    def truncate(self, element: Any, restriction: bool) -> None:
        """A draining engine wants no more: what was not received stays in the queue."""


class _Stream(StageFn):
    """Polls once within its limits, then hands the rest back; a failing queue is asked less often.

    Flink calls all pollers of a task in one bundle, and only its end passes on what they received. So the first of a
    bundle alone waits for messages to come; those after it take what is there, while what it received is young.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        brief_s = min(limits.wait_s, _BRIEF_S)
        self._brief = replace(limits, wait_s=brief_s, idle_s=min(limits.idle_s, brief_s))
        self._count = Metrics.counter(counters.NAMESPACE, counters.MESSAGES_RECEIVED)
        self._errors = Metrics.counter(counters.NAMESPACE, counters.RECEIVE_ERRORS)

    def start_bundle(self) -> None:
        self._is_first = True

    @beam.DoFn.unbounded_per_element()
    def process(
        self,
        element: tuple[Source, int],
        tracker: Any = beam.DoFn.RestrictionParam(_OpenForEver()),
        watermark: Any = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider()),
    ) -> Iterator[Any]:
        if not tracker.try_claim(None):
            return
        source, _ = element
        received = receive_messages(source, self._limits if self._is_first else self._brief)
        self._is_first = False
        now = Timestamp.now()
        for delivery in received.deliveries:
            yield TimestampedValue(delivery, now)
        self._count.inc(len(received.deliveries))
        watermark.set_watermark(now)
        pause_s = 0.0
        if received.fault:
            log.error("receive_failed: %s", received.fault)
            self._errors.inc()
            pause_s = _ERROR_PAUSE_S
        tracker.defer_remainder(Duration.of(pause_s))
