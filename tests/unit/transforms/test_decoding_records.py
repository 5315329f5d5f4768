"""The records of a small document, in whatever envelope they come."""

from __future__ import annotations

import json

import pytest
from support.records import compact, envelope, record

from schemas.values import NoRecord
from transforms.decoding.records import Split, sort_out, split_records

CAP = 32_000_000
A, B = compact(record("a")), compact(record("b"))
LOOKUP = {"EventId": "1", "EventName": "GetObject", "CloudTrailEvent": A.decode()}
BRIDGE = b'{"version":"0","detail-type":"AWS API Call via CloudTrail","detail":' + B + b"}"


def texts(split: Split) -> list[bytes]:
    return [bytes(it) for it in split.records]


@pytest.mark.parametrize(
    "text",
    [
        envelope([A, B]),
        b'{"Records": [' + A + b" , " + B + b"]}",
        b'{"Records":[' + A + b'],"Records":[' + B + b"]}",
        b'{"Records":[' + A + b'],"Events":[' + compact({**LOOKUP, "CloudTrailEvent": B.decode()}) + b"]}",
        b"[" + A + b"," + B + b"]",
        A + b"\n" + B,
        A + b"\r\n" + B + b"\r\n",
        compact({"Events": [LOOKUP, {**LOOKUP, "CloudTrailEvent": B.decode()}], "NextToken": "x"}),
        b"[" + compact(LOOKUP) + b"," + BRIDGE + b"]",
        compact(LOOKUP) + b"\n" + BRIDGE + b"\n",
        envelope([compact(LOOKUP), BRIDGE]),
        b'\xef\xbb\xbf{"Records":[' + A + b"," + B + b"]}",
    ],
)
def test_every_envelope_gives_the_records_untouched_with_their_places(text: bytes) -> None:
    split = split_records(text, CAP)
    assert texts(split) == [A, B]
    assert [*split.places] == [0, 1]
    assert not split.bad


def test_one_record_is_a_document() -> None:
    assert texts(split_records(A, CAP)) == [A]
    assert texts(split_records(json.dumps(json.loads(A), indent=3).encode(), CAP)) == [
        json.dumps(json.loads(A), indent=3).encode()
    ]


def test_a_record_that_mentions_an_envelope_is_a_record() -> None:
    mention = compact(record("m", requestParameters={"CloudTrailEvent": "x", "detail-type": "y", "detail": {}}))
    for text in (mention, b"[" + mention + b"]", envelope([mention])):
        assert texts(split_records(text, CAP)) == [mention]


@pytest.mark.parametrize("number", [b"1" * 400, b"1e400", b"-0.0", b"123456789012345678901234567890.5E+3"])
def test_huge_numbers_and_duplicate_keys_are_bytes_like_others(number: bytes) -> None:
    odd = b'{"eventVersion":"1","n":' + number + b',"n":2,"n":{"n":null}}'
    assert texts(split_records(envelope([A, odd, B]), CAP)) == [A, odd, B]
    assert texts(split_records(b"[" + odd + b"]", CAP)) == [odd]


@pytest.mark.parametrize("half", [rb"\ud800", rb"a\uDFFFb", rb"\ude00\ud83d", rb"\ud83d\ude00\ud83d"])
def test_half_of_a_surrogate_pair_is_text_like_other_text(half: bytes) -> None:
    odd = b'{"eventVersion":"1","userAgent":"' + half + b'"}'
    for text in (envelope([A, odd, B]), b"[" + A + b"," + odd + b"," + B + b"]", b"\n".join([A, odd, B])):
        found = split_records(text, CAP)
        assert texts(found) == [A, odd, B]
        assert not found.bad
    (bad,) = split_records(envelope([b'{"userAgent":"' + half + b'", no}']), CAP).bad
    assert bad[1].reason.startswith("a record is no JSON (")


@pytest.mark.parametrize("half", [rb"\ud800", rb"\ude00\ud83d", rb"\ud83d\ude00\ud83d", rb"\\ud83d\ude00"])
def test_half_of_a_surrogate_pair_keeps_no_record_in_its_envelope_or_at_the_end_of_a_text(half: bytes) -> None:
    odd = b'{"userAgent":"' + half + b'"}'
    bridge = b'{"version":"0","id":"' + half + b'","detail-type":"x","detail":' + odd + b"}"
    lookup = b'{"Username":"' + half + b'","CloudTrailEvent":' + json.dumps(odd.decode()).encode() + b"}"
    for text in (bridge, lookup, odd, A + b"\n" + odd):
        found = split_records(text, CAP)
        assert texts(found)[-1] == odd
        assert not found.bad


def test_what_is_no_record_stands_in_its_place() -> None:
    found = split_records(b"[" + A + b',7,"x",{"k":tru},' + B + b"]", CAP)
    assert texts(found) == [A, B]
    assert [*found.places] == [0, 4]
    assert [place for place, _ in found.bad] == [1, 2, 3]
    assert found.bad[0][1] == NoRecord(b"7", "a record is no JSON object")
    assert found.bad[2][1].text == b'{"k":tru}'
    assert found.bad[2][1].reason.startswith("a record is no JSON (")


def test_a_record_nested_ten_thousand_levels_deep_does_not_harm_its_neighbours() -> None:
    deep = b'{"k":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    for text in (envelope([A, deep, B]), b"\n".join([A, deep, B])):
        found = split_records(text, CAP)
        assert texts(found) == [A, B]
        assert [*found.bad] == [(1, NoRecord(deep, "a record is nested too deeply to be read"))]


def test_the_cap_on_a_record_holds_in_every_form() -> None:
    large = compact(record("l", requestParameters={"x": "y" * 2_000}))
    for text in (envelope([A, large, B]), b"[" + A + b"," + large + b"," + B + b"]", b"\n".join([A, large, B])):
        found = split_records(text, 1_000)
        assert texts(found) == [A, B]
        assert [*found.places] == [0, 2]
        assert found.bad[0][1].text == large[:1_000]


def test_places_go_on_from_the_first_record_of_a_piece() -> None:
    found = sort_out([A, b"7", B], 100)
    assert [*found.places] == [100, 102]
    assert found.bad[0][0] == 101
