"""Circuit breakers: from a source that denies every object nothing is received, so that its queue is not emptied."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from schemas import counters
from schemas.errors import AccessError
from transforms.fetch_objects import reads_again
from transforms.receive_messages import Limits
from transforms.stores.sources import Source

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 300.0
_FIRST_SAMPLE_S = 600.0


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


@dataclass(frozen=True)
class Breakers:
    """The breaker of each source that has a queue, by its name. Times are monotonic seconds."""

    of: Mapping[str, Breaker]

    @classmethod
    def closed(cls, sources: Mapping[str, Source]) -> Breakers:
        """As before the first run."""
        return cls({name: Breaker() for name, it in sources.items() if it.queue_url})

    @property
    def open(self) -> tuple[str, ...]:
        """The sources that nothing may be received from."""
        return tuple(name for name, it in self.of.items() if it.open)

    def tried(self, now: float, sources: Mapping[str, Source]) -> Breakers:
        """The state before a run that may begin at `now`; an object of a source whose pause is over is read."""
        return Breakers({name: it.tried(now, partial(reads_again, sources[name])) for name, it in self.of.items()})

    def limits(self, limits: Limits, now: float) -> dict[str, Limits]:
        """What a run that begins at `now` may receive, by the source; empty: nothing."""
        return {name: given for name, it in self.of.items() if (given := it.limits(limits, now))}

    def pause_s(self, now: float) -> float:
        """How long it is, where all are open, until the next of them is tried or sampled."""
        return max(0.0, min(min(it.until, it.sample_at) for it in self.of.values()) - now)

    def after(self, counts: Counter[str], now: float) -> Breakers:
        """The state after a run that ended at `now`."""
        return Breakers({name: it.after(name, counts, now) for name, it in self.of.items()})

    def refuse(self) -> None:
        """Raise `AccessError` for sources that deny every object still."""
        if self.open:
            raise AccessError(
                f"every object of source {', '.join(self.open)} was denied; the messages are still in the queue."
                " The log above names the call, the resource and the principal"
            )
