"""The log of each partition: which commits there are, what they hold, and how the next one is made.

A partition's next number is the commit (DESIGN.md, section 2). What is known of a partition is cached for the life
of the process; a cache that is behind is found out when its next number turns out to be taken.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.datasets import RAW, Dataset
from schemas.digests import Digests, digests_of, found_in, heads_of, in_order, share_any
from schemas.values import Partition
from transforms.stores.file_table import FileTable
from transforms.stores.files import Store, named
from transforms.stores.parquet import TimeRange, read_ranges, read_table
from transforms.stores.tree import Numbered, folder_of, list_files, path_of

# A cache listed longer ago than this may have missed that compaction removed parts (it waits an hour).
FRESH_S = 30 * 60
# Time in which the machine is suspended counts too: `time.monotonic` on Linux leaves it out.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
REPEATED_RANGES = 64
# What is kept in memory. 100 MB are a day of 10,000 accounts, each with a commit every five minutes.
_MAX_BYTES = 100_000_000
_PARTITION_BYTES = 1_000
_MAX_DIGESTS = 4_000_000
_DIGESTS_A_FILE = 34
# A partition that was not used for so long is that of a day that is over.
_KEPT_S = 12 * 3_600


@dataclass(slots=True)
class Known:
    """What is known of a partition, and for how many bytes it counts. Whoever reads or changes it holds its lock."""

    files: FileTable = field(default_factory=FileTable)
    highest: int = 0
    highest_marker: int = 0
    listed: float | None = None
    used: float = 0.0
    counted: int = _PARTITION_BYTES
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def expired(self) -> bool:
        """Whether retention has emptied the partition: markers without raw files."""
        return not len(self.files) and self.highest_marker > 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which of the asked events the log holds up to `highest`, and in which commits."""

    highest: int
    held: NDArray[np.bool_]
    matched: frozenset[int]
    expired: bool


class CommitLog:
    """The logs of all partitions under one output root. `marker` is the completeness dataset; None: raw itself."""

    def __init__(self, store: Store, marker: Dataset | None, clock: Callable[[], float] | None = None) -> None:
        self._store = store
        self.marker = marker
        self._clock = clock or (lambda: time.clock_gettime(_CLOCK))
        self._known: OrderedDict[Partition, Known] = OrderedDict()
        self._bytes = 0
        self._digests: OrderedDict[tuple[Partition, Numbered], Digests] = OrderedDict()
        self._held_digests = 0
        self._lock = threading.Lock()

    def of(self, partition: Partition) -> Known:
        """The cache of a partition; whoever commits to it holds its lock."""
        now = self._clock()
        with self._lock:
            known = self._known.get(partition)
            if known is None:
                known = self._known[partition] = Known()
                self._bytes += known.counted
            known.used = now
            self._known.move_to_end(partition)
            self._forget(now)
            return known

    def _forget(self, now: float) -> None:
        """Let those go that were used least lately, while they are too many or were not used for long."""
        while len(self._known) > 1:
            least = next(iter(self._known.values()))
            if self._bytes <= _MAX_BYTES and now - least.used <= _KEPT_S:
                break
            self._known.popitem(last=False)
            self._bytes -= least.counted

    def _count(self, partition: Partition, known: Known) -> None:
        """Its files have changed: count what they take now, unless it was forgotten meanwhile."""
        with self._lock:
            if self._known.get(partition) is known:
                size = _PARTITION_BYTES + known.files.nbytes
                self._bytes += size - known.counted
                known.counted = size

    def snapshot(self, partition: Partition, known: Known, digests: Digests, times: TimeRange) -> Snapshot:
        """Compare events (their digests and time range) with the commits that the cache knows.

        An old cache is listed anew first: it may name files that compaction has removed.
        """
        if self._is_old(known):
            self.refresh(partition, known)
        try:
            return self._compared(partition, known, digests, times)
        except FileNotFoundError:
            # The cache has grown old since the look at the clock, and a part that it names was removed.
            known.listed = None
            self.refresh(partition, known)
            return self._compared(partition, known, digests, times)

    def _compared(self, partition: Partition, known: Known, digests: Digests, times: TimeRange) -> Snapshot:
        held = np.zeros(len(digests), np.bool_)
        matched: set[int] = set()
        heads = heads_of(digests)
        for file in known.files.overlapping(times):
            committed = self._digests_of(partition, file)
            if share_any(heads, committed) and (hits := found_in(digests, committed)).any():
                held |= hits
                matched.add(file.first)
        return Snapshot(max(known.highest, known.highest_marker), held, frozenset(matched), known.expired)

    def refresh(self, partition: Partition, known: Known) -> None:
        """List what is new in the partition since the cache was last listed, and learn its time ranges.

        Once the cache is old the whole partition is listed: compaction may have removed files that it names. Only
        that makes it young again; one that fails half way leaves it old. What is known of a file holds for ever.
        """
        whole = self._is_old(known)
        listed = self._clock() if whole else known.listed
        known.listed = None
        markers: list[Numbered] = []
        if self.marker is not None:
            # Before raw: a commit is in raw before it has a marker, so a marker without its commit was emptied.
            markers = list_files(self._store, self.marker, partition, 0 if whole else known.highest_marker)
        files = list_files(self._store, RAW, partition, 0 if whole else known.files.last)
        self._learn(partition, known, files if whole else [*known.files, *files], markers)
        known.listed = listed

    def _learn(
        self, partition: Partition, known: Known, files: Sequence[Numbered], markers: Sequence[Numbered]
    ) -> None:
        """These are the partition's files, in order, and these markers were found."""
        known.files.replace(files, self._times_of(partition, set(files).difference(known.files)))
        known.files.complete(markers)
        known.highest = max(known.highest, known.files.last)
        known.highest_marker = max((it.last for it in markers), default=known.highest_marker)
        self._count(partition, known)

    def _is_old(self, known: Known) -> bool:
        return known.listed is None or self._clock() - known.listed > FRESH_S

    def _times_of(self, partition: Partition, files: Collection[Numbered]) -> dict[Numbered, TimeRange]:
        """From the newest file backwards: each footer tells of the 64 commits before it too."""
        found: dict[Numbered, TimeRange] = {}
        for file in sorted(files, reverse=True):
            if file not in found:
                with named(self._store, f"{folder_of(RAW, partition)}/{file.name}") as opened:
                    told = read_ranges(opened)
                # What others tell of a range's first number is that of the commit, not of the range.
                found |= {part: it for n, it in told.items() if (part := Numbered(n, n)) in files}
                if file.first in told:
                    found[file] = told[file.first]
                if file not in found:
                    found[file] = self._measure(partition, file)
        return found

    def _measure(self, partition: Partition, file: Numbered) -> TimeRange:
        with named(self._store, f"{folder_of(RAW, partition)}/{file.name}") as opened:
            times = read_table(opened, ["event_time"])["event_time"].cast(pa.int64()).to_numpy()
        return (int(times.min()), int(times.max())) if len(times) else (1, 0)

    def _digests_of(self, partition: Partition, file: Numbered) -> Digests:
        key = partition, file
        with self._lock:
            if key in self._digests:
                self._digests.move_to_end(key)
                return self._digests[key]
        with named(self._store, f"{folder_of(RAW, partition)}/{file.name}") as opened:
            found = in_order(digests_of(read_table(opened, ["event_id"])["event_id"]))
        self._remember(key, found)
        return found

    def _remember(self, key: tuple[Partition, Numbered], found: Digests) -> None:
        with self._lock:
            if (former := self._digests.pop(key, None)) is not None:
                self._held_digests -= _weight(former)
            self._digests[key] = found
            self._held_digests += _weight(found)
            while self._held_digests > _MAX_DIGESTS and len(self._digests) > 1:
                _, dropped = self._digests.popitem(last=False)
                self._held_digests -= _weight(dropped)

    def repeated_ranges(self, known: Known, number: int, times: TimeRange) -> dict[int, TimeRange]:
        """What the footer of raw file `number` tells: its own time range and those of the 64 commits before it."""
        return {**known.files.ranges(number - REPEATED_RANGES - 1), number: times}

    def create(
        self, partition: Partition, known: Known, number: int, content: bytes, digests: Digests, times: TimeRange
    ) -> bool:
        """Commit: create raw file `number`. False if another writer was first, or a compacted range covers it."""
        if not self._store.create(path_of(RAW, partition, number), content):
            self.refresh(partition, known)
            return False
        known.files.append(Numbered(number, number), times)
        self._count(partition, known)
        if self._is_old(known):
            self.refresh(partition, known)
            if known.files.is_void(number):
                return False
        known.highest = max(known.highest, number)
        self._remember((partition, Numbered(number, number)), in_order(digests))
        return True

    def is_complete(self, partition: Partition, known: Known, number: int) -> bool:
        """Whether everything derived from the commit is durable: its marker is written last."""
        if self.marker is None:
            return True
        with known.lock:
            if known.listed is None:
                self.refresh(partition, known)
            if not known.files.is_part(number) or known.files.is_complete(number):
                return True
            if self._store.exists(path_of(self.marker, partition, number)):
                known.files.complete([Numbered(number, number)])
            else:
                # A compacted range may stand for the marker: it is published while the raw file still is there.
                markers = list_files(self._store, self.marker, partition)
                known.files.complete([it for it in markers if it.is_range])
            return known.files.is_complete(number)

    def read_commit(self, partition: Partition, number: int) -> pa.Table:
        """The rows of a raw file."""
        with named(self._store, path_of(RAW, partition, number)) as opened:
            return read_table(opened)

    def completed(self, partition: Partition, number: int) -> None:
        """Remember that this process made the commit complete."""
        known = self.of(partition)
        with known.lock:
            known.files.complete([Numbered(number, number)])
            known.highest_marker = max(known.highest_marker, number)


def _weight(found: Digests) -> int:
    """The memory of a file's digests, counted in digests."""
    return len(found) + _DIGESTS_A_FILE
