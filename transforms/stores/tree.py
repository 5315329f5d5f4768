"""Names in the tree of datasets: partitions, commit numbers, and the compacted ranges that cover them."""

from __future__ import annotations

import re
import secrets
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.datasets import Dataset
from schemas.values import Partition
from transforms.stores.files import Store

_NAME = re.compile(r"(\d{8})(?:-(\d{8}))?\.parquet")


@dataclass(frozen=True, slots=True, order=True)
class Numbered:
    """A file of a partition: one commit (`first == last`), or a compacted range of them."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """The file's name."""
        span = f"{self.first:08d}" if self.first == self.last else f"{self.first:08d}-{self.last:08d}"
        return f"{span}.parquet"

    @property
    def is_range(self) -> bool:
        """Whether compaction wrote it."""
        return self.first != self.last

    def covers(self, part: Numbered) -> bool:
        """Whether this range holds all commits of another file, which is void beside it."""
        return self != part and self.first <= part.first and part.last <= self.last


def path_of(dataset: Dataset, partition: Partition, number: int) -> str:
    """The path of a commit's file in a dataset."""
    return f"{folder_of(dataset, partition)}/{Numbered(number, number).name}"


def folder_of(dataset: Dataset, partition: Partition) -> str:
    """The path of a partition's folder in a dataset."""
    return f"{dataset.name}/{partition.path}"


def dated_path(dataset: Dataset, now: datetime) -> str:
    """A path of its own for rows written now: `day=<UTC day of now>/<uuid7>.parquet`. `now` is in UTC."""
    return f"{dataset.name}/day={now.date().isoformat()}/{uuid7()}.parquet"


def uuid7() -> uuid.UUID:
    """A UUID that sorts by its time of making (RFC 9562, 5.7)."""
    stamp = time.time_ns() // 1_000_000
    value = (stamp << 80) | (0x7 << 76) | (secrets.randbits(12) << 64) | (0b10 << 62) | secrets.randbits(62)
    return uuid.UUID(int=value)


def parse_name(name: str) -> Numbered | None:
    """What a file's name says; None for a name that is not one of ours."""
    found = _NAME.fullmatch(name)
    return Numbered(int(found[1]), int(found[2] or found[1])) if found else None


def list_files(store: Store, dataset: Dataset, partition: Partition, after: int = 0) -> list[Numbered]:
    """The partition's files with a first number above `after`, in order; parts that a range covers are left out."""
    names = store.names(folder_of(dataset, partition), f"{after:08d}.zzz" if after else "")
    return counted(sorted(file for file in map(parse_name, names) if file))


def counted(files: Sequence[Numbered]) -> list[Numbered]:
    """The files of one partition that readers count, as they were given: those that no range of them covers."""
    ranges = [file for file in files if file.is_range]
    return [file for file in files if not any(wide.covers(file) for wide in ranges)]


def list_partitions(store: Store, dataset: Dataset) -> list[Partition]:
    """Every partition of a dataset, in order."""
    found = []
    for account in store.folders(dataset.name):
        if account.startswith("account_id="):
            days = store.folders(f"{dataset.name}/{account}")
            found += [
                Partition(account.removeprefix("account_id="), day.removeprefix("day="))
                for day in days
                if day.startswith("day=")
            ]
    return sorted(found)
