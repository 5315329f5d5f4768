"""The status of an output root for a terminal: a page, or one that stands and changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.status.status import LastError, Status
from pipeline.terminal.rows import UNKNOWN_WIDTH, shown
from schemas.errors import TrailweaveError

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
    age = (now - time).total_seconds()
    when = f"{_duration(age)} ago" if age >= 0 else f"in {_duration(-age)}"
    return f"{shown(time.replace(microsecond=0))} ({when})"


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
