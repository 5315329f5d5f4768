"""A store in memory: what the protocol of `transforms.stores.files.Store` promises, and nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from transforms.stores.listed import Listed
from transforms.stores.side_by_side import SideBySide


class MemoryStore:
    """Files by path. A file never changes: creating one that is there is refused.

    `calls` counts each operation by its name. `now` is the store's clock, in seconds; files given at the start were
    created at 0.
    """

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = dict(files or {})
        self.now = 0.0
        self._created: dict[str, float] = {}
        self.calls: Counter[str] = Counter()

    def create(self, path: str, content: bytes) -> bool:
        self.calls["create"] += 1
        if path in self.files:
            return False
        self.files[path] = content
        self._created[path] = self.now
        return True

    def create_from(self, path: str, source: Path) -> bool:
        return self.create(path, source.read_bytes())

    def remove(self, path: str) -> None:
        self.calls["remove"] += 1
        self.files.pop(path, None)

    def read(self, path: str) -> bytes | None:
        self.calls["read"] += 1
        return self.files.get(path)

    def open(self, path: str) -> pa.NativeFile:
        self.calls["open"] += 1
        if path not in self.files:
            raise FileNotFoundError(path)
        return pa.BufferReader(self.files[path])

    def exists(self, path: str) -> bool:
        self.calls["exists"] += 1
        return path in self.files

    def names(self, folder: str, after: str = "") -> list[str]:
        self.calls["names"] += 1
        return names_in(self.files, folder, after)

    def listed(self, folder: str) -> list[Listed]:
        self.calls["listed"] += 1
        paths = {name: f"{folder}/{name}" for name in names_in(self.files, folder)}
        return [
            Listed(name, len(self.files[path]), self.now - self._created.get(path, 0.0))
            for name, path in paths.items()
        ]

    def folders(self, folder: str) -> list[str]:
        self.calls["folders"] += 1
        return folders_in(self.files, folder)

    def describe(self, path: str) -> str:
        return f"memory:{path}"


def names_in(paths: Iterable[str], folder: str, after: str = "") -> list[str]:
    """Names directly in the folder above `after`, sorted; no dot files."""
    start = f"{folder}/" if folder else ""
    names = (path[len(start) :] for path in paths if path.startswith(start))
    return sorted(name for name in names if "/" not in name and name > after and name[0] != ".")


def folders_in(paths: Iterable[str], folder: str) -> list[str]:
    """Names of the folders directly in the folder, sorted."""
    start = f"{folder}/" if folder else ""
    rests = {path[len(start) :] for path in paths if path.startswith(start)}
    return sorted({rest.split("/", 1)[0] for rest in rests if "/" in rest and rest[0] != "."})


class SyncPool:
    """A thread pool without threads: what it is given runs in order, at once."""

    def map(self, work: Callable[..., Any], *items: Iterable[Any]) -> Iterator[Any]:
        return iter([work(*each) for each in zip(*items, strict=False)])

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> SyncPool:
        return self

    def __exit__(self, *_: object) -> None:
        pass


SYNC = SideBySide(1, "test", patience_s=math.inf)
"""Does everything in turn."""
