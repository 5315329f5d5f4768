"""Which commits become one file: ranges that tile a partition from its first number on, agreed by all compactors.

Plans are a log like that of the commits. Each is a file named by the first number behind all earlier plans, created
if absent, and brings the end of what is planned forward. It may reach back over the last ranges, each as a whole:
what came late to a compacted partition is merged with them, as long as they are not much larger. So two plans are
apart, or one holds the other, whoever makes them and whatever sizes each of them prefers.
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


# A range is merged again with what came after it while it is at most so many times larger: a byte is written again
# some times, and not with each late file.
_GROWTH = 4


@dataclass(frozen=True, slots=True)
class Part:
    """A commit's number, or a range of them, and the bytes of the raw file."""

    numbers: Numbered
    size: int


def next_range(parts: Sequence[Part], sizes: Sizes, before: Sequence[Part] = ()) -> Numbered | None:
    """The range that ends within the parts, which are consecutive; None: nothing to merge as yet.

    It begins with the first of them, or reaches back over small ranges of those `before` them. A part that is large
    enough by itself is a range of one, which nobody merges.
    """
    total = count = 0
    for part in parts:
        if total >= sizes.least or (count and total + part.size > sizes.most):
            break
        total += part.size
        count += 1
    if not count:
        return None
    first = _reached_back(parts[0].numbers.first, total, sizes, before)
    found = Numbered(first, parts[count - 1].numbers.last)
    return found if found.is_range or count < len(parts) else None


def _reached_back(first: int, total: int, sizes: Sizes, before: Sequence[Part]) -> int:
    for part in reversed(before):
        is_next = part.numbers.is_range and part.numbers.last == first - 1
        if not is_next or part.size > min(total * _GROWTH, sizes.least, sizes.most - total):
            break
        first = part.numbers.first
        total += part.size
    return first


def read_plans(store: Store, partition: Partition, published: Sequence[Numbered] = ()) -> list[Numbered]:
    """The planned ranges of a partition, in order of their plans, but for those that `published` ranges hold."""
    names = store.names(f"{_FOLDER}/{partition.path}")
    starts = [int(name.removesuffix(".json")) for name in names]
    return [
        _read(store, partition, start)
        for start in starts
        if not any(it.first <= start <= it.last for it in published)
    ]


def agree(store: Store, partition: Partition, wanted: Numbered, start: int) -> Numbered:
    """Plan a range, `start` being the first number that no plan holds; if another compactor was first, its plan."""
    content = json.dumps({"first": wanted.first, "last": wanted.last}).encode()
    if store.create(_path(partition, start), content):
        return wanted
    return _read(store, partition, start)


def _path(partition: Partition, start: int) -> str:
    return f"{_FOLDER}/{partition.path}/{start:08d}.json"


def _read(store: Store, partition: Partition, start: int) -> Numbered:
    path = _path(partition, start)
    try:
        plan = json.loads(store.read(path) or b"")
        found = Numbered(int(plan.get("first", start)), int(plan["last"]))
        if not 0 < found.first <= start <= found.last:
            raise ValueError(f"it is named {start}, and plans {found.first} to {found.last}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{store.describe(path)} is no plan of a compaction ({error}); remove it if no compactor is at work"
        ) from error
    return found
