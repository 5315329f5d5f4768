"""One CloudTrail record as a Struct of its scalars, its parts left as text.

Sources: AWS CloudTrail user guide, "CloudTrail record contents" for management, data and network activity events,
for Insights events, and for aggregated events.
"""

from __future__ import annotations

import msgspec

from transforms.providers.cloudtrail.lenient import (
    REFUSED,
    Text,
    TooDeepError,
    UnreadableError,
    fit,
    fit_text,
    is_plain,
    kind,
    kind_of_text,
    loads,
    members,
)

_ABSENT = msgspec.Raw(b"")
_IRREGULAR = {
    "event_id": "eventID",
    "request_id": "requestID",
    "shared_event_id": "sharedEventID",
    "source_ip_address": "sourceIPAddress",
    "original_event_id": "originalEventID",
}


def json_name(field: str) -> str:
    """The name of a record's member by its field."""
    head, *rest = field.split("_")
    return _IRREGULAR.get(field) or head + "".join(word.capitalize() for word in rest)


class Part(msgspec.Struct, gc=False, rename=json_name):
    """Base of everything that is read from a record; fields are spelt as in JSON but for the case."""


class Addendum(Part):
    """Says that this record completes, corrects or delays another (since event version 1.08)."""

    reason: str | None = None
    original_event_id: str | None = None


class Record(Part):
    """A record's own members, in the order in which CloudTrail writes them (which is the fastest to match).

    Flags may come as text, so they are decided later.
    """

    event_version: str | None = None
    user_identity: msgspec.Raw = _ABSENT
    event_time: str | None = None
    event_source: str | None = None
    event_name: str | None = None
    aws_region: str | None = None
    source_ip_address: str | None = None
    user_agent: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    request_id: str | None = None
    event_id: str | None = None
    read_only: bool | str | None = None
    resources: msgspec.Raw = _ABSENT
    event_type: str | None = None
    management_event: bool | str | None = None
    recipient_account_id: str | None = None
    shared_event_id: str | None = None
    vpc_endpoint_id: str | None = None
    vpc_endpoint_account_id: str | None = None
    event_category: str | None = None
    addendum: Addendum | None = None
    tls_details: msgspec.Raw = _ABSENT
    session_credential_from_console: bool | str | None = None


MEMBERS = frozenset(it.encode_name for it in msgspec.structs.fields(Record)) | {
    *("apiVersion", "requestParameters", "responseElements", "additionalEventData", "serviceEventDetails"),
    *("edgeDeviceDetails", "insightDetails", "eventContext"),
}
"""The names of the members that CloudTrail's documentation knows of a record."""

decode_record = msgspec.json.Decoder(Record).decode
"""The record of text whose members are all of the declared kinds; raises one of `REFUSED` for other text."""


def read_record(text: Text, notes: list[str]) -> Record:
    """The record, or what can be made of it; raises UnreadableError where it is no JSON object."""
    try:
        return decode_record(text)
    except REFUSED:
        return _fit_record(bytes(text), notes)


def _fit_record(text: bytes, notes: list[str]) -> Record:
    try:
        value = loads(text)
        if not isinstance(value, dict):
            raise UnreadableError(f"{kind(value)}, not an object")
    except TooDeepError:
        pass
    found = members(text)
    record = Record()
    for field in msgspec.structs.fields(Record):
        part = found.get(field.encode_name)
        if part is not None:
            setattr(record, field.name, _fit_member(field.name, field.encode_name, part, notes))
    return record


def _fit_member(field: str, name: str, part: bytes, notes: list[str]) -> object:
    if field in ("user_identity", "resources", "tls_details"):
        return msgspec.Raw(part)
    try:
        value = loads(part)
    except UnreadableError as error:
        notes.append(f"{name} is {error}")
        return None
    if field == "addendum":
        return None if value is None else fit(Addendum, value, name, notes)
    if field == "event_id" and not is_plain(value):
        return None
    return fit_text(value, name, notes)


def is_aggregate(record: Record) -> bool:
    """Whether the record counts events instead of telling one: it names a service, not always an operation."""
    return record.event_category == "Aggregated"


def is_notification(record: Record) -> bool:
    """Whether the record is one of an S3 event notification, whose members have CloudTrail's names."""
    return bool(record.event_source and record.event_source.startswith("aws:"))


def missing(record: Record, text: Text) -> str | None:
    """Why this is no CloudTrail record: what every one has and this has not, and of what kind it is instead."""
    if is_notification(record):
        return "not a CloudTrail record: eventSource is that of an S3 event notification"
    needed = {"eventSource": record.event_source}
    if not is_aggregate(record):
        needed["eventName"] = record.event_name
    absent = [name for name, value in needed.items() if not value]
    if not absent:
        return None
    return "not a CloudTrail record: " + ", ".join(f"{name} is {instead(name, text)}" for name in absent)


def instead(name: str, text: Text) -> str:
    """What a record has where a text is needed: nothing, or another kind of value."""
    part = members(bytes(text)).get(name)
    if part is None:
        return "missing"
    return "an empty string" if part == b'""' else kind_of_text(part)
