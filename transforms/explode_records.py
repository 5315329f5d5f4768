"""ExplodeRecords: documents become records, one row each, the raw bytes of each record untouched.

The kind of log is told by content through the registry of providers. A slice that leaves this stage holds records of
one provider and of at most 64 partitions; the receipts ride on the last slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from schemas.partitions import partitions_of
from schemas.values import DeadLetter, Document, ObjectPart, ObjectRef, Slice
from transforms.decoding.records import sort_out, split_records
from transforms.dofn import StageFn
from transforms.gathering import Gathered, Tally
from transforms.stores.parquet import own_values

MAX_PARTITIONS = 64
MAX_LETTERS = 1_000
_MAX_LETTER_BYTES = 32_000_000


class _Held:
    """Dead letters of an object that has not ended yet: all, or, being too many, the first without its text."""

    def __init__(self) -> None:
        self._letters: list[DeadLetter] = []
        self._bytes = 0
        self._are_many = False

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Letters of the object's next slice, in any order; those of earlier records stand in earlier slices."""
        for letter in sorted(letters, key=_place):
            if not self._are_many:
                self._letters.append(letter)
                self._bytes += len(letter.input or b"")
                self._are_many = len(self._letters) > MAX_LETTERS or self._bytes > _MAX_LETTER_BYTES
        if self._are_many:
            self._letters = [replace(self._letters[0], input=None)]

    def release(self) -> list[DeadLetter]:
        """The letters, or one of the object that says that they are many."""
        if not self._are_many:
            return self._letters
        reason = f"more than {MAX_LETTERS:,} bad records, or {_MAX_LETTER_BYTES:,} bytes of them; the first: "
        first = self._letters[0]
        return [replace(first, scope="object", reason=reason + first.reason, record_index=None)]


def _place(letter: DeadLetter) -> tuple[bool, int]:
    return letter.record_index is None, letter.record_index or 0


class Exploder:
    """Explodes the slices of a batch in order; dead letters of an object wait for its last slice."""

    def __init__(self, record_bytes: int, max_partitions: int = MAX_PARTITIONS) -> None:
        self._record_bytes = record_bytes
        self._max_partitions = max_partitions
        self._held: dict[ObjectRef, _Held] = {}

    def explode(self, filled: Slice) -> Iterator[Slice]:
        """The slice's records as one slice a provider, cut where they span too many partitions.

        A record that is no JSON, no text in UTF-8, of no known kind or without a readable time is a dead letter.
        """
        tallies = [Tally() for _ in filled.objects]
        pieces = [
            (name, piece)
            for name, table in self._tables(filled, tallies)
            for piece in _cut(table, self._max_partitions)
        ]
        parts, letters = self._close(filled, tallies)
        rest = replace(filled, documents=(), objects=parts, dead_letters=(*filled.dead_letters, *letters))
        for name, piece in pieces[:-1]:
            yield _earlier(parts, name, piece)
        if pieces:
            name, piece = pieces[-1]
            rest = replace(rest, provider=name, records=piece)
        yield rest

    def _tables(self, filled: Slice, tallies: Sequence[Tally]) -> list[tuple[str, pa.Table]]:
        gathered = Gathered(filled, tallies)
        for document in filled.documents:
            self._open(document, gathered)
        return gathered.tables()

    def _open(self, document: Document, gathered: Gathered) -> None:
        if document.rows is not None:
            gathered.add_rows(document.rows, document.object_index)
            return
        if document.records is not None:
            split = sort_out(document.records, document.first_record)
        else:
            split = split_records(document.text or b"", self._record_bytes)
        gathered.add(split, document.object_index)

    def _close(self, filled: Slice, tallies: Sequence[Tally]) -> tuple[tuple[ObjectPart, ...], list[DeadLetter]]:
        released: list[DeadLetter] = []
        parts = []
        for part, tally in zip(filled.objects, tallies, strict=True):
            if tally.letters or part.ref in self._held:
                self._held.setdefault(part.ref, _Held()).add(tally.letters)
                if part.last:
                    released += self._held.pop(part.ref).release()
            parts.append(_told(part, tally))
        return tuple(parts), released


def _earlier(parts: Sequence[ObjectPart], provider: str, records: pa.Table) -> Slice:
    """A slice of records whose objects end in a later one: it carries a part of each object of its records."""
    found, codes = np.unique(records["object_index"].combine_chunks().to_numpy(), return_inverse=True)
    place = records.schema.get_field_index("object_index")
    return Slice(
        objects=tuple(
            ObjectPart(it.source, it.ref, it.message, last=False) for it in (parts[n] for n in found.tolist())
        ),
        provider=provider,
        records=records.set_column(place, "object_index", pa.array(codes.astype(np.int32))),
    )


def _told(part: ObjectPart, tally: Tally) -> ObjectPart:
    if tally.foreign and not tally.records:
        outcome, reason = tally.foreign
        return part.but(outcome=outcome, reason=reason)
    part = part.but(
        records=part.records + tally.records,
        dead_letters=part.dead_letters + len(tally.letters),
        provider=tally.provider,
        first_event_time=_time(tally.first),
        last_event_time=_time(tally.final),
    )
    return part.but(outcome="dead_letter", reason=tally.damage) if tally.damage else part


def _time(micros: int | None) -> datetime | None:
    return None if micros is None else datetime.fromtimestamp(micros / 1e6, UTC)


def _cut(records: pa.Table, max_partitions: int) -> list[pa.Table]:
    codes, partitions = partitions_of(records)
    if len(partitions) <= max_partitions:
        return [records]
    groups = codes // max_partitions
    order = np.argsort(groups, kind="stable")
    bounds = np.searchsorted(groups[order], np.arange(groups.max() + 2))
    return [own_values(records.take(order[start:stop])) for start, stop in pairwise(bounds.tolist())]


@dataclass(eq=False)
class ExplodeRecords(beam.PTransform[Any, Any]):
    """Slice of documents in, Slices of records out, in order; the last one carries what the slice carried."""

    record_bytes: int = 32_000_000

    def expand(self, slices: Any) -> Any:
        """Explode each slice."""
        return slices | beam.ParDo(_Explode(self.record_bytes)).with_output_types(Slice)


class _Explode(StageFn):
    def __init__(self, record_bytes: int) -> None:
        self._record_bytes = record_bytes

    def start_bundle(self) -> None:
        self._exploder = Exploder(self._record_bytes)

    def process(self, filled: Slice) -> Iterator[Slice]:
        yield from self._exploder.explode(filled)
