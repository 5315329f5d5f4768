"""An alert as a page for a terminal: what, who, when, the values seen, and the events of its evidence."""

from __future__ import annotations

import shlex
from typing import TextIO, cast

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.alerting.alerts import Alert
from pipeline.terminal.rows import print_rows, shown

_COLOURS = {"critical": "bold red", "high": "red", "medium": "yellow"}


def render(alert: Alert, console: Console, output: str) -> None:
    """Print the alert, and how more is asked of its output root."""
    row = alert.row
    head = Table.grid(padding=(0, 2))
    head.add_column(style="bold", no_wrap=True)
    head.add_column(overflow="fold")
    told = {
        "alert": shown(row["alert_id"]),
        "rule": f"{shown(row['rule_title'])} ({row['kind']})",
        "level": row["level"],
        "status": row["status"] + (f": {shown(row['reason'])}" if row["reason"] else ""),
        "who": shown(row["root_identity"] or ", ".join(row["group_values"]) or "no session tells"),
        "story": shown(row["story_id"] or "none, or more than one"),
        "accounts": ", ".join(map(shown, row["accounts"])),
        "when": f"{shown(row['first_seen'])} to {shown(row['last_seen'])}",
        "events": f"{row['events']:,}",
        "tags": ", ".join(map(shown, row["tags"])),
    }
    for name, text in told.items():
        head.add_row(name, Text(text, style=_COLOURS.get(row["level"], "") if name == "level" else ""))
    for number, text in enumerate(row["seen"]):
        head.add_row("" if number else "seen", shown(text))
    console.print(head)
    console.print()
    console.print(Text(shown(row["explanation"])))
    if alert.events:
        console.print()
        names = ("event_time", "operation", "outcome", "identity", "caller_ip", "account")
        rows = [{name: event[name] for name in names} for event in alert.events]
        if len(alert.events) < row["events"]:
            console.print(f"the first {len(alert.events)} of {row['events']:,} events:", style="dim")
        print_rows(pa.Table.from_pylist(rows), "table", cast(TextIO, console.file), width=console.width)
    if row["story_id"]:
        asked = f"trailweave story show {shown(row['story_id'])} --output {shown(shlex.quote(output))}"
        console.print(f"\nThe whole story: {asked}", style="dim", soft_wrap=True, highlight=False, markup=False)
