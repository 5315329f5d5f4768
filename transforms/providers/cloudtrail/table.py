"""The columns of `cloud_audit_logs` while they are made, by name, and the reasons for what could not be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import pyarrow as pa

from schemas.datasets import EVENTS
from transforms.providers.cloudtrail.columns import Distinct, Encoded, placed, spread, spread_all

COMMITTED = ("ingestion_time", "commit_number")
"""Columns that the commit adds."""

TYPES: dict[str, pa.DataType] = {f.name: f.type for f in EVENTS.arrow if f.name not in COMMITTED}

Columns = dict[str, Any]
"""Arrow arrays by column name."""

T = TypeVar("T")


class Problems:
    """Why rows could not be normalized fully."""

    def __init__(self) -> None:
        self._by_row: dict[int, list[str]] = {}

    def add(self, row: int, texts: Iterable[str]) -> None:
        """Reasons that hold for one row."""
        for text in texts:
            self._by_row.setdefault(row, []).append(text)

    def add_distinct(self, texts: Distinct[list[str]]) -> None:
        """Reasons that hold for every row with the value."""
        rows = texts.rows_where(bool)
        for row, found in zip(rows, texts.at(rows), strict=True):
            self.add(row, found)

    def column(self, length: int) -> Any:
        """The column `normalize_problems`."""
        texts, rows = list(self._by_row.values()), list(self._by_row)
        return spread(texts, TYPES["normalize_problems"], placed(rows, length))


def columns_of(kind: type[Any], values: Distinct[Any]) -> Columns:
    """The fields of a NamedTuple `kind`, which are columns of these names."""
    by_field = list(zip(*values.values, strict=True)) or [()] * len(kind._fields)
    return spread_all(dict(zip(kind._fields, by_field, strict=True)), TYPES, values.indices)


def columns_in(kind: type[Any], rows: Sequence[int], values: Sequence[Any], length: int) -> Columns:
    """The same for a few rows; null in the others."""
    return columns_of(kind, Distinct(list(values), placed(rows, length)))


def read_parts(
    name: str, parts: Encoded, read: Callable[[bytes, str, list[str]], T], problems: Problems
) -> Distinct[T]:
    """The distinct texts of the part `name` of records, read; what could not be read in one is a problem."""
    notes: list[list[str]] = []

    def noted(text: bytes) -> T:
        notes.append([])
        return read(text, name, notes[-1])

    found = Distinct.read(parts, noted)
    problems.add_distinct(Distinct(notes, found.indices))
    return found
