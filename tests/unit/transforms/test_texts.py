"""Long texts as views: what a column says of them is what their bytes say, however they came into it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.texts import Texts, by_index, gathered, lengths, pieces, taken
from transforms.decoding.records import split_records

LONG = st.text(min_size=11, max_size=40).map(lambda it: json.dumps({"t": it}, ensure_ascii=False).encode())
MANY = 400


def document(records: list[bytes]) -> bytes:
    return b'{"Records":[' + b",".join(records) + b"]}"


def viewed(records: list[bytes]) -> Any:
    sizes = np.array(list(map(len, records)), np.int32)
    starts = (12 + np.cumsum(sizes + 1) - sizes - 1).astype(np.int32)
    return pieces(document(records), starts, sizes)


@given(st.lists(LONG, min_size=1, max_size=30), st.data())
def test_views_of_a_document_are_its_records_wherever_they_are_taken_to(
    records: list[bytes], data: st.DataObject
) -> None:
    views = viewed(records)
    assert views.cast(pa.string()).to_pylist() == [it.decode() for it in records]
    views.validate(full=True)
    both = pa.concat_arrays([views, views[1:]])
    expected = records + records[1:]
    rows = np.array(data.draw(st.lists(st.integers(0, len(expected) - 1))), np.int64)
    column = by_index(both).take(pa.array(rows))
    assert [bytes(Texts(column)[row]) for row in range(len(rows))] == [expected[row] for row in rows]
    assert lengths(column).tolist() == [len(expected[row]) for row in rows]
    for moved in (gathered(column), taken(both, rows)):
        moved.validate(full=True)
        assert moved.cast(pa.string()).to_pylist() == [expected[row].decode() for row in rows]


@given(st.lists(st.text(max_size=30)), st.sampled_from([pa.string(), pa.binary(), pa.string_view()]))
def test_texts_of_any_length_are_read_from_strings_binaries_and_views(texts: list[str], kind: pa.DataType) -> None:
    column = pa.chunked_array([pa.array(texts, pa.string()).cast(kind)])
    assert [bytes(Texts(column)[row]).decode() for row in range(len(texts))] == texts


def test_views_are_written_to_parquet_as_their_texts() -> None:
    records = [json.dumps({"eventName": f"n{n}", "ä": "ö" * n}, ensure_ascii=False).encode() for n in range(50)]
    column = by_index(viewed(records)).take(pa.array(range(49, -1, -1)))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"raw_json": gathered(column)}), sink)
    stored = pq.read_table(pa.BufferReader(sink.getvalue()))["raw_json"].to_pylist()
    assert stored == [it.decode() for it in reversed(records)]


@pytest.mark.parametrize("bad", [b'{"t":"\xff and some more"}', b'{"t":1}'])
def test_a_text_that_is_no_utf8_or_too_short_has_no_views(bad: bytes) -> None:
    assert viewed([b'{"t":"a long enough text"}', bad]) is None


@pytest.mark.parametrize(
    ("before", "between", "after"),
    [(b'{"Records":[', b",", b"]}"), (b'{"Records":[', b", ", b"]}"), (b'{"Records":[ ', b",", b"]}"),
     (b'{"Records":[', b",", b"] }"), (b'{"Records":[', b",", b"]}\n"), (b'{"Records":[', b",", b'],"more":1}')],
)  # fmt: skip
def test_records_have_views_where_commas_alone_and_a_last_line_break_are_around_them(
    before: bytes, between: bytes, after: bytes
) -> None:
    records = [json.dumps({"eventVersion": "1.08", "number": n}).encode() for n in range(MANY)]
    split = split_records(before + between.join(records) + after, 1_000_000)
    assert list(map(bytes, split.records)) == records
    compact = (before, between, after.rstrip()) == (b'{"Records":[', b",", b"]}")
    assert (split.texts is not None) == compact
    if compact:
        assert split.texts.cast(pa.string()).to_pylist() == [it.decode() for it in records]
