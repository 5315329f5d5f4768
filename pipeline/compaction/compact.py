"""The protocol of compaction: plan, publish derived datasets before raw, an hour later remove the parts.

It may be killed anywhere and begun anew, by several processes at once, beside writers and repair:

- a range's name is fixed by its plan, and its file is created if absent, so it is published once, with all its rows;
- only commits that are complete are planned, so whoever still derives one of them finds it done, or makes a part that
  the range covers: no reader counts it, and the next pass removes it;
- a range in a derived dataset stands for the completeness markers of its commits, so derived datasets come first;
- a part is removed only once a range in its own dataset has covered it for an hour. Writers list a partition anew
  after half an hour, and queries list before they read: neither misses a row, and the views never see one twice.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.compaction.merging import merge
from pipeline.compaction.ranges import Part, Sizes, agree, next_range, read_plans
from schemas.datasets import DETECTIONS, EVENTS, PROFILES, RAW, SESSIONS, Dataset
from schemas.values import Partition
from transforms.receive_messages import STOP
from transforms.stores.files import Output, Store, open_store
from transforms.stores.listed import Listed
from transforms.stores.settings import Settings
from transforms.stores.tree import Numbered, counted, folder_of, list_partitions, parse_name

log = logging.getLogger(__name__)

QUIET_S = 24 * 3_600.0
GRACE_S = 3_600.0
# In the order of their publication: the dataset that marks completeness after the others, raw at last.
DATASETS = (SESSIONS, DETECTIONS, EVENTS, RAW)
_THREADS = 16


@dataclass(frozen=True, slots=True)
class Compacted:
    """What was done: files published, parts merged into them, parts removed, and parts whose hour is not over."""

    published: int = 0
    merged: int = 0
    removed: int = 0
    waiting: int = 0

    def __str__(self) -> str:
        return (
            f"{self.merged:,} files merged into {self.published:,}; {self.removed:,} removed,"
            f" {self.waiting:,} wait for the end of their hour"
        )

    def __add__(self, other: Compacted) -> Compacted:
        return Compacted(
            self.published + other.published,
            self.merged + other.merged,
            self.removed + other.removed,
            self.waiting + other.waiting,
        )


@dataclass(frozen=True, slots=True)
class _File:
    """A numbered file as it is listed."""

    numbers: Numbered
    listed: Listed


def compact(
    output: Output,
    settings: Settings,
    *,
    since: str | None = None,
    until: str | None = None,
    sizes: Sizes | None = None,
    on_partition: Callable[[], None] | None = None,
) -> Compacted:
    """Compact every quiet partition from day `since` to day `until` (`yyyy-mm-dd`, both in); a signal ends it."""
    store, done = open_store(output), Compacted()
    for partition in chosen_partitions(store, since, until):
        if STOP.is_set():
            break
        done += compact_partition(store, settings, partition, sizes=sizes)
        if on_partition:
            on_partition()
    return done


def chosen_partitions(store: Store, since: str | None = None, until: str | None = None) -> list[Partition]:
    """Partitions of raw records between two days, both in."""
    return [
        it
        for it in list_partitions(store, RAW)
        if (since is None or it.day >= since) and (until is None or it.day <= until)
    ]


def compact_partition(
    store: Store,
    settings: Settings,
    partition: Partition,
    *,
    sizes: Sizes | None = None,
    quiet_s: float = QUIET_S,
) -> Compacted:
    """Publish what is planned or can be, and remove the parts whose hour is over.

    Raises what the store raises; what was published until then stays, and the next pass goes on.
    """
    raw = _files(store, RAW, partition)
    done = Compacted()
    with ThreadPoolExecutor(_THREADS) as pool:
        for planned in _planned(store, settings, partition, raw, sizes or Sizes(), quiet_s):
            done += _publish(store, settings, partition, planned, pool)
        if done.published or any(it.numbers.is_range for it in raw):
            done += _remove_parts(store, partition, pool)
    return done


def _planned(
    store: Store, settings: Settings, partition: Partition, raw: Sequence[_File], sizes: Sizes, quiet_s: float
) -> Iterator[Numbered]:
    """Ranges that are planned, or are now, and have no raw file yet."""
    if len(raw) < 2:
        return
    ranges = [it.numbers for it in raw if it.numbers.is_range]
    plans = read_plans(store, partition, ranges)
    yield from (it for it in plans if it.is_range)
    covered = max((it.last for it in (*plans, *ranges)), default=0)
    tail = [it for it in raw if it.numbers.first > covered]
    if not tail or min(it.listed.age_s for it in tail) < quiet_s:
        return
    complete = _complete(store, settings, partition)
    parts: list[Part] = []
    for it in tail:
        number = it.numbers.first
        if number != covered + 1 + len(parts) or not (complete is None or number in complete):
            # A part that is missing, or not complete: it, and what follows, waits for repair.
            break
        parts.append(Part(it.numbers, it.listed.size))
    before = [Part(it.numbers, it.listed.size) for it in _counted(raw) if it.numbers.last <= covered]
    while wanted := next_range(parts, sizes, before):
        agreed = agree(store, partition, wanted, parts[0].numbers.first)
        if agreed.is_range:
            yield agreed
        if agreed != wanted:
            break
        parts = [it for it in parts if it.numbers.first > agreed.last]
        before = []


def _complete(store: Store, settings: Settings, partition: Partition) -> set[int] | None:
    """Numbers with their completeness marker; None: all."""
    if settings.marker is None:
        return None
    return set(_numbers(_files(store, settings.marker, partition)))


def _publish(store: Store, settings: Settings, partition: Partition, planned: Numbered, pool: Executor) -> Compacted:
    """Create the range's file in every dataset that lacks it and has rows for it."""
    done = Compacted()
    for dataset in DATASETS:
        files = _files(store, dataset, partition)
        if any(it.numbers == planned for it in files):
            continue
        parts = _counted([it for it in files if planned.covers(it.numbers)])
        every = [*range(planned.first, planned.last + 1)]
        if dataset in (RAW, settings.marker) and _numbers(parts) != every:
            log.warning(
                "compaction_waits: %s of %s lacks files of %s; `trailweave repair` makes what is derived",
                dataset.name,
                partition.path,
                planned.name,
            )
            return done
        if parts and _create(store, dataset, partition, planned, parts, pool):
            done += Compacted(published=1, merged=len(parts))
    return done


def _create(
    store: Store,
    dataset: Dataset,
    partition: Partition,
    planned: Numbered,
    parts: Sequence[_File],
    pool: Executor,
) -> bool:
    folder = folder_of(dataset, partition)
    with tempfile.TemporaryDirectory(prefix="trailweave-compact-") as scratch:
        target = Path(scratch, planned.name)
        try:
            merge(store, dataset, [(f"{folder}/{it.listed.name}", it.listed.size) for it in parts], target, pool)
        except FileNotFoundError:
            # Another compactor has published the range, and its hour is over.
            return False
        return store.create_from(f"{folder}/{planned.name}", target)


def _remove_parts(store: Store, partition: Partition, pool: Executor) -> Compacted:
    """Remove what a range of the same dataset has covered for an hour."""
    removed = waiting = 0
    # Profiles of a range are made anew from its events, by who evaluates alerts.
    for dataset in (*DATASETS, PROFILES):
        files = _files(store, dataset, partition)
        ranges = [it for it in files if it.numbers.is_range]
        paths = []
        for part in files:
            over = [it for it in ranges if it.numbers.covers(part.numbers)]
            if any(it.listed.age_s >= GRACE_S for it in over):
                paths.append(f"{folder_of(dataset, partition)}/{part.listed.name}")
            elif over:
                waiting += 1
        removed += len([*pool.map(store.remove, paths)])
    return Compacted(removed=removed, waiting=waiting)


def _counted(files: Sequence[_File]) -> list[_File]:
    """The files that readers count."""
    numbers = {*counted([it.numbers for it in files])}
    return [it for it in files if it.numbers in numbers]


def _numbers(files: Sequence[_File]) -> list[int]:
    return [number for it in files for number in range(it.numbers.first, it.numbers.last + 1)]


def _files(store: Store, dataset: Dataset, partition: Partition) -> list[_File]:
    found = ((parse_name(it.name), it) for it in store.listed(folder_of(dataset, partition)))
    return sorted((_File(numbers, it) for numbers, it in found if numbers), key=lambda it: it.numbers)
