"""Samples of a rule: records that it must hit and near misses, in `<rule>.samples.json` beside `<rule>.yml`.

    {"hits": [{...}], "near_misses": [{...}], "raises": [{...}], "quiet": [{...}]}

`hits` and `near_misses` are records for the file's detection rules; `raises` and `quiet` are series for its
correlations: `record`, how many `times`, `every_s` seconds; `{n}` in a text counts them. Series in a list come one
after the other. A record holds only what matters; what every record has is filled in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from schemas.errors import ConfigError
from schemas.values import Commit, Partition
from transforms.providers import PROVIDERS_BY_NAME
from transforms.rules.matching import RuleMatcher
from transforms.rules.sigma import Rule

_FIRST = datetime(2024, 1, 1, tzinfo=UTC)
_ACCOUNT = "111122223333"
_BASE: dict[str, Any] = {
    "eventVersion": "1.11",
    "userIdentity": {"type": "IAMUser", "arn": f"arn:aws:iam::{_ACCOUNT}:user/sample", "userName": "sample"},
    "eventSource": "sample.amazonaws.com",
    "eventName": "Sample",
    "awsRegion": "us-east-1",
    "sourceIPAddress": "198.51.100.1",
    "userAgent": "sample",
    "eventType": "AwsApiCall",
    "recipientAccountId": _ACCOUNT,
}


class Series(msgspec.Struct, forbid_unknown_fields=True):
    """The same record again and again."""

    record: dict[str, Any]
    times: int = 1
    every_s: float = 1.0


class Samples(msgspec.Struct, forbid_unknown_fields=True):
    """What stands in one file of samples."""

    hits: list[dict[str, Any]] = []
    near_misses: list[dict[str, Any]] = []
    raises: list[Series | list[Series]] = []
    quiet: list[Series | list[Series]] = []


@dataclass(frozen=True)
class Outcome:
    """What became of one sample: `kind` is hits, near_misses, raises or quiet; `number` counts from 1."""

    kind: str
    number: int
    is_hit: bool

    @property
    def is_right(self) -> bool:
        """Whether it came as it should."""
        return self.is_hit == (self.kind in ("hits", "raises"))

    @property
    def wrong(self) -> str:
        """What is wrong with it, in words, if anything is."""
        became = {
            "hits": "is no hit",
            "near_misses": "is a hit",
            "raises": "raises nothing",
            "quiet": "raises something",
        }
        return f"{self.kind} {self.number} {became[self.kind]}"


def beside(rule_file: str | Path) -> Path:
    """Where the samples of a rule file lie."""
    return Path(rule_file).with_suffix(".samples.json")


def read_samples(path: Path) -> Samples | None:
    """The samples of a file; None where it has none. Raises ConfigError for one that cannot be read."""
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Samples)
    except msgspec.MsgspecError as error:
        kinds = ", ".join(Samples.__struct_fields__)
        raise ConfigError(f"samples in {path} cannot be read: {error}; an object of {kinds} is expected") from error


def records_of(series: Series | list[Series]) -> Iterator[dict[str, Any]]:
    """The records of a series, or of several, in order of their time."""
    time, total = _FIRST, 0
    for part in [series] if isinstance(series, Series) else series:
        for number in range(part.times):
            record = msgspec.json.decode(json.dumps(part.record).replace("{n}", str(number)))
            yield whole(record, time, f"sample-{total}")
            time, total = time + timedelta(seconds=part.every_s), total + 1


def whole(record: dict[str, Any], time: datetime = _FIRST, event_id: str = "sample") -> dict[str, Any]:
    """A sample with what every record has."""
    return {**_BASE, "eventTime": time.isoformat().replace("+00:00", "Z"), "eventID": event_id, **record}


def detect(rules: tuple[Rule, ...], records: list[dict[str, Any]]) -> pa.Table:
    """The rows of `detections` for some whole records, normalized as well."""
    provider = PROVIDERS_BY_NAME["cloudtrail"]
    raws = [json.dumps(record).encode() for record in records]
    table = provider.decode(raws).combine_chunks()
    table = table.append_column("raw_json", pa.array(raws, pa.binary()))
    table = table.append_column("recipient_account_id", pa.array([_ACCOUNT] * len(raws), pa.string()))
    commit = Commit(Partition(_ACCOUNT, "2024-01-01"), 1, 0, len(raws))
    (found,) = RuleMatcher(rules, provider).detections(table, provider.normalize(table), [commit])
    return found


def outcomes(rules: tuple[Rule, ...], samples: Samples) -> Iterator[Outcome]:
    """What some rules say to the samples of single records."""
    for kind in ("hits", "near_misses"):
        for number, record in enumerate(getattr(samples, kind), 1):
            yield Outcome(kind, number, len(detect(rules, [whole(record)])) > 0)
