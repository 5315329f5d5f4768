"""Lists of indicators, read and put together into one table.

What a list holds and cannot be looked for is counted, with the reason and the first such value: a feed of a million
lines is not refused for one of them, and nothing of it is dropped in silence.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import ConfigError
from transforms.indicators.formats import Entries, Refused, from_csv, from_misp, from_stix
from transforms.indicators.values import canonical, guessed
from transforms.stores.local import files_below

_TIME: pa.DataType = pa.timestamp("us", tz="UTC")
_TEXT, _CONFIDENCE, _PLACE = pa.string(), pa.int8(), pa.int32()

_MERGEABLE: list[pa.Field[Any]] = [
    pa.field("kind", _TEXT),
    pa.field("value", _TEXT),
    # 0 to 100; null where no list tells.
    pa.field("confidence", _CONFIDENCE),
    # For events at or after it the indicator no longer counts; null: always.
    pa.field("valid_until", _TIME),
]
TABLE = pa.schema(
    [
        *_MERGEABLE,
        # Places in `Lists.origins`.
        pa.field("origins", pa.list_(_PLACE)),
    ]
)
"""One row per kind and value, in no order: the highest confidence and the latest end that a list gives it."""

_ENTRIES = pa.schema([*_MERGEABLE, pa.field("origin", _PLACE)])
_BATCH = 65_536
_FORMS = {".csv", ".txt", ".json", ".gz"}


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of a list's entries: how many of each kind, and of those that cannot be looked for each reason."""

    path: str
    taken: dict[str, int]
    refused: dict[str, int]
    firsts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Origin:
    """The name of a list, and the tags that it gives an indicator."""

    name: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lists:
    """Indicators of some lists (`TABLE`), where they are from, and what became of each list."""

    table: pa.Table
    origins: tuple[Origin, ...]
    tallies: tuple[Tally, ...]


def list_files(places: Sequence[Path | str]) -> tuple[Path, ...]:
    """The files of lists at some places: files, or folders with everything below them.

    Raises ConfigError, AccessError.
    """
    found: list[Path] = []
    for place in map(Path, places):
        if not place.exists():
            raise ConfigError(f"no indicators at {place}: no such file or folder; correct --indicators")
        own = [it for it in files_below(place) if it.suffix in _FORMS] if place.is_dir() else [place]
        if not own:
            raise ConfigError(f"no indicators at {place}: the folder holds no .csv, .txt or .json file")
        found += own
    return tuple(dict.fromkeys(found))


def digest_of(files: Sequence[Path]) -> str:
    """16 hexadecimal digits that change with the content of any of the files."""
    found = hashlib.sha256()
    for path in files:
        found.update(hashlib.sha256(_bytes(path)).digest())
    return found.hexdigest()[:16]


def read_lists(files: Sequence[Path]) -> Lists:
    """Everything in some files. Raises ConfigError for a file that cannot be read or has no indicator of ours."""
    batches: list[pa.RecordBatch] = []
    tallies = []
    origins: dict[Origin, int] = {}
    for path in files:
        tally = Tally(str(path), {}, {}, {})
        try:
            batches += _batches(_entries(path), path.name.split(".")[0], origins, tally)
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, csv.Error) as error:
            raise ConfigError(
                f"indicators in {path} cannot be read: {error}; it is no CSV, STIX 2.1 or MISP"
            ) from error
        if not tally.taken:
            why = next((f"{reason}: {tally.firsts[reason]!r}" for reason in tally.refused), "it is empty")
            raise ConfigError(f"no indicator in {path} can be looked for ({why}); correct or remove it")
        tallies.append(tally)
    return Lists(_merged(pa.Table.from_batches(batches, _ENTRIES)), tuple(origins), tuple(tallies))


def _bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"indicators in {path} cannot be read: {error}") from error


def _entries(path: Path) -> Entries:
    content = _bytes(path)
    if not path.name.removesuffix(".gz").endswith(".json"):
        return from_csv(content.decode("utf-8-sig"))
    head = msgspec.json.decode(content, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
    is_stix = isinstance(head, dict) and bytes(head.get("type", b"")) == b'"bundle"'
    return from_stix(content) if is_stix else from_misp(content)


def _batches(entries: Entries, name: str, origins: dict[Origin, int], tally: Tally) -> Iterator[pa.RecordBatch]:
    rows: list[tuple[Any, ...]] = []
    for entry in entries:
        if isinstance(entry, Refused):
            reason, value = entry.reason, entry.value
        else:
            found = guessed(entry.value) if entry.kind is None else canonical(entry.kind, entry.value)
            if found is not None:
                kind, value = found
                tally.taken[kind.value] = tally.taken.get(kind.value, 0) + 1
                origin = origins.setdefault(Origin(name, entry.tags), len(origins))
                rows.append((kind.value, value, entry.confidence, entry.valid_until, origin))
                if len(rows) == _BATCH:
                    yield _batch(rows)
                    rows = []
                continue
            reason, value = f"no {entry.kind or 'kind of value that is looked for'}".replace("_", " "), entry.value
        tally.refused[reason] = tally.refused.get(reason, 0) + 1
        tally.firsts.setdefault(reason, value)
    if rows:
        yield _batch(rows)


def _batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns: list[Any] = [
        pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), _ENTRIES, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_ENTRIES)


def _merged(entries: pa.Table) -> pa.Table:
    asked: list[Any] = [("confidence", "max"), ("valid_until", "max"), ("valid_until", "count")]
    asked += [("origin", "distinct"), ("origin", "count")]
    merged = entries.group_by(["kind", "value"]).aggregate(asked)
    is_ended = pc.equal(merged["valid_until_count"], merged["origin_count"])
    ends = pc.if_else(is_ended, merged["valid_until_max"], pa.scalar(None, _TIME))
    columns = [merged["kind"], merged["value"], merged["confidence_max"], ends, merged["origin_distinct"]]
    return pa.table(columns, schema=TABLE)
