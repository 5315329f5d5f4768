"""What output roots in a bucket have in common: names, and how they are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pyarrow as pa

from schemas.errors import AccessError
from transforms.stores.faults import CallFault
from transforms.stores.ranged import ranged


@dataclass(frozen=True)
class BucketStore(ABC):
    """A prefix of a bucket: `files.Store` without what differs by the service."""

    scheme: ClassVar[str]

    bucket: str
    prefix: str

    @abstractmethod
    def _get(self, path: str, part: tuple[int, int] | None = None) -> bytes:
        """The content, or a part of it by its first and last byte. Raises `CallFault`."""

    @abstractmethod
    def _length(self, path: str) -> int:
        """Bytes of the content. Raises `CallFault`."""

    def read(self, path: str) -> bytes | None:
        try:
            return self._get(path)
        except CallFault as fault:
            if fault.kind == "missing":
                return None
            raise AccessError(str(fault)) from fault

    def read_range(self, path: str, start: int, size: int) -> bytes:
        """`size` bytes of the object from `start`."""
        try:
            return self._get(path, (start, start + size - 1))
        except CallFault as fault:
            raise AccessError(str(fault)) from fault

    def open(self, path: str) -> pa.NativeFile:
        size = self._size(path)
        if size is None:
            raise FileNotFoundError(self.describe(path))
        return ranged(partial(self.read_range, path), size)

    def exists(self, path: str) -> bool:
        return self._size(path) is not None

    def _size(self, path: str) -> int | None:
        try:
            return self._length(path)
        except CallFault as fault:
            if fault.kind == "missing":
                return None
            raise AccessError(str(fault)) from fault

    def describe(self, path: str) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key(path)}"

    def key(self, path: str) -> str:
        """The object's name in the bucket."""
        return "/".join(part for part in (self.prefix, path) if part)

    def _folder(self, folder: str) -> str:
        """What the names of the folder's objects begin with."""
        return self.key(folder).rstrip("/") + "/" if folder or self.prefix else ""
