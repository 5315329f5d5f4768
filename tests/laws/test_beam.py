"""The laws once more through Beam itself, and that no slice ever leaves the fused chain."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from support.records import OTHER, compact, envelope, event_id, record

from pipeline.graph import Plan, keep, replay
from pipeline.ingestion.runs import run
from schemas import counters
from schemas.datasets import DEAD_LETTERS, EVENTS, INGEST_LOG, RAW, Dataset
from schemas.values import Batch, Message, Slice
from transforms import coders
from transforms.batch_messages import BatchMessages
from transforms.fetch_objects import FetchLimits, FetchObjects
from transforms.list_objects import as_messages
from transforms.stores.files import Output
from transforms.stores.local import LocalStore
from transforms.stores.objects import local_ref
from transforms.stores.parquet import read_table
from transforms.stores.settings import Settings
from transforms.stores.sources import Source

SOURCES = {"default": Source()}
SHARED = ["recipient_account_id", "event_id", "event_time", "commit_number"]


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> list[Message]:
    """40 objects that overlap: 3 days, 2 accounts, a bad record in some."""
    folder = tmp_path_factory.mktemp("trail")
    paths = []
    for number in range(40):
        names = range(number * 5, number * 5 + 15)
        records = [compact(record(n, day=f"2024-03-0{1 + n % 3}", account=OTHER if n % 4 else None)) for n in names]
        records += [b'{"no":"trail"}'] * (number % 3 == 0)
        text = b"\n".join(records) if number % 2 else envelope(records)
        path = folder / f"{number:03}.json.gz"
        path.write_bytes(gzip.compress(text))
        paths.append(path)
    return [*as_messages(map(local_ref, map(str, paths)), "default")]


def plan(root: Path, slice_bytes: int = 64_000_000) -> Plan:
    return Plan(SOURCES, Output(str(root)), Settings(), run_id="run", fetch=FetchLimits(slice_bytes=slice_bytes))


def ran(root: Path, messages: Sequence[Message], slice_bytes: int = 64_000_000) -> Any:
    return run(lambda pipeline: replay(pipeline, plan(root, slice_bytes), list(messages)))


def ran_in_batches(root: Path, messages: Sequence[Message], keys: int, slice_bytes: int) -> Any:
    def build(pipeline: beam.Pipeline) -> Any:
        listed = pipeline | beam.Create(messages)
        return keep(listed | BatchMessages(keys), plan(root, slice_bytes))

    return run(build)


def rows(root: Path, dataset: Dataset, columns: list[str]) -> list[tuple[Any, ...]]:
    store, found = LocalStore(root), []
    for path in (root / dataset.name).rglob("*.parquet"):
        with store.open(str(path.relative_to(root))) as file:
            table = read_table(file, columns)
        found += zip(*(table[name].to_pylist() for name in columns), strict=True)
    return sorted(found)


def test_a_run_in_small_slices_over_reversed_messages_gives_the_rows_of_one_in_one_slice(
    trail: list[Message], tmp_path: Path
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    counts = ran(one, trail)
    again = ran_in_batches(other, [*trail[::-1], *trail[:7]], keys=8, slice_bytes=5_000)

    wanted = sorted({event_id(n) for n in range(39 * 5 + 15)})
    for dataset in (RAW, EVENTS):
        assert sorted(id_ for (id_,) in rows(one, dataset, ["event_id"])) == wanted
        assert rows(one, dataset, SHARED[:3]) == rows(other, dataset, SHARED[:3])
    assert rows(one, RAW, SHARED) == rows(one, EVENTS, SHARED)
    assert rows(other, RAW, SHARED) == rows(other, EVENTS, SHARED)
    assert letters(one) == letters(other)
    assert counts[counters.EVENTS_WRITTEN] == again[counters.EVENTS_WRITTEN] == len(wanted)
    assert counts[counters.RECORDS] == 40 * 15 + 14
    assert counts[counters.EVENTS_WRITTEN] + counts[counters.EVENTS_DUPLICATE] + counts[counters.DEAD_LETTERS] == 614
    assert counts[counters.OBJECTS_READ] == len(rows(one, INGEST_LOG, ["object_key"])) == 40


def letters(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / DEAD_LETTERS.name).rglob("*.avro")}


def test_a_run_again_writes_nothing_but_its_ledger(trail: list[Message], tmp_path: Path) -> None:
    ran(tmp_path, trail)
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()}
    counts = ran(tmp_path, trail, slice_bytes=5_000)
    after = {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()}
    assert counts[counters.EVENTS_WRITTEN] == counts[counters.COMMITS] == 0
    assert {path.parts[len(tmp_path.parts)] for path in after.keys() - before.keys()} == {INGEST_LOG.name}
    assert before.items() <= after.items()


def test_no_slice_is_encoded_in_the_graph(
    trail: list[Message], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sized: list[Slice] = []

    def estimate(_: coders.SliceCoder, value: Slice) -> int:
        sized.append(value)
        return 1

    monkeypatch.setattr(coders.SliceCoder, "estimate_size", estimate)
    ran(tmp_path, trail, slice_bytes=5_000)  # an encode would raise
    assert sized, "the coder was not in use at all"


def test_a_slice_that_crosses_a_shuffle_fails_the_run(trail: list[Message]) -> None:
    coders.register()

    def build(pipeline: beam.Pipeline) -> Any:
        batch = Batch(tuple(trail[:2]))
        return pipeline | beam.Create([batch]) | FetchObjects(SOURCES) | beam.Reshuffle() | beam.Map(len)

    with pytest.raises(Exception, match="slice crossed a stage boundary"):
        run(build)
