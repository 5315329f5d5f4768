"""Open an object: its content as documents no larger than a slice, whatever it is compressed or packed as."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.datasets import RAW
from schemas.values import Document, NoRecord, ObjectRef
from transforms.decoding.cutting import cut_records
from transforms.decoding.inflate import Caps, as_file, inflate, inflate_whole
from transforms.stores.objects import Content

_ROWS = 16_384
_BROKEN = (pa.ArrowException, OSError, EOFError, ValueError, TypeError, KeyError, IndexError, zlib.error)


@dataclass(frozen=True, slots=True)
class Opened:
    """A document of an object, the bytes of its text, and whether it is the object's last."""

    ref: ObjectRef
    document: Document
    text_bytes: int
    last: bool = True


def open_documents(content: Content, slice_bytes: int, caps: Caps) -> Iterator[Opened]:
    """The object's documents in order, at least one; memory is one document and one record.

    Files of an output's own tree are read too, by name and content: `aws_s3_raw` rows keep their provenance, and
    the bad records in a dead letter file come back as records of the objects that they were found in.
    """
    ref, body = content.ref, content.body
    if content.sealed:
        return iter([Opened(ref, Document(0, records=[NoRecord(b"", content.sealed, damage=True)]), 0)])
    if ref.key.endswith(".parquet") and as_file(body).read(4) == b"PAR1":
        return _last_marked(_guarded(_rows(content, slice_bytes), content))
    if ref.key.endswith(".avro") and as_file(body).read(4) == b"Obj\x01":
        return _guarded(_dead_letters(content), content)
    if isinstance(body, bytes):
        text = inflate_whole(body, slice_bytes, caps)
        if text is not None:
            return iter([Opened(ref, Document(0, text=text), len(text))])
    return _last_marked(_cut(content, slice_bytes, caps))


def _guarded(documents: Iterator[Opened], content: Content) -> Iterator[Opened]:
    """The documents of a file of ours; one that is broken is damaged like any object."""
    try:
        yield from documents
    except _BROKEN as error:
        bad = NoRecord(b"", f"the file is broken ({error})", damage=True)
        yield Opened(content.ref, Document(0, records=[bad]), 0)


def _last_marked(documents: Iterator[Opened]) -> Iterator[Opened]:
    held = next(documents)
    for document in documents:
        yield replace(held, last=False)
        held = document
    yield held


def _cut(content: Content, slice_bytes: int, caps: Caps) -> Iterator[Opened]:
    group: list[bytes | NoRecord] = []
    first = size = 0
    chunks = inflate(as_file(content.body), content.size, caps)
    for record in cut_records(chunks, caps.record_bytes):
        length = len(record.text) if isinstance(record, NoRecord) else len(record)
        if group and size + length > slice_bytes:
            yield Opened(content.ref, Document(0, records=group, first_record=first), size)
            first, size, group = first + len(group), 0, []
        group.append(record)
        size += length
    yield Opened(content.ref, Document(0, records=group, first_record=first), size)


def _rows(content: Content, slice_bytes: int) -> Iterator[Opened]:
    file = pq.ParquetFile(as_file(content.body))
    missing = set(RAW.arrow.names) - set(file.schema_arrow.names)
    if missing:
        reason = f"a Parquet file that is not of aws_s3_raw: it has no column {sorted(missing)[0]!r}"
        yield Opened(content.ref, Document(0, records=[NoRecord(b"", reason, damage=True)]), 0)
        return
    batches: list[pa.RecordBatch] = []
    size = 0
    for batch in file.iter_batches(_ROWS, columns=RAW.arrow.names):
        if batches and size + batch.nbytes > slice_bytes:
            yield Opened(content.ref, Document(0, rows=pa.Table.from_batches(batches)), size)
            batches, size = [], 0
        batches.append(batch)
        size += batch.nbytes
    yield Opened(content.ref, Document(0, rows=pa.Table.from_batches(batches, RAW.arrow)), size)


def _dead_letters(content: Content) -> Iterator[Opened]:
    for row in fastavro.reader(as_file(content.body)):
        if row["scope"] == "record" and row["input"] is not None:
            ref = ObjectRef(row["object_bucket"], row["object_key"], etag=row["object_version"] or None)
            index = row["record_index"] or 0
            yield Opened(ref, Document(0, records=[row["input"]], first_record=index), len(row["input"]))
