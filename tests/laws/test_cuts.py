"""Law 3: the rows do not depend on how the input was cut, ordered, grouped or repeated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from laws.objects import Found, canonical_rows, ingest, objects, rows, slices_of
from support.memory import MemoryStore

import pipeline.upkeep.repair
from schemas.datasets import EVENTS, RAW, SESSIONS
from transforms.explode_records import Exploder
from transforms.stores.commit_log import CommitLog
from transforms.stores.settings import Settings

cuts = st.sampled_from([1, 700, 3_000, 64_000_000])
batches = st.lists(st.lists(objects(), max_size=4), min_size=1, max_size=3)


def letters(store: MemoryStore) -> dict[str, bytes]:
    return {path: content for path, content in store.files.items() if path.startswith("dead_letters/")}


def expected_ids(found: Sequence[Found]) -> set[tuple[str, str]]:
    """(account, id) of each distinct event, by the exploder alone, one object at a time, uncut."""
    ids: set[tuple[str, str]] = set()
    for it in found:
        for filled in slices_of([it], 64_000_000):
            for piece in Exploder(4_000).explode(filled):
                if piece.records is not None:
                    columns = (piece.records[name].to_pylist() for name in ("recipient_account_id", "event_id"))
                    ids.update(zip(*columns, strict=True))
    return ids


@settings(max_examples=50)
@given(batches, cuts, cuts, st.integers(1, 3), st.randoms(use_true_random=False))
def test_any_order_grouping_repetition_and_cut_gives_the_same_rows(
    given_batches: list[list[Found]], one: int, other: int, max_partitions: int, random: Any
) -> None:
    first = ingest(given_batches, one)
    everything = [it for batch in given_batches for it in batch]
    shuffled = everything + random.choices(everything, k=len(everything)) if everything else []
    random.shuffle(shuffled)
    again = ingest([shuffled[start::2] for start in (0, 1)], other, max_partitions)

    for dataset in (RAW, EVENTS):
        assert canonical_rows(first, dataset) == canonical_rows(again, dataset)
    assert letters(first) == letters(again)
    held = rows(first, RAW)
    ids = [*zip(held["recipient_account_id"].to_pylist(), held["event_id"].to_pylist(), strict=True)]
    assert len(ids) == len(set(ids))
    assert set(ids) == expected_ids(everything)


@settings(max_examples=25)
@given(batches, cuts)
def test_raw_and_normalized_rows_match_one_to_one_and_numbers_are_dense(
    given_batches: list[list[Found]], slice_bytes: int
) -> None:
    store = ingest(given_batches, slice_bytes)
    shared = ["recipient_account_id", "event_id", "event_time", "commit_number", "ingestion_time"]
    assert rows(store, RAW).select(shared) == rows(store, EVENTS).select(shared)
    folders: dict[str, list[str]] = {}
    for path in store.files:
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, []).append(name)
    for folder, names in folders.items():
        if folder.startswith(SESSIONS.name):
            # No sessions, no file.
            assert {f"{folder.replace(SESSIONS.name, RAW.name)}/{name}" for name in names} <= store.files.keys()
        elif not folder.startswith("dead_letters"):
            assert sorted(names) == [f"{number:08d}.parquet" for number in range(1, len(names) + 1)]


@settings(max_examples=25)
@given(batches, cuts)
def test_the_same_input_again_creates_nothing(given_batches: list[list[Found]], slice_bytes: int) -> None:
    once = ingest(given_batches, slice_bytes)
    twice = ingest([*given_batches, *given_batches], slice_bytes)
    assert sorted(once.files) == sorted(twice.files)
    for dataset in (RAW, EVENTS):
        assert rows(once, dataset) == rows(twice, dataset)
    assert letters(once) == letters(twice)


@settings(max_examples=25)
@given(batches, cuts)
def test_a_raw_row_holds_the_bytes_that_were_delivered(given_batches: list[list[Found]], slice_bytes: int) -> None:
    store = ingest(given_batches, slice_bytes)
    delivered = set()
    for it in (it for batch in given_batches for it in batch):
        for filled in slices_of([it], 64_000_000):
            for piece in Exploder(4_000).explode(filled):
                if piece.records is not None:
                    columns = (piece.records[name].to_pylist() for name in ("source_key", "source_index", "raw_json"))
                    delivered.update(zip(*columns, strict=True))
    for row in rows(store, RAW).to_pylist():
        assert (row["source_key"], row["source_index"], row["raw_json"]) in delivered
        assert json.loads(row["raw_json"]).get("eventID", row["event_id"]) == row["event_id"]


@settings(max_examples=25)
@given(batches, st.randoms(use_true_random=False))
def test_the_events_of_a_slice_read_back_from_its_raw_file_are_the_ones_it_wrote(
    given_batches: list[list[Found]], random: Any
) -> None:
    """What repair derives is what the writer itself derives, to the last value."""
    store = ingest(given_batches, 3_000)
    whole, sessions = rows(store, EVENTS), rows(store, SESSIONS)
    markers = [path for path in store.files if path.startswith(EVENTS.name)]
    lost = [path for path in markers if random.random() < 0.6]
    for path in lost:
        del store.files[path]
        if random.random() < 0.5:
            store.files.pop(path.replace(EVENTS.name, SESSIONS.name), None)
    output: Any = None
    with (
        mock.patch.object(pipeline.upkeep.repair, "open_store", return_value=store),
        mock.patch.object(pipeline.upkeep.repair, "commit_log", return_value=CommitLog(store, EVENTS)),
    ):
        assert pipeline.upkeep.repair.repair(output, Settings()) == len(lost)
        assert pipeline.upkeep.repair.repair(output, Settings()) == 0
    assert rows(store, EVENTS) == whole
    assert rows(store, SESSIONS) == sessions
