"""Objects to read: from S3, or from a local folder. Reading needs s3:GetObject (and kms:Decrypt) and nothing else."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from schemas.values import LOCAL, ObjectRef
from transforms.stores.aws import Access, AwsFault, calling, client, sse_c_arguments

_TRIES = 3
_IN_MEMORY = 16_000_000
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Content:
    """What was read: `ref` with the version that was really there, and the bytes, on disk when they are many."""

    ref: ObjectRef
    body: bytes | BinaryIO
    size: int


def local_ref(path: Path) -> ObjectRef:
    """The reference of a local file, identified by path, size and modification time."""
    found = path.stat()
    return ObjectRef(LOCAL, str(path), etag=f"{found.st_size}-{found.st_mtime_ns}", size=found.st_size)


def read_object(ref: ObjectRef, access: Access) -> Content:
    """The object's content, as stored. Raises `AwsFault`; a broken stream is read again, three times in all."""
    if ref.bucket == LOCAL:
        return _read_file(ref)
    for attempt in range(_TRIES):
        try:
            return _get(ref, access)
        except AwsFault as fault:
            if fault.kind != "transient" or attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def touch_object(ref: ObjectRef, access: Access) -> None:
    """Ask for the object and take none of its content. Raises `AwsFault` where `read_object` would."""
    with _calling(ref, access):
        _open(ref, access)["Body"].close()


def _get(ref: ObjectRef, access: Access) -> Content:
    with _calling(ref, access):
        answer = _open(ref, access)
        size = int(answer["ContentLength"])
        found = replace(ref, etag=answer["ETag"].strip('"'), size=size)
        if size <= _IN_MEMORY:
            return Content(found, answer["Body"].read(), size)
        return Content(found, _spool(answer["Body"]), size)


def _calling(ref: ObjectRef, access: Access) -> AbstractContextManager[None]:
    return calling("s3:GetObject", f"arn:aws:s3:::{ref.bucket}/{ref.key}", access)


def _open(ref: ObjectRef, access: Access) -> Any:
    version = {"VersionId": ref.version_id} if ref.version_id else {}
    return client("s3", access).get_object(Bucket=ref.bucket, Key=ref.key, **version, **sse_c_arguments(access))


def _spool(body: BinaryIO) -> BinaryIO:
    file: BinaryIO = tempfile.TemporaryFile(prefix="trailweave-")  # noqa: SIM115
    while chunk := body.read(_CHUNK):
        file.write(chunk)
    file.seek(0)
    return file


def _read_file(ref: ObjectRef) -> Content:
    path = Path(ref.key)
    try:
        found = local_ref(path)
        if (found.size or 0) <= _IN_MEMORY:
            return Content(found, path.read_bytes(), found.size or 0)
        return Content(found, path.open("rb"), found.size or 0)
    except FileNotFoundError as error:
        raise AwsFault("missing", "ENOENT", f"{path} does not exist") from error
    except OSError as error:
        raise AwsFault("denied", str(error.errno), f"{path} cannot be read: {error.strerror}") from error
