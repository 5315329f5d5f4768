"""Evaluating beside ingestion: stories and alerts, recorded after the micro-batches that change them."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from schemas import counters
from schemas.errors import TrailweaveError

log = logging.getLogger(__name__)

# So that evaluating takes a tenth of the time.
_PAUSE_BY_WORK = 9


@dataclass
class Recorder:
    """Evaluates stories, or alerts, beside the micro-batches that change them.

    What a micro-batch's commits change is recorded (by `record`, which says how much that was) after it, unless
    evaluating would take more than a tenth of the time: then after a later one, and in any case by `finish`. A fault
    of the evaluation is told and tried again later: it never stops ingestion, for what it is evaluated over is
    durable.
    """

    what: str
    record: Callable[[], int]
    clock: Callable[[], float] = time.monotonic
    _touched: bool = field(default=False, init=False)
    _not_before: float = field(default=0.0, init=False)

    def after_run(self, counts: Counter[str]) -> None:
        """What a micro-batch did."""
        self._touched |= bool(counts[counters.COMMITS] or counts[counters.COMMITS_COMPLETED])
        if self.clock() >= self._not_before:
            self.finish()

    def touch(self) -> None:
        """Record now, unless that would take more than a tenth of the time."""
        self._touched = True
        if self.clock() >= self._not_before:
            self.finish()

    def finish(self) -> None:
        """Record what is not recorded yet."""
        if not self._touched:
            return
        began = self.clock()
        try:
            recorded = self.record()
            self._touched = False
            log.info("%s_recorded: %d", self.what, recorded)
        except TrailweaveError as error:
            log.error("%s_failed: %s: %s; it is tried again later", self.what, type(error).__name__, error)
        ended = self.clock()
        self._not_before = ended + _PAUSE_BY_WORK * (ended - began)
