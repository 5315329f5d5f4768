"""Times as CloudTrail writes them: ISO 8601 extended or basic, with or without fractions and zone; STS expirations.

A time without a zone is UTC, as every time of CloudTrail is. Fractions beyond microseconds are cut off.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from transforms.providers.cloudtrail.columns import Array

MICROS_UTC = pa.timestamp("us", tz="UTC")
FIRST = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(2262, 1, 1, tzinfo=UTC)
"""Times are from FIRST up to but not including END: what nanoseconds in 64 bits can still hold."""

_ISO = re.compile(
    r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})[T ]"
    r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:[.,]([0-9]+))?)?)?"
    r" ?(?:[Zz]|UTC|([+-])([01][0-9]|2[0-3]):?([0-5][0-9])?)?"
)
_EXPIRATION = re.compile(r"([A-Z][a-z]{2}) ([0-9]{1,2}), ([0-9]{4}),?\s+([0-9]{1,2}):([0-9]{2}):([0-9]{2})\s*([AP]M)")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def parse_time(text: str | None) -> datetime | None:
    """The time that an ISO 8601 text names; None where it names none. Any year from 1 to 9999."""
    match = _ISO.fullmatch(text) if text else None
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
    match = _EXPIRATION.fullmatch(text) if text else None
    if match is None:
        return parse_time(text)
    month, day, year, hour, minute, second, half = match.groups()
    try:
        return datetime(
            int(year),
            _MONTHS.index(month) + 1,
            int(day),
            int(hour) % 12 + (12 if half == "PM" else 0),
            int(minute),
            int(second),
            tzinfo=UTC,
        )
    except ValueError:
        return None


def in_range(time: datetime | None) -> datetime | None:
    """The time where a table can hold it."""
    return time if time is not None and FIRST <= time < END else None


def canonical(time: datetime) -> str:
    """The one ISO text of a time: extended, `Z`, a fraction only where there is one, without trailing zeros."""
    text = time.replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if time.microsecond else text) + "Z"


def parse_times(texts: Sequence[str | None]) -> Array:
    """`parse_time` for a column, in microseconds; unreadable is null, years out of range are left in."""
    strings = pa.array(texts, pa.string())
    try:
        return pc.cast(strings, MICROS_UTC)
    except pa.ArrowInvalid:
        return pa.array(map(parse_time, texts), MICROS_UTC)
