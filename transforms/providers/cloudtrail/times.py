"""Times as CloudTrail writes them: ISO 8601 extended or basic, with or without fractions and zone; STS expirations.

A time without a zone is UTC, as every time of CloudTrail is. Fractions beyond microseconds are cut off.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from transforms.providers.cloudtrail.columns import Array, Column

MICROS_UTC = pa.timestamp("us", tz="UTC")
FIRST = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(2262, 1, 1, tzinfo=UTC)
"""Times are from FIRST up to but not including END: what nanoseconds in 64 bits can still hold."""

_ISO = re.compile(
    r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})[T ]"
    r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:[.,]([0-9]+))?)?)?"
    r" ?(?:[Zz]|UTC|([+-])([01][0-9]|2[0-3]):?([0-5][0-9])?)?"
)
_USUAL = "--T::Z"
"""Every third character of `2023-07-19T21:16:27Z`, from the fifth; the standard library reads this form alike."""

_MONTHS = {
    name: month
    for month, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
_HALVES = {"AM": 0, "PM": 12}


def parse_time(text: str | None) -> datetime | None:
    """The time that an ISO 8601 text names; None where it names none. Any year from 1 to 9999."""
    if not text:
        return None
    if text[4::3] == _USUAL:
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            return None
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, offset_h, offset_min = match.groups()
    micros = int(((fraction or "") + "000000")[:6])
    offset = timedelta(hours=int(offset_h or 0), minutes=int(offset_min or 0))
    try:
        local = datetime(int(year), int(month), int(day), int(hour), int(minute or 0), int(second or 0), micros, UTC)
        return local + offset if sign == "-" else local - offset
    except (ValueError, OverflowError):
        return None


def parse_expiration(text: str | None) -> datetime | None:
    """The `expiration` of a credential in a response: `Aug 1, 2024, 11:45:22 AM` (UTC) or ISO 8601."""
    words = text.replace(",", " ").split() if text else []
    if len(words) != 5 or words[0] not in _MONTHS or words[4] not in _HALVES:
        return parse_time(text)
    month, day, year, clock, half = words
    try:
        hour, minute, second = map(int, clock.split(":"))
        return datetime(int(year), _MONTHS[month], int(day), hour % 12 + _HALVES[half], minute, second, tzinfo=UTC)
    except ValueError:
        return None


def in_range(time: datetime | None) -> datetime | None:
    """The time where a table can hold it."""
    return time if time is not None and FIRST <= time < END else None


def canonical(text: str | None, time: datetime | None) -> str | None:
    """The one text of a time read from `text`: `2023-07-19T21:16:27Z`, with a fraction only if there is one."""
    if time is None or text is None:
        return None
    return text if text[4::3] == _USUAL else _canonical_local(time.replace(tzinfo=None).isoformat(" "))


def canonical_texts(times: Column) -> list[str | None]:
    """The same text for a column of times."""
    texts: list[Any] = pc.cast(pc.cast(times, pa.timestamp("us")), pa.string()).to_pylist()
    return [text and _canonical_local(text) for text in texts]


def _canonical_local(text: str) -> str:
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole[:10]}T{whole[11:]}{'.' if fraction else ''}{fraction}Z"


def parse_times(texts: Sequence[str | None]) -> Array:
    """`parse_time` for a column, in microseconds; unreadable is null, years out of range are left in."""
    strings = pa.array(texts, pa.string())
    try:
        return pc.cast(strings, MICROS_UTC)
    except pa.ArrowInvalid:
        return pa.array(map(parse_time, texts), MICROS_UTC)
