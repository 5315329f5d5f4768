"""Records are cut exactly, whatever they hold and wherever the text is cut into chunks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.values import NoRecord
from transforms.decoding.cutting import _Scanner, cut_records, readable
from transforms.decoding.inflate import Damaged

CAP = 32_000_000

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
# Quotes, backslashes and brackets are what a structural scan can trip over.
nasty = st.text(st.sampled_from('"\\{}[],:\n aé\u2028\0'), max_size=12)
values = st.recursive(
    scalars | nasty,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | nasty, inner, max_size=3),
    max_leaves=8,
)
records = st.lists(st.dictionaries(st.sampled_from(["a", "eventID", "x y", "Records"]) | nasty, values, max_size=4))
spaces = st.sampled_from(["", " ", "\n", "\r\n\t "])


@st.composite
def texts(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """The text of an object in any form, and the records in it, byte for byte."""
    written = [_written(draw, value) for value in draw(records)]
    form = draw(st.sampled_from(["Records", "Events", "array", "lines", "values"]))
    gap = draw(spaces).encode()
    if form in ("lines", "values"):
        # A value that is itself an envelope would be opened.
        written = [it for it in written if not isinstance(json.loads(it).get("Records"), list)]
        written = [json.dumps(json.loads(it), ensure_ascii=False).encode() for it in written]
    if form == "lines":
        ending = draw(st.sampled_from([b"\n", b"\r\n", b"\n\n"]))
        return b"".join(it + ending for it in written), written
    if form == "values":
        return gap.join(written), written
    listed = b"[" + gap + (gap + b"," + gap).join(written) + gap + b"]"
    if form == "array":
        return gap + listed, written
    before, after = draw(st.sampled_from([(b"", b""), (b'"n":"{",', b""), (b'"n" : {"y":[]},', b',"z":[1,{}]')]))
    return gap + b"{" + before + b'"' + form.encode() + b'"' + gap + b":" + gap + listed + after + b"}" + gap, written


def _written(draw: st.DrawFn, value: Any) -> bytes:
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]))
    return json.dumps(value, separators=separators, ensure_ascii=draw(st.booleans())).encode("utf-8", "replace")


def in_chunks(text: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """The text in chunks of the sizes, again and again."""
    start, turn = 0, 0
    while start < len(text):
        yield text[start : start + sizes[turn % len(sizes)]]
        start, turn = start + sizes[turn % len(sizes)], turn + 1


def cut(text: bytes, sizes: Sequence[int] = (1 << 30,), record_bytes: int = CAP) -> list[bytes | NoRecord]:
    return [*cut_records(in_chunks(text, sizes), record_bytes)]


chunkings = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@given(texts(), chunkings)
def test_records_are_cut_byte_for_byte_in_every_form_and_chunking(
    given_text: tuple[bytes, list[bytes]], sizes: list[int]
) -> None:
    text, wanted = given_text
    assert cut(text) == wanted
    assert cut(text, sizes) == wanted


@given(texts())
def test_what_is_cut_is_what_a_json_parser_finds(given_text: tuple[bytes, list[bytes]]) -> None:
    text, _ = given_text
    if text.strip()[:1] in (b"[", b"{") and (parsed := parsed_or_none(text)) is not None:
        listed = parsed if isinstance(parsed, list) else parsed.get("Records", parsed.get("Events"))
        if isinstance(listed, list) and (isinstance(parsed, list) or not {"Records", "Events"} <= parsed.keys()):
            assert [json.loads(it) for it in cut(text)] == listed  # type: ignore[arg-type]


@given(st.lists(records, max_size=4), st.sampled_from(["", ',"z":"]"', ',"z":[[1,{}],2]']), spaces, chunkings)
def test_each_list_of_an_envelope_is_cut(lists: list[Any], between: str, gap: str, sizes: list[int]) -> None:
    members = [f'"Records":{gap}{json.dumps(listed)}{between}' for listed in lists]
    text = ("{" + f"{gap},".join([*members, '"Events":[]']) + gap + "}").encode()
    found = [it if isinstance(it, NoRecord) else json.loads(it) for it in cut(text * 2, sizes)]
    assert found == [*chain.from_iterable(lists)] * 2


def parsed_or_none(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is looked at at once, so that small texts take every way that large ones take."""
    monkeypatch.setattr("transforms.decoding.cutting._HEAD", 48)
    monkeypatch.setattr("transforms.decoding.cutting._FIRST_WINDOW", 3)


@pytest.mark.usefixtures("head")
def test_an_escape_over_the_border_of_two_chunks_ends_no_string() -> None:
    wanted = [json.dumps({"k": "\\" * n + '"},{' + "\\" * m}).encode() for n in range(4) for m in range(4)]
    text = b'{"Records":[' + b",".join(wanted) + b"]}"
    for size in range(1, 60):
        assert cut(text, [size]) == wanted


LARGE = b'{"k":"' + b"x" * 500 + b'"}'
A, B = b'{"k":"a"}', b'{"k":"b"}'
GIANT = NoRecord(LARGE[:100], "a record is larger than the cap of 100 bytes (max_record_bytes)")


@pytest.mark.usefixtures("head")
@pytest.mark.parametrize("size", [1, 7, 64, 300, 10_000])
@pytest.mark.parametrize(
    "text",
    [
        b'{"Records":[' + b",".join([A, LARGE, B]) + b"]}",
        b'{"Records" : [ ' + b" ,\n ".join([A, LARGE, B]) + b" ] }",
        b"[" + b",".join([A, LARGE, B]) + b"]",
        b"\n".join([A, LARGE, B]),
        b"\n".join([A, LARGE, B, b""]),
        A + LARGE + B,
    ],
)
def test_a_record_over_the_cap_is_passed_over_and_its_neighbours_survive(text: bytes, size: int) -> None:
    assert cut(text, [size], 100) == [A, GIANT, B]


@pytest.mark.usefixtures("head")
@pytest.mark.parametrize("size", [1, 5, 10_000])
@pytest.mark.parametrize("bad", [b'{"k":"no end', b"]]}}", b"{", b"nonsense", b'"', b'{"k":1}}', b"\\"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_line_that_is_no_record_does_not_harm_the_other_lines(bad: bytes, place: int, size: int) -> None:
    lines = [A, B]
    lines.insert(place, bad)
    found = cut(b"\n".join(lines) + b"\n", [size])
    assert [it for it in found if it in (A, B)] == [A, B]
    assert len(found) == 3


def test_members_of_a_gzip_object_may_have_different_forms() -> None:
    listed = b'{"Records":[' + A + b"]}"
    assert cut(listed + listed) == [A, A]
    assert cut(listed + b"\n[" + B + b"," + A + b"]\n" + listed) == [A, B, A, A]
    assert cut(listed + A + b"\n" + B) == [A, A, B]


@pytest.mark.parametrize("between", [b"\n", b""])
def test_what_is_scanned_grows_with_the_text_not_with_its_documents(
    between: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned = 0
    scan = _Scanner.scan

    def counted(self: _Scanner, chunk: bytes) -> Any:
        nonlocal scanned
        scanned += len(chunk)
        return scan(self, chunk)

    monkeypatch.setattr(_Scanner, "scan", counted)
    wanted = [json.dumps({"k": "x" * 900, "n": number}).encode() for number in range(2_000)]
    envelopes = [b'{"Records":[' + b",".join(wanted[n : n + 20]) + b"]}" for n in range(0, 2_000, 20)]
    text = between.join(envelopes)
    assert cut(text) == wanted
    assert scanned < 3 * len(text)


def test_lines_without_a_last_line_break_may_be_continued_by_others() -> None:
    member = A + b"\n" + B
    assert cut(member + member + member) == [A, B, A, B, A, B]
    assert cut(A + B + A) == [A, B, A]
    tricky = b'{"k":"}{"}'
    assert cut(b"\n".join([tricky, A + tricky, tricky + b" " + B])) == [tricky, A, tricky, tricky, B]


def test_records_over_several_lines_may_follow_each_other() -> None:
    tall = [json.dumps({"k": [{}, {"x": n}], "y": {}}, indent=2).encode() for n in range(3)]
    for gap in (b"", b"\n", b"\n\n"):
        assert cut(gap.join(tall)) == cut(gap.join(tall), [3]) == tall


def test_a_record_before_an_envelope_is_not_lost() -> None:
    listed = b'{"Records":[' + A + b"]}"
    for text in (B + listed, B + b"\n" + listed, B + b"\n" + listed + b"\n"):
        assert cut(text)[0] == B
        assert b"".join(it for it in cut(text) if isinstance(it, bytes)).replace(b"\n", b"") == B + listed


@pytest.mark.parametrize(
    "text", [b"", b" \n", b"\xef\xbb\xbf", b'{"Records":[]}', b"[]", b"[ ]\n", b'{"Records":[\n]}\n']
)
def test_a_text_without_records_has_none(text: bytes) -> None:
    assert cut(text) == []


def test_a_byte_order_mark_is_no_part_of_a_record() -> None:
    mark = b"\xef\xbb\xbf"
    assert cut(mark + b"[" + A + b"]") == cut(mark + A) == cut(mark + A + b"\n") == [A]


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
@given(text=texts(), sizes=chunkings)
def test_utf_16_is_read_as_the_utf_8_of_its_text(
    order: str, text: tuple[bytes, list[bytes]], sizes: list[int]
) -> None:
    written, records = text
    wide = f"\ufeff{written.decode()}".encode(order)
    assert cut(wide, sizes) == cut(wide) == records


def damaged(chunks: Iterable[bytes]) -> Iterator[bytes]:
    yield from chunks
    raise Damaged("the stream is cut off")


@pytest.mark.parametrize("size", [1, 5, 10_000])
@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (b'{"Records":[' + A + b"," + B + b',{"k"', b'{"k"'),
        (b'{"Records":[' + A + b"," + B + b"]}", b""),
        (b"[" + A + b"," + B + b",", b""),
        (A + b"\n" + B + b'\n{"k":"', b'{"k":"'),
        (A + b"\n" + B + b"\n", b""),
    ],
)
def test_whole_records_before_damage_are_kept_and_the_damage_is_told_once(
    text: bytes, rest: bytes, size: int
) -> None:
    found = [*cut_records(damaged(in_chunks(text, [size])), CAP)]
    assert found == [A, B, NoRecord(rest, "the stream is cut off", damage=True)]


def test_a_text_that_ends_inside_a_record_keeps_the_ones_before_it() -> None:
    assert cut(b"[" + A + b',{"k":') == [A, NoRecord(b'{"k":', "the text ends inside a record")]


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (b'{"Records":[', []),
        (b"[" + A + b",\n", [A]),
        (b'{"Records":[' + A + b",", [A]),
        (b'{"Records":[' + A + b"," + B + b"]", [A, B]),
    ],
)
@pytest.mark.parametrize("size", [1, 10_000])
def test_a_text_that_ends_between_two_records_is_damaged(text: bytes, whole: list[bytes], size: int) -> None:
    assert cut(text, [size]) == [*whole, NoRecord(b"", "the text ends inside a list of records", damage=True)]


@pytest.mark.parametrize("text", [b"hello", b"version account-id\n2 1\n", b"<Error/>", b'"a","b"\n', b"BZh91AY&SY"])
def test_a_text_that_is_no_json_is_not_said_to_end_inside_a_record(text: bytes) -> None:
    assert cut(text) == [NoRecord(text.strip(), "a record is no JSON object")]


def test_ten_thousand_levels_are_cut_like_any_record() -> None:
    deep = b'{"k":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    assert cut(b"[" + A + b"," + deep + b"," + B + b"]", [777]) == [A, deep, B]
    assert cut(b"\n".join([A, deep, B]), [777]) == [A, deep, B]


@given(st.lists(st.sampled_from([r"\\", r"\"", r"\ud83d", r"\uDE00", "ud83d", "u", "x"]), max_size=8).map("".join))
def test_halves_of_surrogate_pairs_and_nothing_else_are_made_readable(escaped: str) -> None:
    text = f'"{escaped}"'.encode()
    found = readable(text)
    assert len(found) == len(text)
    assert msgspec.json.decode(found) == re.sub("[\ud800-\udfff]", "\ufffd", json.loads(text))
