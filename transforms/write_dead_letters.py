"""WriteDeadLetters: what could not be processed is kept, with stage, reason and input, one Avro file an object."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import apache_beam as beam
import fastavro
from apache_beam.metrics import Metrics

from schemas import counters
from schemas.datasets import DEAD_LETTERS
from schemas.values import DeadLetter, Slice
from transforms.dofn import StageFn
from transforms.stores.files import Output, Store, open_store
from transforms.stores.keys import facts


def dead_letter_path(letter: DeadLetter) -> str:
    """The file of a letter: named by its object (for an object never read: and the stage), or by a message's body."""
    digest = hashlib.sha256()
    if letter.ref is None:
        digest.update(letter.input or b"")
        day = None
    else:
        parts = [letter.ref.bucket, letter.ref.key, letter.ref.version]
        if letter.stage == "fetch_objects":
            parts.append(letter.stage)
        digest.update("\0".join(parts).encode("utf-8", "surrogatepass"))
        day = facts(letter.ref.key).day
    return f"{DEAD_LETTERS.name}/day={day or 'unknown'}/{digest.hexdigest()}.avro"


def dead_letter_file(letters: Sequence[DeadLetter], path: str) -> bytes:
    """The letters of one object as an Avro file; the same letters give the same bytes."""
    sink = io.BytesIO()
    marker = hashlib.md5(path.encode(), usedforsecurity=False).digest()
    rows = [
        {
            "stage": it.stage,
            "scope": it.scope,
            "reason": it.reason,
            "object_bucket": it.ref.bucket if it.ref else "",
            "object_key": it.ref.key if it.ref else "",
            "object_version": it.ref.version if it.ref else "",
            "record_index": it.record_index,
            "input": it.input,
        }
        for it in sorted(letters, key=lambda it: (it.record_index is None, it.record_index or 0))
    ]
    fastavro.writer(sink, DEAD_LETTERS.avro, rows, codec="deflate", sync_marker=marker)
    return sink.getvalue()


def write_dead_letters(filled: Slice, store: Store) -> list[DeadLetter]:
    """Create the file of each object's letters; the letters that were new. A file that is there holds the same."""
    new: list[DeadLetter] = []
    for path, letters in groupby(sorted(filled.dead_letters, key=dead_letter_path), key=dead_letter_path):
        group = list(letters)
        if store.create(path, dead_letter_file(group, path)):
            new += group
    return new


@dataclass(eq=False)
class WriteDeadLetters(beam.PTransform[Any, Any]):
    """Slice in, the same slice out once its dead letters are durable."""

    output: Output

    def expand(self, slices: Any) -> Any:
        """Write the letters of each slice."""
        return slices | beam.ParDo(_Write(self.output)).with_output_types(Slice)


class _Write(StageFn):
    def __init__(self, output: Output) -> None:
        self._output = output
        self._letters = Metrics.counter(counters.NAMESPACE, counters.DEAD_LETTERS)

    def setup(self) -> None:
        self._store = open_store(self._output)

    def process(self, filled: Slice) -> Iterator[Slice]:
        new = write_dead_letters(filled, self._store)
        self._letters.inc(len(new))
        for letter in new:
            Metrics.counter(counters.REASONS, counters.reason_of(letter)).inc()
        yield filled
