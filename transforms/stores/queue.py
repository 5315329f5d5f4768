"""The queue: receive, extend and delete messages, in batches of ten with partial failures retried."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from typing import Any

from schemas.values import Delivery, Receipt
from transforms.stores.aws import Access, client
from transforms.stores.aws_faults import calling
from transforms.stores.faults import CallFault
from transforms.stores.sources import Source

# `https://sqs.eu-west-1.amazonaws.com/...`, FIPS and VPC endpoints, and the older `eu-west-1.queue.amazonaws.com`.
_REGION = re.compile(
    r"https?://(?:(?:[\w-]+\.)*sqs(?:-fips)?\.([a-z0-9-]+)\.(?:vpce\.)?|([a-z0-9-]+)\.queue\.)amazonaws\.com(?:\.cn)?/"
)
_TRIES = 4
# SQS hides no message for longer, from its receive on.
LONGEST_VISIBILITY_S = 43_200
_FIRST_PAUSE_S = 0.2
# A queue made with less would have its messages back before any work is done.
_LEAST_VISIBILITY_S = 10
_SENDERS_FAULTS_THAT_MEAN_GONE = ("ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight")


@dataclass(frozen=True, slots=True)
class QueueTraits:
    """What governs a message in hand: its visibility timeout, and after how many receives it is redriven."""

    visibility_s: int = 300
    max_receives: int = 10


def sqs(queue_url: str, access: Access) -> Any:
    """A client for the queue: of the region that its URL names, whatever the default one is.

    Without this SQS would be asked in the default region, where the queue is not.
    """
    found = _REGION.match(queue_url)
    return client("sqs", replace(access, region=found[1] or found[2]) if found else access)


def queue_name(queue_url: str) -> str:
    """The queue as an error message names it: account and name, the path of its URL."""
    return "queue " + "/".join(queue_url.rstrip("/").split("/")[-2:])


def traits(source: Source) -> QueueTraits:
    """The source's own setting, else what the queue says, else defaults where reading its attributes is denied.

    The visibility timeout is asked for with each receive, so it holds even where the queue's own is not known.
    """
    found = _attributes(str(source.queue_url), source.access)
    redrive = json.loads(found.get("RedrivePolicy", "{}"))
    default = QueueTraits()
    return QueueTraits(
        visibility_s=source.visibility_s
        or max(_LEAST_VISIBILITY_S, int(found.get("VisibilityTimeout", default.visibility_s))),
        max_receives=source.max_receives or int(redrive.get("maxReceiveCount", default.max_receives)),
    )


@lru_cache(maxsize=64)
def _attributes(queue_url: str, access: Access) -> dict[str, str]:
    try:
        with calling("sqs:GetQueueAttributes", queue_name(queue_url), access):
            found: dict[str, str] = sqs(queue_url, access).get_queue_attributes(
                QueueUrl=queue_url, AttributeNames=["VisibilityTimeout", "RedrivePolicy"]
            )["Attributes"]
            return found
    except CallFault as fault:
        if fault.kind == "denied" and "NonExistentQueue" not in fault.code:
            return {}
        raise


def attributes(source: Source) -> dict[str, str]:
    """Every attribute of the queue, as SQS names it. Raises `CallFault`."""
    queue_url = str(source.queue_url)
    with calling("sqs:GetQueueAttributes", queue_name(queue_url), source.access):
        answer = sqs(queue_url, source.access).get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])
        found: dict[str, str] = answer.get("Attributes", {})
        return found


def try_delete(source: Source) -> None:
    """Whether deleting is allowed, by a receipt that is none: nothing is deleted. Raises `CallFault` where not."""
    queue_url = str(source.queue_url)
    try:
        with calling("sqs:DeleteMessage", queue_name(queue_url), source.access):
            sqs(queue_url, source.access).delete_message(QueueUrl=queue_url, ReceiptHandle="trailweave-check")
    except CallFault as fault:
        if not any(code in fault.code for code in _SENDERS_FAULTS_THAT_MEAN_GONE):
            raise


def depth(source: Source) -> dict[str, int]:
    """About how many messages the queue holds: `visible`, `in_flight`, `delayed`. Raises `CallFault`."""
    names = {
        "visible": "ApproximateNumberOfMessages",
        "in_flight": "ApproximateNumberOfMessagesNotVisible",
        "delayed": "ApproximateNumberOfMessagesDelayed",
    }
    queue_url = str(source.queue_url)
    with calling("sqs:GetQueueAttributes", queue_name(queue_url), source.access):
        found = sqs(queue_url, source.access).get_queue_attributes(
            QueueUrl=queue_url, AttributeNames=list(names.values())
        )["Attributes"]
    return {state: int(found[name]) for state, name in names.items() if name in found}


def receive(source: Source, *, wait_s: int, visibility_s: int, maximum: int = 10) -> list[Delivery]:
    """Up to ten messages after one long poll of at most `wait_s` seconds, each hidden for `visibility_s`."""
    queue_url = str(source.queue_url)
    with calling("sqs:ReceiveMessage", queue_name(queue_url), source.access):
        answer = sqs(queue_url, source.access).receive_message(
            QueueUrl=queue_url,
            MaxNumberOfMessages=min(10, maximum),
            WaitTimeSeconds=wait_s,
            VisibilityTimeout=visibility_s,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
        )
    deadline = time.time() + visibility_s
    return [
        Delivery(source.name, message["Body"], _receipt(queue_url, message, deadline))
        for message in answer.get("Messages", ())
    ]


def _receipt(queue_url: str, message: dict[str, Any], deadline: float) -> Receipt:
    attributes = message.get("Attributes", {})
    sent = attributes.get("SentTimestamp")
    return Receipt(
        queue_url=queue_url,
        message_id=message["MessageId"],
        handle=message["ReceiptHandle"],
        deadline=deadline,
        receive_count=int(attributes.get("ApproximateReceiveCount", 1)),
        sent=datetime.fromtimestamp(int(sent) / 1000, UTC) if sent else None,
        received=datetime.now(UTC),
    )


def extend(receipts: Sequence[Receipt], access: Access, visibility_s: int) -> dict[str, Receipt]:
    """Hide the messages for `visibility_s` seconds from now: the new receipts, by handle.

    A message that has gone meanwhile is no error: it is absent from the answer.
    """

    def call(url: str, entries: list[dict[str, Any]]) -> Any:
        return sqs(url, access).change_message_visibility_batch(
            QueueUrl=url, Entries=[{**entry, "VisibilityTimeout": visibility_s} for entry in entries]
        )

    deadline = time.time() + visibility_s
    kept, _ = _in_tens(receipts, call, "sqs:ChangeMessageVisibility", access)
    return {receipt.handle: replace(receipt, deadline=deadline) for receipt in kept}


def delete(receipts: Sequence[Receipt], access: Access) -> int:
    """Delete the messages: how many the queue confirmed. One that is not comes again, which is harmless."""

    def call(url: str, entries: list[dict[str, Any]]) -> Any:
        return sqs(url, access).delete_message_batch(QueueUrl=url, Entries=entries)

    done, gone = _in_tens(receipts, call, "sqs:DeleteMessage", access)
    return len(done) + len(gone)


def _in_tens(
    receipts: Sequence[Receipt], call: Callable[[str, list[dict[str, Any]]], Any], action: str, access: Access
) -> tuple[list[Receipt], list[Receipt]]:
    """(confirmed, gone): each failed entry of a batch is tried again, unless its receipt is no longer valid."""
    confirmed: list[Receipt] = []
    gone: list[Receipt] = []
    for url, ten in _tens(receipts):
        waiting = {str(number): receipt for number, receipt in enumerate(ten)}
        for attempt in range(_TRIES):
            entries = [{"Id": id_, "ReceiptHandle": receipt.handle} for id_, receipt in waiting.items()]
            with calling(action, queue_name(url), access):
                answer = call(url, entries)
            confirmed += [waiting.pop(entry["Id"]) for entry in answer.get("Successful", ())]
            gone += [
                waiting.pop(entry["Id"])
                for entry in answer.get("Failed", ())
                if any(code in entry.get("Code", "") for code in _SENDERS_FAULTS_THAT_MEAN_GONE)
            ]
            if not waiting:
                break
            time.sleep(_FIRST_PAUSE_S * 2**attempt)
    return confirmed, gone


def _tens(receipts: Sequence[Receipt]) -> Iterator[tuple[str, list[Receipt]]]:
    by_url = sorted({receipt.handle: receipt for receipt in receipts}.values(), key=lambda it: it.queue_url)
    for url, group in groupby(by_url, key=lambda it: it.queue_url):
        members = list(group)
        for start in range(0, len(members), 10):
            yield url, members[start : start + 10]
