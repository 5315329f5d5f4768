"""ParseNotifications: a message body becomes references to objects.

Four kinds share one queue and are told apart by content: S3 event notifications, the same in an SNS envelope,
EventBridge "Object Created" events, and CloudTrail's own notice. Only S3's own events carry URL-encoded keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

import apache_beam as beam
import msgspec

from schemas.values import DeadLetter, Delivery, Message, ObjectRef, Outcome
from transforms.stores.keys import facts, no_trail
from transforms.stores.sources import Source

Settled = tuple[ObjectRef, Outcome, str]
_NOTHING = ObjectRef(bucket="", key="")
_MAX_ENVELOPES = 3
_KINDS = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}
# Nothing else may name a bucket: not `schemas.values.LOCAL`, by which a message would read our own disk.
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
# What CloudTrail sends to a topic when a trail is pointed at it.
_VALIDATION = "CloudTrail validation message."


class Unreadable(Exception):
    """A body, or a record of it, that is none of the kinds that announce objects."""


def parse_notification(delivery: Delivery, source: Source) -> Message:
    """The objects that one message announces, in its order.

    Never raises for bad content: an unreadable body, or an unreadable record beside good ones, becomes a dead
    letter of the message; a test event, another event, a key that is no trail, and a bucket outside the source's
    allow-list are settled as `ignored`, a digest file as `digest`.
    """
    objects: list[ObjectRef] = []
    settled: list[Settled] = []
    reasons: list[str] = []
    for found in _announced(delivery.body):
        if isinstance(found, ObjectRef):
            outcome = _settle(found, source)
            objects += [] if outcome else [found]
            settled += [outcome] if outcome else []
        elif isinstance(found, Unreadable):
            reasons.append(str(found))
        else:
            settled.append((_NOTHING, "ignored", found))
    letters = [
        DeadLetter(
            stage="parse_notifications",
            scope="message",
            reason="; ".join(dict.fromkeys(reasons)),
            input=delivery.body.encode("utf-8", "surrogatepass"),
        )
    ]
    return Message(
        source=delivery.source,
        objects=tuple(dict.fromkeys(objects)),
        receipt=delivery.receipt,
        dead_letters=tuple(letters) if reasons else (),
        settled=tuple(settled),
    )


def _settle(ref: ObjectRef, source: Source) -> Settled | None:
    if source.buckets and ref.bucket not in source.buckets:
        return ref, "ignored", f"bucket {ref.bucket!r} is not in the allow-list of source {source.name!r}"
    if facts(ref.key).is_digest:
        return ref, "digest", "a digest file, kept for verification"
    reason = no_trail(ref.key)
    return (ref, "ignored", reason) if reason else None


def _announced(body: str) -> Iterator[ObjectRef | str | Unreadable]:
    """Each object, each reason to ignore something, and each thing that cannot be read, in order."""
    try:
        yield from _of_notice(_open_envelopes(body))
    except Unreadable as problem:
        yield problem


def _open_envelopes(body: str) -> dict[str, Any]:
    for _ in range(_MAX_ENVELOPES):
        if body.strip() == _VALIDATION:
            return {"Event": "CloudTrail validation message"}
        try:
            notice = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise Unreadable(f"the body is not JSON ({type(error).__name__})") from error
        if not isinstance(notice, dict):
            raise Unreadable(f"the body is {_KINDS.get(type(notice), 'a number')} in JSON, not an object")
        if not (isinstance(notice.get("Message"), str) and "TopicArn" in notice):
            return notice
        if notice.get("Type") in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
            return {"Event": "SNS subscription notice"}
        body = notice["Message"]
    raise Unreadable(f"more than {_MAX_ENVELOPES} SNS envelopes in each other")


def _of_notice(notice: dict[str, Any]) -> Iterator[ObjectRef | str | Unreadable]:
    if isinstance(notice.get("Event"), str) and "Records" not in notice:
        yield f"no object announced: {notice['Event'][:60]}"
    elif isinstance(notice.get("Records"), list):
        if not notice["Records"]:
            yield "no object announced: an empty list of records"
        for record in notice["Records"]:
            yield _guarded(_of_s3_record, record)
    elif "s3Bucket" in notice and "s3ObjectKey" in notice:
        yield from _of_cloudtrail_notice(notice)
    elif "detail-type" in notice:
        yield _guarded(_of_eventbridge, notice)
    else:
        raise Unreadable("the body is no S3 event, SNS envelope, EventBridge event or CloudTrail notice")


def _guarded(read: Any, value: Any) -> ObjectRef | str | Unreadable:
    try:
        found: ObjectRef | str = read(value)
        return found
    except Unreadable as problem:
        return problem


def _of_s3_record(record: Any) -> ObjectRef | str:
    name = _text(_member(record, "eventName"), "eventName")
    if not name.removeprefix("s3:").startswith("ObjectCreated"):
        return f"event {name[:60]!r} announces no new object"
    entity = _member(record, "s3")
    thing = _member(entity, "object")
    return ObjectRef(
        bucket=_bucket(_member(_member(entity, "bucket"), "name")),
        key=unquote_plus(_text(_member(thing, "key"), "object key")),
        version_id=_optional_text(thing.get("versionId")),
        etag=_optional_text(thing.get("eTag")),
        size=_optional_size(thing.get("size")),
    )


def _of_eventbridge(event: Any) -> ObjectRef | str:
    kind = _text(event.get("detail-type"), "detail-type")
    if kind != "Object Created":
        return f"event {kind[:60]!r} announces no new object"
    detail = _member(event, "detail")
    thing = _member(detail, "object")
    return ObjectRef(
        bucket=_bucket(_member(_member(detail, "bucket"), "name")),
        key=_text(_member(thing, "key"), "object key"),
        version_id=_optional_text(thing.get("version-id")),
        etag=_optional_text(thing.get("etag")),
        size=_optional_size(thing.get("size")),
    )


def _of_cloudtrail_notice(notice: dict[str, Any]) -> Iterator[ObjectRef | str | Unreadable]:
    bucket = _bucket(notice["s3Bucket"])
    keys = notice["s3ObjectKey"]
    if keys == []:
        yield "no object announced: an empty list of keys"
    for key in [keys] if isinstance(keys, str) else keys if isinstance(keys, list) else [None]:
        if isinstance(key, str) and key:
            yield ObjectRef(bucket=bucket, key=key)
        else:
            yield Unreadable("s3ObjectKey holds something that is no key")


def _member(value: Any, name: str) -> Any:
    if not isinstance(value, dict) or name not in value:
        raise Unreadable(f"a record has no {name!r}")
    return value[name]


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise Unreadable(f"{name} is no text")
    return value


def _bucket(value: Any) -> str:
    name = _text(value, "bucket name")
    if not _BUCKET.fullmatch(name):
        raise Unreadable(f"no bucket can be named {name[:60]!r}")
    return name


def _optional_text(value: Any) -> str | None:
    return value if isinstance(value, str) and value and value != "null" else None


def _optional_size(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


@dataclass(eq=False)
class ParseNotifications(beam.PTransform[Any, Any]):
    """Delivery in, Message out, one for one: what a body cannot tell is in the message too."""

    sources: Mapping[str, Source]

    def expand(self, deliveries: Any) -> Any:
        """Parse each delivery under the rules of its source."""
        return deliveries | beam.Map(_parse, sources=dict(self.sources)).with_output_types(Message)


def _parse(delivery: Delivery, sources: Mapping[str, Source]) -> Message:
    return parse_notification(delivery, sources[delivery.source])
