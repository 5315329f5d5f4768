"""NormalizeRecords: committed records become rows of `cloud_audit_logs`, one for one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from schemas.datasets import EVENTS
from schemas.values import Slice
from transforms.dofn import StageFn
from transforms.providers import PROVIDERS_BY_NAME
from transforms.stores.parquet import conform


def normalize_records(committed: Slice) -> Slice:
    """The slice with `events`, row for row with `records`; a slice without commits stays as it is.

    A record that cannot be normalized fully still has its row, which says why.
    """
    if committed.records is None or committed.provider is None or not committed.commits:
        return committed
    events = PROVIDERS_BY_NAME[committed.provider].normalize(committed.records)
    numbers = np.zeros(len(events), np.int32)
    for commit in committed.commits:
        numbers[commit.start : commit.start + commit.length] = commit.number
    columns: dict[str, Any] = {name: events[name] for name in events.column_names}
    columns["ingestion_time"] = committed.records["ingestion_time"]
    columns["commit_number"] = pa.array(numbers)
    return replace(committed, events=conform(columns, EVENTS))


@dataclass(eq=False)
class NormalizeRecords(beam.PTransform[Any, Any]):
    """Slice in, the same slice with its events out."""

    def expand(self, slices: Any) -> Any:
        """Normalize each slice."""
        return slices | beam.ParDo(_Normalize()).with_output_types(Slice)


class _Normalize(StageFn):
    def process(self, committed: Slice) -> Iterator[Slice]:
        yield normalize_records(committed)
