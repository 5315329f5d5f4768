"""ReceiveMessages: deliveries from the queues, one micro-batch of them.

Every source is polled by its own thread, in long polls of one second, until enough messages have come, the time is
up, or the process is asked to stop. What was received is given on in any case.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from schemas import counters
from schemas.errors import AccessError
from schemas.values import Delivery
from transforms.stores import queue
from transforms.stores.aws import AwsFault
from transforms.stores.sources import Source

log = logging.getLogger(__name__)

# Set by the runtime's signal handler; every poll ends within `_POLL_S` seconds of it.
STOP = threading.Event()

_POLL_S = 1
_MOST_POLLERS = 8


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
    fault: AwsFault | None = None


def receive_messages(source: Source, limits: Limits) -> Received:
    """Poll one source until `limits` are met; a fault ends the poll and keeps what was received before."""
    received = Received()
    try:
        visibility_s = queue.traits(source).visibility_s
        wait_s = min(limits.wait_s, visibility_s / 2)
        until = time.monotonic() + limits.idle_s
        while not STOP.is_set() and time.monotonic() < until:
            wanted = limits.messages - len(received.deliveries)
            if wanted <= 0:
                break
            first = not received.deliveries
            received.deliveries.extend(_poll(source, wanted, visibility_s, pollers=1 if first else _MOST_POLLERS))
            if first and received.deliveries:
                until = time.monotonic() + wait_s
    except AwsFault as fault:
        return Received(received.deliveries, fault)
    return received


def _poll(source: Source, wanted: int, visibility_s: int, pollers: int) -> list[Delivery]:
    """One long poll by as many threads as can be of use: a poll of a queue gives ten messages at most."""

    def poll(_: int) -> list[Delivery]:
        return queue.receive(source, wait_s=_POLL_S, visibility_s=visibility_s, maximum=wanted)

    pollers = min(pollers, -(-wanted // 10))
    if pollers == 1:
        return poll(0)
    with ThreadPoolExecutor(pollers) as pool:
        return [delivery for deliveries in pool.map(poll, range(pollers)) for delivery in deliveries]


def receive_from_all(sources: Sequence[Source], limits: Limits) -> list[Received]:
    """Poll all sources side by side.

    Raises `AccessError` when a source failed and none gave anything; else a fault is only logged, since the
    next micro-batch meets it again and what is here must not wait for it.
    """
    with ThreadPoolExecutor(len(sources)) as pool:
        received = [*pool.map(lambda source: receive_messages(source, limits), sources)]
    faults = [each.fault for each in received if each.fault]
    for fault in faults:
        log.error("receive_failed: %s", fault)
    if faults and not any(each.deliveries for each in received):
        raise AccessError("; ".join(map(str, faults)))
    return received


@dataclass(eq=False)
class ReceiveMessages(beam.PTransform[Any, Any]):
    """Pipeline in, Delivery out: one micro-batch of every source. A message not deleted is delivered again."""

    sources: tuple[Source, ...]
    limits: Limits = Limits()

    def expand(self, pipeline: Any) -> Any:
        """Poll once, at the start of the run."""
        return (
            pipeline
            | "Start" >> beam.Create([self.sources])
            | "Poll" >> beam.ParDo(_Receive(self.limits)).with_output_types(Delivery)
        )


class _Receive(beam.DoFn):
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._count = Metrics.counter(counters.NAMESPACE, counters.MESSAGES_RECEIVED)
        self._errors = Metrics.counter(counters.NAMESPACE, counters.RECEIVE_ERRORS)

    def process(self, sources: tuple[Source, ...]) -> Iterator[Delivery]:
        for received in receive_from_all(sources, self._limits):
            self._errors.inc(1 if received.fault else 0)
            self._count.inc(len(received.deliveries))
            yield from received.deliveries
