"""Compression is told by the first bytes; damage, padding and bombs are bounded and told apart."""

from __future__ import annotations

import gzip
import io
import random
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from transforms.decoding.inflate import Caps, Damaged, inflate, inflate_whole

TEXT = b'{"Records":[]}' * 50
CAPS = Caps()
WIDE = 1 << 40


def read(content: bytes, caps: Caps = CAPS) -> tuple[bytes, str | None]:
    """(the text, why it ends early)."""
    text = b""
    try:
        for chunk in inflate(io.BytesIO(content), len(content), caps):
            text += chunk
    except Damaged as damage:
        return text, str(damage)
    return text, None


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.sampled_from(["gzip", "zstd", "none"]))
def test_several_members_are_read_one_after_the_other(parts: list[bytes], kind: str) -> None:
    whole = b"".join(parts)
    if kind == "gzip":
        content = b"".join(gzip.compress(it) for it in parts)
    elif kind == "zstd":
        content = b"".join(zstandard.compress(it) for it in parts)
    else:
        content = whole = b"{" + whole
    assert read(content) == (whole, None)
    assert inflate_whole(content, WIDE, CAPS) in (whole, None)


def test_one_small_member_is_read_at_once() -> None:
    assert inflate_whole(gzip.compress(TEXT), WIDE, CAPS) == TEXT
    assert inflate_whole(TEXT, WIDE, CAPS) == TEXT
    assert inflate_whole(b"", WIDE, CAPS) == b""


@pytest.mark.parametrize("limit", [len(TEXT) - 1, 10])
def test_what_may_be_larger_than_the_limit_is_not_read_at_once(limit: int) -> None:
    assert inflate_whole(gzip.compress(TEXT), limit, CAPS) is None
    assert inflate_whole(TEXT, limit, CAPS) is None
    assert inflate_whole(gzip.compress(TEXT), WIDE, Caps(object_bytes=limit)) is None
    assert inflate_whole(gzip.compress(TEXT), WIDE, Caps(ratio=2)) is None


@pytest.mark.parametrize("zeros", [1, 7, 512, 600_000])
def test_zeros_behind_a_gzip_stream_are_padding(zeros: int) -> None:
    assert read(gzip.compress(TEXT) + b"\0" * zeros) == (TEXT, None)
    assert inflate_whole(gzip.compress(TEXT) + b"\0" * zeros, WIDE, CAPS) in (TEXT, None)


@pytest.mark.parametrize("garbage", [b"x", b"\0\0x", b"{}", b"\0" * 300_000 + b"x"])
def test_other_bytes_behind_a_gzip_stream_are_damage_after_the_text(garbage: bytes) -> None:
    content = gzip.compress(TEXT) + garbage
    assert read(content) == (TEXT, "bytes that are not gzip follow the gzip stream")
    assert inflate_whole(content, WIDE, CAPS) is None


def test_a_truncated_stream_gives_what_was_whole() -> None:
    text = random.Random(1).randbytes(100_000)
    content = gzip.compress(text)
    for size in (len(content) - 1, len(content) - 8, len(content) // 2, 20):
        found, why = read(content[:size])
        assert why == "the gzip stream is truncated"
        assert text.startswith(found)
        assert len(found) > size - 200
        assert inflate_whole(content[:size], WIDE, CAPS) is None
    found, why = read(zstandard.compress(text)[:-5])
    assert why == "the zstd stream is truncated"
    assert text.startswith(found)


def test_a_wrong_checksum_is_damage() -> None:
    content = gzip.compress(TEXT)
    broken = content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]
    assert str(read(broken)[1]).startswith("the gzip stream is corrupt")
    assert inflate_whole(broken, WIDE, CAPS) is None


@pytest.mark.parametrize("content", [b"\x1f\x8b", b"\x1f\x8bnonsense beyond", b"\x28\xb5\x2f\xfdnonsense beyond"])
def test_magic_bytes_without_a_stream_are_damage(content: bytes) -> None:
    text, why = read(content)
    assert text == b""
    assert why is not None


def bomb(kind: str, megabytes: int) -> bytes:
    if kind == "gzip":
        packer = gzip.zlib.compressobj(9, wbits=31)  # type: ignore[attr-defined]
        return b"".join([*(packer.compress(bytes(1_000_000)) for _ in range(megabytes)), packer.flush()])
    return zstandard.ZstdCompressor(level=19).compress(bytes(megabytes * 1_000_000))


def measured(content: bytes, caps: Caps) -> tuple[int, str]:
    """(bytes of text, why it ends early), nothing of it kept."""
    total = 0
    try:
        for chunk in inflate(io.BytesIO(content), len(content), caps):
            total += len(chunk)
    except Damaged as damage:
        return total, str(damage)
    return total, ""


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_is_stopped_by_its_ratio_in_little_memory(kind: str) -> None:
    content = bomb(kind, 100)
    tracemalloc.start()
    total, why = measured(content, CAPS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "more than 300 times" in why
    assert total <= max(300 * len(content), 1 << 24)
    assert peak < 48_000_000
    assert inflate_whole(content, WIDE, CAPS) is None


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_text_beyond_the_cap_is_not_read(kind: str) -> None:
    content = bomb(kind, 20)
    total, why = measured(content, Caps(object_bytes=10_000_000, ratio=1_000_000))
    assert why == "the text is larger than the cap of 10,000,000 bytes (max_object_bytes)"
    assert total <= 10_000_000


def test_a_small_object_may_repeat_itself_more_than_the_ratio() -> None:
    content = gzip.compress(bytes(3_000_000))
    assert len(content) * 300 < 3_000_000
    assert read(content) == (bytes(3_000_000), None)


def test_a_zstd_frame_that_asks_for_a_huge_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=29)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    content = packer.compress(TEXT) + packer.flush()
    text, why = read(content)
    assert text == b""
    assert str(why).startswith("the zstd stream is corrupt")
