"""The faults of the proxy: what an answer of AWS is replaced by.

Bodies of errors are those that the S3, SQS and KMS documentation shows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from support.proxy import Action, Call, Forward, Lost, Reply

PRINCIPAL = "arn:aws:sts::111122223333:assumed-role/collector/trailweave"
KMS_KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def answering(status: int, body: bytes, content_type: str = "application/xml") -> Action:
    """This answer, without asking the emulator."""
    return lambda call, forward: Reply(status, body, (("Content-Type", content_type),))


def s3_error(status: int, code: str, message: str, more: str = "") -> Action:
    """An error document of S3 (Amazon S3 API reference, "Error responses")."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message>{more}"
        "<RequestId>4442587FB7D0A2F9</RequestId><HostId>faultproxy</HostId></Error>"
    )
    return answering(status, body.encode())


def sqs_error(status: int, code: str, message: str) -> Action:
    """An error of the JSON protocol of SQS."""
    body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": message}).encode()
    return answering(status, body, "application/x-amz-json-1.0")


def sts_error(status: int, code: str, message: str) -> Action:
    """An error of the query protocol (AWS STS API reference, "Common errors")."""
    body = (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{message}</Message></Error><RequestId>x</RequestId></ErrorResponse>"
    )
    return answering(status, body.encode(), "text/xml")


def kms_error(status: int, code: str, message: str) -> Action:
    """An error of KMS itself, in the JSON protocol (AWS KMS API reference, "Decrypt")."""
    return answering(status, json.dumps({"__type": code, "message": message}).encode(), "application/x-amz-json-1.1")


def slow_down() -> Action:
    return s3_error(503, "SlowDown", "Please reduce your request rate.")


def internal_error() -> Action:
    return s3_error(500, "InternalError", "We encountered an internal error. Please try again.")


def _not_authorized(action: str, resource: str) -> Action:
    return s3_error(
        403,
        "AccessDenied",
        f"User: {PRINCIPAL} is not authorized to perform: {action} on resource: &quot;{resource}&quot;"
        f" because no identity-based policy allows the {action} action",
    )


def denied() -> Action:
    """403 for an object that is there: the text names s3:GetObject."""
    return lambda call, forward: _not_authorized("s3:GetObject", f"arn:aws:s3:::{call.bucket}/{call.key}")(
        call, forward
    )


def denied_for_want_of_listing() -> Action:
    """403 for a missing key without s3:ListBucket: the text names that permission."""
    return lambda call, forward: _not_authorized("s3:ListBucket", f"arn:aws:s3:::{call.bucket}")(call, forward)


def denied_without_a_word() -> Action:
    """The older 403, which tells nothing."""
    return s3_error(403, "AccessDenied", "Access Denied")


def kms_denied() -> Action:
    return s3_error(
        403,
        "AccessDenied",
        f"User: {PRINCIPAL} is not authorized to perform: kms:Decrypt on resource: {KMS_KEY}"
        " because no identity-based policy allows the kms:Decrypt action",
    )


def kms_disabled() -> Action:
    return s3_error(400, "KMS.DisabledException", f"{KMS_KEY} is disabled.")


def archived() -> Action:
    return s3_error(
        403,
        "InvalidObjectState",
        "The operation is not valid for the object's storage class",
        "<StorageClass>GLACIER</StorageClass>",
    )


def encrypted_by_a_key_of_ours() -> Action:
    return s3_error(
        400,
        "InvalidRequest",
        "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to"
        " retrieve the object.",
    )


def expired_token() -> Action:
    return s3_error(400, "ExpiredToken", "The provided token has expired.")


def sqs_denied(action: str) -> Action:
    return sqs_error(
        403,
        "AccessDeniedException",
        f"User: {PRINCIPAL} is not authorized to perform: {action} on resource: arn:aws:sqs:us-east-1:111122223333:q"
        f" because no identity-based policy allows the {action} action",
    )


def delayed(seconds: float) -> Action:
    """Answer late."""

    def act(call: Call, forward: Forward) -> Reply:
        time.sleep(seconds)
        return forward(call)

    return act


def cut(after_bytes: int) -> Action:
    """Break the connection so many bytes into the body."""

    def act(call: Call, forward: Forward) -> Reply:
        reply = forward(call)
        return Reply(reply.status, reply.body, reply.headers, sent=min(after_bytes, len(reply.body) - 1))

    return act


def truncated(to_bytes: int) -> Action:
    """A shorter body whose length is told as if it were whole, without a checksum of the whole one."""

    def act(call: Call, forward: Forward) -> Reply:
        reply = forward(call)
        headers = tuple(it for it in reply.headers if not it[0].lower().startswith("x-amz-checksum"))
        return Reply(reply.status, reply.body[:to_bytes], headers)

    return act


def lost() -> Action:
    """The emulator did it, and its answer never arrives."""

    def act(call: Call, forward: Forward) -> Reply:
        forward(call)
        raise Lost

    return act


def unreached() -> Action:
    """The connection breaks before the emulator hears of it."""

    def act(call: Call, forward: Forward) -> Reply:
        raise Lost

    return act


def partly_failing(
    fails: Callable[[int], bool], code: str = "InternalError", *, senders_fault: bool = False
) -> Action:
    """A batch call of SQS whose entries at these places fail; the emulator sees the others only."""

    def act(call: Call, forward: Forward) -> Reply:
        asked = call.json
        failed = [it for place, it in enumerate(asked["Entries"]) if fails(place)]
        rest = [it for place, it in enumerate(asked["Entries"]) if not fails(place)]
        told: dict[str, Any] = {"Successful": [], "Failed": []}
        if rest:
            body = json.dumps({**asked, "Entries": rest}).encode()
            told |= json.loads(forward(_with_body(call, body)).body)
        told["Failed"] = [
            *told.get("Failed", []),
            *({"Id": it["Id"], "Code": code, "SenderFault": senders_fault} for it in failed),
        ]
        return Reply(200, json.dumps(told).encode(), (("Content-Type", "application/x-amz-json-1.0"),))

    return act


def _with_body(call: Call, body: bytes) -> Call:
    return Call(call.operation, call.bucket, call.key, call.method, call.target, call.headers, body)
