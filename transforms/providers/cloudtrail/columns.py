"""Columns that are computed once per distinct value and spread over the rows by index.

An index column (int32) says for each row which of a few values it has; null where it has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from schemas.dictionaries import INDEX, Places, dictionary, places, renumbered

Array: TypeAlias = "pa.Array[Any]"
Encoded: TypeAlias = "pa.DictionaryArray[Any, Any]"
Column: TypeAlias = "pa.ChunkedArray[Any]"

T = TypeVar("T")
R = TypeVar("R")


def encoded(column: Column) -> Encoded:
    """The column as one array with one dictionary."""
    chunked: Any = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    one: Encoded = chunked.unify_dictionaries().combine_chunks()
    return one


def spread(values: Sequence[Any], kind: pa.DataType, indices: Array) -> Any:
    """Row i is `values[indices[i]]`; text comes dictionary encoded."""
    return _spread(values, kind, indices, places(indices, len(values)))


def spread_all(
    values: Mapping[str, Sequence[Any]], kinds: Mapping[str, pa.DataType], indices: Array
) -> dict[str, Any]:
    """Columns of the same rows, each spread as its kind; all have as many distinct values."""
    rows = places(indices, max(map(len, values.values()), default=0))
    return {name: _spread(column, kinds[name], indices, rows) for name, column in values.items()}


def _spread(values: Sequence[Any], kind: pa.DataType, indices: Array, rows: Places) -> Any:
    array = pa.array(values, kind)
    if not pa.types.is_string(kind):
        return array.take(indices)
    distinct = array.dictionary_encode()
    return dictionary(renumbered(distinct.indices, rows), distinct.dictionary)


def constant(value: Any, kind: pa.DataType, length: int) -> Any:
    """The same value in every row."""
    return spread([value], kind, pa.repeat(pa.scalar(0, INDEX), length))


def mapped(column: Encoded, function: Callable[[Any], Any], kind: pa.DataType) -> Any:
    """`function` of each row's value; null for null."""
    return spread([function(value) for value in column.dictionary.to_pylist()], kind, column.indices)


def first_known(first: Encoded, second: Encoded) -> Encoded:
    """`first` where it is not null, else `second`."""
    is_known: Any = first.indices.is_valid()
    # Mostly there is nothing to fill in, and the dictionaries need not be joined.
    if not pc.any(pc.and_not(second.indices.is_valid(), is_known)).as_py():
        return first
    return choose(is_known, first, second)


def choose(mask: Array, first: Encoded, second: Encoded) -> Encoded:
    """`first` where the mask is true, else `second`."""
    both = pa.concat_arrays([first.dictionary, second.dictionary]).dictionary_encode()
    shifted = pc.add(second.indices, pa.scalar(len(first.dictionary), INDEX))
    chosen = pc.if_else(mask, first.indices, shifted)
    return dictionary(renumbered(both.indices, places(chosen, len(both))), both.dictionary)


def placed(rows: Sequence[int], length: int) -> Array:
    """The index column that places values in a few rows: `rows[i]` has value i, the others none."""
    indices: list[int | None] = [None] * length
    for index, row in enumerate(rows):
        indices[row] = index
    return pa.array(indices, INDEX)


@dataclass(frozen=True)
class Distinct(Generic[T]):
    """A column as its distinct values and, for each row, which of them it has."""

    values: list[T]
    indices: Array

    @classmethod
    def read(cls, column: Encoded, read: Callable[[Any], T]) -> Distinct[T]:
        """The distinct values of a column, each passed through `read`."""
        return cls(list(map(read, column.dictionary.to_pylist())), column.indices)

    def map(self, function: Callable[[T], R]) -> Distinct[R]:
        """`function` of each distinct value."""
        return Distinct(list(map(function, self.values)), self.indices)

    def rows_where(self, predicate: Callable[[T], bool]) -> list[int]:
        """The rows whose value satisfies the predicate."""
        flags = pa.array(list(map(predicate, self.values)), pa.bool_())
        rows: Any = pc.indices_nonzero(flags.take(self.indices).fill_null(False))
        return list(rows.to_pylist())

    def at(self, rows: Sequence[int]) -> list[T]:
        """The values of some rows, none of which is null."""
        codes: list[Any] = self.indices.take(pa.array(rows, INDEX)).to_pylist()
        return [self.values[code] for code in codes]
