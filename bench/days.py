"""A day of an organisation, simulated: what trailweave receives, reads and writes, and what it takes.

Deliveries fall evenly into the day, each region of each account on its own clock; everything else is counted: which
accounts share a micro-batch decides how many commits, and so how many files, a day has. What a record, an object, a
commit and a run cost comes from `bench.costs`, as `bench.scale` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.ingestion.ingest import Rest
from transforms.explode_records import MAX_PARTITIONS
from transforms.receive_messages import Limits
from transforms.stores.commit_log import FRESH_S

DAY_S = 86_400
# A merged file is full with so many bytes.
MERGED_BYTES = 256_000_000
# List prices of us-east-1 in dollars: a thousand PUTs or LISTs, a thousand GETs, a million requests to SQS.
PUT_1000, GET_1000, SQS_MILLION = 0.005, 0.0004, 0.40
# A cold partition, and one not listed for half an hour, is listed in two datasets.
_LISTS = 2
_POLL_S = 1.0


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
    """What was measured.

    CPU seconds of a record and, beside that, of an object, of a commit and of a run; bytes of a record as delivered,
    as text and stored, and of a commit beside its records; files of a commit; requests for an object: `deletes` and
    `extensions` to SQS, `gets` to S3. `worker_bytes` is the most memory.
    """

    record_cpu_s: float
    object_cpu_s: float
    commit_cpu_s: float
    run_cpu_s: float
    text_bytes: float
    gzip_bytes: float
    stored: float
    commit_bytes: float
    files: float
    deletes: float
    extensions: float
    gets: float
    worker_bytes: float


@dataclass(frozen=True)
class Day:
    """What a day takes. `cores` are CPU seconds over the seconds of a day, by cause; dollars are for requests alone.

    `stored` and `files` are as written, `merged_bytes` and `merged` after compaction.
    """

    organisation: Organisation
    text_bytes: float
    batches: int
    commits: int
    cores: dict[str, float]
    files: int
    merged: int
    stored: float
    merged_bytes: float
    s3_requests: int
    sqs_requests: int
    dollars: float

    @property
    def all_cores(self) -> float:
        """Of all causes."""
        return sum(self.cores.values())

    @property
    def limit(self) -> str:
        """What is felt first."""
        if self.all_cores > 0.7:
            return f"CPU: {np.ceil(self.all_cores / 0.7):.0f} workers, each at 70 % at most"
        return "small files" if self.files > 1_000_000 else "nothing"


def day(
    organisation: Organisation, costs: Costs, *, max_wait_s: float = 30.0, max_messages: int = 1_000, seed: int = 0
) -> Day:
    """The day of an organisation that one loop ingests."""
    times, batch, account = deliveries(organisation, max_wait_s, max_messages, seed)
    committed = np.unique(batch * organisation.accounts + account)
    commits = len(committed)
    objects, events = organisation.objects, organisation.events
    batches = int(batch[-1]) + 1
    merged_bytes = events * costs.stored
    # Each slice that ends objects writes a file of the ingest log.
    slices = int(np.ceil(np.bincount(committed // organisation.accounts) / MAX_PARTITIONS).sum())
    files = int(commits * costs.files) + slices
    lists = _LISTS * int(np.minimum(np.bincount(committed % organisation.accounts), DAY_S / FRESH_S).sum())
    gets = objects * costs.gets
    empty, idle_runs = _polls(times, batch, max_wait_s)
    # Messages that trickle in come one by one; of a backlog a request takes ten.
    sqs = int(objects + empty + objects * (costs.deletes + costs.extensions))
    causes = {
        "records": events * costs.record_cpu_s,
        "objects": objects * costs.object_cpu_s,
        "commits": commits * costs.commit_cpu_s,
        "runs": (batches + idle_runs) * costs.run_cpu_s,
    }
    merged_a_partition = max(1, np.ceil(merged_bytes / organisation.accounts / costs.files / MERGED_BYTES))
    return Day(
        organisation,
        events * costs.text_bytes,
        batches,
        commits,
        {name: seconds / DAY_S for name, seconds in causes.items()},
        files,
        int(organisation.accounts * costs.files * merged_a_partition),
        merged_bytes + commits * costs.commit_bytes,
        merged_bytes,
        int(files + lists + gets),
        sqs,
        (files + lists) / 1e3 * PUT_1000 + gets / 1e3 * GET_1000 + sqs / 1e6 * SQS_MILLION,
    )


def deliveries(
    organisation: Organisation, max_wait_s: float, max_messages: int, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Of each object of the day, in order of its coming, when it comes (seconds), its micro-batch and its account.

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
    return times, batch, account


def idle(seconds: NDArray[np.float64], max_wait_s: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Polls and runs of a loop that has nothing for so long, as `pipeline.ingestion.ingest` rests between them."""
    ends = [_POLL_S * (it + 1) for it in range(round(Limits().idle_s / _POLL_S))]
    first, rest = len(ends), Rest.within(max_wait_s)
    while ends[-1] < seconds.max(initial=0.0):
        rest = rest.longer()
        ends.append(ends[-1] + rest.seconds + _POLL_S)
    polls = np.searchsorted(np.array(ends), seconds, side="right")
    return polls, np.maximum(0, polls - first) + (polls >= first)


def _polls(times: NDArray[np.float64], batch: NDArray[np.int64], max_wait_s: float) -> tuple[int, int]:
    """Polls that give nothing, and runs of these alone: while batches fill, and between them."""
    firsts = np.flatnonzero(np.diff(batch, prepend=-1))
    lasts = np.append(firsts[1:], len(times)) - 1
    gaps = np.diff(times)
    within = int((gaps[np.diff(batch) == 0] // _POLL_S).sum())
    # A full batch ends with its last message, any other with its wait.
    ends = np.minimum(times[firsts] + max_wait_s, np.append(times[firsts[1:]], DAY_S))
    within += int((np.maximum(0.0, ends - times[lasts]) // _POLL_S).sum())
    quiet = np.append(times[firsts], DAY_S) - np.append(0.0, ends)
    polls, runs = idle(np.maximum(0.0, quiet), max_wait_s)
    return within + int(polls.sum()), int(runs.sum())
