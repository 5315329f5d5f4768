"""One Avro file an object, its name and its content a function of the object alone."""

from __future__ import annotations

import io
import random

import fastavro
import pytest
from support.memory import MemoryStore
from support.records import compact, envelope, filled, record, reference

from schemas.datasets import DEAD_LETTERS
from schemas.values import DeadLetter, Document, ObjectPart, ObjectRef, Slice
from transforms.explode_records import Exploder
from transforms.write_dead_letters import dead_letter_file, dead_letter_path, write_dead_letters

REF = reference()


def letter(index: int | None = None, text: bytes | None = b"x", ref: ObjectRef | None = REF) -> DeadLetter:
    return DeadLetter("explode_records", "object" if index is None else "record", "because", ref, index, text)


def read(content: bytes) -> list[dict[str, object]]:
    return [*fastavro.reader(io.BytesIO(content))]  # type: ignore[misc]


def test_the_letters_of_an_object_are_one_file_in_order_of_its_records() -> None:
    store = MemoryStore()
    letters = (letter(7), letter(2), letter(), letter(0, b"\xff\x00"))
    assert len(write_dead_letters(Slice(dead_letters=letters), store)) == 4
    ((path, content),) = store.files.items()
    assert path.startswith("dead_letters/day=2024-03-05/")
    assert path.endswith(".avro")
    assert [it["record_index"] for it in read(content)] == [0, 2, 7, None]
    assert read(content)[0]["input"] == b"\xff\x00"
    assert read(content)[0]["object_key"] == REF.key
    assert fastavro.reader(io.BytesIO(content)).writer_schema["fields"] == DEAD_LETTERS.avro["fields"]  # type: ignore[index,call-overload]


def test_the_same_letters_in_any_order_give_the_same_bytes() -> None:
    letters = [letter(n, b"x" * n) for n in range(50)]
    path = dead_letter_path(letters[0])
    shuffled = random.Random(1).sample(letters, 50)
    assert dead_letter_file(letters, path) == dead_letter_file(shuffled, path)


def test_letters_that_are_there_are_not_counted_again() -> None:
    store = MemoryStore()
    assert len(write_dead_letters(Slice(dead_letters=(letter(1), letter(2))), store)) == 2
    assert len(write_dead_letters(Slice(dead_letters=(letter(1), letter(2))), store)) == 0


def test_each_object_and_each_version_of_it_has_a_file_of_its_own() -> None:
    nameless = REF.but(etag=None, version_id="v")
    refs = [REF, REF.but(etag="other"), nameless, REF.but(bucket="b"), reference("two")]
    paths = [dead_letter_path(letter(1, ref=ref)) for ref in refs]
    assert len(set(paths)) == len(refs)
    # A listing does not tell the version id that a notification may have told.
    for same in (REF.but(size=5), REF.but(version_id="v")):
        assert dead_letter_path(letter(1, ref=same)) == paths[0]


def test_a_missing_object_and_one_with_bad_records_have_different_files() -> None:
    missing = DeadLetter("fetch_objects", "object", "gone", REF)
    assert dead_letter_path(missing) != dead_letter_path(letter(1))


def test_a_messages_letter_is_named_by_its_body() -> None:
    one, same, other = (DeadLetter("parse_notifications", "message", "r", input=it) for it in (b"{", b"{", b"}"))
    assert dead_letter_path(one) == dead_letter_path(same) != dead_letter_path(other)
    assert dead_letter_path(one).startswith("dead_letters/day=unknown/")


def test_a_key_without_a_day_goes_to_the_unknown_day() -> None:
    assert dead_letter_path(letter(1, ref=ObjectRef("b", "any"))).startswith("dead_letters/day=unknown/")
    assert dead_letter_path(letter(1, ref=ObjectRef("b", "\udc80"))).startswith("dead_letters/day=unknown/")


@pytest.mark.parametrize("cut", [1, 3, 1_000])
def test_an_object_in_several_slices_has_one_file_and_the_same_in_every_cut(cut: int) -> None:
    records = [compact(record("a")), b"1", b'{"no":"trail"}', compact(record("b")), b"2"] * 4
    store, whole = MemoryStore(), MemoryStore()
    exploder = Exploder(32_000_000)
    for start in range(0, len(records), cut):
        part = ObjectPart("default", REF, None, last=start + cut >= len(records))
        document = Document(0, records=records[start : start + cut], first_record=start)
        for it in exploder.explode(Slice(objects=(part,), documents=(document,))):
            write_dead_letters(it, store)
    for it in Exploder(32_000_000).explode(filled(envelope(records))):
        write_dead_letters(it, whole)
    assert store.files == whole.files
    assert len(store.files) == 1
