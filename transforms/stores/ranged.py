"""Objects of a remote store, read at random."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa

_READ_AHEAD = 1 << 16


def ranged(read_range: Callable[[int, int], bytes], size: int) -> pa.NativeFile:
    """An object of `size` bytes as a file; `read_range(start, size)` gives that many of its bytes from `start`."""
    return pa.PythonFile(io.BufferedReader(_Ranged(read_range, size), _READ_AHEAD), mode="r")


class _Ranged(io.RawIOBase):
    """An object as a file: each read asks for a range."""

    def __init__(self, read_range: Callable[[int, int], bytes], size: int) -> None:
        self._read_range, self._length, self._position = read_range, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self._length - self._position)
        if size <= 0:
            return 0
        data = self._read_range(self._position, size)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
