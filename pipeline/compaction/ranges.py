"""Which commits become one file: ranges that tile a partition from its first number on, agreed by all compactors.

A plan is a file of its own, named by the first number of its range and created if absent. The next range begins
behind the last plan, so plans never overlap, whoever makes them and whatever sizes each of them prefers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.errors import StoreError
from schemas.values import Partition
from transforms.stores.files import Store
from transforms.stores.tree import Numbered

_FOLDER = ".trailweave/compaction"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of raw files: a range ends when it holds `least`, and before a file that would bring it above `most`."""

    least: int = 128 << 20
    most: int = 512 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """A commit's number and the bytes of its raw file."""

    number: int
    size: int


def next_range(parts: Sequence[Part], sizes: Sizes) -> Numbered | None:
    """The range that begins with the first of the parts, which are consecutive; None: nothing to merge as yet.

    A part that is large enough by itself is a range of one, which nobody merges.
    """
    total = count = 0
    for part in parts:
        if total >= sizes.least or (count and total + part.size > sizes.most):
            return Numbered(parts[0].number, parts[count - 1].number)
        total += part.size
        count += 1
    return Numbered(parts[0].number, parts[-1].number) if count > 1 else None


def read_plans(store: Store, partition: Partition, known: Sequence[Numbered] = ()) -> list[Numbered]:
    """The planned ranges of a partition, in order. Those among `known`, by their first number, are not read."""
    lasts = {it.first: it.last for it in known}
    names = store.names(f"{_FOLDER}/{partition.path}")
    firsts = [int(name.removesuffix(".json")) for name in names]
    return [Numbered(first, lasts.get(first) or _read(store, partition, first)) for first in firsts]


def agree(store: Store, partition: Partition, wanted: Numbered) -> Numbered:
    """Plan a range; if another compactor has planned one with the same first number, that one holds."""
    content = json.dumps({"last": wanted.last}).encode()
    if store.create(_path(partition, wanted.first), content):
        return wanted
    return Numbered(wanted.first, _read(store, partition, wanted.first))


def _path(partition: Partition, first: int) -> str:
    return f"{_FOLDER}/{partition.path}/{first:08d}.json"


def _read(store: Store, partition: Partition, first: int) -> int:
    path = _path(partition, first)
    try:
        last = int(json.loads(store.read(path) or b"")["last"])
        if last < first:
            raise ValueError(f"its last number {last} is below its first")
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{store.describe(path)} is no plan of a compaction ({error}); remove it if no compactor is at work"
        ) from error
    return last
