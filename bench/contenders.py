"""What is measured: each contender turns a folder of trail objects into Parquet and says how many records it read."""

from __future__ import annotations

import json
import sys
import tempfile
from array import array
from collections.abc import Callable
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path

from bench.measure import Measurement, answer, child, measure
from bench.workloads import CACHE, WARM_UP, Workload

Contender = Callable[[Path, Path], int]
"""Folder of objects, empty folder to write to: the records that were read."""

# Where each of the 28 columns of the scripts stands in a record.
COLUMNS = (
    *("eventVersion", "eventTime", "eventSource", "eventName", "awsRegion", "sourceIPAddress", "userAgent"),
    *("errorCode", "errorMessage", "requestParameters", "responseElements", "resources", "requestID", "eventID"),
    *("readOnly", "eventType", "recipientAccountId", "eventCategory"),
    *("userIdentity.type", "userIdentity.principalId", "userIdentity.arn", "userIdentity.accountId"),
    *("userIdentity.accessKeyId", "userIdentity.userName", "userIdentity.invokedBy"),
    "userIdentity.sessionContext.sessionIssuer.arn",
    *(f"userIdentity.sessionContext.attributes.{name}" for name in ("creationDate", "mfaAuthenticated")),
)


def trailweave(objects: Path, output: Path) -> int:
    """`trailweave replay`, in this process: both datasets, commit, ledger and all."""
    return _replay(objects, output, workers=1)


def two_workers(objects: Path, output: Path) -> int:
    """`trailweave replay --workers 2`."""
    return _replay(objects, output, workers=2)


def both_datasets(objects: Path, output: Path) -> int:
    """`trailweave replay` of the raw and the normalized records alone."""
    return _replay(objects, output, workers=1, sessions=False, detections=False)


def without_sessions(objects: Path, output: Path) -> int:
    """The same without session fragments and links."""
    return _replay(objects, output, workers=1, sessions=False)


def without_detections(objects: Path, output: Path) -> int:
    """The same without rules."""
    return _replay(objects, output, workers=1, detections=False)


def many_rules(objects: Path, output: Path) -> int:
    """The same with 800 rules."""
    from bench.many_rules import folder

    return _replay(objects, output, workers=1, rules=[folder()])


def _replay(objects: Path, output: Path, workers: int, **options: object) -> int:
    from pipeline import commands
    from transforms.list_objects import Selection

    summary = commands.replay(
        commands.load(output=str(output), **options),
        [str(objects)],
        Selection(),
        workers=workers,
        force=False,
        dead_letters=False,
        beam_flags=[],
        quiet=True,
    )
    records = summary.as_json()["records"]
    if summary.as_json()["written"] != records:
        raise RuntimeError(f"{records} records, of which only {summary.as_json()['written']} were written")
    return int(records)


def floor(objects: Path, output: Path) -> int:
    """The least that keeps the records: inflate, split, one zstd column."""
    import deflate
    import msgspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    decode = msgspec.json.Decoder(dict[str, list[msgspec.Raw]]).decode
    schema = pa.schema([pa.field("raw_json", pa.string(), nullable=False)])
    count = 0
    with pq.ParquetWriter(
        output / "floor.parquet", schema, compression="zstd", compression_level=1, use_dictionary=False
    ) as writer:
        for path in sorted(objects.rglob("*.json.gz")):
            body = path.read_bytes()
            text = deflate.gzip_decompress(body, int.from_bytes(body[-4:], "little"))
            records = decode(text)["Records"]
            offsets = array("i", accumulate(map(len, records), initial=0))
            buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(records))]
            writer.write_batch(
                pa.record_batch([pa.Array.from_buffers(pa.string(), len(records), buffers)], schema=schema)
            )
            count += len(records)
    return count


def duckdb(objects: Path, output: Path, threads: int | None = 1) -> int:
    """A DuckDB script that parses each record once: 28 columns, sorted by time."""
    import duckdb

    paths = ", ".join(f"'$.{path}'" for path in COLUMNS)
    columns = ", ".join(
        f"found[{place}]{'::TIMESTAMP' if path == 'eventTime' else ''} AS {_name(path)}"
        for place, path in enumerate(COLUMNS, 1)
    )
    with duckdb.connect() as connection:
        if threads:
            connection.execute(f"SET threads = {threads}")
        (count,) = connection.execute(
            f"""
            COPY (
                SELECT {columns} FROM (
                    SELECT json_extract_string(record, [{paths}]) AS found FROM (
                        SELECT unnest(json_extract(json, '$.Records[*]')) AS record
                        FROM read_json_objects(
                            '{objects}/**/*.json.gz', format = 'unstructured', maximum_object_size = 64_000_000
                        )
                    )
                ) ORDER BY event_time
            ) TO '{output}/duckdb.parquet' (FORMAT parquet, COMPRESSION zstd)
            """
        ).fetchall()[0]
    return int(count)


def duckdb_threads(objects: Path, output: Path) -> int:
    """The same with as many threads as DuckDB takes by default."""
    return duckdb(objects, output, threads=None)


def chdb(objects: Path, output: Path) -> int:
    """The same table by a chDB script: one typed extraction, one thread."""
    from chdb.session import Session

    kinds: dict[str, object] = {}
    for path in COLUMNS:
        *parents, leaf = path.split(".")
        inner = kinds
        for parent in parents:
            inner = inner.setdefault(parent, {})  # type: ignore[assignment]
        inner[leaf] = "String"
    columns = ", ".join(
        f"parseDateTimeBestEffort(record.{path}) AS event_time"
        if path == "eventTime"
        else f"record.{path} AS {_name(path)}"
        for path in COLUMNS
    )
    target = output.absolute() / "chdb.parquet"
    with Session() as session:
        session.query(
            f"""
            SELECT {columns} FROM (
                SELECT arrayJoin(JSONExtract(json, 'Records', 'Array({_tuple(kinds)})')) AS record
                FROM file('{objects.absolute()}/**/*.json.gz', JSONAsString)
            ) ORDER BY event_time
            INTO OUTFILE '{target}' FORMAT Parquet
            SETTINGS max_threads = 1, max_parsing_threads = 1, output_format_parquet_parallel_encoding = 0,
                     output_format_parquet_compression_method = 'zstd'
            """
        )
    import pyarrow.parquet as pq

    return int(pq.read_metadata(target).num_rows)


def _name(path: str) -> str:
    return "event_time" if path == "eventTime" else path.replace(".", "_")


def _tuple(kinds: dict[str, object]) -> str:
    members = ", ".join(f"{name} {_tuple(kind) if isinstance(kind, dict) else kind}" for name, kind in kinds.items())
    return f"Tuple({members})"


CONTENDERS: dict[str, Contender] = {
    "trailweave": trailweave,
    "both datasets": both_datasets,
    "floor": floor,
    "duckdb": duckdb,
    "duckdb threads": duckdb_threads,
    "chdb": chdb,
    "two workers": two_workers,
    "without sessions": without_sessions,
    "without detections": without_detections,
    "800 rules": many_rules,
}


def measured(contender: str, workload: Workload) -> Measurement:
    """The contender on a workload, in a process of its own."""
    with child("bench.contenders", contender, str(workload.folder()), str(WARM_UP.folder())) as output:
        return Measurement(**answer(output))


def main(contender: str, objects: Path, warm_up: Path) -> None:
    """The child: what it writes lies on the disk of the workloads, and is removed."""
    run = CONTENDERS[contender]
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="output-") as folder:
        warm, output = Path(folder, "warm"), Path(folder, "measured")
        warm.mkdir()
        output.mkdir()
        run(warm_up, warm)
        found = measure(lambda: run(objects, output))
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
