"""The ingest log, read back: which objects need no reading again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b

from schemas.datasets import INGEST_LOG
from schemas.values import ObjectRef
from transforms.stores.files import Store, opened
from transforms.stores.parquet import read_table

_COLUMNS = ["object_bucket", "object_key", "object_version", "outcome"]
_SETTLED = ("done", "digest", "ignored")
_READERS = 16


def done_objects(store: Store) -> set[bytes]:
    """Digests of the objects that the log holds as done; 16 bytes each, so ten million fit in a gigabyte."""
    done: set[bytes] = set()
    with ThreadPoolExecutor(_READERS) as pool:
        for rows in pool.map(lambda path: _rows(store, path), _files(store)):
            for bucket, key, version, outcome in rows:
                digest = _digest(bucket, key, version)
                if outcome in _SETTLED:
                    done.add(digest)
                else:
                    done.discard(digest)
    return done


def is_done(ref: ObjectRef, done: set[bytes]) -> bool:
    """Whether the log holds this very content as done."""
    return _digest(ref.bucket, ref.key, ref.version) in done


def _files(store: Store) -> Iterator[str]:
    for day in store.folders(INGEST_LOG.name):
        folder = f"{INGEST_LOG.name}/{day}"
        yield from (f"{folder}/{name}" for name in store.names(folder))


def _rows(store: Store, path: str) -> list[tuple[str, str, str, str]]:
    with opened(store, path) as file:
        table = read_table(file, _COLUMNS)
    return list(zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True))


def _digest(*parts: str) -> bytes:
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
