from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from support.trails import records, trail_key, trail_object

from schemas.values import DeadLetter, Message, ObjectRef, Receipt, Slice
from transforms import fetch_objects as module
from transforms.fetch_objects import FetchLimits, Readers, fetch_objects
from transforms.in_hand import Hand
from transforms.stores import queue
from transforms.stores.faults import CallFault
from transforms.stores.objects import Content
from transforms.stores.queue import QueueTraits
from transforms.stores.sources import Source

SOURCES = {"trail": Source("trail", queue_url="https://sqs/1/q"), "replay": Source("replay")}
MISSING = CallFault("missing", "NoSuchKey", "it does not exist")
DENIED = CallFault("denied", "AccessDenied", "it is denied")
EITHER = CallFault("denied_or_missing", "AccessDenied", "it is denied or missing")
SLOW = CallFault("transient", "SlowDown", "not now")


def receipt(name: str, *, left_s: float = 300, receives: int = 1) -> Receipt:
    return Receipt("https://sqs/1/q", name, f"h-{name}", time.time() + left_s, receives, None)


def ref(name: str) -> ObjectRef:
    return ObjectRef("b", trail_key(name))


def message(name: str, *objects: str, **more: Any) -> Message:
    return Message("trail", tuple(map(ref, objects)), receipt(name, **more))


class Bucket:
    """What can be read: bodies and faults by name, and what was asked for."""

    def __init__(self, **found: bytes | CallFault) -> None:
        self.found = {trail_key(name): body for name, body in found.items()}
        self.asked: list[str] = []

    def read(self, wanted: ObjectRef, _: Any) -> Content:
        self.asked.append(wanted.key)
        body = self.found[wanted.key]
        if isinstance(body, CallFault):
            raise body
        return Content(wanted.but(etag="e"), body, len(body))


@pytest.fixture(autouse=True)
def extended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The handles that were extended."""
    handles: list[str] = []

    def extend(receipts: Any, _: Any, visibility_s: int) -> dict[str, Receipt]:
        handles.extend(it.handle for it in receipts)
        return {it.handle: replace(it, deadline=time.time() + visibility_s) for it in receipts}

    monkeypatch.setattr(queue, "traits", lambda _: QueueTraits(300, 5))
    monkeypatch.setattr(queue, "extend", extend)
    module._readable.clear()
    module._refused.clear()
    return handles


def fetched(
    monkeypatch: pytest.MonkeyPatch, bucket: Bucket, *messages: Message, slice_bytes: int = 64_000_000
) -> list[Slice]:
    monkeypatch.setattr(module, "read_object", bucket.read)
    limits = FetchLimits(slice_bytes=slice_bytes)
    return [*fetch_objects(messages, Hand(messages, SOURCES), SOURCES, limits, Readers.of(limits))]


def acknowledged(slices: list[Slice]) -> list[str]:
    return [it.message_id for filled in slices for it in filled.receipts]


def outcomes(slices: list[Slice]) -> dict[str, str]:
    return {part.ref.key: part.outcome for filled in slices for part in filled.objects}


ONE, TWO = (trail_object(records(numbers)) for numbers in (range(5), range(5, 9)))


def test_the_receipts_ride_on_the_last_slice_that_their_message_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    large = trail_object(records(range(3000)))
    slices = fetched(monkeypatch, Bucket(a=ONE, b=large, c=TWO), message("m", "a", "b", "c"), slice_bytes=1_000_000)

    assert len(slices) > 2
    assert [bool(filled.receipts) for filled in slices] == [False] * (len(slices) - 1) + [True]
    assert acknowledged(slices) == ["m"]


def test_an_object_that_two_messages_name_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket(a=ONE, b=TWO)
    slices = fetched(monkeypatch, bucket, message("m1", "a"), message("m2", "a", "b"), message("m3", "b"))

    assert sorted(bucket.asked) == [trail_key("a"), trail_key("b")]
    assert sorted(acknowledged(slices)) == ["m1", "m2", "m3"]


def test_a_troubled_message_is_hidden_twice_as_long_before_the_work_on_it_begins(
    monkeypatch: pytest.MonkeyPatch, extended: list[str]
) -> None:
    """So it comes back after those that were received with it, should it bring this worker down."""
    bucket = Bucket(a=ONE)
    fetched(monkeypatch, bucket, message("calm", "a", receives=2))
    assert extended == []

    held = Hand([message("troubled", "a", receives=3)], SOURCES)
    held.renew()
    held.renew()
    (kept,) = held.complete([]) or held.finish(ref("a"), deferred=False)

    assert extended == ["h-troubled"]
    assert 590 < kept.deadline - time.time() <= 600


def test_objects_are_read_in_order_of_account_and_day(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [
        trail_key("x", account=account, day=day)
        for account in ("444455556666", "111122223333")
        for day in ("2026-01-12", "2026-01-11")
    ]
    held = Hand([Message("trail", tuple(ObjectRef("b", key) for key in keys), receipt("m"))], SOURCES)

    assert [it.key for it in held.refs()] == [keys[3], keys[2], keys[1], keys[0]]


@pytest.mark.parametrize(("fault", "outcome"), [(MISSING, "dead_letter"), (DENIED, "deferred"), (SLOW, "deferred")])
def test_a_fault_touches_the_messages_of_its_object_alone(
    monkeypatch: pytest.MonkeyPatch, fault: CallFault, outcome: str
) -> None:
    bucket = Bucket(a=fault, b=TWO, c=ONE)
    slices = fetched(monkeypatch, bucket, message("m1", "a", "b"), message("m2", "b"), message("m3", "c"))

    assert outcomes(slices)[trail_key("a")] == outcome
    kept = [] if outcome == "deferred" else ["m1"]
    assert sorted(acknowledged(slices)) == sorted([*kept, "m2", "m3"])
    letters = [it for filled in slices for it in filled.dead_letters]
    assert [it.reason for it in letters] == ([] if outcome == "deferred" else ["it does not exist"])


@pytest.mark.parametrize(
    ("receives", "others", "outcome"),
    [(1, True, "deferred"), (3, True, "deferred"), (4, True, "dead_letter"), (5, True, "dead_letter"),
     (5, False, "deferred")],
)  # fmt: skip
def test_denied_or_missing_is_a_dead_letter_only_near_the_last_receive_and_with_evidence(
    monkeypatch: pytest.MonkeyPatch, receives: int, others: bool, outcome: str
) -> None:
    if others:
        fetched(monkeypatch, Bucket(b=ONE), message("m0", "b"))

    slices = fetched(monkeypatch, Bucket(a=EITHER), message("m", "a", receives=receives))

    assert outcomes(slices) == {trail_key("a"): outcome}
    assert acknowledged(slices) == (["m"] if outcome == "dead_letter" else [])


def test_evidence_ages(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched(monkeypatch, Bucket(b=ONE), message("m0", "b"))
    later = time.monotonic() + 700
    monkeypatch.setattr(module.time, "monotonic", lambda: later)

    slices = fetched(monkeypatch, Bucket(a=EITHER), message("m", "a", receives=5))

    assert outcomes(slices) == {trail_key("a"): "deferred"}


def test_an_expired_message_is_dropped_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket(a=ONE, b=TWO)
    slices = fetched(monkeypatch, bucket, message("late", "a", left_s=-1), message("m", "b"))

    assert bucket.asked == [trail_key("b")]
    assert acknowledged(slices) == ["m"]


def test_a_message_is_extended_when_a_third_of_its_time_is_gone(
    monkeypatch: pytest.MonkeyPatch, extended: list[str]
) -> None:
    slices = fetched(monkeypatch, Bucket(a=ONE, b=TWO), message("old", "a", left_s=150), message("new", "b"))

    assert set(extended) == {"h-old"}
    assert sorted(acknowledged(slices)) == ["new", "old"]


def test_a_message_that_names_nothing_to_read_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    letter = DeadLetter("parse_notifications", "message", "no JSON", input=b"x")
    noise = Message("trail", settled=((ObjectRef("", ""), "ignored", "a test event"),), receipt=receipt("test"))
    bad = Message("trail", dead_letters=(letter,), receipt=receipt("bad"))

    (only,) = fetched(monkeypatch, Bucket(), noise, bad)

    assert sorted(it.message_id for it in only.receipts) == ["bad", "test"]
    assert only.dead_letters == (letter,)
    assert [(part.outcome, part.reason) for part in only.objects] == [
        ("ignored", "a test event"),
        ("dead_letter", "no JSON"),
    ]


def test_a_replay_has_no_receipts_and_reads_all(monkeypatch: pytest.MonkeyPatch, extended: list[str]) -> None:
    slices = fetched(monkeypatch, Bucket(a=ONE), Message("replay", (ref("a"),)))

    assert (acknowledged(slices), extended) == ([], [])
    assert outcomes(slices) == {trail_key("a"): "done"}


def test_after_a_refusal_it_is_tried_whether_the_object_or_another_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = SOURCES["trail"]
    touched: list[str] = []
    open_keys: set[str] = set()

    def touch(wanted: ObjectRef, _: Any) -> None:
        touched.append(wanted.key)
        if wanted.key not in open_keys:
            raise DENIED

    monkeypatch.setattr(module, "touch_object", touch)
    assert not module.reads_again(source)

    fetched(monkeypatch, Bucket(good=ONE), message("m0", "good"))
    fetched(monkeypatch, Bucket(a=DENIED), message("m", "a"))
    assert not module.reads_again(source)
    assert touched == [trail_key("good"), trail_key("a")]

    open_keys.add(trail_key("good"))
    assert module.reads_again(source)


def test_tiny_objects_are_read_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each read waits until four are under way; read one after the other, none would ever end."""
    bucket, together = Bucket(a=ONE, b=TWO, c=ONE, d=TWO), threading.Barrier(4, timeout=30)
    read = bucket.read

    def read_with_others(wanted: ObjectRef, access: Any) -> Content:
        together.wait()
        return read(wanted, access)

    monkeypatch.setattr(bucket, "read", read_with_others)
    slices = fetched(monkeypatch, bucket, *(message(name, name) for name in "abcd"))

    assert sorted(acknowledged(slices)) == ["a", "b", "c", "d"]
