"""A day of an organisation, simulated: what trailweave receives, reads and writes, and what it takes.

Deliveries fall evenly into the day, each region of each account on its own clock; everything else is counted: which
accounts share a micro-batch decides how many files a day has. What an object and a record cost comes from
`bench.scale`, which measures it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DAY_S = 86_400
# A merged file is full with so many bytes.
MERGED_BYTES = 256_000_000
# List prices of us-east-1 in dollars: a thousand PUTs or LISTs, a thousand GETs, a million requests to SQS.
PUT_1000, GET_1000, SQS_MILLION = 0.005, 0.0004, 0.40


@dataclass(frozen=True)
class Organisation:
    """So many accounts, each active in `regions`, each of which has `deliveries` objects a day of `records`."""

    name: str
    accounts: int
    regions: int
    deliveries: int
    records: int

    @property
    def objects(self) -> int:
        """Objects a day."""
        return self.accounts * self.regions * self.deliveries

    @property
    def events(self) -> int:
        """Records a day."""
        return self.objects * self.records


@dataclass(frozen=True)
class Costs:
    """What was measured: CPU seconds of a record and, beside that, of an object; bytes stored; requests; memory.

    `files` is how many a commit writes, `stored` the bytes of a record in all of them, `text_bytes` and `gzip_bytes`
    those of a record as delivered. `receives`, `deletes` and `extensions` are requests to SQS for an object, `gets`
    those to S3; `lists` are those for a file that is written.
    """

    record_cpu_s: float
    object_cpu_s: float
    text_bytes: float
    gzip_bytes: float
    stored: float
    files: float
    receives: float
    deletes: float
    extensions: float
    gets: float
    lists: float
    worker_bytes: float


@dataclass(frozen=True)
class Day:
    """What a day takes. `cores` is CPU seconds over the seconds of a day; dollars are for requests alone."""

    organisation: Organisation
    text_bytes: float
    batches: int
    cores: float
    files: int
    merged: int
    s3_requests: int
    sqs_requests: int
    dollars: float

    @property
    def limit(self) -> str:
        """What is felt first."""
        if self.cores > 0.7:
            return f"CPU: {np.ceil(self.cores / 0.7):.0f} workers, each at 70 % at most"
        return "small files" if self.files > 1_000_000 else "nothing"


def day(
    organisation: Organisation, costs: Costs, *, max_wait_s: float = 30.0, max_messages: int = 1_000, seed: int = 0
) -> Day:
    """The day of an organisation that one loop ingests."""
    batch, account = deliveries(organisation, max_wait_s, max_messages, seed)
    commits = len(np.unique(batch * organisation.accounts + account))
    objects, events = organisation.objects, organisation.events
    batches = len(np.unique(batch))
    partitions = organisation.accounts
    partition_bytes = events * costs.stored / partitions
    files = int(commits * costs.files) + batches
    lists = files * costs.lists
    gets = objects * costs.gets
    # An idle loop asks once a second.
    sqs = int(max(objects * costs.receives, DAY_S) + objects * (costs.deletes + costs.extensions))
    return Day(
        organisation,
        events * costs.text_bytes,
        batches,
        (events * costs.record_cpu_s + objects * costs.object_cpu_s) / DAY_S,
        files,
        int(partitions * costs.files * max(1, np.ceil(partition_bytes / costs.files / MERGED_BYTES))),
        int(files + lists + gets),
        sqs,
        (files + lists) / 1e3 * PUT_1000 + gets / 1e3 * GET_1000 + sqs / 1e6 * SQS_MILLION,
    )


def deliveries(
    organisation: Organisation, max_wait_s: float, max_messages: int, seed: int = 0
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Of each object of the day, in order of its coming, the micro-batch that it falls into and its account.

    A batch ends `max_wait_s` after its first message, or when it is full.
    """
    rng = np.random.default_rng(seed)
    sources = organisation.accounts * organisation.regions
    step = DAY_S / organisation.deliveries
    times = (rng.random((sources, 1)) + np.arange(organisation.deliveries)) * step
    account = np.repeat(np.arange(organisation.accounts), organisation.regions * organisation.deliveries)
    order = np.argsort(times, axis=None, kind="stable")
    times, account = times.ravel()[order], account[order]
    batch = np.zeros(len(times), np.int64)
    start = number = 0
    while start < len(times):
        full = min(start + max_messages, len(times))
        stop = start + int(np.searchsorted(times[start:full], times[start] + max_wait_s, side="right"))
        batch[start:stop] = number
        start, number = stop, number + 1
    return batch, account
