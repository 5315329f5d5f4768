"""Dictionary columns put together by numpy hold what Arrow's own way would have put there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from schemas.dictionaries import INDEX, dictionary, distinct, places, ranked, renumbered
from transforms.stores.parquet import own_values

VALUES = st.lists(st.none() | st.sampled_from("abcde"), min_size=1, max_size=8)


@st.composite
def columns(draw: st.DrawFn) -> tuple[list[str | None], pa.Array[Any]]:
    """Values, some of them null or twice there, and an index into them, part of a longer one."""
    values = draw(VALUES)
    rows = draw(st.lists(st.none() | st.integers(0, len(values) - 1), min_size=1, max_size=40))
    start = draw(st.integers(0, len(rows) - 1))
    indices: pa.Array[Any] = pa.array(rows, INDEX)
    return values, indices.slice(start)


@given(columns())
def test_a_spread_column_holds_what_arrow_takes_by_index(column: tuple[list[str | None], Any]) -> None:
    values, indices = column
    distinct: Any = pa.array(values, pa.string()).dictionary_encode()
    codes = renumbered(distinct.indices, places(indices, len(values)))
    codes.validate(full=True)
    found = dictionary(codes, distinct.dictionary)
    found.validate(full=True)
    assert found.to_pylist() == pa.array(values, pa.string()).take(indices).to_pylist()
    assert found.null_count == found.to_pylist().count(None)


@given(columns(), columns())
def test_what_is_null_stays_null_where_dictionaries_are_joined(
    one: tuple[list[str | None], Any], other: tuple[list[str | None], Any]
) -> None:
    chunks, expected = [], []
    for values, indices in (one, other):
        distinct: Any = pa.array(values, pa.string()).dictionary_encode()
        chunks.append(dictionary(renumbered(distinct.indices, places(indices, len(values))), distinct.dictionary))
        expected += chunks[-1].to_pylist()
    joined: Any = pa.chunked_array(chunks).unify_dictionaries().combine_chunks()
    assert joined.to_pylist() == expected


@given(columns())
def test_a_part_of_a_table_keeps_its_rows_and_no_value_of_others(column: tuple[list[str | None], Any]) -> None:
    values, indices = column
    distinct: Any = pa.array(values, pa.string()).dictionary_encode()
    whole = dictionary(renumbered(distinct.indices, places(indices, len(values))), distinct.dictionary)
    part: Any = own_values(pa.table({"c": whole}))["c"].combine_chunks()
    assert part.to_pylist() == whole.to_pylist()
    kept = part.dictionary.to_pylist()
    assert sorted(kept) == sorted(set(whole.to_pylist()) - {None}) or len(distinct.dictionary) <= 1


@given(st.lists(st.integers(0, 20), max_size=40), st.sampled_from([21, 1 << 20]))
def test_numbers_are_ranked_as_by_sorting_them(numbers: list[int], below: int) -> None:
    rows = np.array(numbers, np.int64)
    found, ranks = ranked(rows, below)
    assert found.tolist() == distinct(rows, below).tolist() == sorted(set(numbers))
    assert found[ranks].tolist() == numbers
