"""A history from a few minutes of events, for analytics, which have nothing to say without one.

The events are told again on each of thirty days, on each a third of them: which ones is decided by a digest of event
and day, as whoever works does not do the same things every day. Sessions begin anew each day.
"""

from __future__ import annotations

import gzip
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

from pipeline.alerting import alerts
from pipeline.commands import load, replay
from transforms.list_objects import Selection
from transforms.rules.sigma import RuleSet

DAYS = 30
ONE_OF = 3

Record = dict[str, Any]


def repeated(records: Sequence[Record]) -> Iterator[list[Record]]:
    """The records of each day, with ids and times of their own."""
    for day in range(DAYS):
        yield [_moved(it, day) for it in records if crc32(f"{it['eventID']} {day}".encode()) % ONE_OF == 0]


def _moved(record: Record, day: int) -> Record:
    moved: Record = msgspec.json.decode(msgspec.json.encode(record))
    moved["eventID"] = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{record['eventID']} {day}"))
    moved["eventTime"] = _later(record["eventTime"], day)
    attributes = moved["userIdentity"].get("sessionContext", {}).get("attributes", {})
    if "creationDate" in attributes:
        attributes["creationDate"] = _later(attributes["creationDate"], day)
    return moved


def _later(time: str, day: int) -> str:
    return f"{datetime.fromisoformat(time) + timedelta(days=day):%Y-%m-%dT%H:%M:%SZ}"


def unusual(records: Sequence[Record]) -> tuple[int, Counter[str]]:
    """How many events the history has, and how many alerts of each analytic are raised on it, by its title."""
    with tempfile.TemporaryDirectory(prefix="trailweave-history-") as scratch:
        source = Path(scratch, "in")
        source.mkdir()
        events = 0
        for day, told in enumerate(repeated(records)):
            content = msgspec.json.encode({"Records": told})
            (source / f"{day:02}.json.gz").write_bytes(gzip.compress(content))
            events += len(told)
        config = load(output=str(Path(scratch, "out")))
        replay(
            config, [str(source)], Selection(), workers=1, force=True, dead_letters=False, beam_flags=[], quiet=True
        )
        alerts.evaluate(config.root(), RuleSet((), (), (), ()))
        with alerts.connect(config.root()) as connection:
            found = connection.sql("SELECT rule_title FROM alerts WHERE kind = 'analytics'").fetchall()
    return events, Counter(title for (title,) in found)
