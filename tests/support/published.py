"""Every CloudTrail record that the folder `TRAILWEAVE_DATA` holds, whatever stands around it."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("TRAILWEAVE_DATA", ROOT / "../shared/data")).resolve()
_SUFFIXES = {".json", ".jsonl", ".log", ".md", ".yml", ".yaml", ".raw", ".txt"}


@cache
def published() -> tuple[tuple[str, bytes], ...]:
    """File name and text of every record in the folder that names itself an event of CloudTrail."""
    found = []
    for path in sorted(DATA.rglob("*")):
        if path.is_file() and (path.suffix in _SUFFIXES or path.name.endswith(".json.gz")):
            found += [(path.name, record) for value in _values(path) for record in _records(value)]
    return tuple((name, json.dumps(record, ensure_ascii=False).encode()) for name, record in found)


def _values(path: Path) -> Iterator[Any]:
    """Every JSON object or array in a file, whatever stands around it."""
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    decoder, source, at = json.JSONDecoder(strict=False), text.decode("utf-8", "replace"), 0
    while (at := source.find("{", at)) >= 0:
        try:
            value, at = decoder.raw_decode(source, at)
            yield value
        except ValueError:
            at += 1


def _records(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        is_event = isinstance(value.get("eventVersion"), str) and (
            "eventSource" in value or "insightDetails" in value
        )
        if is_event:
            yield value
            return
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _records(item)
