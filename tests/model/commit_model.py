"""The processes of the commit's model, made of the real step functions, and the laws that hold at every end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
from model.explore import Explorer, Process, Program, Violation, World
from support.memory import SYNC, MemoryStore, SyncPool
from support.records import ACCOUNT, DAY, NOW, event_id, exploded, receipt, record, reference

import pipeline.upkeep.repair
from pipeline.compaction import compact as compaction
from pipeline.compaction.merging import merge
from schemas.datasets import EVENTS, RAW, Dataset
from schemas.errors import TrailweaveError
from schemas.values import Partition, Slice
from transforms.commit_raw import commit_raw, left_behind
from transforms.normalize_records import normalize_records
from transforms.stores.commit_log import FRESH_S, CommitLog
from transforms.stores.parquet import Layout, encode, read_table
from transforms.stores.settings import Settings
from transforms.stores.tree import Numbered, parse_name
from transforms.write_dead_letters import write_dead_letters
from transforms.write_ingest_log import Ledger, write_ingest_log
from transforms.write_parquet import write_parquet

_ATTEMPTS = 3
PARTITION = Partition(ACCOUNT, DAY)
SETTINGS = Settings(sessions=False, detections=False)


@dataclass(frozen=True)
class Message:
    """A message whose one object holds these events, and perhaps a bad record; events are `name` or `name@day`."""

    name: str
    events: tuple[str, ...]
    bad: bool = False

    def slice(self) -> Slice:
        """What ExplodeRecords gives for it."""
        records: list[Any] = [_record(it) for it in self.events]
        if self.bad:
            records.append({"no": "CloudTrail record"})
        return exploded(records, reference(self.name), receipt(self.name))


def _record(event: str) -> Any:
    name, _, day = event.partition("@")
    return record(name, day=f"2024-03-{day or '05'}")


@dataclass(frozen=True)
class Protocol:
    """How a process works on one slice; the mutations of the tests replace a part."""

    is_clock_old: bool = False
    deletes_first: bool = False
    derives_matched: bool = True

    def attempt(self, world: World, log: CommitLog, filled: Slice) -> None:
        """The fused chain from CommitRaw to AcknowledgeMessages."""
        store: Any = world
        if self.deletes_first:
            self._acknowledge(world, filled)
        ledger = Ledger()
        for each in self._committed(log, filled):
            derived = write_parquet(_normalized(each), store, log, SYNC)
            write_dead_letters(derived, store)
            write_ingest_log(ledger.fold(derived), store, "run")
            if not self.deletes_first:
                self._acknowledge(world, derived)

    def _committed(self, log: CommitLog, filled: Slice) -> Iterator[Slice]:
        committed, done = commit_raw(filled, log, SYNC, NOW)
        if self.derives_matched:
            yield from left_behind(log, done)
        yield committed

    def _acknowledge(self, world: World, filled: Slice) -> None:
        for it in filled.receipts:
            world.delete(it.message_id)

    def clock(self) -> Callable[[], float]:
        """Time stands still, or every look at the clock finds the cache too old."""
        ticks = count(step=int(FRESH_S) + 1)
        return (lambda: float(next(ticks))) if self.is_clock_old else (lambda: 0.0)


_encoded: dict[Any, bytes] = {}


def _encode_once(table: pa.Table, layout: Layout) -> bytes:
    """`encode` for the events of a commit, once for the same rows; the ledger's content matters to nobody here."""
    if "event_id" not in table.column_names:
        return b""
    key = tuple(table["event_id"].to_pylist()), tuple(table["commit_number"].to_pylist())
    if key not in _encoded:
        _encoded[key] = encode(table, layout)
    return _encoded[key]


_merged: dict[Any, bytes] = {}


def _merge_once(store: Any, dataset: Dataset, parts: Sequence[tuple[str, int]], target: Path, pool: Any) -> int:
    """`merge`, once for the same parts; each is read in any case."""
    found = {path: store.read(path) for path, _ in parts}
    if None in found.values():
        raise FileNotFoundError(target)
    key = dataset.name, *found.items()
    if key not in _merged:
        merge(MemoryStore(found), dataset, parts, target, pool)
        _merged[key] = target.read_bytes()
    return target.write_bytes(_merged[key])


_normal_forms: dict[Any, pa.Table | None] = {}


def _normalized(committed: Slice) -> Slice:
    """`normalize_records`, once for the same rows of the same commits: a walk asks for them thousands of times."""
    if committed.records is None:
        return normalize_records(committed)
    ids = tuple(committed.records["event_id"].to_pylist())
    key = ids, committed.commits, tuple(committed.records.column_names)
    if key not in _normal_forms:
        _normal_forms[key] = normalize_records(committed).events
    return replace(committed, events=_normal_forms[key])


@dataclass(frozen=True)
class Compactor:
    """A process that compacts, whatever else is at work; what a pass has covered, a later one removes."""

    passes: int = 2
    faults: int = 0
    settings: Settings = SETTINGS

    def work(self, world: World, _: tuple[str, ...]) -> None:
        """All passes; what fails is left to the next."""
        store: Any = world
        for _pass in range(self.passes):
            with suppress(TrailweaveError):
                compaction.compact_partition(store, self.settings, PARTITION, quiet_s=0.0)


@dataclass
class Model:
    """Processes over messages.

    Each name in `workers` is a process with the messages that it receives, in order; `faults` is how many may befall
    each of them. `before` was ingested two days ago, each message by a commit, and compacted since if `compacted`;
    then came `late`, and `underived` by writers that were killed before they derived anything. `hours` may pass, each
    at any moment.
    """

    workers: dict[str, Sequence[Message]]
    protocol: Protocol = field(default_factory=Protocol)
    faults: Sequence[int] = (1, 1)
    repairs: bool = False
    overwrites: bool = False
    reads_fail: bool = False
    before: Sequence[Message] = ()
    late: Sequence[Message] = ()
    underived: Sequence[Message] = ()
    compacted: bool = False
    compactors: Sequence[Compactor] = ()
    hours: int = 0

    def explore(self) -> Explorer:
        """Walk every state; raises `Violation`."""
        messages = {it.name: it for each in self.workers.values() for it in each}
        slices = {name: it.slice() for name, it in messages.items()}

        def work(world: World, received: tuple[str, ...]) -> None:
            store: Any = world
            log = CommitLog(store, EVENTS, world.clock if self.hours else self.protocol.clock())
            for name in received:
                self._receive(world, log, slices[name])

        programs: dict[str, Program] = dict.fromkeys(self.workers, work)
        processes = [
            Process(name, tuple(it.name for it in each), 0, faults)
            for (name, each), faults in zip(self.workers.items(), self.faults, strict=False)
        ]
        if self.repairs:
            programs["repair"] = _repair
            processes.append(Process("repair", ()))
        for number, it in enumerate(self.compactors, 1):
            programs[f"compactor {number}"] = it.work
            processes.append(Process(f"compactor {number}", (), 0, it.faults))
        old = {it.name: it for it in (*self.before, *self.late, *self.underived) if it.name not in messages}
        kept = {event for it in (*self.before, *self.late) for event in it.events}
        explorer = Explorer(
            programs,
            lambda files, deleted: check_end(files, deleted | old.keys(), messages | old),
            lambda name, files: check_durable(files, messages[name]),
            self.overwrites,
            self.reads_fail,
            (lambda files: check_visible(files, kept)) if self.compactors else None,
            self.hours,
            bool(self.compactors),
        )
        with (
            mock.patch("transforms.write_parquet.encode", _encode_once),
            mock.patch("transforms.write_ingest_log.encode", _encode_once),
            mock.patch.object(compaction, "merge", _merge_once),
            mock.patch.object(compaction, "ThreadPoolExecutor", SyncPool),
        ):
            explorer.walk(tuple(processes), self._ingested())
        return explorer

    def _ingested(self) -> dict[str, bytes]:
        """The files at the start; each message was committed, and all but the last ones derived."""
        store: Any = MemoryStore()
        ingest(store, self.before)
        if self.compacted:
            for _ in range(2):
                compaction.compact_partition(store, SETTINGS, PARTITION, quiet_s=0.0)
                store.now += 2 * compaction.GRACE_S
        ingest(store, self.late)
        ingest(store, self.underived, derive=False)
        return store.files

    def _receive(self, world: World, log: CommitLog, filled: Slice) -> None:
        """A failed attempt leaves the message in the queue, which delivers it again."""
        for _ in range(_ATTEMPTS):
            try:
                self.protocol.attempt(world, log, filled)
            except (TrailweaveError, FileNotFoundError):
                continue
            return
        raise Violation("three attempts with one fault")


def explored(model: Model) -> int:
    """Walk it: how many states there were. Raises `Violation` where one breaks a law; some history must end."""
    explorer = model.explore()
    print(f"{explorer.states:,} states, {explorer.histories:,} histories, {explorer.ends} ends")
    assert explorer.ends >= 1
    return explorer.states


def _repair(world: World, _: tuple[str, ...]) -> None:
    store: Any = world
    with (
        mock.patch.object(pipeline.upkeep.repair, "open_store", return_value=store),
        mock.patch.object(pipeline.upkeep.repair, "commit_log", return_value=CommitLog(store, EVENTS)),
        mock.patch.object(pipeline.upkeep.repair, "ThreadPoolExecutor", SyncPool),
        mock.patch.object(pipeline.upkeep.repair, "writers", return_value=SYNC),
    ):
        output: Any = None
        pipeline.upkeep.repair.repair(output, SETTINGS)


def ingest(store: Any, messages: Sequence[Message], *, derive: bool = True) -> None:
    """Commit each message and, with `derive`, write what is derived from it."""
    log = CommitLog(store, EVENTS)
    for message in messages:
        committed, _ = commit_raw(message.slice(), log, SYNC, NOW)
        if derive:
            write_parquet(_normalized(committed), store, log, SYNC)


@lru_cache(maxsize=4096)
def rows(content: bytes) -> tuple[tuple[str, int], ...]:
    """(event id, commit number) of each row of a raw or events file."""
    table = read_table(pa.BufferReader(content), ["event_id", "commit_number"])
    return tuple(zip(table["event_id"].to_pylist(), table["commit_number"].to_pylist(), strict=True))


def visible(files: dict[str, bytes], dataset: str) -> dict[tuple[str, Numbered], bytes]:
    """Files of a dataset by partition and numbers, as readers count them: without those that a range covers."""
    found = {}
    for path, content in files.items():
        folder, _, name = path.rpartition("/")
        if folder.startswith(f"{dataset}/"):
            numbered = parse_name(name)
            assert numbered is not None, f"{path} is no name of ours"
            found[folder.removeprefix(f"{dataset}/"), numbered] = content
    ranges = [it for it in found if it[1].is_range]
    return {
        (partition, it): content
        for (partition, it), content in found.items()
        if not any(
            where == partition and wide != it and wide.first <= it.first and it.last <= wide.last
            for where, wide in ranges
        )
    }


def check_visible(files: dict[str, bytes], kept: set[str]) -> None:
    """At any moment a reader of either dataset sees no event twice, and each of those that were there before."""
    for dataset in (RAW.name, EVENTS.name):
        seen = Counter(id_ for content in visible(files, dataset).values() for id_, _ in rows(content))
        missing = [it for it in sorted(kept) if event_id(it) not in seen]
        assert not missing, f"readers of {dataset} miss {missing}"
        assert set(seen.values()) <= {1}, f"readers of {dataset} see events twice"


def covered(found: dict[tuple[str, Numbered], bytes], partition: str) -> list[int]:
    """The numbers of a partition that files hold."""
    mine = [it for where, it in found if where == partition]
    return sorted(number for it in mine for number in range(it.first, it.last + 1))


def check_end(files: dict[str, bytes], deleted: frozenset[str], messages: dict[str, Message]) -> None:
    """Every event once in both datasets under one number, numbers dense from 1, one marker for each raw file."""
    assert deleted == messages.keys(), f"still in the queue: {messages.keys() - deleted}"
    raw, events = visible(files, RAW.name), visible(files, EVENTS.name)
    for partition in {it[0] for it in (*raw, *events)}:
        mine = covered(raw, partition)
        assert mine == [*range(1, len(mine) + 1)], f"numbers {mine} of {partition} are not dense"
        assert mine == covered(events, partition), f"raw has {sorted(raw)}, the events have {sorted(events)}"
        both = [
            sorted(it for (where, _), content in found.items() if where == partition for it in rows(content))
            for found in (raw, events)
        ]
        assert both[0] == both[1], f"{partition} has other rows in raw than in the events"
    for (_, file), content in (*raw.items(), *events.items()):
        assert {number for _, number in rows(content)} == {*range(file.first, file.last + 1)}, f"{file}: numbers"
    held = Counter(id_ for content in raw.values() for id_, _ in rows(content))
    wanted = {event_id(event.partition("@")[0]): event for it in messages.values() for event in it.events}
    assert not wanted.keys() - held.keys(), f"lost: {[wanted[it] for it in wanted.keys() - held.keys()]}"
    assert held.keys() <= wanted.keys(), "an event of no message"
    assert set(held.values()) <= {1}, f"double: {[wanted[it] for it, times in held.items() if times > 1]}"
    bad = sum(it.bad for it in messages.values())
    assert sum(path.startswith("dead_letters/") for path in files) == bad, "a bad record has no dead letter"


def check_durable(files: dict[str, bytes], message: Message) -> None:
    """At the moment of its deletion a message's events are in both datasets, and its dead letters are written."""
    for dataset in (RAW.name, EVENTS.name):
        held = {id_ for content in visible(files, dataset).values() for id_, _ in rows(content)}
        missing = [it for it in message.events if event_id(it.partition("@")[0]) not in held]
        assert not missing, f"{message.name} is deleted while {missing} are not in {dataset}"
    if message.bad:
        assert any(path.startswith("dead_letters/") for path in files), "deleted before its dead letter is written"
