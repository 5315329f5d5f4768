"""Small output roots, written file by file as the stages would."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.datasets import DEAD_LETTERS, EVENTS, INGEST_LOG, RAW, Dataset

ACCOUNT = "012345678901"
OTHER = "999988887777"
DAY = "2026-01-31"


def at(text: str) -> datetime:
    """A time of day of `DAY`, or a full ISO time."""
    return datetime.fromisoformat(text if "T" in text else f"{DAY}T{text}").replace(tzinfo=UTC)


def filled(dataset: Dataset, values: dict[str, Any]) -> dict[str, Any]:
    """A row with every column that may not be null."""
    assert values.keys() <= set(dataset.arrow.names), values.keys() - set(dataset.arrow.names)
    defaults: dict[pa.DataType, Any] = {pa.string(): "", pa.timestamp("us", tz="UTC"): at("12:00:00")}
    return {field.name: defaults.get(field.type, 0) for field in dataset.arrow if not field.nullable} | values


class Tree:
    """An output root below a folder. Row numbers make ids and ledger files distinct."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._numbers = itertools.count(1)
        self.write(".trailweave/settings.json", json.dumps({"normalize": True}).encode())

    def write(self, path: str, content: bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def parquet(
        self, dataset: Dataset, folder: str, name: str, rows: Sequence[dict[str, Any]], lacking: str = ""
    ) -> None:
        table = pa.Table.from_pylist([filled(dataset, row) for row in rows], schema=dataset.arrow)
        content = io.BytesIO()
        pq.write_table(table.drop_columns([lacking]) if lacking else table, content, compression="zstd")
        self.write(f"{dataset.name}/{folder}/{name}", content.getvalue())

    def commit(
        self,
        events: Sequence[dict[str, Any]],
        number: int | str = 1,
        *,
        account: str = ACCOUNT,
        day: str = DAY,
        datasets: Sequence[Dataset] = (RAW, EVENTS),
        lacking: str = "",
    ) -> None:
        """One file of a partition in each dataset; an event without a time gets noon of the day."""
        name = f"{number:08d}.parquet" if isinstance(number, int) else number
        folder = f"account_id={account}/day={day}"
        rows = [
            {"event_id": f"e{next(self._numbers)}", "event_time": at(f"{day}T12:00:00"), **event} for event in events
        ]
        for dataset in datasets:
            kept = [{name: row[name] for name in row.keys() & set(dataset.arrow.names)} for row in rows]
            self.parquet(dataset, folder, name, [{"recipient_account_id": account, **row} for row in kept], lacking)

    def ledger(self, *rows: dict[str, Any], day: str = DAY) -> None:
        """One file of the ingest log."""
        self.parquet(INGEST_LOG, f"day={day}", f"{next(self._numbers):08x}-7000.parquet", rows)

    def dead_letters(self, *rows: dict[str, Any], day: str = DAY) -> None:
        """One file of dead letters."""
        content = io.BytesIO()
        fastavro.writer(content, DEAD_LETTERS.avro, [filled(DEAD_LETTERS, row) for row in rows], codec="deflate")
        self.write(f"dead_letters/day={day}/{next(self._numbers):064x}.avro", content.getvalue())
