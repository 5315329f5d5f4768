"""BatchMessages: messages worked on together. References only: this is the one shuffle of the pipeline."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from schemas.values import Batch, Message
from transforms.stores.keys import facts

_TROUBLED = 2


def batch_key(message: Message, buckets: int) -> str:
    """The key under which a message is batched: a small hash of bucket and account of its first key.

    A message received more than twice gets a key of its own: whatever brought its batch down before must not bring
    its neighbours down again. Correctness never depends on the grouping.
    """
    if message.receipt and message.receipt.receive_count > _TROUBLED:
        return f"alone {message.receipt.message_id}"
    if buckets == 1 or not message.objects:
        return "0"
    first = message.objects[0]
    return str(zlib.crc32(f"{first.bucket} {facts(first.key).account}".encode()) % buckets)


@dataclass(eq=False)
class BatchMessages(beam.PTransform[Any, Any]):
    """Message in, Batch out; every message is in exactly one batch, whole.

    `keys` is how many batches may fill side by side: 1 in one process, 4 to 16 on a cluster. Without `messages` a
    bounded input is one batch a key; with it a batch is at most so many messages, waited for `wait_s` seconds at
    most, in the global window, which is what an unbounded input needs.
    """

    keys: int = 1
    messages: int | None = None
    wait_s: float = 10.0

    def __post_init__(self) -> None:
        if not 1 <= self.keys <= 64:
            raise ValueError(f"keys is {self.keys}; it must be 1 to 64")

    def expand(self, messages: Any) -> Any:
        """Key, group, and wrap each group."""
        keyed = messages | "Key" >> beam.Map(_keyed, keys=self.keys).with_output_types(tuple[str, Message])
        if self.messages is None:
            grouped = keyed | "Group" >> beam.GroupByKey()
        else:
            grouped = keyed | "Group" >> beam.GroupIntoBatches(self.messages, self.wait_s)
        return grouped | "Batch" >> beam.MapTuple(_batch).with_output_types(Batch)


def _keyed(message: Message, keys: int) -> tuple[str, Message]:
    return batch_key(message, keys), message


def _batch(_: str, messages: Iterable[Message]) -> Batch:
    return Batch(tuple(messages))
