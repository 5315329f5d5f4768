"""What has become of everything that was delivered: the ledger and the tree, summed up for an operator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import duckdb
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline import query, sql
from pipeline.rows import UNKNOWN_WIDTH, shown
from pipeline.sql.tree import open_tree
from schemas.errors import TrailweaveError
from transforms.stores.files import Output, Store
from transforms.stores.local import LocalStore
from transforms.stores.settings import Settings, read_settings

_T = TypeVar("_T")

# Counting rows opens the footer of every file: about a second for this many on a local disk, a request each on S3.
_COUNTED_LOCAL_FILES = 2_000
_COUNTED_REMOTE_FILES = 200
_SHOWN = 15
_COLUMNS = {
    "objects": "objects",
    "records": "records",
    "written": "written",
    "dup.": "duplicates",
    "dead": "dead_letters",
    "defer.": "deferred",
    "rows": "raw_rows",
}


@dataclass(frozen=True, slots=True)
class Objects:
    """Objects by the outcome of their last row in the ledger; bytes as stored and as text."""

    total: int
    done: int
    dead_letter: int
    digest: int
    ignored: int
    deferred: int
    messages_without_object: int
    compressed_bytes: int
    decompressed_bytes: int


@dataclass(frozen=True, slots=True)
class Records:
    """Records of those objects: `received` is the sum of the others.

    `written` were new at one of the object's attempts, `duplicates` at none; `bad` are dead letters.
    """

    received: int
    written: int
    duplicates: int
    expired: int
    bad: int


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One account and day: objects and records by the object's key, rows by the events themselves.

    Rows are None where counting them would open too many files.
    """

    account_id: str
    day: str
    objects: int = 0
    records: int = 0
    written: int = 0
    duplicates: int = 0
    expired: int = 0
    dead_letters: int = 0
    deferred: int = 0
    raw_rows: int | None = None
    event_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds until an object was logged: from its message's sending, and from its earliest event.

    Over the objects that a message brought and that held something new, in the 24 hours before the last ingest.
    None where there were none.
    """

    objects: int
    sent_p50_s: float | None
    sent_p95_s: float | None
    sent_max_s: float | None
    event_p50_s: float | None
    event_p95_s: float | None
    event_max_s: float | None


@dataclass(frozen=True, slots=True)
class LastError:
    """The newest row of the ledger that is not all well: what it is about, and why."""

    time: datetime
    outcome: str
    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetterGroup:
    """Dead letters that still stand, by stage, scope (message, object or record) and reason."""

    stage: str
    scope: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Status:
    """The state of an output root. `files` are those that count, by dataset; times are UTC.

    `incomplete` are raw files without their file of `cloud_audit_logs`: work of a killed process that the next
    start or `trailweave repair` completes, or of one that is writing just now.
    """

    output: str
    normalize: bool
    objects: Objects
    records: Records
    lag: Lag
    last_event: datetime | None
    last_ingest: datetime | None
    last_error: LastError | None
    dead_letters: tuple[DeadLetterGroup, ...]
    incomplete: tuple[str, ...]
    files: dict[str, int]
    partitions: tuple[PartitionStatus, ...]


def status(output: Output) -> Status:
    """Read the state of the root. ConfigError when it holds no trailweave data, AccessError when out of reach."""
    store = open_tree(output)
    settings = read_settings(store) or Settings()
    with query.connect(output) as connection:
        files = {row["dataset"]: row["files"] for row in _ask(connection, "files")}
        last = _ask(connection, "last")[0]
        errors = _ask(connection, "last_error")
        return Status(
            output=output.uri,
            normalize=settings.normalize,
            objects=Objects(**_ask(connection, "objects")[0]),
            records=Records(**_ask(connection, "records")[0]),
            lag=Lag(**_ask(connection, "lag")[0]),
            last_event=last["last_event"],
            last_ingest=last["last_ingest"],
            last_error=LastError(**errors[0]) if errors else None,
            dead_letters=tuple(DeadLetterGroup(**row) for row in _ask(connection, "dead_letters")),
            incomplete=_unanswered(connection, settings),
            files=files,
            partitions=_partitions(connection, counted=_countable(store, files)),
        )


def _unanswered(connection: duckdb.DuckDBPyConnection, settings: Settings) -> tuple[str, ...]:
    if settings.marker is None:
        return ()
    return tuple(row["file"] for row in _ask(connection, "incomplete", marker=settings.marker.name))


def _ask(connection: duckdb.DuckDBPyConnection, name: str, **values: str) -> list[dict[str, Any]]:
    return query.run(connection, sql.text(f"status/{name}", **values)).read_all().to_pylist()


def _countable(store: Store, files: Mapping[str, int]) -> bool:
    limit = _COUNTED_LOCAL_FILES if isinstance(store, LocalStore) else _COUNTED_REMOTE_FILES
    return files.get("aws_s3_raw", 0) + files.get("cloud_audit_logs", 0) <= limit


def _partitions(connection: duckdb.DuckDBPyConnection, *, counted: bool) -> tuple[PartitionStatus, ...]:
    merged: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for row in _ask(connection, "partitions") + (_ask(connection, "rows") if counted else []):
        merged[row["day"], row["account_id"]] |= row
    absent = {"raw_rows": 0, "event_rows": 0} if counted else {}
    return tuple(PartitionStatus(**(absent | merged[key])) for key in sorted(merged))


def as_json(status: Status) -> str:
    """The status as one JSON object, keys as the fields, times RFC 3339."""
    return msgspec.json.format(msgspec.json.encode(status)).decode()


def render(status: Status, console: Console, now: datetime | None = None) -> None:
    """The page that an operator reads: what came, what became of it, how late, and what is wrong."""
    console.print(_page(status, console.width, now or datetime.now(UTC)))


def watch(look: Callable[[], Status], console: Console, pause: Callable[[], bool]) -> None:
    """Look, show, and again after each `pause`, until one says that it is enough.

    On a terminal the page stands and changes in place, and the last one stays; elsewhere each is printed. A look that
    fails is shown instead; the first one raises.
    """
    page: RenderableType = _page(look(), console.width, datetime.now(UTC))
    if not console.is_terminal:
        console.print(page)
        while pause():
            console.print(Text(), _looked(look, console.width), sep="\n")
        return
    with Live(page, console=console, screen=True, auto_refresh=False) as live:
        while pause():
            page = _looked(look, console.width)
            live.update(page, refresh=True)
    console.print(page)


def _looked(look: Callable[[], Status], width: int) -> RenderableType:
    try:
        return _page(look(), width, datetime.now(UTC))
    except TrailweaveError as error:
        return Text(f"{error.code}: {shown(str(error))}", style="red")


def _page(status: Status, width: int, now: datetime) -> Group:
    parts: list[RenderableType] = [_summary(status, now)]
    for title, table in (
        ("Dead letters that still stand", _dead_letters(status)),
        ("Accounts and days, by object key; rows by event", _days(status, width)),
    ):
        if table.row_count:
            parts += [Text(f"\n{title}", style="bold"), table]
    if len(status.partitions) > _SHOWN:
        parts.append(Text(f"The last {_SHOWN} of {len(status.partitions):,}; --json has them all.", style="dim"))
    return Group(*parts)


def _summary(status: Status, now: datetime) -> Table:
    objects, records, lag = status.objects, status.records, status.lag
    page = Table.grid(padding=(0, 2))
    page.add_column(style="bold", no_wrap=True)
    page.add_column(overflow="fold")
    lines = {
        "Output": Text(shown(status.output) + ("" if status.normalize else " (raw only)")),
        "Objects": _counts(
            objects.total,
            done=objects.done,
            digest=objects.digest,
            ignored=objects.ignored,
            deferred=objects.deferred,
            dead_letter=objects.dead_letter,
        ),
        "Records": _counts(
            records.received,
            written=records.written,
            duplicates=records.duplicates,
            expired=records.expired,
            bad=records.bad,
        ),
        "Read": Text(f"{_size(objects.compressed_bytes)} stored, {_size(objects.decompressed_bytes)} as text"),
        "Files": Text(", ".join(f"{shown(name)} {count:,}" for name, count in status.files.items()) or "none"),
        "Last event": Text(_moment(status.last_event, now)),
        "Last ingest": Text(_moment(status.last_ingest, now)),
        "Sent to logged": Text(_spread(lag.sent_p50_s, lag.sent_p95_s, lag.sent_max_s)),
        "Event to logged": Text(_spread(lag.event_p50_s, lag.event_p95_s, lag.event_max_s)),
        "Last error": _error(status.last_error, now),
        "Incomplete": _incomplete(status),
    }
    if objects.messages_without_object:
        lines["Messages"] = Text(f"{objects.messages_without_object:,} that name no object")
    for name, line in lines.items():
        page.add_row(name, line)
    return page


def _counts(total: int, **parts: int) -> Text:
    """The total and what it falls into; zeros are left out, and what needs a look is coloured."""
    text = Text(f"{total:,}")
    for number, (name, count) in enumerate((name, count) for name, count in parts.items() if count):
        trouble = {"dead_letter": "red", "bad": "red", "deferred": "yellow"}.get(name, "")
        text.append(" = " if number == 0 else " + ").append(f"{count:,} {name.replace('_', ' ')}", style=trouble)
    return text


def _error(error: LastError | None, now: datetime) -> Text:
    if error is None:
        return Text("none", style="green")
    return Text(f"{_moment(error.time, now)}: {shown(error.subject)}: {shown(error.reason)}", style="red")


def _incomplete(status: Status) -> Text:
    if not status.incomplete:
        return Text("none", style="green")
    files = f"{len(status.incomplete):,} raw files without their row in cloud_audit_logs, first "
    return Text(f"{files}{shown(status.incomplete[0])}; `trailweave repair` completes them", style="yellow")


def _dead_letters(status: Status) -> Table:
    table = Table("stage", "scope", "count", "reason", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.columns[2].justify = "right"
    for group in status.dead_letters[:_SHOWN]:
        table.add_row(
            Text(shown(group.stage)), Text(shown(group.scope)), Text(f"{group.count:,}"), Text(shown(group.reason))
        )
    return table


def _days(status: Status, width: int) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("day", no_wrap=True)
    table.add_column("account", no_wrap=True)
    columns = (
        _COLUMNS if width >= UNKNOWN_WIDTH else {name: _COLUMNS[name] for name in ("objects", "written", "dead")}
    )
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    for row in status.partitions[-_SHOWN:]:
        numbers = (getattr(row, field) for field in columns.values())
        table.add_row(
            Text(shown(row.day)), Text(shown(row.account_id)), *("" if n is None else f"{n:,}" for n in numbers)
        )
    return table


def _moment(time: datetime | None, now: datetime) -> str:
    if time is None:
        return "none"
    return f"{shown(time.replace(microsecond=0))} ({_duration((now - time).total_seconds())} ago)"


def _spread(p50: float | None, p95: float | None, longest: float | None) -> str:
    if p50 is None or p95 is None or longest is None:
        return "nothing new by a message in the last day"
    return f"p50 {_duration(p50)}, p95 {_duration(p95)}, max {_duration(longest)}"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
