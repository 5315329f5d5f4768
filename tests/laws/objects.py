"""Generated objects, and the stages over them: from the bytes of objects to the rows of both datasets."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import zstandard
from hypothesis import strategies as st
from support.memory import SYNC, MemoryStore
from support.records import ACCOUNT, NOW, OTHER, compact, record

from schemas.datasets import EVENTS, RAW, SESSIONS, Dataset
from schemas.values import ObjectPart, ObjectRef, Slice
from transforms.commit_raw import commit_raw, left_behind
from transforms.decoding.documents import open_documents
from transforms.decoding.inflate import Caps
from transforms.enrich_events import enrich_events
from transforms.enrichment.book import NO_FILES
from transforms.explode_records import Exploder
from transforms.fetch_objects import Packer
from transforms.normalize_records import normalize_records
from transforms.stitch_sessions import stitch_sessions
from transforms.stores.commit_log import CommitLog
from transforms.stores.objects import Content
from transforms.stores.parquet import read_table
from transforms.write_dead_letters import write_dead_letters
from transforms.write_parquet import write_parquet

# What depends on which of several copies of an event came first, and when.
PROVENANCE = {"source_name", "source_bucket", "source_key", "source_version", "source_index"}
PROVENANCE |= {"ingestion_time", "commit_number", "raw_json"}
RECORD_BYTES = 4_000


def _good(number: int, day: int, account: str | None, has_id: bool) -> Any:
    more: dict[str, Any] = {} if has_id else {"eventID": None}
    return record(number, day=f"2024-03-0{day}", account=account, time=f"10:0{number % 10}:00", **more)


# One value of each number, so that an id is never given to two different events.
_ACCOUNTS = (ACCOUNT, OTHER, None)
good_records = st.integers(0, 40).map(lambda n: _good(n, 1 + n % 3, _ACCOUNTS[n % 7 % 3], has_id=n % 5 != 0))
bad_records = st.sampled_from(
    [
        b'{"k":"\xff\xfe"}',
        b"7",
        b'"text"',
        b'{"a":tru}',
        b'{"no":"trail"}',
        compact(record("bad", eventTime=None)),
        compact(record("bad", eventTime="2024-03-05T25:00:00Z")),
        compact(record("bad", requestParameters={"x": "y" * RECORD_BYTES})),
        b'{"k":' + b"[" * 1_500 + b"]" * 1_500 + b"}",
    ]
)


@st.composite
def spelled(draw: st.DrawFn) -> bytes:
    """A record in one of its spellings, which are one event."""
    value = draw(good_records)
    spelling = draw(st.integers(0, 2))
    if spelling == 1:
        return json.dumps(value, separators=(" , ", " : ")).encode()
    return compact(dict(reversed(value.items())) if spelling == 2 else value)


@dataclass(frozen=True)
class Found:
    """An object in a bucket: its reference and its bytes."""

    ref: ObjectRef
    body: bytes


def _pack(text: bytes, packing: str) -> bytes:
    if packing == "gzip":
        return gzip.compress(text, 1, mtime=0)
    if packing == "zstd":
        return zstandard.compress(text, 1)
    if packing == "members":
        half = len(text) // 2
        return gzip.compress(text[:half], 1, mtime=0) + gzip.compress(text[half:], 1, mtime=0)
    return text


@st.composite
def objects(draw: st.DrawFn) -> Found:
    """An object with a handful of records, good and bad, in any envelope and packing."""
    records = draw(st.lists(st.one_of(spelled(), spelled(), spelled(), bad_records), max_size=6))
    form = draw(st.sampled_from(["envelope", "array", "lines"]))
    if form == "lines":
        text = b"".join(it + b"\n" for it in records)
    else:
        text = b"[" + b",".join(records) + b"]"
        text = b'{"Records":' + text + b"}" if form == "envelope" else text
    name = draw(st.sampled_from(["p", "q", "r"]))
    account = draw(st.sampled_from([ACCOUNT, OTHER]))
    return Found(
        ObjectRef(
            "trail",
            f"AWSLogs/{account}/CloudTrail/eu-west-1/2024/03/05/{name}.json.gz",
            etag=f"{zlib.crc32(text):08x}",
        ),
        _pack(text, draw(st.sampled_from(["gzip", "zstd", "members", "none"]))),
    )


def slices_of(found: Iterable[Found], slice_bytes: int) -> Iterator[Slice]:
    """What FetchObjects gives for a batch of them, each once, the queue apart."""
    packer = Packer(slice_bytes)
    hand: Any = _NoHand()
    for it in {it.ref: it for it in found}.values():
        part = ObjectPart("default", it.ref, None)
        content = Content(it.ref, it.body, len(it.body))
        for opened in open_documents(content, slice_bytes, Caps(record_bytes=RECORD_BYTES)):
            if not packer.has_room(opened):
                yield packer.flush(hand)
            packer.take(part.but(ref=opened.ref, last=opened.last), opened)
    yield packer.flush(hand)


class _NoHand:
    def renew(self, held: Sequence[Any]) -> Sequence[Any]:
        return held


def ingest(batches: Iterable[Sequence[Found]], slice_bytes: int, max_partitions: int = 64) -> MemoryStore:
    """The stages over batches of objects into a new output root; every third batch with a cold cache."""
    store = MemoryStore()
    log = CommitLog(store, EVENTS)
    for number, batch in enumerate(batches):
        if number % 3 == 2:
            log = CommitLog(store, EVENTS)
        exploder = Exploder(RECORD_BYTES, max_partitions)
        for filled in slices_of(batch, slice_bytes):
            for exploded in exploder.explode(filled):
                committed, done = commit_raw(exploded, log, SYNC, NOW)
                for each in [*left_behind(log, done), committed]:
                    write_parquet(stitch_sessions(enrich_events(normalize_records(each), NO_FILES)), store, log, SYNC)
                    write_dead_letters(each, store)
    return store


def rows(store: MemoryStore, dataset: Dataset, *, without: frozenset[str] | set[str] = frozenset()) -> pa.Table:
    """All rows of a dataset, in order of partition and id (of sessions: of kind, id and commit)."""
    paths = [path for path in store.files if path.startswith(f"{dataset.name}/")]
    tables = [read_table(store.open(path)).cast(dataset.arrow) for path in paths]
    if not tables:
        return dataset.arrow.empty_table().drop_columns([*without & {*dataset.arrow.names}])
    id_ = ["kind", "first_event_id", "commit_number"] if dataset is SESSIONS else ["event_id"]
    whole = pa.concat_tables(tables).sort_by([(name, "ascending") for name in ("recipient_account_id", *id_)])
    return whole.drop_columns([*without & {*whole.column_names}])


def canonical_rows(store: MemoryStore, dataset: Dataset) -> list[dict[str, Any]]:
    """The rows of a dataset, provenance apart, JSON as delivered read as the value that it spells."""
    spelled = "raw_json" if dataset is RAW else "identity_orig"
    told = rows(store, dataset, without=PROVENANCE - {spelled}).to_pylist()
    for row in told:
        row[spelled] = row[spelled] and json.loads(row[spelled])
    return told
