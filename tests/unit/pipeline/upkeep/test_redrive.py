from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from support.fault_proxy import lost, partly_failing, sqs_denied
from support.trails import records, s3_event, trail_key, trail_object
from support.world import World, assert_one_to_one

from pipeline.upkeep.redrive import Redriven, _batches, redrive
from schemas.errors import AccessError, ConfigError
from transforms.stores.aws import Access


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    monkeypatch.setattr("pipeline.upkeep.redrive._FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("pipeline.upkeep.redrive._WAIT_S", 1)


def put_in_dead_queue(world: World, count: int) -> list[str]:
    bodies = [s3_event(world.bucket, trail_key(f"d{n}")) for n in range(count)]
    for body in bodies:
        world.sqs.send_message(QueueUrl=world.dead_queue_url, MessageBody=body)
    return bodies


def taken(world: World, queue_url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while messages := world.sqs.receive_message(
        QueueUrl=queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], AttributeNames=["All"]
    ).get("Messages"):
        found += messages
    return found


def test_messages_go_back_with_their_bodies_and_attributes(aws: World) -> None:
    bodies = put_in_dead_queue(aws, 12)
    attributes = {
        "who": {"DataType": "String", "StringValue": "me"},
        "what": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        "many": {"DataType": "Number", "StringValue": "7"},
    }
    aws.sqs.send_message(QueueUrl=aws.dead_queue_url, MessageBody="with attributes", MessageAttributes=attributes)

    assert redrive(aws.dead_queue_url, aws.queue_url, aws.access) == Redriven(moved=13)

    found = taken(aws, aws.queue_url)
    assert sorted(it["Body"] for it in found) == sorted([*bodies, "with attributes"])
    (special,) = (it for it in found if it["Body"] == "with attributes")
    assert special["MessageAttributes"] == attributes
    assert aws.redriven() == 0


def test_no_more_than_asked_for_are_moved(aws: World) -> None:
    put_in_dead_queue(aws, 15)

    assert redrive(aws.dead_queue_url, aws.queue_url, aws.access, most=12) == Redriven(moved=12)

    assert (sum(aws.waiting()), aws.redriven()) == (12, 3)


def test_what_was_sent_alone_is_deleted(faulty: World) -> None:
    put_in_dead_queue(faulty, 9)
    refused = partly_failing(lambda place: place % 3 == 0, "InvalidMessageContents", senders_fault=True)
    faulty.proxy.when("SendMessageBatch").do(refused).times(1)

    told = redrive(faulty.dead_queue_url, faulty.queue_url, faulty.access)

    assert told == Redriven(moved=6, refused=3, reason="InvalidMessageContents")
    assert (sum(faulty.waiting()), faulty.redriven()) == (6, 3)


def test_what_fails_for_now_is_sent_again(faulty: World) -> None:
    put_in_dead_queue(faulty, 9)
    faulty.proxy.when("SendMessageBatch").do(partly_failing(lambda place: place < 4)).times(2)
    faulty.proxy.when("DeleteMessageBatch").do(partly_failing(lambda place: place < 4)).times(2)

    assert redrive(faulty.dead_queue_url, faulty.queue_url, faulty.access) == Redriven(moved=9)
    assert (sum(faulty.waiting()), faulty.redriven()) == (9, 0)


def test_messages_that_may_not_be_sent_stay(faulty: World) -> None:
    put_in_dead_queue(faulty, 5)
    faulty.proxy.when("SendMessageBatch").do(sqs_denied("sqs:SendMessage"))

    with pytest.raises(AccessError, match=rf"sqs:SendMessage on queue \d+/{faulty.bucket} was refused.*; 0 messages"):
        redrive(faulty.dead_queue_url, faulty.queue_url, faulty.access)

    assert (sum(faulty.waiting()), faulty.redriven()) == (0, 5)


def test_messages_that_cannot_be_deleted_are_told_to_be_in_both_queues(faulty: World) -> None:
    put_in_dead_queue(faulty, 3)
    faulty.proxy.when("DeleteMessageBatch").do(partly_failing(lambda place: place == 0))

    told = redrive(faulty.dead_queue_url, faulty.queue_url, faulty.access)

    assert told == Redriven(doubled=3 - told.moved, moved=told.moved)
    assert told.doubled > 0
    assert not told.whole
    assert (sum(faulty.waiting()), faulty.redriven()) == (3, told.doubled)


def test_an_answer_that_was_lost_doubles_a_message_and_loses_none(faulty: World) -> None:
    """boto3 sends the batch again: the queue holds it twice, and the events of it are written once."""
    key = trail_key("twice")
    faulty.put(key, trail_object(records(range(5))))
    taken(faulty, faulty.queue_url)
    faulty.sqs.purge_queue(QueueUrl=faulty.queue_url)
    faulty.sqs.send_message(QueueUrl=faulty.dead_queue_url, MessageBody=s3_event(faulty.bucket, key))
    faulty.proxy.when("SendMessageBatch").do(lost()).times(1)

    assert redrive(faulty.dead_queue_url, faulty.queue_url, faulty.access).moved == 1
    faulty.ingest()

    assert_one_to_one(faulty.output, [it["eventID"] for it in records(range(5))])
    assert (sum(faulty.waiting()), faulty.redriven()) == (0, 0)


def test_a_batch_holds_no_more_bytes_than_sqs_takes() -> None:
    messages = [{"MessageId": str(n), "Body": "é" * 50_000} for n in range(5)] + [
        {"MessageId": "x", "Body": "x" * 900_000}
    ]

    sizes = [[len(it["Body"].encode()) for it in batch] for batch in _batches(messages)]

    assert sizes == [[100_000, 100_000], [100_000, 100_000], [100_000], [900_000]]


def test_a_queue_is_not_redriven_into_itself() -> None:
    with pytest.raises(ConfigError, match="is the queue to read from"):
        redrive("https://q/1/a", "https://q/1/a/", Access())


def test_the_command_prints_counts_and_its_exit_code_tells_whether_all_went(
    command_line: Callable[..., tuple[int, str, str]], aws: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_dead_queue(aws, 4)
    run = partial(command_line, "redrive", "--queue-url", aws.dead_queue_url, "--to", aws.queue_url)

    assert run("--most", "3")[:2] == (0, "3 messages moved\n")
    code, out, _ = run("--json")
    assert (code, json.loads(out)) == (0, {"moved": 1, "doubled": 0, "refused": 0, "reason": None})

    monkeypatch.setattr(
        "pipeline.upkeep.redrive.redrive", lambda *_, **__: Redriven(2, 0, 1, "InvalidMessageContents")
    )
    code, out, _ = run()
    assert code == 1
    assert out == "2 messages moved, 1 refused (InvalidMessageContents): they are where they were\n"
