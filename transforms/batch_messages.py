"""BatchMessages: messages worked on together. References only: where there is a shuffle, it is this one."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.timestamp import Timestamp

from schemas.values import Batch, Message
from transforms.dofn import StageFn
from transforms.stores.keys import facts


def batch_key(message: Message, buckets: int) -> str:
    """The key under which a message is batched: a small hash of bucket and account of its first key.

    A troubled message gets a key of its own: whatever brought its batch down before must not bring its neighbours
    down again. Correctness never depends on the grouping.
    """
    if message.receipt and message.receipt.is_troubled:
        return f"alone {message.receipt.message_id}"
    if buckets == 1 or not message.objects:
        return "0"
    first = message.objects[0]
    return str(zlib.crc32(f"{first.bucket} {facts(first.key).account}".encode()) % buckets)


@dataclass(eq=False)
class BatchMessages(beam.PTransform[Any, Any]):
    """Message in, Batch out; every message is in exactly one batch, whole.

    A bounded input is grouped: one batch a key, and `keys` is how many there are at most. With `by_bundle`, for an
    unbounded input, nothing is shuffled: the messages of a bundle, which are what the poll of one poller gave, or on
    Flink of those of one task, are a batch. So no message waits in an engine's state while its visibility runs out,
    and a poller receives again only when what it has is through.
    """

    keys: int = 1
    by_bundle: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.keys <= 64:
            raise ValueError(f"keys is {self.keys}; it must be 1 to 64")

    def expand(self, messages: Any) -> Any:
        """Key, group, and wrap each group."""
        if self.by_bundle:
            return messages | "Bundle" >> beam.ParDo(_Bundle()).with_output_types(Batch)
        keyed = messages | "Key" >> beam.Map(_keyed, keys=self.keys).with_output_types(tuple[str, Message])
        grouped = keyed | "Group" >> beam.GroupByKey()
        return grouped | "Batch" >> beam.MapTuple(_batch).with_output_types(Batch)


def _keyed(message: Message, keys: int) -> tuple[str, Message]:
    return batch_key(message, keys), message


def _batch(_: str, messages: Iterable[Message]) -> Batch:
    return Batch(tuple(messages))


class _Bundle(StageFn):
    """When a bundle ends: its messages together, then the troubled ones one by one, the least received first.

    So what brings a worker down does it after everything else of the bundle is through.
    """

    def start_bundle(self) -> None:
        self._messages: list[Message] = []

    def process(self, message: Message) -> None:
        self._messages.append(message)

    def finish_bundle(self) -> Iterator[Any]:
        now = Timestamp.now()
        for batch in batches(self._messages):
            yield GlobalWindows.windowed_value(batch, now)
        self._messages = []


def batches(messages: Sequence[Message]) -> list[Batch]:
    """The batches of what one poll gave."""
    alone = [(it.receipt.receive_count, it) for it in messages if it.receipt and it.receipt.is_troubled]
    together = tuple(it for it in messages if not (it.receipt and it.receipt.is_troubled))
    alone.sort(key=itemgetter(0))
    return [*([Batch(together)] if together else []), *(Batch((it,)) for _, it in alone)]
