"""A story as a page for a terminal: who, how they got there (a tree), what they did (a table)."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from pipeline.stories.stories import Row, Story
from pipeline.terminal.rows import shown

_ADDRESSES = 4
# At most so wide in the table, however narrow the terminal.
_OUTCOME = 12
_ADDRESS = 15
_HOW = {
    "source_identity": "by source identity, which is kept along a chain",
    "session": "the root session's own identity",
    "workload": "by who issued the root session, and its name",
    "service": "the service that began the root session",
    "none": "a role session whose issuer is in no record",
}


def render(story: Story, console: Console, *, with_timeline: bool = True) -> None:
    """Print the story, with what was done in it or without."""
    summary = story.summary
    kind = " ".join(shown(it) for it in (summary["root_type"], summary["root_sub_type"]) if it)
    head = Table.grid(padding=(0, 2))
    head.add_column(style="bold", no_wrap=True)
    head.add_column(overflow="fold")
    head.add_row("story", shown(summary["story_id"]))
    head.add_row(
        "who",
        f"{shown(summary['root_identity'])} ({kind}; {_HOW[summary['root_method']]};"
        f" confidence {summary['confidence']:g})",
    )
    head.add_row("when", f"{shown(summary['first_seen'])} to {shown(summary['last_seen'])}")
    head.add_row("accounts", _some(summary["accounts"]))
    head.add_row("from", _some(summary["caller_ips"]))
    head.add_row("with", _some(summary["user_agents"]))
    head.add_row(
        "calls", f"{summary['events']:,}, of which {summary['failures']:,} failed, {summary['denials']:,} denied"
    )
    console.print(head)
    console.print(_chain(story.sessions))
    if with_timeline:
        console.print()
        console.print(_timeline(story, console.width))


def _some(values: Sequence[str]) -> str:
    more = len(values) - _ADDRESSES
    return ", ".join(map(shown, values[:_ADDRESSES])) + (f" and {more} more" if more > 0 else "")


def name_of(session: Row) -> str:
    """A session in a few words: the role and the session's name, else the identity."""
    if session["role_name"]:
        return f"{shown(session['role_name'])}/{shown(session['role_session_name'] or '?')}"
    return shown(session["identity_name"] or session["identity_arn"] or session["session_id"])


def _chain(sessions: Sequence[Row]) -> Tree:
    """Sessions, numbered, under the one that issued them; the first is the root."""
    root = Tree(_label(1, sessions[0]), guide_style="dim")
    nodes = {sessions[0]["session_id"]: root}
    for number, session in enumerate(sessions[1:], 2):
        parent = nodes.get(session["path"][-2] if len(session["path"]) > 1 else "", root)
        nodes[session["session_id"]] = parent.add(_label(number, session))
    return root


def _label(number: int, session: Row) -> Text:
    label = Text(f"{number}. ")
    label.append(name_of(session), style="bold")
    label.append(f" in {shown(session['caller_project'] or _some(session['accounts']))}")
    if session["issued_by"]:
        label.append(f"\n{shown(session['issued_by'])} at {shown(session['issued_time'])}")
        label.append(f" (by {shown(session['method'])}, event {shown(session['issuing_event_id'])})", style="dim")
    keys = session["access_key_ids"]
    calls = f"\n{session['events']:,} calls, {session['failures']:,} failed"
    label.append(calls + (f"; key {_some(keys)}" if keys else ""))
    if session["caller_ips"]:
        label.append(f"; from {_some(session['caller_ips'])}")
    return label


def _timeline(story: Story, width: int) -> Table:
    """One row for calls alike, under its day; `#` is the session's number in the tree. Long text folds."""
    numbers = {session["session_id"]: number for number, session in enumerate(story.sessions, 1)}
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("first seen", no_wrap=True)
    for name in ("#", "calls"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("outcome", max_width=_OUTCOME, overflow="fold")
    table.add_column("from", max_width=max(_ADDRESS, width // 5), overflow="fold")
    table.add_column("what", overflow="fold")
    day = ""
    for row in story.timeline:
        if day != (day := f"{row['first_seen']:%Y-%m-%d}"):
            table.add_row(Text(day, style="bold"))
        style = "red" if row["outcome"] == "FAILURE" else ""
        cells = [
            f"  {row['first_seen']:%H:%M:%S}",
            str(numbers[row["session_id"]]),
            f"{row['calls']:,}",
            row["error_class"] or row["outcome"] or "",
            row["source"] or "",
            " ".join(filter(None, (row["operation"], (row["example"] or "").rpartition(":")[2]))),
        ]
        table.add_row(*(Text(shown(cell), style=style) for cell in cells))
    return table
