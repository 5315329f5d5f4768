"""WriteParquet: what is derived from each commit becomes durable, the dataset that marks completeness last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa

from schemas.datasets import DETECTIONS, EVENTS, SESSIONS
from schemas.values import Commit, Slice
from transforms.dofn import StageFn
from transforms.stores.commit_log import CommitLog
from transforms.stores.files import Output, Store, open_store, writers
from transforms.stores.parquet import DETECTIONS_LAYOUT, EVENTS_LAYOUT, FEW, SESSIONS_LAYOUT, encode, flat, part
from transforms.stores.settings import Settings, commit_log
from transforms.stores.side_by_side import SideBySide
from transforms.stores.tree import path_of


def write_parquet(derived: Slice, store: Store, log: CommitLog, pool: SideBySide) -> Slice:
    """Create the derived files of each commit; "already there" is success, the content is the same.

    The marker comes last and always, even without rows: `cloud_audit_logs`, without these `detections`.

    Raises what the store raises: then nothing of the slice may be acknowledged.
    """
    events = derived.events
    texts = flat(events) if events is not None and len(events) < FEW * len(derived.commits) else None

    def rows_of(commit: Commit, events: pa.Table) -> pa.Table:
        if texts is not None and commit.length < FEW:
            return texts.slice(commit.start, commit.length)
        rows = events.slice(commit.start, commit.length)
        return part(rows) if commit.length < len(events) else rows

    def write(index: int) -> None:
        commit = derived.commits[index]
        for dataset, tables, layout in (
            (SESSIONS, derived.sessions, SESSIONS_LAYOUT),
            (DETECTIONS, derived.detections, DETECTIONS_LAYOUT),
        ):
            if tables and (len(tables[index]) or dataset == log.marker):
                store.create(path_of(dataset, commit.partition, commit.number), encode(tables[index], layout))
        if events is not None:
            path = path_of(EVENTS, commit.partition, commit.number)
            store.create(path, encode(rows_of(commit, events), EVENTS_LAYOUT))
        log.completed(commit.partition, commit.number)

    if events is not None or derived.detections:
        pool.map(write, range(len(derived.commits)))
    return derived


@dataclass(eq=False)
class WriteParquet(beam.PTransform[Any, Any]):
    """Slice in, the same slice out once its derived files are durable."""

    output: Output
    settings: Settings

    def expand(self, slices: Any) -> Any:
        """Write each slice."""
        return slices | beam.ParDo(_Write(self.output, self.settings)).with_output_types(Slice)


class _Write(StageFn):
    def __init__(self, output: Output, settings: Settings) -> None:
        self._output, self._settings = output, settings

    def setup(self) -> None:
        self._store = open_store(self._output)
        self._pool = writers(self._store, "write")
        self._log = commit_log(self._output, self._settings)

    def teardown(self) -> None:
        self._pool.shutdown()

    def process(self, derived: Slice) -> Iterator[Slice]:
        yield write_parquet(derived, self._store, self._log, self._pool)
