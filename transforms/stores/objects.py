"""Objects to read: from S3, Google Cloud Storage or a local folder.

Reading needs s3:GetObject (and kms:Decrypt), or storage.objects.get, and nothing else.
"""

from __future__ import annotations

import io
import os
import stat
import tempfile
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from schemas.values import GOOGLE, LOCAL, ObjectRef
from transforms.stores import client_side, gcloud
from transforms.stores.aws import Access, client, partition, sse_c_arguments
from transforms.stores.aws_faults import calling
from transforms.stores.faults import CallFault

_TRIES = 3
_IN_MEMORY = 16_000_000
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Content:
    """What was read: `ref` with the version that was really there, and the bytes, on disk when they are many.

    `size` is that of the object as it is stored. `sealed` says why the content of an object that was encrypted before
    it was stored is not here.
    """

    ref: ObjectRef
    body: bytes | BinaryIO
    size: int
    sealed: str | None = None


def local_ref(path: str) -> ObjectRef:
    """The reference of a local file, identified by path, size and modification time.

    Raises OSError, and `CallFault` for what is no file: to read a pipe would wait for ever.
    """
    return _local_ref(path, os.stat(path))  # noqa: PTH116 - a Path costs more than the call


def _local_ref(path: str, found: os.stat_result) -> ObjectRef:
    if not stat.S_ISREG(found.st_mode):
        raise CallFault("missing", "EINVAL", f"{path} is no regular file")
    return ObjectRef(LOCAL, path, etag=f"{found.st_size}-{found.st_mtime_ns}", size=found.st_size)


def read_object(ref: ObjectRef, access: Access) -> Content:
    """The object's content, as stored. Raises `CallFault`; a broken stream is read again, three times in all."""
    if ref.bucket == LOCAL:
        return _read_file(ref)
    if ref.bucket.startswith(GOOGLE):
        return _download(ref)
    for attempt in range(_TRIES):
        try:
            return _get(ref, access)
        except CallFault as fault:
            if fault.kind != "transient" or attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def touch_object(ref: ObjectRef, access: Access) -> None:
    """Ask for the object and take none of its content. Raises `CallFault` where `read_object` would."""
    if ref.bucket.startswith(GOOGLE):
        with gcloud.calling("storage.objects.get", ref.uri):
            _blob(ref).reload(timeout=gcloud.TIMEOUT_S)
        return
    with _calling(ref, access):
        answer = _open(ref, access)
        if client_side.scheme(answer["Metadata"]):
            with suppress(client_side.Sealed), client_side.opening(ref, answer, access):
                pass
        answer["Body"].close()


def _get(ref: ObjectRef, access: Access) -> Content:
    with _calling(ref, access):
        answer = _open(ref, access)
        size = int(answer["ContentLength"])
        found = ref.but(etag=answer["ETag"].strip('"'), size=size)
        if not client_side.scheme(answer["Metadata"]):
            return Content(found, _body(answer["Body"], size), size)
        try:
            with client_side.opening(ref, answer, access) as body:
                return Content(found, _body(body, size), size)
        except client_side.Sealed as sealed:
            return Content(found, b"", size, str(sealed))


def _body(body: Any, size: int) -> bytes | BinaryIO:
    return bytes(body.read()) if size <= _IN_MEMORY else _spool(body)


def _calling(ref: ObjectRef, access: Access) -> AbstractContextManager[None]:
    return calling("s3:GetObject", f"arn:{partition(access)}:s3:::{ref.bucket}/{ref.key}", access)


def _open(ref: ObjectRef, access: Access) -> Any:
    version = {"VersionId": ref.version_id} if ref.version_id else {}
    return client("s3", access).get_object(Bucket=ref.bucket, Key=ref.key, **version, **sse_c_arguments(access))


def _spool(body: BinaryIO) -> BinaryIO:
    file: BinaryIO = tempfile.TemporaryFile(prefix="trailweave-")  # noqa: SIM115
    try:
        while chunk := body.read(_CHUNK):
            file.write(chunk)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _blob(ref: ObjectRef) -> Any:
    return gcloud.blob(ref.bucket.removeprefix(GOOGLE), ref.key, ref.version_id)


def _download(ref: ObjectRef) -> Content:
    """As stored: what is marked as gzip would otherwise come inflated. Google's client repeats what breaks off."""
    blob = _blob(ref)
    with gcloud.calling("storage.objects.get", ref.uri):
        if ref.size is None:
            blob.reload(timeout=gcloud.TIMEOUT_S)
        small = (blob.size if ref.size is None else ref.size) <= _IN_MEMORY
        file: Any = io.BytesIO() if small else tempfile.TemporaryFile(prefix="trailweave-")  # noqa: SIM115
        blob.download_to_file(file, raw_download=True, timeout=gcloud.TIMEOUT_S)
    size = file.tell()
    file.seek(0)
    found = ref.but(version_id=str(blob.generation), size=size)
    return Content(found, file.getvalue() if small else file, size)


def _read_file(ref: ObjectRef) -> Content:
    path = ref.key
    try:
        # As few calls as can be: a Python file makes twice as many, of which each costs as much as small records do.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            found = _local_ref(path, os.fstat(handle))
            size = found.size or 0
            if size > _IN_MEMORY:
                return Content(found, os.fdopen(os.dup(handle), "rb"), size)
            return Content(found, _bytes_of(handle, size), size)
        finally:
            os.close(handle)
    except FileNotFoundError as error:
        raise CallFault("missing", "ENOENT", f"{path} does not exist") from error
    except OSError as error:
        raise CallFault("denied", str(error.errno), f"{path} cannot be read: {error.strerror}") from error


def _bytes_of(handle: int, size: int) -> bytes:
    """The file as it was when it had this size; shorter, if it has been cut since."""
    content = os.read(handle, size)
    while len(content) < size and (more := os.read(handle, size - len(content))):
        content += more
    return content
