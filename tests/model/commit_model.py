"""The processes of the commit's model, made of the real step functions, and the laws that hold at every end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from typing import Any
from unittest import mock

import pyarrow as pa
from model.explore import Explorer, Process, Program, Violation, World
from support.memory import SYNC, SyncPool
from support.records import NOW, event_id, exploded, receipt, record, reference

import pipeline.repair
from schemas.datasets import EVENTS, RAW
from schemas.errors import TrailweaveError
from schemas.values import Slice
from transforms.commit_raw import commit_raw, left_behind
from transforms.normalize_records import normalize_records
from transforms.stores.commit_log import FRESH_S, CommitLog
from transforms.stores.parquet import Layout, encode, read_table
from transforms.stores.settings import Settings
from transforms.stores.tree import parse_name
from transforms.write_dead_letters import write_dead_letters
from transforms.write_ingest_log import Ledger, write_ingest_log
from transforms.write_parquet import write_parquet

_ATTEMPTS = 3


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


@dataclass
class Model:
    """Processes over messages.

    Each name in `workers` is a process with the messages that it receives, in order; `faults` is how many may befall
    each of them.
    """

    workers: dict[str, Sequence[Message]]
    protocol: Protocol = field(default_factory=Protocol)
    faults: Sequence[int] = (1, 1)
    repairs: bool = False
    overwrites: bool = False
    reads_fail: bool = False

    def explore(self) -> Explorer:
        """Walk every state; raises `Violation`."""
        messages = {it.name: it for each in self.workers.values() for it in each}
        slices = {name: it.slice() for name, it in messages.items()}

        def work(world: World, received: tuple[str, ...]) -> None:
            store: Any = world
            log = CommitLog(store, EVENTS, self.protocol.clock())
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
        explorer = Explorer(
            programs,
            lambda files, deleted: check_end(files, deleted, messages),
            lambda name, files: check_durable(files, messages[name]),
            self.overwrites,
            self.reads_fail,
        )
        with (
            mock.patch("transforms.write_parquet.encode", _encode_once),
            mock.patch("transforms.write_ingest_log.encode", _encode_once),
        ):
            explorer.walk(tuple(processes))
        return explorer

    def _receive(self, world: World, log: CommitLog, filled: Slice) -> None:
        """A failed attempt leaves the message in the queue, which delivers it again."""
        for _ in range(_ATTEMPTS):
            try:
                self.protocol.attempt(world, log, filled)
            except TrailweaveError:
                continue
            return
        raise Violation("three attempts with one fault")


def _repair(world: World, _: tuple[str, ...]) -> None:
    store: Any = world
    with (
        mock.patch.object(pipeline.repair, "open_store", return_value=store),
        mock.patch.object(pipeline.repair, "commit_log", return_value=CommitLog(store, EVENTS)),
        mock.patch.object(pipeline.repair, "ThreadPoolExecutor", SyncPool),
    ):
        output: Any = None
        pipeline.repair.repair(output, Settings())


@lru_cache(maxsize=4096)
def rows(content: bytes) -> tuple[tuple[str, int], ...]:
    """(event id, commit number) of each row of a raw or events file."""
    table = read_table(pa.BufferReader(content), ["event_id", "commit_number"])
    return tuple(zip(table["event_id"].to_pylist(), table["commit_number"].to_pylist(), strict=True))


def numbers(files: dict[str, bytes], dataset: str) -> dict[tuple[str, int], bytes]:
    """Files of a dataset by partition and number."""
    found = {}
    for path, content in files.items():
        folder, _, name = path.rpartition("/")
        if folder.startswith(f"{dataset}/"):
            numbered = parse_name(name)
            assert numbered is not None, f"{path} is no name of ours"
            found[folder.removeprefix(f"{dataset}/"), numbered.first] = content
    return found


def check_end(files: dict[str, bytes], deleted: frozenset[str], messages: dict[str, Message]) -> None:
    """Every event once in both datasets under one number, numbers dense from 1, one marker for each raw file."""
    assert deleted == messages.keys(), f"still in the queue: {messages.keys() - deleted}"
    raw, events = numbers(files, RAW.name), numbers(files, EVENTS.name)
    assert raw.keys() == events.keys(), f"raw has {sorted(raw)}, the events have {sorted(events)}"
    for partition in {it[0] for it in raw}:
        mine = sorted(number for it, number in raw if it == partition)
        assert mine == [*range(1, len(mine) + 1)], f"numbers {mine} of {partition} are not dense"
    for key, content in raw.items():
        assert sorted(rows(content)) == sorted(rows(events[key])), f"{key} has other rows in raw than in the events"
        assert {number for _, number in rows(content)} == {key[1]}, f"{key} holds rows of another commit"
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
        held = {id_ for content in numbers(files, dataset).values() for id_, _ in rows(content)}
        missing = [it for it in message.events if event_id(it.partition("@")[0]) not in held]
        assert not missing, f"{message.name} is deleted while {missing} are not in {dataset}"
    if message.bad:
        assert any(path.startswith("dead_letters/") for path in files), "deleted before its dead letter is written"
