"""The output root: the one module that creates files and objects. A file is there whole or not at all.

*Create if absent* is the whole of the commit protocol's contract with a store (DESIGN.md, section 2). On a file
system: write a dot-named temporary file in the same folder, fsync, `os.link` to the final name (exists = taken),
unlink, fsync the folder. On S3: one `PutObject` with `If-None-Match: *` (412 = taken, 409 = again).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pyarrow as pa

from schemas.errors import AccessError, ConfigError, StoreError
from transforms.stores.aws import Access, AwsFault, calling, client

_TRIES = 6
_READ_AHEAD = 1 << 16
_PROBE = ".trailweave/probe"


@dataclass(frozen=True, slots=True)
class Output:
    """Where the datasets live, as given: a local folder or `s3://bucket/prefix`, and the access to it."""

    uri: str
    access: Access = field(default_factory=Access)


class Store(Protocol):
    """An output root. Paths are relative, with forward slashes."""

    def create(self, path: str, content: bytes) -> bool:
        """Create the file if it is absent: True if this call created it, False if it was there."""

    def read(self, path: str) -> bytes | None:
        """The whole content, or None if there is no such file."""

    def open(self, path: str) -> pa.NativeFile:
        """The file for reading at random; `FileNotFoundError` if there is none."""

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""

    def names(self, folder: str, after: str = "") -> list[str]:
        """Names of the files directly in `folder` that sort after `after`, sorted; no dot files."""

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly in `folder`, sorted."""

    def describe(self, path: str) -> str:
        """The full name of a path, for messages."""


def open_store(output: Output) -> Store:
    """The store of an output root."""
    return _store(output)


@lru_cache(maxsize=16)
def _store(output: Output) -> Store:
    parts = urlsplit(output.uri)
    if parts.scheme == "s3":
        if not parts.netloc:
            raise ConfigError(f"output {output.uri!r} names no bucket; write s3://BUCKET/PREFIX")
        return S3Store(parts.netloc, parts.path.strip("/"), output.access)
    if parts.scheme not in ("", "file"):
        raise ConfigError(
            f"output {output.uri!r} has the scheme {parts.scheme!r}; use a local folder or s3://BUCKET/PREFIX"
        )
    return LocalStore(Path(parts.path if parts.scheme == "file" else output.uri).absolute())


def prove(store: Store) -> None:
    """Refuse a store that does not honour create-if-absent: create the probe twice, the second must be refused."""
    store.create(_PROBE, b"probe")
    if store.create(_PROBE, b"another") or store.read(_PROBE) != b"probe":
        raise StoreError(
            f"{store.describe(_PROBE)}: creating a file that exists was not refused, so two writers could overwrite"
            " each other; use a store that honours create-if-absent (S3 with If-None-Match, a local file system)"
        )


@dataclass(frozen=True)
class LocalStore:
    """A folder of a local file system with hard links."""

    root: Path

    def create(self, path: str, content: bytes) -> bool:
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
                " a local file system that has them, or s3://"
            )
        return StoreError(f"{where} cannot be written: {error.strerror}")


def _make_folder(folder: Path) -> None:
    """Create the folder and make each new level durable in its parent."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for level in reversed(missing):
        level.mkdir(exist_ok=True)
        _sync_folder(level.parent)


def _link_new(temporary: Path, target: Path, content: bytes) -> bool:
    with temporary.open("xb") as file:
        file.write(content)
        file.flush()
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


@dataclass(frozen=True)
class S3Store:
    """A prefix of a bucket on S3, or on a store that honours `If-None-Match` as S3 does."""

    bucket: str
    prefix: str
    access: Access

    def create(self, path: str, content: bytes) -> bool:
        for attempt in range(_TRIES):
            try:
                with self._calling("s3:PutObject", path):
                    self._s3.put_object(Bucket=self.bucket, Key=self.key(path), Body=content, IfNoneMatch="*")
                return True
            except AwsFault as fault:
                if fault.kind == "taken":
                    return False
                if fault.kind != "transient" or attempt == _TRIES - 1:
                    raise AccessError(str(fault)) from fault
                time.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")

    def read(self, path: str) -> bytes | None:
        try:
            return self._get(path)
        except AwsFault as fault:
            if fault.kind == "missing":
                return None
            raise AccessError(str(fault)) from fault

    def _get(self, path: str, **part: str) -> bytes:
        """The body; one that breaks off on its way, which boto3 does not retry, is asked for again."""
        for attempt in range(_TRIES):
            try:
                with self._calling("s3:GetObject", path):
                    body: bytes = self._s3.get_object(Bucket=self.bucket, Key=self.key(path), **part)["Body"].read()
                    return body
            except AwsFault as fault:
                if fault.kind != "transient" or attempt == _TRIES - 1:
                    raise
                time.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")

    def open(self, path: str) -> pa.NativeFile:
        size = self._size(path)
        if size is None:
            raise FileNotFoundError(self.describe(path))
        return pa.PythonFile(io.BufferedReader(_Ranged(self, path, size), _READ_AHEAD), mode="r")

    def exists(self, path: str) -> bool:
        return self._size(path) is not None

    def _size(self, path: str) -> int | None:
        try:
            with self._calling("s3:GetObject", path):
                return int(self._s3.head_object(Bucket=self.bucket, Key=self.key(path))["ContentLength"])
        except AwsFault as fault:
            if fault.kind == "missing":
                return None
            raise AccessError(str(fault)) from fault

    def read_range(self, path: str, start: int, size: int) -> bytes:
        """`size` bytes of the object from `start`."""
        try:
            return self._get(path, Range=f"bytes={start}-{start + size - 1}")
        except AwsFault as fault:
            raise AccessError(str(fault)) from fault

    def names(self, folder: str, after: str = "") -> list[str]:
        return sorted(name for name in self._listing(folder, after, "Contents", "Key") if name[0] != ".")

    def folders(self, folder: str) -> list[str]:
        return sorted(
            name.rstrip("/") for name in self._listing(folder, "", "CommonPrefixes", "Prefix") if name[0] != "."
        )

    def describe(self, path: str) -> str:
        return f"s3://{self.bucket}/{self.key(path)}"

    def _listing(self, folder: str, after: str, group: str, member: str) -> Iterator[str]:
        prefix = self.key(folder).rstrip("/") + "/" if folder or self.prefix else ""
        try:
            with self._calling("s3:ListBucket", folder):
                pages = self._s3.get_paginator("list_objects_v2").paginate(
                    Bucket=self.bucket,
                    Prefix=prefix,
                    Delimiter="/",
                    **({"StartAfter": prefix + after} if after else {}),
                )
                for page in pages:
                    yield from (
                        entry[member][len(prefix) :]
                        for entry in page.get(group, ())
                        if len(entry[member]) > len(prefix)
                    )
        except AwsFault as fault:
            raise AccessError(str(fault)) from fault

    @property
    def _s3(self) -> Any:
        return client("s3", self.access)

    def key(self, path: str) -> str:
        """The object's key in the bucket."""
        return "/".join(part for part in (self.prefix, path) if part)

    def _calling(self, action: str, path: str) -> contextlib.AbstractContextManager[None]:
        return calling(action, self.describe(path), self.access)


class _Ranged(io.RawIOBase):
    """An object on S3 as a file: each read is a GET of a range."""

    def __init__(self, store: S3Store, path: str, size: int) -> None:
        self._store, self._path, self._length, self._position = store, path, size, 0

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
        data = self._store.read_range(self._path, self._position, size)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
