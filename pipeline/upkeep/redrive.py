"""`trailweave redrive`: messages of a dead-letter queue go back to where they came from."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.terminal.words import counted
from schemas.errors import AccessError, ConfigError
from transforms.receive_messages import STOP
from transforms.stores.aws import Access
from transforms.stores.aws_faults import calling
from transforms.stores.faults import CallFault
from transforms.stores.queue import queue_name, sqs

_BATCH = 10
# SQS takes so much in one batch from every account; a larger message goes alone.
_BATCH_BYTES = 262_144
_WAIT_S = 3
_VISIBILITY_S = 120
_TRIES = 4
_FIRST_PAUSE_S = 0.2


@dataclass(frozen=True)
class Redriven:
    """How many messages were sent on and deleted, and how many could not be: these are where they were.

    `doubled` messages were sent and could not be deleted; they are in both queues, which makes no event twice.
    """

    moved: int = 0
    doubled: int = 0
    refused: int = 0
    reason: str | None = None

    def __add__(self, other: Redriven) -> Redriven:
        return Redriven(
            self.moved + other.moved,
            self.doubled + other.doubled,
            self.refused + other.refused,
            self.reason or other.reason,
        )

    def as_text(self) -> str:
        """One line for a person."""
        text = f"{counted(self.moved, 'message')} moved"
        if self.doubled:
            text += f", {self.doubled:,} sent that could not be deleted: they are in both queues"
        if self.refused:
            text += f", {self.refused:,} refused ({self.reason}): they are where they were"
        return text

    @property
    def whole(self) -> bool:
        """Whether every message that was received is in the other queue, and in that alone."""
        return not (self.doubled or self.refused)


def redrive(queue_url: str, to: str, access: Access, *, most: int | None = None) -> Redriven:
    """Move messages until the queue gives none, `most` were moved, or a signal comes.

    Body and message attributes stay, and of the system's own what SQS lets a sender set: the trace header, the
    message group, and the deduplication id of a FIFO queue. A message is deleted only after the other queue has
    confirmed it. One that is refused becomes visible again after two minutes. Raises `ConfigError` where both queues
    are the same one; `AccessError`, which tells what was moved before, when a call is denied or goes on failing.
    """
    if queue_url.rstrip("/") == to.rstrip("/"):
        raise ConfigError(
            f"--to {to!r} is the queue to read from; name the queue that it is the dead-letter queue of"
        )
    total = Redriven()
    try:
        for step in _steps(queue_url, to, access, most):
            total += step
    except CallFault as fault:
        raise AccessError(f"{fault}; {total.as_text()} before") from fault
    return total


def _steps(queue_url: str, to: str, access: Access, most: int | None) -> Iterator[Redriven]:
    moved = 0
    refused: set[str] = set()
    while not STOP.is_set() and (most is None or moved < most):
        wanted = _BATCH if most is None else min(_BATCH, most - moved)
        messages = _receive(queue_url, access, wanted)
        new = [it for it in messages if it["MessageId"] not in refused]
        if not new:
            break
        for batch in _batches(new):
            sent, reason = _send(to, access, batch)
            deleted = _delete(queue_url, access, sent)
            failed = [it["MessageId"] for it in batch if it not in sent]
            refused.update(failed)
            moved += len(sent)
            yield Redriven(deleted, len(sent) - deleted, len(failed), reason)


def _receive(queue_url: str, access: Access, maximum: int) -> list[dict[str, Any]]:
    with calling("sqs:ReceiveMessage", queue_name(queue_url), access):
        answer = sqs(queue_url, access).receive_message(
            QueueUrl=queue_url,
            MaxNumberOfMessages=maximum,
            WaitTimeSeconds=_WAIT_S,
            VisibilityTimeout=_VISIBILITY_S,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
    return list(answer.get("Messages", ()))


def _batches(messages: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """What one SendMessageBatch may carry: ten are a receive's most, so the bytes decide."""
    batch: list[dict[str, Any]] = []
    size = 0
    for message in messages:
        its_size = _size(message)
        if batch and size + its_size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += its_size
    if batch:
        yield batch


def _size(message: dict[str, Any]) -> int:
    """Bytes as SQS counts them: the body, and each attribute's name, type and value."""
    attributes = message.get("MessageAttributes", {})
    return len(message["Body"].encode()) + sum(
        len(name.encode()) + sum(len(it if isinstance(it, bytes) else str(it).encode()) for it in value.values())
        for name, value in attributes.items()
    )


def _entry(id_: str, message: dict[str, Any], to: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"Id": id_, "MessageBody": message["Body"]}
    kept = {
        name: {part: value[part] for part in ("DataType", "StringValue", "BinaryValue") if part in value}
        for name, value in message.get("MessageAttributes", {}).items()
    }
    if kept:
        entry["MessageAttributes"] = kept
    system = message.get("Attributes", {})
    if "AWSTraceHeader" in system:
        entry["MessageSystemAttributes"] = {
            "AWSTraceHeader": {"DataType": "String", "StringValue": system["AWSTraceHeader"]}
        }
    if "MessageGroupId" in system:
        entry["MessageGroupId"] = system["MessageGroupId"]
    if "MessageDeduplicationId" in system and to.endswith(".fifo"):
        entry["MessageDeduplicationId"] = system["MessageDeduplicationId"]
    return entry


def _send(to: str, access: Access, messages: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], str | None]:
    """(those that the queue confirmed, why it refused another); what failed for now is tried again."""
    waiting = {str(number): message for number, message in enumerate(messages)}
    sent: list[dict[str, Any]] = []
    reason = None
    for attempt in range(_TRIES):
        with calling("sqs:SendMessage", queue_name(to), access):
            answer = sqs(to, access).send_message_batch(
                QueueUrl=to, Entries=[_entry(id_, message, to) for id_, message in waiting.items()]
            )
        sent += [waiting.pop(it["Id"]) for it in answer.get("Successful", ())]
        failed = answer.get("Failed", ())
        for it in failed:
            reason = f"{it.get('Code')}: {it.get('Message', '')}".rstrip(": ")
        if not waiting or all(it.get("SenderFault") for it in failed):
            break
        time.sleep(_FIRST_PAUSE_S * 2**attempt)
    return sent, reason if waiting else None


def _delete(queue_url: str, access: Access, messages: Sequence[dict[str, Any]]) -> int:
    """How many the queue confirmed; what failed for now is tried again."""
    waiting = {str(number): message for number, message in enumerate(messages)}
    for attempt in range(_TRIES):
        if not waiting:
            break
        if attempt:
            time.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
        with calling("sqs:DeleteMessage", queue_name(queue_url), access):
            answer = sqs(queue_url, access).delete_message_batch(
                QueueUrl=queue_url,
                Entries=[{"Id": id_, "ReceiptHandle": it["ReceiptHandle"]} for id_, it in waiting.items()],
            )
        for it in answer.get("Successful", ()):
            waiting.pop(it["Id"])
    return len(messages) - len(waiting)
