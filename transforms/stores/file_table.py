"""The raw files of a partition as a table in memory: 25 bytes a file, so that those of 10,000 accounts may stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from transforms.stores.parquet import TimeRange
from transforms.stores.tree import Numbered

_ROW = np.dtype([("first", "i4"), ("last", "i4"), ("low", "i8"), ("high", "i8"), ("complete", "?")])
_NONE = np.zeros(0, _ROW)


class FileTable:
    """Files in order of their first number: event times in microseconds, both ends in, and whether it is complete."""

    __slots__ = ("_rows", "_size")

    def __init__(self) -> None:
        self._rows: NDArray[np.void] = _NONE
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Numbered]:
        rows = self._held
        return iter([Numbered(*it) for it in zip(rows["first"].tolist(), rows["last"].tolist(), strict=True)])

    @property
    def _held(self) -> NDArray[np.void]:
        return self._rows[: self._size]

    @property
    def nbytes(self) -> int:
        """The memory that the rows take."""
        return self._rows.nbytes

    @property
    def last(self) -> int:
        """The highest number; 0 for no file."""
        return int(self._held["last"].max()) if self._size else 0

    def append(self, file: Numbered, times: TimeRange) -> None:
        """Add a file behind the others, not complete. A quarter of the room is spare at most."""
        if self._size == len(self._rows):
            grown = np.zeros(self._size + 4 + self._size // 4, _ROW)
            grown[: self._size] = self._rows
            self._rows = grown
        self._rows[self._size] = (file.first, file.last, *times, False)
        self._size += 1

    def replace(self, files: Sequence[Numbered], times: Mapping[Numbered, TimeRange]) -> None:
        """Hold these files alone, in order: of those that were held what was known, of the others their times."""
        former = dict(zip(self, self._held, strict=True))
        self._rows = np.array(
            [former[it] if it in former else (it.first, it.last, *times[it], False) for it in files], _ROW
        )
        self._size = len(files)

    def overlapping(self, times: TimeRange) -> list[Numbered]:
        """The files that may hold an event of these times."""
        rows = self._held
        found = rows[(rows["low"] <= times[1]) & (times[0] <= rows["high"])]
        return [Numbered(*it) for it in zip(found["first"].tolist(), found["last"].tolist(), strict=True)]

    def ranges(self, after: int) -> dict[int, TimeRange]:
        """The time ranges of files whose first number is above `after`, by that number."""
        rows = self._held[int(np.searchsorted(self._held["first"], after, side="right")) :]
        return dict(
            zip(rows["first"].tolist(), zip(rows["low"].tolist(), rows["high"].tolist(), strict=True), strict=True)
        )

    def is_part(self, number: int) -> bool:
        """Whether a commit has a file of its own."""
        place = self._place(number)
        return place is not None and bool(self._rows["last"][place] == number)

    def is_void(self, number: int) -> bool:
        """Whether a compacted range covers the number."""
        rows = self._held
        return bool(((rows["first"] <= number) & (number <= rows["last"]) & (rows["first"] < rows["last"])).any())

    def is_complete(self, number: int) -> bool:
        """Whether the file that begins with this number is known to be complete."""
        place = self._place(number)
        return place is not None and bool(self._rows["complete"][place])

    def complete(self, markers: Sequence[Numbered]) -> None:
        """What these files of the marker, in order, stand for is complete."""
        if self._size and markers:
            firsts = np.array([it.first for it in markers])
            lasts = np.array([it.last for it in markers])
            rows = self._held
            places = np.searchsorted(firsts, rows["first"], side="right") - 1
            rows["complete"] |= (places >= 0) & (rows["last"] <= lasts[places])

    def _place(self, number: int) -> int | None:
        place = int(np.searchsorted(self._held["first"], number))
        return place if place < self._size and self._rows["first"][place] == number else None
