"""The log of each partition: which commits there are, what they hold, and how the next one is made.

A partition's next number is the commit (DESIGN.md, section 2). What is known of a partition is cached for the life
of the process; a cache that is behind is found out when its next number turns out to be taken.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.datasets import RAW, Dataset
from schemas.digests import Digests, digests_of, found_in, in_order
from schemas.values import Partition
from transforms.stores.files import Store
from transforms.stores.parquet import TimeRange, read_ranges, read_table
from transforms.stores.tree import Numbered, folder_of, list_files, path_of

# A cache listed longer ago than this may have missed that compaction removed parts (it waits an hour).
FRESH_S = 30 * 60
# Time in which the machine is suspended counts too: `time.monotonic` on Linux leaves it out.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
REPEATED_RANGES = 64
# What is kept in memory: about 500 bytes a file; 16 a digest, and as much as 34 of them for each file that has any.
_MAX_PARTITIONS = 4_096
_MAX_FILES = 200_000
_MAX_DIGESTS = 4_000_000
_DIGESTS_A_FILE = 34


@dataclass
class Known:
    """What is known of a partition. `ranges` are event times of each raw file, microseconds, both ends in."""

    files: dict[int, Numbered] = field(default_factory=dict)
    ranges: dict[int, TimeRange] = field(default_factory=dict)
    complete: set[int] = field(default_factory=set)
    highest: int = 0
    highest_marker: int = 0
    listed: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def expired(self) -> bool:
        """Whether retention has emptied the partition: markers without raw files."""
        return not self.files and self.highest_marker > 0


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
        self._digests: OrderedDict[tuple[Partition, Numbered], Digests] = OrderedDict()
        self._held_digests = 0
        self._lock = threading.Lock()

    def of(self, partition: Partition) -> Known:
        """The cache of a partition; whoever commits to it holds its lock."""
        with self._lock:
            known = self._known.get(partition)
            if known is None:
                self._forget()
                known = self._known[partition] = Known()
            self._known.move_to_end(partition)
            return known

    def _forget(self) -> None:
        """Make room for another partition: those go that were used least lately, if they are old or too many."""
        files = sum(len(it.files) for it in self._known.values())
        while self._known:
            least = next(iter(self._known.values()))
            if len(self._known) < _MAX_PARTITIONS and files <= _MAX_FILES and not self._is_old(least):
                break
            files -= len(least.files)
            self._known.popitem(last=False)

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
        for number, (low, high) in known.ranges.items():
            if low <= times[1] and times[0] <= high:
                hits = found_in(digests, self._digests_of(partition, known, number))
                if hits.any():
                    held |= hits
                    matched.add(number)
        return Snapshot(max(known.highest, known.highest_marker), held, frozenset(matched), known.expired)

    def refresh(self, partition: Partition, known: Known) -> None:
        """List what is new in the partition since the cache was last listed, and learn its time ranges.

        Once the cache is old the whole partition is listed: compaction may have removed files that it names. Only
        that makes it young again; one that fails half way leaves it old.
        """
        whole = self._is_old(known)
        listed = self._clock() if whole else known.listed
        known.listed = None
        if whole:
            known.files.clear()
            known.ranges.clear()
        if self.marker is not None:
            # Before raw: a commit is in raw before it has a marker, so a marker without its commit was emptied.
            markers = list_files(self._store, self.marker, partition, 0 if whole else known.highest_marker)
            known.complete.update(number for it in markers for number in range(it.first, it.last + 1))
            known.highest_marker = max((it.last for it in markers), default=known.highest_marker)
        after = max((file.last for file in known.files.values()), default=0)
        for file in list_files(self._store, RAW, partition, after):
            known.files[file.first] = file
            known.highest = max(known.highest, file.last)
        self._learn_ranges(partition, known)
        known.listed = listed

    def _is_old(self, known: Known) -> bool:
        return known.listed is None or self._clock() - known.listed > FRESH_S

    def _learn_ranges(self, partition: Partition, known: Known) -> None:
        """From the newest file backwards: each footer tells of the 64 commits before it too."""
        for number in sorted(known.files, reverse=True):
            if number not in known.ranges:
                file = known.files[number]
                with self._store.open(f"{folder_of(RAW, partition)}/{file.name}") as opened:
                    told = read_ranges(opened)
                # What others tell of a range's first number is that of the commit, not of the range.
                wanted = {n: it for n, it in told.items() if n in known.files and not known.files[n].is_range}
                if file.is_range and number in told:
                    wanted[number] = told[number]
                known.ranges.update(wanted)
                if number not in known.ranges:
                    known.ranges[number] = self._measure(partition, known, number)

    def _measure(self, partition: Partition, known: Known, number: int) -> TimeRange:
        path = f"{folder_of(RAW, partition)}/{known.files[number].name}"
        with self._store.open(path) as opened:
            times = read_table(opened, ["event_time"])["event_time"].cast(pa.int64()).to_numpy()
        return (int(times.min()), int(times.max())) if len(times) else (1, 0)

    def _digests_of(self, partition: Partition, known: Known, number: int) -> Digests:
        key = partition, known.files[number]
        with self._lock:
            if key in self._digests:
                self._digests.move_to_end(key)
                return self._digests[key]
        with self._store.open(f"{folder_of(RAW, partition)}/{key[1].name}") as opened:
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
        before = {n: known.ranges[n] for n in range(number - REPEATED_RANGES, number) if n in known.ranges}
        return {**before, number: times}

    def create(
        self, partition: Partition, known: Known, number: int, content: bytes, digests: Digests, times: TimeRange
    ) -> bool:
        """Commit: create raw file `number`. False if another writer was first, or a compacted range covers it."""
        if not self._store.create(path_of(RAW, partition, number), content):
            self.refresh(partition, known)
            return False
        if self._is_old(known):
            self.refresh(partition, known)
            if any(file.is_range and file.first <= number <= file.last for file in known.files.values()):
                return False
        known.files[number] = Numbered(number, number)
        known.ranges[number] = times
        known.highest = max(known.highest, number)
        self._remember((partition, known.files[number]), in_order(digests))
        return True

    def is_complete(self, partition: Partition, known: Known, number: int) -> bool:
        """Whether everything derived from the commit is durable: its marker is written last."""
        if self.marker is None or number in known.complete:
            return True
        if known.listed is None:
            self.refresh(partition, known)
        if number not in known.files or known.files[number].is_range:
            return True
        if self._store.exists(path_of(self.marker, partition, number)):
            known.complete.add(number)
        else:
            # A compacted range may stand for the marker: it is published while the raw file still is there.
            ranges = (it for it in list_files(self._store, self.marker, partition) if it.is_range)
            known.complete.update(covered for it in ranges for covered in range(it.first, it.last + 1))
        return number in known.complete

    def read_commit(self, partition: Partition, number: int) -> pa.Table:
        """The rows of a raw file."""
        with self._store.open(path_of(RAW, partition, number)) as opened:
            return read_table(opened)

    def completed(self, partition: Partition, number: int) -> None:
        """Remember that this process made the commit complete."""
        known = self.of(partition)
        known.complete.add(number)
        known.highest_marker = max(known.highest_marker, number)


def _weight(found: Digests) -> int:
    """The memory of a file's digests, counted in digests."""
    return len(found) + _DIGESTS_A_FILE
