"""`trailweave repair`, and what every writer does at its start: derive what a killed writer left underived."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from pipeline.derive import derive
from schemas.datasets import RAW
from schemas.values import Partition
from transforms.enrichment.book import NO_FILES, EnrichmentBook
from transforms.providers.rows import committed_slice
from transforms.rules.book import NO_RULES, RuleBook
from transforms.stores.files import Output, Store, open_store, writers
from transforms.stores.settings import Settings, commit_log
from transforms.stores.tree import list_files, list_partitions
from transforms.write_parquet import write_parquet

RECENT_DAYS = 7
_LISTERS = 16


def repair(
    output: Output,
    settings: Settings,
    *,
    rules: RuleBook = NO_RULES,
    enrichment: EnrichmentBook = NO_FILES,
    since: str | None = None,
    on_commit: Callable[[], None] | None = None,
) -> int:
    """Complete every commit of a partition from day `since` (`yyyy-mm-dd`) on: how many were incomplete.

    Safe beside living writers: "already there" is success, and the content is a function of the raw file, of `rules`,
    whose hits become `detections`, and of the data that enriches.
    """
    store, log = open_store(output), commit_log(output, settings)
    count = 0
    with ThreadPoolExecutor(_LISTERS) as pool, writers(store, "repair") as hands:
        for partition, number in incomplete(store, settings, pool, since):
            committed = committed_slice(log.read_commit(partition, number), partition, number)
            write_parquet(derive(committed, settings, rules, enrichment), store, log, hands)
            count += 1
            if on_commit:
                on_commit()
    return count


def incomplete(
    store: Store, settings: Settings, pool: ThreadPoolExecutor, since: str | None = None
) -> Iterator[tuple[Partition, int]]:
    """Commits without their completeness marker, partition by partition."""
    marker = settings.marker
    if marker is None:
        return

    def missing(partition: Partition) -> list[tuple[Partition, int]]:
        raw = list_files(store, RAW, partition)
        complete = {n for it in list_files(store, marker, partition) for n in range(it.first, it.last + 1)}
        return [(partition, it.first) for it in raw if not it.is_range and it.first not in complete]

    chosen = [it for it in list_partitions(store, RAW) if since is None or it.day >= since]
    for found in pool.map(missing, chosen):
        yield from found


def recent() -> str:
    """The first of the last seven days, UTC."""
    return (datetime.now(UTC) - timedelta(days=RECENT_DAYS)).date().isoformat()
