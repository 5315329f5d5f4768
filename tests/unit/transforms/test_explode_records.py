"""Documents become records: kinds told by content, ids and accounts filled in, bad records put aside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from support.memory import SYNC, MemoryStore
from support.records import ACCOUNT, NOW, OTHER, compact, envelope, event_id, filled, record, reference

from schemas.datasets import EVENTS, RAW
from schemas.values import DeadLetter, Document, NoRecord, ObjectPart, ObjectRef, Slice
from transforms import gathering
from transforms.commit_raw import commit_raw
from transforms.explode_records import Exploder
from transforms.stores.commit_log import CommitLog
from transforms.stores.parquet import read_table

CAP = 32_000_000


def explode(text: bytes, ref: ObjectRef | None = None) -> Slice:
    (only,) = Exploder(CAP).explode(filled(text, ref))
    return only


def column(exploded: Slice, name: str) -> list[Any]:
    assert exploded.records is not None
    return exploded.records[name].to_pylist()


def pieces(ref: ObjectRef, *each: Sequence[bytes | NoRecord]) -> list[Slice]:
    """A large object as the slices that FetchObjects makes of it."""
    slices, first = [], 0
    for number, records in enumerate(each, 1):
        part = ObjectPart("default", ref, None, last=number == len(each))
        slices.append(Slice(objects=(part,), documents=(Document(0, records=records, first_record=first),)))
        first += len(records)
    return slices


def exploded_pieces(ref: ObjectRef, *each: Sequence[bytes | NoRecord]) -> list[Slice]:
    exploder = Exploder(CAP)
    return [it for piece in pieces(ref, *each) for it in exploder.explode(piece)]


def letters(slices: Sequence[Slice]) -> list[DeadLetter]:
    return [letter for it in slices for letter in it.dead_letters]


def test_each_record_keeps_its_bytes_its_place_and_its_object() -> None:
    first, second = compact(record("a")), json.dumps(record("b"), indent=1).encode()
    found = explode(b"[" + first + b"," + second + b"]")
    assert column(found, "raw_json") == [first.decode(), second.decode()]
    assert column(found, "source_index") == [0, 1]
    assert column(found, "source_key") == [reference().key] * 2
    assert column(found, "source_version") == ["etag-one"] * 2
    assert column(found, "event_id") == [event_id("a"), event_id("b")]


def test_an_account_comes_from_the_recipient_else_the_caller_else_the_key_else_unknown() -> None:
    caller = record("b", recipientAccountId=None, userIdentity={"type": "IAMUser", "accountId": OTHER})
    odd = record("c", account=None, recipientAccountId="12345")
    text = envelope([record("a"), caller, odd])
    assert column(explode(text, reference(account=OTHER)), "recipient_account_id") == [ACCOUNT, OTHER, OTHER]
    assert column(explode(text, ObjectRef("b", "anything")), "recipient_account_id") == [ACCOUNT, OTHER, "unknown"]


def test_records_without_an_id_are_the_same_event_however_they_are_spaced() -> None:
    value = record("a", eventID=None, requestParameters={"n": 1.50, "t": "é"})
    spellings = [
        compact(value),
        json.dumps(value, indent=2).encode(),
        json.dumps(dict(reversed(value.items())), ensure_ascii=True, separators=(" , ", " : ")).encode(),
        compact(value).replace(b"1.5", b"1.50"),
    ]
    ids = column(explode(b"[" + b",".join(spellings) + b"]"), "event_id")
    assert len(set(ids)) == 1
    other = column(explode(envelope([record("a", eventID=None, requestParameters={"n": 2})])), "event_id")
    assert {*other} != {*ids}


@pytest.mark.parametrize("none", ["", None, [], {}])
def test_an_empty_id_does_not_make_different_records_the_same_event(none: Any) -> None:
    text = envelope([{**record("a"), "eventID": none}, {**record("b"), "eventID": none}])
    assert len(set(column(explode(text), "event_id"))) == 2


def test_bad_records_are_dead_letters_and_their_neighbours_are_rows() -> None:
    good = [compact(record(name)) for name in "abc"]
    bad = [
        b'{"k":"\xff\xfe"}',
        compact({"some": "thing"}),
        compact(record("x", eventTime="yesterday")),
        b"7",
        compact(record("y")).replace(b"GetObject", b"Get\xffObject"),
        b'{"k":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    ]
    mixed = [good[0], *bad[:3], good[1], *bad[3:], good[2]]
    for text in (b"[" + b",".join(mixed) + b"]", b"\n".join(mixed), envelope(mixed)):
        found = explode(text)
        assert column(found, "raw_json") == [it.decode() for it in good]
        assert [it.input for it in found.dead_letters] == bad
        assert [it.record_index for it in found.dead_letters] == [1, 2, 3, 5, 6, 7]
        assert {it.ref for it in found.dead_letters} == {reference()}
        (part,) = found.objects
        assert (part.records, part.dead_letters, part.outcome) == (9, 6, "done")


def test_what_is_told_of_a_bad_record_depends_on_it_alone() -> None:
    good = compact(record("a"))
    bad = [b"7", compact({"some": "thing"}), compact(record("x", eventTime=None)), b'["x"]', b"{}"]
    told = [explode(envelope([it])).dead_letters[0] for it in bad]
    for mixed in ([good, *bad], [*bad, good]):
        for text in (envelope(mixed), b"[" + b",".join(mixed) + b"]"):
            assert {it.input: it.reason for it in explode(text).dead_letters} == {it.input: it.reason for it in told}


def test_a_record_is_unwrapped_wherever_among_plain_ones_it_stands() -> None:
    plain = [compact(record(name)) for name in "ab"]
    inner = [compact(record(name)) for name in "cd"]
    wrapped = [
        compact({"EventId": "x", "CloudTrailEvent": inner[0].decode()}),
        b'{"detail-type":"AWS API Call via CloudTrail","detail":' + inner[1] + b"}",
    ]
    for mixed in ([*plain, *wrapped], [*wrapped, *plain], [plain[0], *wrapped, plain[1]]):
        found = explode(envelope(mixed))
        assert not found.dead_letters
        told = dict(zip(column(found, "raw_json"), column(found, "source_index"), strict=True))
        each = dict(zip([*plain, *wrapped], [*plain, *inner], strict=True))
        assert told == {each[it].decode(): place for place, it in enumerate(mixed)}


def test_the_letters_of_an_object_wait_for_its_last_slice() -> None:
    good = compact(record("a"))
    found = exploded_pieces(reference(), [good, b"1"], [b"2", good], [good])
    assert [len(it.dead_letters) for it in found] == [0, 0, 2]
    assert [it.record_index for it in letters(found)] == [1, 2]


@pytest.mark.parametrize("size", [7, 400, 1_500])
def test_more_than_a_thousand_letters_become_one_of_the_object(size: int) -> None:
    bad = [*(b"%d" % number for number in range(999)), b"{}", compact(record("x", eventTime=None))]
    several = [bad[start : start + size] for start in range(0, len(bad), size)]
    (letter,) = letters(exploded_pieces(reference(), *several))
    assert (letter.scope, letter.record_index, letter.input) == ("object", None, None)
    assert letter.reason.startswith("more than 1,000 bad records")
    assert letter.reason.endswith("; the first: a record is no JSON object")
    assert len(letters(exploded_pieces(reference(), bad[1:]))) == 1_000


def test_the_letters_of_an_object_in_work_are_bounded_in_bytes() -> None:
    exploder = Exploder(CAP)
    large = b'"' + b"x" * 1_000_000 + b'"'
    slices = pieces(reference(), *[[large] * 10] * 5)
    found = [it for piece in slices[:-1] for it in exploder.explode(piece)]
    assert sum(len(it.input or b"") for held in exploder._held.values() for it in held._letters) == 0
    found += exploder.explode(slices[-1])
    assert [it.scope for it in letters(found)] == ["object"]
    assert found[-1].objects[0].dead_letters == 10


def test_damage_is_told_of_the_object_after_the_records_before_it() -> None:
    good = compact(record("a"))
    found = exploded_pieces(reference(), [good, NoRecord(b'{"ev', "the gzip stream is truncated", damage=True)])
    assert [len(it.records or ()) for it in found] == [1]
    assert [(it.scope, it.reason) for it in letters(found)] == [("object", "the gzip stream is truncated")]
    assert found[0].objects[0].outcome == "dead_letter"


def test_what_damage_left_of_a_record_is_not_counted_as_one() -> None:
    good = compact(record("a"))
    (found,) = exploded_pieces(reference(), [good, NoRecord(b'{"ev', "the gzip stream is truncated", damage=True)])
    assert (found.objects[0].records, found.objects[0].dead_letters) == (1, 1)


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        ({"awsAccountId": ACCOUNT, "digestS3Object": "x", "logFiles": []}, "digest"),
        ({"fileVersion": "1.0", "configSnapshotId": "x", "configurationItems": []}, "ignored"),
    ],
)
def test_objects_that_share_the_bucket_are_told_by_content(content: Any, outcome: str) -> None:
    found = explode(compact(content))
    assert (found.objects[0].outcome, found.dead_letters, found.records) == (outcome, (), None)


def test_a_stranger_in_a_piece_of_a_trail_is_a_letter_like_in_a_whole_one() -> None:
    good, odd = compact(record("a")), compact({"configSnapshotId": "x"})
    whole = letters(exploded_pieces(reference(), [good, odd, good]))
    assert letters(exploded_pieces(reference(), [good], [odd], [good])) == whole
    assert letters(exploded_pieces(reference(), [good], [odd])) == letters(exploded_pieces(reference(), [good, odd]))
    assert letters(exploded_pieces(reference(), [odd], [good])) == letters(exploded_pieces(reference(), [odd, good]))


def test_a_slice_over_many_partitions_is_cut_and_the_receipts_ride_on_the_last() -> None:
    days = [record(number, day=f"2024-{1 + number // 28:02}-{1 + number % 28:02}") for number in range(150)]
    found = [*Exploder(CAP, max_partitions=64).explode(replace(filled(envelope(days)), dead_letters=()))]
    assert [len(it.records or ()) for it in found] == [64, 64, 22]
    assert [it.objects[0].last for it in found] == [False, False, True]
    assert [it.objects[0].records for it in found] == [0, 0, 150]


def test_rows_of_a_raw_tree_beside_texts_keep_their_source_and_time_and_the_others_get_theirs() -> None:
    store = MemoryStore()
    log = CommitLog(store, EVENTS)
    commit_raw(explode(envelope([record("a"), record("b", eventID=None)]), reference("old")), log, SYNC, NOW)
    rows = read_table(store.open(next(path for path in store.files if path.startswith(RAW.name))))
    parts = (ObjectPart("default", reference("tree"), None), ObjectPart("default", reference("new"), None))
    documents = (Document(0, rows=rows), Document(1, text=envelope([record("c")])))
    found = [*Exploder(CAP).explode(Slice(objects=parts, documents=documents))]

    other = MemoryStore()
    for each in found:
        commit_raw(each, CommitLog(other, EVENTS), SYNC, NOW.replace(year=2025))
    again = pa.concat_tables(read_table(other.open(path)) for path in sorted(other.files)).to_pylist()

    assert {it["event_id"]: (it["source_key"], it["ingestion_time"].year) for it in again} == {
        **{it["event_id"]: (reference("old").key, 2024) for it in rows.to_pylist()},
        event_id("c"): (reference("new").key, 2025),
    }
    assert [part.records for it in found for part in it.objects if part.last] == [2, 1]


@pytest.mark.parametrize("together", [300, 700, 5_000])
def test_records_are_the_same_rows_however_many_documents_are_decoded_together(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long documents, short ones, one with bad records, one that is not plain ASCII, one that is not UTF-8."""
    bad = [record(f"bad{n}", **({"eventTime": "never"} if n % 100 == 50 else {})) for n in range(350)]
    texts = [
        envelope([record(f"a{n}") for n in range(600)]),
        envelope([record(f"b{n}") for n in range(3)]),
        envelope(bad),
        envelope([record(f"c{n}", userAgent="caf\u00e9") for n in range(280)]).replace(b"\\u00e9", "é".encode()),
        envelope([record(f"d{n}", userAgent="caf!") for n in range(270)]).replace(b"caf!", b"caf\xe9", 1),
        envelope([record(f"e{n}") for n in range(1_500)]),
    ]
    refs = [reference(name) for name in "abcdef"]
    alone = [explode(text, ref) for text, ref in zip(texts, refs, strict=True)]

    monkeypatch.setattr(gathering, "CHUNK_RECORDS", together)
    (found,) = Exploder(CAP).explode(
        Slice(
            objects=tuple(ObjectPart("default", ref, None) for ref in refs),
            documents=tuple(Document(place, text=text) for place, text in enumerate(texts)),
        )
    )

    names = ["source_key", "source_index", "event_id", "event_time", "raw_json", "user_agent", "event_key"]
    expected = [row for each in alone for row in zip(*(column(each, name) for name in names), strict=True)]
    assert sorted(zip(*(column(found, name) for name in names), strict=True)) == sorted(expected)
    assert len(expected) == 600 + 3 + 347 + 280 + 269 + 1_500
    assert sorted(found.dead_letters, key=str) == sorted(letters(alone), key=str)
    assert [it.records for it in found.objects] == [it.objects[0].records for it in alone]
