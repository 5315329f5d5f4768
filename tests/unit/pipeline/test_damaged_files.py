"""A file of the output that a disk or a copy has damaged is named, with the remedy, by whatever reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.alerting import profiles
from pipeline.detection.hunt import RawFile, search_file
from pipeline.ingestion.dead_letters import dead_letter_messages
from schemas.errors import StoreError
from transforms.rules.book import RuleBook
from transforms.stores.commit_log import CommitLog, Known
from transforms.stores.files import Output, Store, open_store
from transforms.stores.ledger import done_objects
from transforms.stores.tree import Numbered, Partition

PARTITION = Partition("111122223333", "2026-01-12")
PLACE = f"account_id={PARTITION.account}/day={PARTITION.day}/00000001.parquet"
ONE = Numbered(1, 1)


READERS: dict[str, Callable[[Store], object]] = {
    "ingest_log/day=2026-01-12/x.parquet": done_objects,
    "dead_letters/day=2026-01-12/x.avro": lambda store: [*dead_letter_messages(Output(store.describe("")), {})],
    f"aws_s3_raw/{PLACE}": lambda store: search_file(store, RawFile(PARTITION, ONE), RuleBook()),
    f"cloud_audit_logs/{PLACE}": lambda store: profiles._events(store, (PARTITION, ONE)),
}


@pytest.mark.parametrize("path", READERS)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, path: str) -> None:
    store = open_store(Output(str(tmp_path)))
    store.create(path, b"damaged")

    with pytest.raises(StoreError, match=rf"{path} is no readable .*; put a whole copy of it back"):
        READERS[path](store)


@pytest.mark.parametrize(
    "read", [lambda log: log.read_commit(PARTITION, 1), lambda log: log.refresh(PARTITION, Known())]
)
def test_one_that_a_commit_needs_is_named_by_an_error_that_ends_no_other_objects(
    tmp_path: Path, read: Callable[[CommitLog], object]
) -> None:
    store = open_store(Output(str(tmp_path)))
    store.create(f"aws_s3_raw/{PLACE}", b"damaged")

    with pytest.raises(pa.ArrowInvalid, match=f"{PLACE} is no readable Parquet file .*; put a whole copy of it back"):
        read(CommitLog(store, None))
