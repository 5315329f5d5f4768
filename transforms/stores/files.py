"""The output root. A file is there whole or not at all.

*Create if absent* is the whole of the commit protocol's contract with a store (DESIGN.md, section 2). Each kind of
store is one file beside this one: `local`, `s3`, `gcs`. Only they create files and objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from schemas.errors import ConfigError, StoreError
from transforms.stores import locations
from transforms.stores.aws import Access
from transforms.stores.gcs import GcsStore
from transforms.stores.listed import Listed
from transforms.stores.local import LocalStore
from transforms.stores.s3 import S3Store
from transforms.stores.side_by_side import SideBySide

_PROBE = ".trailweave/probe"
_WRITERS = 16
# To make a file durable takes an SSD 0.2 to 2 ms.
_PATIENCE_S = 0.005


@dataclass(frozen=True, slots=True)
class Output:
    """Where the datasets live, as given: a local folder, `s3://bucket/prefix` or `gs://bucket/prefix`.

    `access` is for S3; Google Cloud Storage takes the application default credentials.
    """

    uri: str
    access: Access = field(default_factory=Access)


class Store(Protocol):
    """An output root. Paths are relative, with forward slashes."""

    def create(self, path: str, content: bytes) -> bool:
        """Create the file if it is absent: True if this call created it, False if it was there."""

    def create_from(self, path: str, source: Path) -> bool:
        """`create`, of a local file's content, which is not held in memory."""

    def remove(self, path: str) -> None:
        """Remove the file; one that is gone already is no error. Compaction alone does."""

    def read(self, path: str) -> bytes | None:
        """The whole content, or None if there is no such file."""

    def open(self, path: str) -> pa.NativeFile:
        """The file for reading at random; `FileNotFoundError` if there is none."""

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""

    def names(self, folder: str, after: str = "") -> list[str]:
        """Names of the files directly in `folder` that sort after `after`, sorted; no dot files."""

    def listed(self, folder: str) -> list[Listed]:
        """The files directly in `folder` with size and age, sorted by name; no dot files."""

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly in `folder`, sorted."""

    def describe(self, path: str) -> str:
        """The full name of a path, for messages."""


def open_store(output: Output) -> Store:
    """The store of an output root."""
    return _store(output)


@contextmanager
def opened(store: Store, path: str) -> Iterator[pa.NativeFile]:
    """A Parquet file for reading at random. Raises `StoreError`, naming it, where what it holds is none."""
    try:
        with named(store, path) as file:
            yield file
    except pa.ArrowInvalid as error:
        raise StoreError(str(error)) from error


@contextmanager
def named(store: Store, path: str) -> Iterator[pa.NativeFile]:
    """The same for a run that goes on with its other objects: it raises what Arrow does, naming the file."""
    with store.open(path) as file:
        try:
            yield file
        except pa.ArrowInvalid as error:
            raise pa.ArrowInvalid(damage(store, path, "Parquet", error)) from error


def damage(store: Store, path: str, form: str, error: Exception) -> str:
    """What is told of a file that does not hold what it was created with."""
    return f"{store.describe(path)} is no readable {form} file ({error}); put a whole copy of it back"


@lru_cache(maxsize=16)
def _store(output: Output) -> Store:
    parts = locations.split(output.uri)
    if parts.scheme in ("s3", "gs"):
        if not parts.netloc:
            raise ConfigError(f"output {output.uri!r} names no bucket; write {parts.scheme}://BUCKET/PREFIX")
        prefix = parts.path.strip("/")
        if parts.scheme == "gs":
            return GcsStore(parts.netloc, prefix)
        return S3Store(parts.netloc, prefix, output.access)
    if parts.scheme not in ("", "file"):
        raise ConfigError(
            f"output {output.uri!r} has the scheme {parts.scheme!r}; use a local folder, s3://BUCKET/PREFIX"
            " or gs://BUCKET/PREFIX"
        )
    return LocalStore(Path(parts.path if parts.scheme == "file" else output.uri).absolute())


def writers(store: Store, name: str) -> SideBySide:
    """What writes the files of a slice to a store, its threads called `name`."""
    return SideBySide(_WRITERS, name, _PATIENCE_S if isinstance(store, LocalStore) else None)


def prove(store: Store) -> None:
    """Refuse a store that does not honour create-if-absent: create the probe twice, the second must be refused.

    A store at which nothing answers is told within seconds, not after all tries that a commit is worth.
    """
    if isinstance(store, S3Store):
        store = replace(store, hasty=True)
    store.create(_PROBE, b"probe")
    if store.create(_PROBE, b"another") or store.read(_PROBE) != b"probe":
        raise StoreError(
            f"{store.describe(_PROBE)}: creating a file that exists was not refused, so two writers could overwrite"
            " each other; use a store that honours create-if-absent (S3 with If-None-Match, Google Cloud"
            " Storage, a local file system)"
        )
