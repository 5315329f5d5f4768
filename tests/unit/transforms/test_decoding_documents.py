"""An object as documents no larger than a slice: the same records in every packing, damage after what was whole."""

from __future__ import annotations

import gzip
import io
import random
import tracemalloc
from collections.abc import Sequence

import fastavro
import pytest
import zstandard
from support.memory import SYNC, MemoryStore
from support.records import NOW, compact, envelope, exploded, record, reference

from schemas.datasets import DEAD_LETTERS, EVENTS, RAW
from schemas.values import NoRecord, ObjectPart, ObjectRef, Slice
from transforms.commit_raw import commit_raw
from transforms.decoding.documents import Opened, open_documents
from transforms.decoding.inflate import Caps
from transforms.explode_records import Exploder
from transforms.stores.commit_log import CommitLog
from transforms.stores.objects import Content

CAPS = Caps()
RECORDS = [compact(record(number, requestParameters={"pad": "p" * number})) for number in range(60)]
TEXT = envelope(RECORDS)


def opened(body: bytes, slice_bytes: int, key: str = "log.json.gz", caps: Caps = CAPS) -> list[Opened]:
    return [*open_documents(Content(ObjectRef("b", key), body, len(body)), slice_bytes, caps)]


def outcome(documents: Sequence[Opened]) -> tuple[list[tuple[int, str]], list[tuple[str, str, int | None]]]:
    """((place, raw JSON) of each record, (scope, reason, place) of each dead letter) of one object."""
    exploder = Exploder(CAPS.record_bytes)
    rows, letters = [], []
    for each in documents:
        part = ObjectPart("default", each.ref, None, last=each.last)
        for piece in exploder.explode(Slice(objects=(part,), documents=(each.document,))):
            if piece.records is not None:
                columns = (piece.records[name].to_pylist() for name in ("source_index", "raw_json"))
                rows += [*zip(*columns, strict=True)]
            letters += [(it.scope, it.reason, it.record_index) for it in piece.dead_letters]
    return rows, letters


WHOLE = [(place, it.decode()) for place, it in enumerate(RECORDS)]
SLICES = [1, 1_000, 5_000, len(TEXT), 64_000_000]


@pytest.mark.parametrize("slice_bytes", SLICES)
@pytest.mark.parametrize("key", ["log.json.gz", "log.json", "log.json.zst", "log"])
@pytest.mark.parametrize(
    "body",
    [
        TEXT,
        gzip.compress(TEXT),
        zstandard.compress(TEXT),
        gzip.compress(envelope(RECORDS[:20])) + gzip.compress(envelope(RECORDS[20:])),
        gzip.compress(TEXT[:999]) + gzip.compress(TEXT[999:]),
        gzip.compress(TEXT) + b"\0" * 2_000,
        b"\n".join(RECORDS),
        gzip.compress(b"[" + b", ".join(RECORDS) + b"]\n"),
    ],
)
def test_any_packing_name_and_size_of_slices_give_the_same_records(body: bytes, key: str, slice_bytes: int) -> None:
    documents = opened(body, slice_bytes, key)
    assert outcome(documents) == (WHOLE, [])
    assert [it.last for it in documents] == [False] * (len(documents) - 1) + [True]
    assert all(it.text_bytes <= max(slice_bytes, 500) for it in documents)


@pytest.mark.parametrize("slice_bytes", SLICES)
@pytest.mark.parametrize("kind", ["truncated", "garbage", "plain"])
def test_records_before_the_damage_are_kept_and_the_object_gets_its_dead_letter(kind: str, slice_bytes: int) -> None:
    noise = [compact(record(n, requestParameters={"r": random.Random(n).randbytes(400).hex()})) for n in range(60)]
    packed = gzip.compress(envelope(noise))
    body = {"truncated": packed[: len(packed) // 2], "garbage": packed + b"junk", "plain": envelope(noise)[:9_000]}[
        kind
    ]
    rows, letters = outcome(opened(body, slice_bytes))
    assert [text.encode() for _, text in rows] == noise[: len(rows)]
    assert len(rows) >= (60 if kind == "garbage" else 5)
    assert [it[0] for it in letters] == ["record" if kind == "plain" else "object"]
    assert letters == outcome(opened(body, 64_000_000))[1]


@pytest.mark.parametrize("slice_bytes", SLICES)
def test_a_giant_record_is_passed_over_in_every_cut(slice_bytes: int) -> None:
    caps = Caps(record_bytes=2_000)
    giant = compact(record("g", requestParameters={"pad": "p" * 3_000}))
    body = gzip.compress(envelope([RECORDS[0], giant, RECORDS[1]]))
    documents = opened(body, slice_bytes, caps=caps)
    exploder = Exploder(caps.record_bytes)
    pieces = [
        piece
        for it in documents
        for piece in exploder.explode(
            Slice(objects=(ObjectPart("default", it.ref, None, last=it.last),), documents=(it.document,))
        )
    ]
    places = [place for it in pieces if it.records is not None for place in it.records["source_index"].to_pylist()]
    (letter,) = [letter for it in pieces for letter in it.dead_letters]
    assert places == [0, 2]
    assert (letter.record_index, letter.input) == (1, giant[:2_000])


@pytest.mark.parametrize(
    "body",
    [b"", gzip.compress(b"", mtime=0), b"\n", gzip.compress(b'{"Records":[]}', mtime=0), zstandard.compress(b"")],
)
@pytest.mark.parametrize("slice_bytes", [1, 1_000])
def test_an_empty_object_is_one_document_without_records(body: bytes, slice_bytes: int) -> None:
    documents = opened(body, slice_bytes)
    assert len(documents) == 1
    assert outcome(documents) == ([], [])


def test_a_large_object_passes_in_the_memory_of_a_slice() -> None:
    packer = gzip.zlib.compressobj(1, wbits=31)  # type: ignore[attr-defined]
    block = b",".join(RECORDS * 20)
    parts = [packer.compress(b'{"Records":[' + block)]
    parts += [packer.compress(b"," + block) for _ in range(100)]
    body = b"".join([*parts, packer.compress(b"]}"), packer.flush()])
    content = Content(ObjectRef("b", "k"), io.BytesIO(body), len(body))
    tracemalloc.start()
    counts = [len(it.document.records or ()) for it in open_documents(content, 2_000_000, CAPS)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(counts) == 101 * 20 * 60
    assert len(counts) > 10
    assert peak < 40_000_000


def raw_file() -> bytes:
    store = MemoryStore()
    commit_raw(exploded([record("a"), record("b")]), CommitLog(store, EVENTS), SYNC, NOW)
    return next(content for path, content in store.files.items() if path.startswith(RAW.name))


def test_a_file_of_a_raw_tree_gives_its_rows() -> None:
    (only,) = opened(raw_file(), 64_000_000, "old/aws_s3_raw/account_id=1/day=2024-03-05/00000001.parquet")
    assert only.document.rows is not None
    assert sorted(only.document.rows["event_id"].to_pylist()) == sorted(
        exploded([record("a"), record("b")]).records["event_id"].to_pylist()  # type: ignore[index]
    )


@pytest.mark.parametrize("body", [raw_file()[:-20], b"PAR1", b"PAR1" + b"x" * 100])
def test_a_broken_parquet_file_is_damage_of_its_object(body: bytes) -> None:
    (only,) = opened(body, 1_000, "aws_s3_raw/00000001.parquet")
    (bad,) = only.document.records or ()
    assert isinstance(bad, NoRecord)
    assert bad.damage


def avro(inputs: Sequence[bytes], places: Sequence[int]) -> bytes:
    sink = io.BytesIO()
    base = {"stage": "explode_records", "scope": "record", "reason": "r", "object_version": "v"}
    named = {"object_bucket": "trail", "object_key": reference().key}
    rows = [{**base, **named, "record_index": place, "input": it} for it, place in zip(inputs, places, strict=True)]
    fastavro.writer(sink, DEAD_LETTERS.avro, rows)
    return sink.getvalue()


def test_dead_letters_come_back_as_records_of_the_object_that_they_were_found_in() -> None:
    documents = opened(avro([RECORDS[4], RECORDS[9]], [4, 9]), 64_000_000, "dead_letters/day=2024-03-05/x.avro")
    assert outcome(documents) == ([WHOLE[4], WHOLE[9]], [])
    assert {it.ref.key for it in documents} == {reference().key}


def test_a_broken_file_of_dead_letters_is_damage_of_its_object() -> None:
    content = avro([RECORDS[4]], [4])
    documents = opened(content[:-30], 64_000_000, "dead_letters/day=2024-03-05/x.avro")
    assert [scope for scope, _, _ in outcome(documents)[1]] == ["object"]
