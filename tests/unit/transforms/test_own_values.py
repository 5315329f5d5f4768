"""A file holds the values of its own rows and of no other partition's."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st
from support.memory import SYNC

from pipeline.demo.organisation import organisation
from schemas.datasets import EVENTS
from schemas.values import ObjectPart, ObjectRef, Slice
from transforms.commit_raw import commit_raw
from transforms.decoding.documents import open_documents
from transforms.decoding.inflate import Caps
from transforms.explode_records import Exploder
from transforms.normalize_records import normalize_records
from transforms.stores.commit_log import CommitLog
from transforms.stores.local import LocalStore
from transforms.stores.objects import Content
from transforms.stores.parquet import own_values
from transforms.write_parquet import write_parquet


@given(
    st.lists(st.one_of(st.none(), st.sampled_from("abcdef")), min_size=1, max_size=30),
    st.integers(0, 30),
    st.integers(0, 30),
)
def test_own_values_keeps_the_rows_and_drops_every_other_value(
    texts: list[str | None], start: int, length: int
) -> None:
    part = pa.table({"text": pa.array(texts, pa.string()).dictionary_encode()}).slice(start, length)
    cut = own_values(part)
    assert cut.to_pylist() == part.to_pylist()
    rows = [text for text in texts[start : start + length] if text is not None]
    for chunk in cut["text"].chunks:
        if rows:
            assert set(chunk.dictionary.to_pylist()) >= set(rows)
        if len(pa.array(texts).drop_null().unique()) > 1 and len(part):
            assert set(chunk.dictionary.to_pylist()) == set(rows)


def test_no_file_of_a_partition_holds_a_string_of_another(tmp_path: Path) -> None:
    trail = organisation(clean=True, accounts=4, objects=24, events=600)
    parts, documents = [], []
    for key, body in trail:
        ref = ObjectRef("trail", key, etag="e")
        (opened,) = open_documents(Content(ref, body, len(body)), 64_000_000, Caps())
        documents.append(opened.document.but(object_index=len(parts)))
        parts.append(ObjectPart("test", ref, None))
    store = LocalStore(tmp_path)

    log = CommitLog(store, EVENTS)
    for exploded in Exploder(32_000_000).explode(Slice(objects=tuple(parts), documents=tuple(documents))):
        committed, _ = commit_raw(exploded, log, SYNC, datetime(2026, 1, 1, tzinfo=UTC))
        write_parquet(normalize_records(committed), store, log, SYNC)
    accounts = {folder.name.removeprefix("account_id=") for folder in (tmp_path / "aws_s3_raw").iterdir()}
    assert len(accounts) == 4
    for path in tmp_path.glob("*/account_id=*/**/*.parquet"):
        account = path.parent.parent.name.removeprefix("account_id=")
        content = path.read_bytes()
        file = pq.ParquetFile(io.BytesIO(content))
        keys = {"source_key", "recipient_account_id"} & set(file.schema_arrow.names)
        for name in keys:
            values = set(file.read_row_group(0, [name])[name].unique().to_pylist())
            assert all(account in value for value in values), (path, name)
        # Dictionary pages hold what the rows do: read as dictionaries, nothing else is there.
        table = pq.read_table(io.BytesIO(content), read_dictionary=sorted(keys), columns=sorted(keys))
        for name in keys:
            for chunk in table[name].chunks:
                assert all(account in value for value in chunk.dictionary.to_pylist()), (path, name)
