"""Small CloudTrail records, objects, and the slices that they become."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from schemas.values import Document, ObjectPart, ObjectRef, Receipt, Slice
from transforms.explode_records import Exploder

ACCOUNT = "111122223333"
OTHER = "444455556666"
DAY = "2024-03-05"
NOW = datetime(2024, 3, 7, 8, 9, 10, tzinfo=UTC)


def event_id(name: object) -> str:
    """A UUID for a short name."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(name)))


def record(
    name: object, *, day: str = DAY, account: str | None = ACCOUNT, time: str = "10:00:00", **more: Any
) -> Any:
    """A record with the event id of `name`; a member given as None is left out."""
    members = {
        "eventVersion": "1.08",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "AIDAEXAMPLE",
            "userName": "ana",
            "accountId": account,
            "accessKeyId": "AKIAEXAMPLE",
        },
        "eventTime": f"{day}T{time}Z",
        "eventSource": "s3.amazonaws.com",
        "eventName": "GetObject",
        "awsRegion": "eu-west-1",
        "sourceIPAddress": "198.51.100.7",
        "requestParameters": {"bucketName": f"bucket-{name}"},
        "eventID": event_id(name),
        "recipientAccountId": account,
        **more,
    }
    if account is None:
        members["userIdentity"] = {"type": "AWSService"}
    return {key: value for key, value in members.items() if value is not None}


def compact(value: Any) -> bytes:
    """JSON without spaces, as CloudTrail writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def envelope(records: Sequence[Any]) -> bytes:
    """The records (or their bytes) as the text of an object."""
    return b'{"Records":[' + b",".join(it if isinstance(it, bytes) else compact(it) for it in records) + b"]}"


def reference(name: str = "one", account: str = ACCOUNT, day: str = DAY) -> ObjectRef:
    """An object where CloudTrail would put it."""
    year, month, date = day.split("-")
    key = (
        f"AWSLogs/{account}/CloudTrail/eu-west-1/{year}/{month}/{date}/"
        f"{account}_CloudTrail_eu-west-1_{year}{month}{date}T1005Z_{name}.json.gz"
    )
    return ObjectRef("trail", key, etag=f"etag-{name}")


def receipt(name: str, queue_url: str = "https://queue/1") -> Receipt:
    """The receipt of a message in hand for a long time to come."""
    return Receipt(queue_url, name, f"handle-{name}", deadline=4e9, receive_count=1, sent=NOW)


def filled(text: bytes, ref: ObjectRef | None = None, held: Receipt | None = None) -> Slice:
    """A slice as FetchObjects gives it: one small object, the receipt riding on it."""
    part = ObjectPart("default", ref or reference(), held, compressed_bytes=len(text), decompressed_bytes=len(text))
    return Slice(objects=(part,), receipts=(held,) if held else (), documents=(Document(0, text=text),))


def exploded(records: Sequence[Any], ref: ObjectRef | None = None, held: Receipt | None = None) -> Slice:
    """A slice of records, ready for the commit."""
    (only,) = Exploder(32_000_000).explode(filled(envelope(records), ref, held))
    return only
