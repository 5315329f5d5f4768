"""Words for people."""

from __future__ import annotations


def counted(count: int, thing: str) -> str:
    """The count with its thing: "1 alert", "1,200 alerts"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
