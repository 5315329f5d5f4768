"""One row for each object that ended, as the sum of its parts over the slices of a batch."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from uuid import RFC_4122

import pytest
from support.memory import MemoryStore
from support.records import ACCOUNT, DAY, NOW, receipt, reference

from schemas.datasets import INGEST_LOG
from schemas.values import ObjectPart, Outcome, Slice
from transforms.stores.ledger import done_objects, is_done
from transforms.stores.parquet import read_table
from transforms.stores.tree import uuid7
from transforms.write_ingest_log import Ledger, add, ingest_log_rows, write_ingest_log


def part(name: str = "one", *, last: bool = True, outcome: Outcome = "done", records: int = 3) -> ObjectPart:
    return ObjectPart(
        "default",
        reference(name),
        receipt("m"),
        last,
        outcome,
        None,
        "cloudtrail",
        records,
        records - 1,
        1,
        0,
        0,
        10,
        90,
    )


def test_the_parts_of_an_object_are_one_row_when_it_ends() -> None:
    ledger = Ledger()
    assert ledger.fold(Slice(objects=(part(last=False), part("two", last=False)))) == []
    assert ledger.fold(Slice(objects=(part(last=False),))) == []
    (one,) = ledger.fold(Slice(objects=(part(),)))
    assert (one.records, one.written, one.duplicates, one.compressed_bytes) == (9, 6, 3, 30)
    (two,) = ledger.fold(Slice(objects=(part("two"),)))
    assert two.records == 6
    assert ledger.fold(Slice(objects=(part(),)))[0].records == 3


@pytest.mark.parametrize("worse", ["dead_letter", "deferred", "digest"])
def test_the_worse_outcome_and_the_wider_times_hold_in_either_order(worse: Outcome) -> None:
    early, late = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)
    good = ObjectPart("s", reference(), None, first_event_time=late, last_event_time=late)
    bad = ObjectPart(
        "s", reference(), None, outcome=worse, reason="why", first_event_time=early, last_event_time=early
    )
    empty = ObjectPart("s", reference(), None)
    for parts in ((good, bad, empty), (empty, bad, good), (bad, empty, good)):
        total = add(add(add(None, parts[0]), parts[1]), parts[2])
        assert (total.outcome, total.reason) == (worse, "why")
        assert (total.first_event_time, total.last_event_time) == (early, late)


def test_a_row_says_what_the_key_and_the_message_say() -> None:
    (row,) = ingest_log_rows([part()], "run", NOW).to_pylist()
    assert row["object_key"] == reference().key
    assert (row["key_account_id"], row["key_region"], row["key_day"]) == (ACCOUNT, "eu-west-1", DAY)
    assert (row["message_id"], row["receive_count"], row["run_id"]) == ("m", 1, "run")
    assert ingest_log_rows([part()], "run", NOW).schema.equals(INGEST_LOG.arrow)
    (bare,) = ingest_log_rows([ObjectPart("s", reference(), None, outcome="ignored")], "run", NOW).to_pylist()
    assert bare["message_id"] is None


def test_a_batch_is_one_file_under_the_day_of_writing_and_nothing_is_none() -> None:
    store = MemoryStore()
    write_ingest_log([], store, "run")
    assert store.files == {}
    write_ingest_log([part(), part("two")], store, "run")
    ((path, _),) = store.files.items()
    assert path.startswith(f"ingest_log/day={datetime.now(UTC).date().isoformat()[:8]}")
    with store.open(path) as file:
        assert len(read_table(file)) == 2


def test_files_of_one_writer_sort_by_their_time() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid7()
    time.sleep(0.002)
    assert str(made) < str(uuid7())
    assert (made.version, made.variant) == (7, RFC_4122)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_only_objects_that_are_settled_are_done() -> None:
    store = MemoryStore()
    outcomes: list[Outcome] = ["done", "digest", "ignored", "deferred", "dead_letter"]
    write_ingest_log([part(it, outcome=it) for it in outcomes], store, "run")
    done = done_objects(store)
    assert [it for it in outcomes if is_done(reference(it), done)] == ["done", "digest", "ignored"]
    assert not is_done(reference("other"), done)


def test_the_last_outcome_of_an_object_counts() -> None:
    store = MemoryStore()
    write_ingest_log([part("a", outcome="deferred"), part("b")], store, "run")
    time.sleep(0.002)
    write_ingest_log([part("a"), part("b", outcome="dead_letter")], store, "run")
    done = done_objects(store)
    assert is_done(reference("a"), done)
    assert not is_done(reference("b"), done)
