"""Faults between us and the queue: what was written is deleted sooner or later, and nothing is deleted too early."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from support.fault_proxy import delayed, lost, partly_failing, slow_down, sqs_denied, sqs_error, unreached
from support.trails import event_ids, records, s3_event, trail_key, trail_object
from support.world import World, assert_one_to_one

from schemas.errors import AccessError
from transforms.receive_messages import Limits
from transforms.stores.sources import Source

pytestmark = pytest.mark.usefixtures("impatient")

COUNT = 23
OBJECTS = {trail_key(f"o{n:02}"): trail_object(records(range(n * 5, n * 5 + 5))) for n in range(COUNT)}
IDS = [it for body in OBJECTS.values() for it in event_ids(body)]


def deletes(faulty: World) -> list[int]:
    return [len(it.json["Entries"]) for it in faulty.proxy.calls("DeleteMessageBatch")]


def test_messages_are_deleted_in_tens_with_ids_of_their_own(faulty: World) -> None:
    faulty.put_all(OBJECTS)

    assert faulty.one_run(COUNT)["messages_deleted"] == COUNT

    assert deletes(faulty) == [10, 10, 3]
    for call in faulty.proxy.calls("DeleteMessageBatch"):
        ids = [it["Id"] for it in call.json["Entries"]]
        assert len(set(ids)) == len(ids)
    assert faulty.waiting() == (0, 0)


def test_entries_whose_delete_failed_are_tried_again_alone(faulty: World) -> None:
    faulty.put_all(OBJECTS)
    faulty.proxy.when("DeleteMessageBatch").do(partly_failing(lambda place: place % 3 == 0)).times(2)

    assert faulty.one_run(COUNT)["messages_deleted"] == COUNT

    assert deletes(faulty) == [10, 4, 2, 10, 3]
    assert faulty.waiting() == (0, 0)


def test_entries_that_cannot_be_deleted_come_again_and_hold_nothing_new(faulty: World) -> None:
    faulty.put_all(OBJECTS)
    rule = faulty.proxy.when("DeleteMessageBatch").do(partly_failing(lambda place: place == 0))

    counts = faulty.one_run(COUNT, visibility_s=3)

    assert counts["messages_deleted"] == COUNT - 3
    assert counts["events_written"] == len(IDS)
    assert sum(faulty.waiting()) == 3
    rule.stop()
    again = faulty.one_run(3)
    assert (again["messages_deleted"], again["events_duplicate"]) == (3, 15)
    assert_one_to_one(faulty.output, IDS)


def test_a_receipt_that_is_no_longer_valid_is_not_tried_again(faulty: World) -> None:
    faulty.put_all(OBJECTS)
    gone = partly_failing(lambda place: place == 1, "ReceiptHandleIsInvalid", senders_fault=True)
    faulty.proxy.when("DeleteMessageBatch").do(gone)

    assert faulty.one_run(COUNT)["messages_deleted"] == COUNT
    assert deletes(faulty) == [10, 10, 3]


@pytest.mark.parametrize("operation", ["DeleteMessageBatch", "ReceiveMessage", "ChangeMessageVisibilityBatch"])
@pytest.mark.parametrize(
    "action",
    [lost(), unreached(), sqs_error(503, "ServiceUnavailable", "x"), sqs_error(400, "RequestThrottled", "x")],
    ids=["lost", "unreached", "unavailable", "throttled"],
)
def test_a_call_to_the_queue_that_fails_for_now_is_made_again(
    make_world: Callable[..., World], operation: str, action: object
) -> None:
    faulty = make_world(proxied=True, max_receives=100)
    faulty.put_all(OBJECTS)
    faulty.proxy.when(operation).do(action).times(2)  # type: ignore[arg-type]

    counts = faulty.ingest(visibility_s=2, until_idle_s=2.5).counts

    assert_one_to_one(faulty.output, IDS)
    assert counts["messages_deleted"] >= COUNT
    assert sum(faulty.waiting()) == 0


def test_messages_that_may_not_be_deleted_end_the_command_and_say_so(faulty: World) -> None:
    faulty.put_all(OBJECTS)
    faulty.proxy.when("DeleteMessageBatch").do(sqs_denied("sqs:DeleteMessage"))

    with pytest.raises(AccessError, match=rf"sqs:DeleteMessage on queue \d+/{faulty.bucket} was refused to arn:"):
        faulty.ingest(visibility_s=3)

    assert sum(faulty.waiting()) == COUNT


def test_messages_that_may_not_be_extended_are_still_ours_until_their_time_is_up(
    faulty: World, caplog: pytest.LogCaptureFixture
) -> None:
    faulty.put_all(OBJECTS)
    faulty.proxy.when("ChangeMessageVisibilityBatch").do(sqs_denied("sqs:ChangeMessageVisibility"))
    faulty.proxy.when("GetObject").do(delayed(2.5)).times(1)

    counts = faulty.one_run(COUNT, visibility_s=6)

    assert counts["messages_deleted"] == COUNT
    assert f"sqs:ChangeMessageVisibility on queue 111122223333/{faulty.bucket} was refused to arn:" in caplog.text


def test_a_message_in_slow_work_stays_hidden_and_is_done_once(make_world: Callable[..., World]) -> None:
    """Each object takes a while, all together longer than the messages are hidden."""
    faulty = make_world(proxied=True, max_receives=2)
    large = {trail_key(f"l{n}"): trail_object(records(range(n * 1200, n * 1200 + 1200))) for n in range(6)}
    faulty.put_all(large)
    slow = faulty.proxy.when("GetObject").do(delayed(1.5))

    begun = time.monotonic()
    counts = faulty.one_run(6, slice_bytes=1_000_000, visibility_s=3, reads=1)

    assert time.monotonic() - begun > 2 * 3
    assert slow.used == 6
    assert counts["visibility_extensions"] > 6
    assert counts["messages_deleted"] == 6
    assert counts["messages_expired"] == 0
    assert (faulty.waiting(), faulty.redriven()) == ((0, 0), 0)


def test_messages_no_longer_ours_are_dropped_counted_and_not_deleted(
    faulty: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second object takes so long that everything in hand goes back to the queue meanwhile."""
    faulty.put_all(OBJECTS)
    faulty.proxy.when("GetObject", key="*_o01.*").do(delayed(2.5)).times(1)
    monkeypatch.setattr("transforms.in_hand.LOOK_S", 60)

    counts = faulty.one_run(COUNT, visibility_s=2)

    assert counts["messages_deleted"] == 0
    assert counts["messages_expired"] == COUNT
    assert not faulty.proxy.calls("DeleteMessageBatch")
    assert faulty.ingest(visibility_s=30).counts["messages_deleted"] == COUNT
    assert_one_to_one(faulty.output, IDS)


def test_extensions_that_fail_drop_those_messages_alone(faulty: World) -> None:
    faulty.put_all(OBJECTS)
    faulty.proxy.when("GetObject", key="*_o00.*").do(delayed(2.0)).times(1)
    gone = partly_failing(lambda place: place == 0, "MessageNotInflight", senders_fault=True)
    faulty.proxy.when("ChangeMessageVisibilityBatch").do(gone)

    counts = faulty.one_run(COUNT, visibility_s=4)

    # One of each call: three calls, or more where the run is slow and extends again.
    dropped = len(faulty.proxy.calls("ChangeMessageVisibilityBatch"))
    assert 3 <= dropped < COUNT
    assert counts["messages_expired"] == dropped
    assert counts["messages_deleted"] == COUNT - dropped
    faulty.proxy.heal()
    assert faulty.ingest(visibility_s=30, until_idle_s=4).counts["messages_deleted"] == dropped
    assert_one_to_one(faulty.output, IDS)


def test_a_message_received_more_than_twice_gets_a_batch_of_its_own(faulty: World) -> None:
    keys = [*OBJECTS][:2]
    faulty.put_all({key: OBJECTS[key] for key in keys})
    for _ in range(2):
        assert len(_receive(faulty, hide_s=0)) == 2
    faulty.put(trail_key("new"), trail_object(records(range(900, 903))))

    counts = faulty.one_run(3)

    assert counts["messages_deleted"] == 3
    assert len(list(faulty.output.glob("ingest_log/*/*.parquet"))) == 3


def _receive(faulty: World, hide_s: int) -> list[object]:
    answer = faulty.sqs.receive_message(
        QueueUrl=faulty.queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=1, VisibilityTimeout=hide_s
    )
    return list(answer.get("Messages", []))


def test_a_message_that_brings_every_run_down_does_not_take_its_neighbours_along(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue redrives the one; the others arrive, although they were received together with it."""
    aws = make_world(max_receives=4)
    poison, some = trail_key("poison"), dict([*OBJECTS.items()][:7])
    aws.put_all({**some, poison: trail_object(records([999]))})
    from transforms import explode_records

    work = explode_records.Exploder.explode

    def explode(self: object, filled: object) -> object:
        if any(part.ref.key == poison for part in filled.objects):  # type: ignore[attr-defined]
            raise MemoryError("unforeseen")
        return work(self, filled)  # type: ignore[arg-type]

    monkeypatch.setattr(explode_records.Exploder, "explode", explode)

    aws.ingest(visibility_s=3, until_idle_s=8, limits=Limits(50, 0.3, 0.5))

    assert_one_to_one(aws.output, IDS[:35])
    assert (sum(aws.waiting()), aws.redriven()) == (0, 1)


def test_when_every_message_fails_the_command_ends_with_the_error(
    aws: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.put_all(OBJECTS)
    monkeypatch.setattr("pipeline.ingestion.ingest._FAILURES_BEFORE_EXIT", 3)
    monkeypatch.setattr("transforms.explode_records.Exploder.explode", lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        aws.ingest(visibility_s=2, limits=Limits(5, 0.3, 0.5))

    assert sum(aws.waiting()) + aws.redriven() == COUNT
    assert not aws.letters()


def test_a_test_event_and_other_noise_is_acknowledged_and_counted(aws: World) -> None:
    aws.send(
        '{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}',
        s3_event("b", "AWSLogs/111122223333/Config/us-east-1/2026/1/12/x.json.gz"),
        "no JSON",
        s3_event("elsewhere", trail_key("x")),
    )

    counts = aws.one_run(4, buckets=("b",))

    assert counts["messages_deleted"] == 4
    assert counts["objects_settled"] == 3
    assert counts["dead_letters"] == 1
    (letter,) = aws.letters()
    assert (letter["stage"], letter["scope"], letter["input"]) == ("parse_notifications", "message", b"no JSON")
    assert aws.waiting() == (0, 0)


def test_s3_throttling_of_everything_leaves_every_message(faulty: World) -> None:
    faulty.put_all(OBJECTS)
    faulty.proxy.when("GetObject").do(slow_down())

    counts = faulty.one_run(COUNT)

    assert counts["objects_deferred"] == COUNT
    assert counts["objects_denied"] == 0
    assert sum(faulty.waiting()) == COUNT


def test_sources_share_a_process_and_each_deletes_from_its_own_queue(make_world: Callable[..., World]) -> None:
    one, two = make_world(), make_world()
    one.put_all(OBJECTS)
    two.put(trail_key("two"), trail_object(records(range(500, 510))))
    one.sources = {"two": Source("two", queue_url=two.queue_url, access=two.access)}

    assert one.ingest().counts["messages_deleted"] == COUNT + 1

    assert (one.waiting(), two.waiting()) == ((0, 0), (0, 0))
    names = set(one.rows("ingest_log")["source_name"].to_pylist())
    assert names == {"trail", "two"}
