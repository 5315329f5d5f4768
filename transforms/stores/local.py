"""An output root in a folder of a local file system.

Create if absent: write a dot-named temporary file in the same folder, fsync, `os.link` to the final name (exists =
taken), unlink, fsync the folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from schemas.errors import AccessError, OutputError, StoreError
from transforms.stores.listed import Listed

_COPIED_BYTES = 1 << 20


@dataclass(frozen=True)
class LocalStore:
    """A folder of a local file system with hard links."""

    root: Path

    def create(self, path: str, content: bytes) -> bool:
        return self._create(path, [content])

    def create_from(self, path: str, source: Path) -> bool:
        with source.open("rb") as content:
            return self._create(path, iter(partial(content.read, _COPIED_BYTES), b""))

    def _create(self, path: str, content: Iterable[bytes]) -> bool:
        target = self.root / path
        temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}"
        try:
            _make_folder(target.parent)
            return _link_new(temporary, target, content)
        except OSError as error:
            raise self._refusal(path, error) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def remove(self, path: str) -> None:
        try:
            (self.root / path).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{self.describe(path)} cannot be removed: {error.strerror}") from error

    def read(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, path: str) -> pa.NativeFile:
        return pa.OSFile(str(self.root / path), mode="r")

    def exists(self, path: str) -> bool:
        return (self.root / path).exists()

    def names(self, folder: str, after: str = "") -> list[str]:
        return sorted(name for name in self._entries(folder, folders=False) if name > after)

    def listed(self, folder: str) -> list[Listed]:
        found = []
        for name in self.names(folder):
            with contextlib.suppress(FileNotFoundError):
                status = (self.root / folder / name).stat()
                found.append((name, status.st_size, status.st_mtime))
        now = self._now() if found else 0.0
        return [Listed(name, size, now - created) for name, size, created in found]

    def _now(self) -> float:
        """The file system's time, which on a network is not this machine's: that of a file made now."""
        probe = self.root / f".clock.{uuid.uuid4().hex}"
        try:
            probe.touch()
            return probe.stat().st_mtime
        except OSError as error:
            raise self._refusal(probe.name, error) from error
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()

    def folders(self, folder: str) -> list[str]:
        return sorted(self._entries(folder, folders=True))

    def _entries(self, folder: str, *, folders: bool) -> Iterator[str]:
        try:
            with os.scandir(self.root / folder) as entries:
                yield from (
                    entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir() == folders
                )
        except (FileNotFoundError, NotADirectoryError):
            return

    def describe(self, path: str) -> str:
        return str(self.root / path)

    def sweep(self, older_than_s: float) -> int:
        """Remove temporary files that a killed writer left behind: how many."""
        limit = time.time() - older_than_s
        swept = 0
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(OSError):
                    if name.startswith(".") and path.stat().st_mtime < limit:
                        path.unlink()
                        swept += 1
        return swept

    def _refusal(self, path: str, error: OSError) -> StoreError:
        where = self.describe(path)
        if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            return StoreError(
                f"{where}: the file system refused a hard link ({error.strerror}); create-if-absent needs them, use"
                " a local file system that has them, s3:// or gs://"
            )
        return OutputError(f"{where} cannot be written: {error.strerror}; nothing is lost: free or mend it")


def walk(root: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` that misses nothing in silence: AccessError names a folder that cannot be listed."""
    return os.walk(root, onerror=_refuse)


def files_below(root: Path) -> list[Path]:
    """Every file below a folder, sorted. Raises AccessError, as `walk` does, where `Path.rglob` says nothing."""
    paths = (Path(folder, name) for folder, _, names in walk(root) for name in names)
    return sorted(it for it in paths if it.is_file())


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise AccessError(f"{error.filename} cannot be listed: {error.strerror}; let this user read it") from error


def _make_folder(folder: Path) -> None:
    """Create the folder and make each new level durable in its parent."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for level in reversed(missing):
        level.mkdir(exist_ok=True)
        _sync_folder(level.parent)


def _link_new(temporary: Path, target: Path, content: Iterable[bytes]) -> bool:
    with temporary.open("xb", buffering=0) as file:
        for chunk in content:
            rest = memoryview(chunk)
            while rest:
                rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    temporary.unlink()
    _sync_folder(target.parent)
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
