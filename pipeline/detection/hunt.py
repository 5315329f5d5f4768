"""`trailweave hunt`: rules over what is ingested already, as bounded Beam runs over the raw tree.

The hits are what ingestion with the same rules would have raised. They go to a tree of their own,
`hunts/ruleset=<digest>/account_id=.../day=.../<number>.parquet`, which the view `detections` unites with the others;
run again, a hunt finds its files there. The digest is that of what decides: rules, indicators and enrichment data.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.metrics import Metrics

from pipeline.derive import derive
from pipeline.ingestion.runs import run
from pipeline.terminal.progress import Display
from pipeline.terminal.stopping import stopping
from schemas import counters
from schemas.datasets import DETECTIONS, HUNTS, RAW
from schemas.values import Partition
from transforms.enrichment.book import NO_FILES, EnrichmentBook
from transforms.list_objects import Selection
from transforms.providers.rows import committed_slice
from transforms.receive_messages import STOP
from transforms.rules.book import RuleBook
from transforms.stores.files import Output, Store, open_store, opened
from transforms.stores.parquet import DETECTIONS_LAYOUT, encode
from transforms.stores.settings import Settings
from transforms.stores.tree import Numbered, folder_of, list_files, list_partitions

HITS = "rule_hits"
_RUN_FILES = 64
_EVERYTHING = Settings(normalize=True, sessions=False, detections=True)


@dataclass(frozen=True, slots=True)
class RawFile:
    """A file of the raw tree: one commit, or a compacted range of them."""

    partition: Partition
    file: Numbered


def hunt(
    output: Output,
    rules: RuleBook,
    selection: Selection,
    *,
    enrichment: EnrichmentBook = NO_FILES,
    beam_flags: Sequence[str] = (),
    quiet: bool = False,
) -> Counter[str]:
    """Look through the selected accounts and days: the counts of records and of hits.

    A signal ends it after the run in work.
    """
    store = open_store(output)
    total: Counter[str] = Counter()
    with stopping(), Display("hunting", bounded=True, quiet=quiet) as display:
        files = list(_selected(store, selection))
        display.expect(len(files))
        for start in range(0, len(files), _RUN_FILES):
            if STOP.is_set():
                break
            chunk = files[start : start + _RUN_FILES]
            total += run(lambda pipeline, chunk=chunk: search(pipeline, output, rules, enrichment, chunk), beam_flags)  # type: ignore[misc]
            display.show(total, len(chunk))
    return total


def digest_of(rules: RuleBook, enrichment: EnrichmentBook) -> str:
    """16 hexadecimal digits that change with the rules and with what enrichment tells them of events."""
    return hashlib.sha256(f"{rules.digest} {enrichment.data().version}".encode()).hexdigest()[:16]


def search(
    pipeline: beam.Pipeline, output: Output, rules: RuleBook, enrichment: EnrichmentBook, files: list[RawFile]
) -> Any:
    """The graph: raw files in, the files of the hunt out."""
    return (
        pipeline
        | "ListRawFiles" >> beam.Create(files)
        | "SpreadFiles" >> beam.Reshuffle()
        | "SearchRawFile" >> beam.ParDo(_Search(output, rules, enrichment))
    )


def _selected(store: Store, selection: Selection) -> Iterator[RawFile]:
    for partition in list_partitions(store, RAW):
        if selection.takes(partition.account, None, partition.day, partition.day):
            for file in list_files(store, RAW, partition):
                yield RawFile(partition, file)


def search_file(
    store: Store, found: RawFile, rules: RuleBook, enrichment: EnrichmentBook = NO_FILES
) -> tuple[int, pa.Table]:
    """How many records a raw file holds, and its rows of `detections`; by row groups, so memory is bounded."""
    records = 0
    tables: list[pa.Table] = []
    with opened(store, f"{folder_of(RAW, found.partition)}/{found.file.name}") as file:
        raw = pq.ParquetFile(file)
        for group in range(raw.num_row_groups):
            rows = raw.read_row_group(group)
            records += len(rows)
            # Each row keeps its own number, in a compacted range too.
            numbers = rows["commit_number"].to_numpy()
            for number in np.unique(numbers).tolist():
                own = rows.take(np.flatnonzero(numbers == number)) if found.file.is_range else rows
                committed = committed_slice(own, found.partition, number)
                tables += derive(committed, _EVERYTHING, rules, enrichment).detections
    return records, pa.concat_tables(tables) if tables else DETECTIONS.arrow.empty_table()


class _Search(beam.DoFn):
    def __init__(self, output: Output, rules: RuleBook, enrichment: EnrichmentBook) -> None:
        self._output, self._rules, self._enrichment = output, rules, enrichment
        self._records = Metrics.counter(counters.NAMESPACE, counters.RECORDS)
        self._hits = Metrics.counter(counters.NAMESPACE, HITS)

    def setup(self) -> None:
        self._store = open_store(self._output)
        self._digest = digest_of(self._rules, self._enrichment)

    def process(self, found: RawFile) -> Iterator[int]:
        records, hits = search_file(self._store, found, self._rules, self._enrichment)
        self._records.inc(records)
        self._hits.inc(len(hits))
        if len(hits):
            folder = f"{HUNTS.name}/ruleset={self._digest}/{found.partition.path}"
            self._store.create(f"{folder}/{found.file.name}", encode(hits, DETECTIONS_LAYOUT))
        yield len(hits)
