"""`trailweave ingest` over emulated SQS and S3: throughput from a full queue, and the lag of a steady feed."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import Measurement, answer, child, measure
from bench.workloads import CACHE, WARM_UP, Workload
from pipeline.demo.emulator import Emulator, emulator, provision, upload

_BUCKET, _QUEUE = "bench-trail", "bench-queue"
_IDLE_S = 3.0
_FEED_S, _FEED_PER_S = 15, 10
MAX_WAIT_S = 2.0
"""How long a batch of the steady feed may fill: the lag is this and the work."""


@dataclass(frozen=True)
class Ingested:
    """A measured ingest: objects a second of wall time, and seconds from send to commit, the median and 95 %."""

    measured: Measurement
    objects_per_s: float
    lag_p50_s: float
    lag_p95_s: float


def from_full_queue(workload: Workload) -> Ingested:
    """Everything was announced before ingest begins."""
    return _ingest(workload, steady=False)


def from_steady_feed(workload: Workload) -> Ingested:
    """Ten objects a second are announced while ingest runs; the lag is that of a system at rest between batches."""
    return _ingest(workload, steady=True)


def _ingest(workload: Workload, *, steady: bool) -> Ingested:
    with emulator() as emulated:
        warm_url, url = _queue(emulated, "warm"), _queue(emulated, "measured")
        _upload(emulated, "warm", WARM_UP.bodies())
        if not steady:
            _upload(emulated, "measured", workload.bodies())
        variables = emulated.environment(os.environ)
        with child("bench.queued", warm_url, url, variables=variables) as output:
            output.readline()
            if steady:
                _upload(emulated, "measured", _paced(workload.bodies()))
            found = answer(output)
    return Ingested(Measurement(**found.pop("measured")), **found)


def _queue(emulated: Emulator, name: str) -> str:
    s3, sqs = _clients(emulated)
    return provision(s3, sqs, bucket=f"{_BUCKET}-{name}", queue=f"{_QUEUE}-{name}")


def _upload(emulated: Emulator, name: str, objects: Iterator[tuple[str, bytes]]) -> None:
    s3, _ = _clients(emulated)
    upload(s3, f"{_BUCKET}-{name}", objects)


def _clients(emulated: Emulator) -> tuple[object, object]:
    from transforms.stores.aws import Access, client

    with emulated.applied():
        access = Access(endpoint_url=emulated.endpoint_url)
        return client("s3", access), client("sqs", access)


def _paced(objects: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    begin = time.monotonic()
    for number, each in zip(range(_FEED_S * _FEED_PER_S), objects, strict=False):
        time.sleep(max(0.0, begin + number / _FEED_PER_S - time.monotonic()))
        yield each


def _run(url: str, output: Path, *, until_idle_s: float) -> int:
    from pipeline import commands

    config = commands.load(output=str(output), max_wait=MAX_WAIT_S)
    summary = commands.ingest(config, [], url, commands.IngestOptions(until_idle_s=until_idle_s, quiet=True))
    return int(summary.as_json()["records"])


def main(warm_url: str, url: str) -> None:
    """The child: ingest the warm-up, say so, ingest the rest until it is idle, and read the lag from the log."""
    import duckdb

    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="output-") as folder:
        _run(warm_url, Path(folder, "warm"), until_idle_s=0.5)
        print("ready", flush=True)
        begin = datetime.now(UTC)
        measured = measure(lambda: _run(url, Path(folder, "measured"), until_idle_s=_IDLE_S))
        objects, end, p50, p95 = duckdb.execute(
            "SELECT count(*), max(logged_time), quantile_cont(lag, 0.5), quantile_cont(lag, 0.95) FROM ("
            " SELECT logged_time, epoch(logged_time) - epoch(sent_time) AS lag"
            f" FROM '{folder}/measured/ingest_log/*/*.parquet')"
        ).fetchall()[0]
    rate = objects / (end - begin).total_seconds()
    print(json.dumps(asdict(Ingested(measured, rate, p50, p95))))


if __name__ == "__main__":
    main(*sys.argv[1:])
