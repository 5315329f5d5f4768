"""A step of `trailweave check` for a terminal."""

from __future__ import annotations

import json

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from pipeline.onboarding.faults import Step
from pipeline.terminal.rows import shown

_MARKS = {
    "ok": ("ok", "green"),
    "note": ("note", "yellow"),
    "skipped": ("skipped", "dim"),
    "misconfigured": ("WRONG", "red"),
    "denied": ("DENIED", "bold red"),
    "unreachable": ("UNREACHABLE", "bold red"),
}
_MARGIN = 14


def render(step: Step, console: Console) -> None:
    """Print the step: the verdict, what was tried and what came of it, the remedy, the statement to add."""
    mark, style = _MARKS[step.verdict]
    line = Text(f"{mark:<{_MARGIN - 1}} ", style=style)
    line.append(f"{shown(step.source)}: {step.name}", style="bold")
    console.print(line)
    told = [shown(step.tried), shown(step.got)]
    if step.remedy:
        told.append(f"-> {shown(step.remedy)}")
    if step.statement:
        told.append(json.dumps(step.statement))
    for text in told:
        console.print(Padding(Text(text), (0, 0, 0, _MARGIN), expand=False))
