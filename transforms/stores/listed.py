"""What a store tells of a file without opening it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Listed:
    """A file's name in its folder, its bytes, and the seconds since it was created by the store's own clock."""

    name: str
    size: int
    age_s: float
