"""AcknowledgeMessages: the last stage. A message is deleted when each of its objects has a durable outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from schemas import counters
from schemas.values import Receipt, Slice
from transforms.dofn import StageFn
from transforms.stores import queue
from transforms.stores.sources import Source


def acknowledge_messages(receipts: Sequence[Receipt], sources: Mapping[str, Source]) -> int:
    """Delete the messages, in batches of ten, partial failures retried: how many are gone from their queue.

    One that could not be deleted is delivered again and found to hold nothing new.
    """
    access = {source.queue_url: source.access for source in sources.values()}
    return sum(
        queue.delete([it for it in receipts if it.queue_url == url], access[url])
        for url in dict.fromkeys(it.queue_url for it in receipts)
    )


@dataclass(eq=False)
class AcknowledgeMessages(beam.PTransform[Any, Any]):
    """Slice in; out, for a count, how many messages were deleted."""

    sources: Mapping[str, Source]

    def expand(self, slices: Any) -> Any:
        """Acknowledge the receipts of each slice."""
        return slices | beam.ParDo(_Acknowledge(dict(self.sources))).with_output_types(int)


class _Acknowledge(StageFn):
    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self._deleted = Metrics.counter(counters.NAMESPACE, counters.MESSAGES_DELETED)

    def process(self, filled: Slice) -> Iterator[int]:
        deleted = acknowledge_messages(filled.receipts, self._sources)
        self._deleted.inc(deleted)
        yield deleted
