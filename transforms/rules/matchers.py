"""What a rule asks of one field's texts: each matcher is a frozen value that tells which texts hold.

Text compares by its lower case unless the rule says `cased`. Matching time is linear in the text, whatever the rule
and the text are: globs are matched segment by segment, and regular expressions by RE2 (through Arrow).
Source: Sigma specification 2.1, "Sigma Modifiers" and "String Wildcard".
"""

from __future__ import annotations

import ipaddress
import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "neq": operator.ne,
}
_PARTS: dict[str, Callable[[datetime], int]] = {
    "minute": lambda time: time.minute,
    "hour": lambda time: time.hour,
    "day": lambda time: time.day,
    "week": lambda time: time.isocalendar().week,
    "month": lambda time: time.month,
    "year": lambda time: time.year,
}


class Matcher(Protocol):
    """What is asked of a field that has texts; a field without any never holds."""

    def matching(self, texts: Sequence[str]) -> Sequence[bool]:
        """Which of the texts hold."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """The whole text is one of these; `texts` are in lower case unless `cased`."""

    texts: frozenset[str]
    cased: bool = False

    def matching(self, texts: Sequence[str]) -> Sequence[bool]:
        if self.cased:
            return [text in self.texts for text in texts]
        return [text.lower() in self.texts for text in texts]


@dataclass(frozen=True, slots=True)
class Glob:
    """The whole text is the segments in their order, anything between two of them; None is any one character.

    `segments` are in lower case unless `cased`. A first or last segment that is empty leaves that end open.
    """

    segments: tuple[tuple[str | None, ...], ...]
    cased: bool = False

    def matching(self, texts: Sequence[str]) -> Sequence[bool]:
        return [self._matches(text if self.cased else text.lower()) for text in texts]

    def _matches(self, text: str) -> bool:
        first, *inner = (_segment(it) for it in self.segments)
        if not inner:
            return first.fullmatch(text) is not None
        last = inner.pop()
        begun = first.match(text)
        if begun is None:
            return False
        at = begun.end()
        for segment in inner:
            found = segment.search(text, at)
            if found is None:
                return False
            at = found.end()
        begin = len(text) - _length(self.segments[-1])
        return begin >= at and last.match(text, begin) is not None


def _length(segment: tuple[str | None, ...]) -> int:
    return sum(1 if part is None else len(part) for part in segment)


@lru_cache(maxsize=65_536)
def _segment(parts: tuple[str | None, ...]) -> re.Pattern[str]:
    """Of a fixed length, so that a search for it never backtracks."""
    return re.compile("".join("." if part is None else re.escape(part) for part in parts), re.DOTALL)


@dataclass(frozen=True, slots=True)
class Regex:
    """RE2 finds the pattern in the text; flags stand in the pattern."""

    pattern: str

    def __post_init__(self) -> None:
        self.matching([""])

    def matching(self, texts: Sequence[str]) -> Sequence[bool]:
        """Raises ValueError for a pattern that RE2 does not know."""
        found: Any = pc.match_substring_regex(pa.array(texts, pa.string()), self.pattern)
        held: list[bool] = found.to_pylist()
        return held


@dataclass(frozen=True, slots=True)
class Cidr:
    """The text is an address within the network."""

    network: Network

    def matching(self, texts: Sequence[str]) -> Sequence[bool]:
        return [self._holds(text) for text in texts]

    def _holds(self, text: str) -> bool:
        try:
            return ipaddress.ip_address(text.strip()) in self.network
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Compared:
    """The text is a number that compares so; `comparison` is lt, lte, gt, gte or neq."""

    comparison: str
    number: float

    def matching(self, texts: Sequence[str]) -> Sequence[bool]:
        compare = _COMPARISONS[self.comparison]
        return [(number := _number(text)) is not None and compare(number, self.number) for text in texts]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


@dataclass(frozen=True, slots=True)
class TimePart:
    """The text is an ISO 8601 time whose part (UTC) is the number; a time without zone is taken as UTC."""

    part: str
    number: int

    def matching(self, texts: Sequence[str]) -> Sequence[bool]:
        return [self._holds(text) for text in texts]

    def _holds(self, text: str) -> bool:
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            return False
        return _PARTS[self.part](time.astimezone(UTC) if time.tzinfo else time) == self.number


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of several matchers holds."""

    matchers: tuple[Matcher, ...]

    def matching(self, texts: Sequence[str]) -> Sequence[bool]:
        columns = [matcher.matching(texts) for matcher in self.matchers]
        return [any(held) for held in zip(*columns, strict=True)]


def escaped_in_json(text: str) -> str:
    """RE2 for a text in any of the forms that JSON may write it in; hexadecimal digits of either case."""
    return "".join(map(_escaped_character, text))


_SHORT = {
    '"': r"\\\"",
    "\\": r"\\\\",
    "/": r"\\/",
    "\b": r"\\b",
    "\f": r"\\f",
    "\n": r"\\n",
    "\r": r"\\r",
    "\t": r"\\t",
}


def _escaped_character(character: str) -> str:
    if character.isascii() and character.isalnum():
        return character
    units = character.encode("utf-16-be")
    numbered = "".join(rf"\\u(?i:{units[at]:02x}{units[at + 1]:02x})" for at in range(0, len(units), 2))
    forms = [numbered]
    if character in _SHORT:
        forms.append(_SHORT[character])
    if character not in '"\\' and ord(character) >= 0x20:
        forms.append(re.escape(character) if character.isascii() else character)
    return f"(?:{'|'.join(forms)})"
