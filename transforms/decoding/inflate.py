"""Compression is told by the first bytes, never by the name: gzip (several members too), zstd, or none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import deflate
import zstandard
from isal import isal_zlib as isal_zlib_untyped

isal_zlib: Any = isal_zlib_untyped  # its stub declares the error class as a value

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_READ = 1 << 18
_CHUNK = 1 << 22
_RATIO_MATTERS_FROM = 1 << 24
_ZSTD_WINDOW = 1 << 27
# A zstd block of 128 kB can stand in 4 bytes, and the decompressor gives all of its input's text at once.
_ZSTD_READ = 1 << 10


@dataclass(frozen=True, slots=True)
class Caps:
    """What an object may grow to: decompressed bytes, their ratio to the compressed ones, bytes of one record."""

    object_bytes: int = 10_000_000_000
    ratio: int = 300
    record_bytes: int = 32_000_000


class Damaged(Exception):
    """The object stops being readable here; the text says why, for a dead letter."""


def inflate_whole(content: bytes, limit: int, caps: Caps) -> bytes | bytearray | None:
    """The text of a small object in one step; None if it may be larger than `limit` or needs the careful way."""
    if content[:2] == _GZIP:
        return _gzip_at_once(content, min(limit, caps.object_bytes, max(caps.ratio * len(content), 1)))
    if content[:4] == _ZSTD:
        return None
    return content if len(content) <= min(limit, caps.object_bytes) else None


def _gzip_at_once(content: bytes, limit: int) -> bytes | bytearray | None:
    size = int.from_bytes(content[-4:], "little")
    if not 0 < size <= limit:
        return None
    try:
        text = _first_member(content, size)
    except (deflate.DeflateError, isal_zlib.IsalError):
        return None
    return text if len(text) == size else None


def _first_member(content: bytes, size: int) -> bytes | bytearray:
    """The text of the first member; nothing if there is another one.

    libdeflate is faster, but does not tell where the member ends. A further one begins with these three bytes, which
    stand in one of a hundred objects of 200 kB by chance.
    """
    if content.find(b"\x1f\x8b\x08", 10) < 0:
        # Not copied into `bytes`, which would cost a fifth of the inflating.
        return deflate.gzip_decompress(content, size)
    member = isal_zlib.decompressobj(wbits=31)
    text: bytes = member.decompress(content, size + 1)
    return text if member.eof and not member.unused_data else b""


def inflate(content: BinaryIO, compressed_bytes: int, caps: Caps) -> Iterator[bytes]:
    """The text in chunks of at most about 4 MB.

    Raises `Damaged` after everything that could be read: truncated or corrupt streams, bytes behind the last
    member, and text beyond the caps.
    """
    total = 0
    for chunk in _chunks(content):
        total += len(chunk)
        if total > caps.object_bytes:
            raise Damaged(f"the text is larger than the cap of {caps.object_bytes:,} bytes (max_object_bytes)")
        if total > _RATIO_MATTERS_FROM and total > caps.ratio * compressed_bytes:
            raise Damaged(f"the text is more than {caps.ratio} times the {compressed_bytes:,} bytes of the object")
        yield chunk


def _chunks(content: BinaryIO) -> Iterator[bytes]:
    head = content.read(4)
    content.seek(0)
    if head[:2] == _GZIP:
        return _gunzip(content)
    if head == _ZSTD:
        return _unzstd(content)
    return iter(lambda: content.read(_CHUNK), b"")


def _gunzip(content: BinaryIO) -> Iterator[bytes]:
    data = content.read(_READ)
    while data:
        member = isal_zlib.decompressobj(wbits=31)
        try:
            while not member.eof:
                text = member.decompress(data, _CHUNK)
                if text:
                    yield text
                data = member.unused_data if member.eof else member.unconsumed_tail or content.read(_READ)
                if not data and not member.eof:
                    raise Damaged("the gzip stream is truncated")
        except isal_zlib.IsalError as error:
            raise Damaged(f"the gzip stream is corrupt ({error})") from error
        data = data or content.read(_READ)
        if data and not data.startswith(_GZIP):
            if data.strip(b"\0") or content.read(_READ).strip(b"\0"):
                raise Damaged("bytes that are not gzip follow the gzip stream")
            return


def _unzstd(content: BinaryIO) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    data = content.read(_ZSTD_READ)
    while data:
        frame = decompressor.decompressobj()
        try:
            while not frame.eof:
                if text := frame.decompress(data):
                    yield text
                data = frame.unused_data if frame.eof else content.read(_ZSTD_READ)
                if not data and not frame.eof:
                    raise Damaged("the zstd stream is truncated")
        except zstandard.ZstdError as error:
            raise Damaged(f"the zstd stream is corrupt ({error})") from error
        data = data or content.read(_ZSTD_READ)


def as_file(content: bytes | BinaryIO) -> BinaryIO:
    """The content as a file at its start."""
    if isinstance(content, bytes):
        return BytesIO(content)
    content.seek(0)
    return content
