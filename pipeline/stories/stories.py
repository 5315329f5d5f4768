"""`trailweave story` and `stitch`: who did it, how they got there, what they did; asked of the views over `sessions`.

Stories are evaluated when they are asked for, over what the tree holds then: a link that came late is in the answer,
and no file is rewritten. `stitch` records the answers for readers that cannot evaluate.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import sql
from pipeline.sql import query
from schemas.datasets import STORIES
from schemas.errors import ConfigError
from transforms.stores.files import Output, open_store
from transforms.stores.parquet import STORIES_LAYOUT, encode
from transforms.stores.tree import dated_path

log = logging.getLogger(__name__)

FIRST, LAST = "0001-01-01", "9999-12-31"
# Of ten thousand rows each.
_BATCHES_A_FILE = 20
_PREFIX = "story-"
_SHORTEST = 6

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Story:
    """One story: its row of the view `stories`, its sessions from the root on, and what they did."""

    summary: Row
    sessions: Sequence[Row]
    timeline: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which story is meant: by the beginning of its id, an event, an access key, or an identity's name."""

    kind: Literal["story", "event", "access key", "identity"]
    value: str

    def __post_init__(self) -> None:
        if self.kind == "story":
            digits = self.value.removeprefix(_PREFIX)
            if len(digits) < _SHORTEST:
                raise ConfigError(f"story {self.value!r} is too short; give {_SHORTEST} digits of its id or more")
            object.__setattr__(self, "value", digits)


def connect(output: Output) -> duckdb.DuckDBPyConnection:
    """The views over an output root. Raises ConfigError for one whose sessions are not derived."""
    return query.connect(output, derived="sessions")


def listed(
    connection: duckdb.DuckDBPyConnection,
    *,
    identity: str | None = None,
    since: str,
    until: str,
    most: int,
) -> pa.Table:
    """Stories seen between two days, both ends in, the longest chains first; at most so many."""
    return _ask(connection, "stories/list", identity=identity or "", since=since, until=until, most=str(most))


def stitch(output: Output, since: str, until: str) -> int:
    """Record the stories of the sessions seen between two days whose answer has changed: how many those are.

    All fragments and links are looked at, whatever the range: an issuer may be years older than a use. Rows are
    only added, and the last row of a session holds: killed half way, what is missing is recorded the next time.
    """
    store, count = open_store(output), 0
    with connect(output) as connection:
        changed = query.run(connection, sql.text("stories/changed"), {"since": since, "until": until})
        while batches := list(islice(changed, _BATCHES_A_FILE)):
            rows = pa.Table.from_batches(batches).cast(STORIES.arrow)
            store.create(dated_path(STORIES, datetime.now(UTC)), encode(rows, STORIES_LAYOUT))
            count += len(rows)
    return count


def in_short(rows: pa.Table) -> pa.Table:
    """Stories in columns that fit a terminal; the beginning of the id is enough to show one."""
    ids: Any = pc.utf8_slice_codeunits(rows["story_id"], len(_PREFIX), len(_PREFIX) + 10)
    return rows.select(["root_identity", "first_seen", "sessions", "events", "denials"]).add_column(0, "story", ids)


def show(connection: duckdb.DuckDBPyConnection, asked: Asked) -> Story | pa.Table:
    """The story that is meant; a table of them where several are. Raises `ConfigError` where there is none."""
    for view in ("sessions", "links", "session_stories"):
        connection.execute(sql.text("stories/evaluated", view=view))
    ids: list[Any] = _ask(connection, "stories/meant", kind=asked.kind, value=asked.value)["story_id"].to_pylist()
    if not ids:
        raise ConfigError(
            f"no {'' if asked.kind == 'story' else 'story of '}{asked.kind} {asked.value!r} in this output root;"
            " `trailweave story list` shows what there is"
        )
    if len(ids) > 1:
        return _ask(connection, "stories/several", stories=",".join(ids))
    (story,) = ids
    (summary,) = (
        query.run(connection, "FROM stories WHERE story_id = $story", {"story": story}).read_all().to_pylist()
    )
    sessions, timeline = (
        _ask(connection, f"stories/{name}", story=story).to_pylist() for name in ("sessions", "timeline")
    )
    return Story(summary, sessions, timeline)


def _ask(connection: duckdb.DuckDBPyConnection, name: str, **values: str) -> pa.Table:
    return query.run(connection, sql.text(name), values).read_all()
