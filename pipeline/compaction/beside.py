"""`ingest --compact`: compaction beside the micro-batches, in a tenth of the time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pipeline.compaction.compact import Compacted, chosen_partitions, compact_partition
from schemas.errors import TrailweaveError
from schemas.values import Partition
from transforms.receive_messages import STOP
from transforms.stores.files import Output, open_store
from transforms.stores.settings import Settings

log = logging.getLogger(__name__)

# So that compacting takes a tenth of the time.
_PAUSE_BY_WORK = 9
# Partitions grow quiet by the day, and parts are removed after an hour.
_SWEEP_S = 3_600.0


@dataclass
class Compactor:
    """Sweeps over all partitions, some after each micro-batch, and begins anew an hour after it has begun.

    One partition is the least that it does at once; a large one is paid for by a longer pause. A fault is told, and
    the partition is tried again by the next sweep: it never stops ingestion.
    """

    output: Output
    settings: Settings
    clock: Callable[[], float] = time.monotonic
    _partitions: Iterator[Partition] | None = field(default=None, init=False)
    _sweep_at: float = field(default=float("-inf"), init=False)
    _ended: float = field(init=False)
    _not_before: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self._ended = self.clock()

    def step(self) -> None:
        """What the time since the last step allows."""
        began = self.clock()
        if began < self._not_before or (self._partitions is None and began < self._sweep_at):
            return
        allowed = (began - self._ended) / _PAUSE_BY_WORK
        done, now = Compacted(), began
        try:
            for partition in self._remaining(began):
                done += self._compacted(partition)
                now = self.clock()
                if now - began >= allowed or STOP.is_set():
                    break
            else:
                self._partitions = None
        except TrailweaveError as error:
            log.error("compaction_failed: %s: %s; it is tried again later", type(error).__name__, error)
            self._partitions = None
        self._ended = max(now, self.clock())
        self._not_before = self._ended + _PAUSE_BY_WORK * (self._ended - began)
        if done.published or done.removed:
            log.info("compacted: %s", done)

    def _remaining(self, now: float) -> Iterator[Partition]:
        if self._partitions is None:
            self._sweep_at = now + _SWEEP_S
            self._partitions = iter(chosen_partitions(open_store(self.output)))
        return self._partitions

    def _compacted(self, partition: Partition) -> Compacted:
        try:
            return compact_partition(open_store(self.output), self.settings, partition)
        except TrailweaveError as error:
            log.error("compaction_failed: %s of %s; the next sweep tries again", error, partition.path)
            return Compacted()
