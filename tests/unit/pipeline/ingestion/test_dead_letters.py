from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from support.trails import cloudtrail_notice, trail_key

from pipeline.ingestion.dead_letters import RECORDS, SOURCE, dead_letter_messages
from schemas.values import LOCAL, DeadLetter, Message, ObjectRef, Slice
from transforms.stores.aws import Access
from transforms.stores.files import Output, open_store
from transforms.stores.sources import Source
from transforms.write_dead_letters import write_dead_letters

KEY = trail_key("x")
SOURCES = {
    "one": Source("one", buckets=("b1",), access=Access(profile="one")),
    "two": Source("two", buckets=("b2",), access=Access(profile="two")),
    SOURCE: Source(SOURCE),
}


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(str(tmp_path / "out"))


def again(output: Output, letters: Sequence[DeadLetter]) -> list[Message]:
    write_dead_letters(Slice(dead_letters=tuple(letters)), open_store(output))
    return [*dead_letter_messages(output, SOURCES)]


def of_object(bucket: str) -> DeadLetter:
    return DeadLetter("fetch_objects", "object", "gone", ObjectRef(bucket, KEY, "v1"))


@pytest.mark.parametrize(("bucket", "source"), [("b1", "one"), ("b2", "two"), ("elsewhere", "one")])
def test_an_object_is_read_again_with_the_access_of_its_buckets_source(
    output: Output, bucket: str, source: str
) -> None:
    assert again(output, [of_object(bucket)]) == [Message(source, (ObjectRef(bucket, KEY),))]


def test_bad_records_come_from_the_file_that_holds_them(output: Output) -> None:
    letters = [
        DeadLetter("explode_records", "record", "no time", ObjectRef("b1", KEY, etag="e"), place, b"{}")
        for place in range(3)
    ]

    (message,) = again(output, letters)

    (ref,) = message.objects
    assert (message.source, ref.bucket) == (RECORDS, LOCAL)
    assert Path(ref.key).suffix == ".avro"


def test_the_body_of_a_message_is_parsed_again(output: Output) -> None:
    body = cloudtrail_notice("b2", KEY, trail_key("y"))

    (message,) = again(output, [DeadLetter("parse_notifications", "message", "unknown", input=body.encode())])

    assert message.source == "two"
    assert [it.key for it in message.objects] == [KEY, trail_key("y")]
    assert message.receipt is None


def test_a_body_that_still_says_nothing_stays_a_dead_letter(output: Output) -> None:
    (message,) = again(output, [DeadLetter("parse_notifications", "message", "no JSON", input=b"nothing")])

    assert not message.objects
    assert len(message.dead_letters) == 1


def test_an_output_without_dead_letters_has_none(output: Output) -> None:
    assert again(output, []) == []
