"""The formats of lists, each read into entries as they stand there: CSV and plain text, STIX 2.1, MISP.

Sources: STIX 2.1 (OASIS), sections 4.7 and 9; MISP core format (draft-dulaunoy-misp-core-format) and MISP's taxonomy
`misp:confidence-level`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec

from transforms.indicators.values import KINDS, Kind


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a list, its value as given: its kind (None: told by its looks), confidence 0 to 100, and end."""

    kind: Kind | None
    value: str
    confidence: int | None = None
    valid_until: datetime | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """What a list holds and cannot be looked for, and why."""

    reason: str
    value: str


Entries = Iterator[Entry | Refused]


@lru_cache(maxsize=4096)
def instant(text: str) -> datetime:
    """A date or time of ISO 8601, UTC where it names no zone. Raises ValueError for anything else."""
    time = datetime.fromisoformat(text.strip())
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is beyond the year 9999") from None


_TYPES, _VALUES = ("type", "kind", "indicator_type"), ("value", "indicator", "ioc")
_ENDS = ("valid_until", "expires", "expiration", "expiry")
_TAGS = ("tags", "labels")


def from_csv(text: str) -> Entries:
    """A CSV with a header that names the columns `type` and `value`, perhaps `confidence`, `valid_until`, `tags`.

    Without such a header: one value a line, its kind told by its looks; `#` begins a comment. Tags are parted by `;`
    or `,`; of a MISP export's `to_ids`, 0 means that the entry is not for detection. Raises csv.Error.
    """
    lines = (line for line in io.StringIO(text) if line.strip() and not line.lstrip().startswith("#"))
    first = next(lines, None)
    if first is None:
        return
    header = [name.strip().lower() for name in next(csv.reader((first,), skipinitialspace=True))]
    kind, value = _column(header, _TYPES), _column(header, _VALUES)
    if value is None:
        # Each line by itself: a quote that is not closed takes no others with it.
        yield from (Entry(None, _alone(line)) for line in chain((first,), lines))
        return
    rows = csv.reader(lines, skipinitialspace=True)
    confidence, end, tags = _column(header, ("confidence",)), _column(header, _ENDS), _column(header, _TAGS)
    to_ids = _column(header, ("to_ids",))
    for row in rows:
        if len(row) != len(header):
            yield Refused(f"not {len(header)} columns as in the header", ",".join(row))
            continue
        if to_ids is not None and row[to_ids].strip().lower() in ("0", "false"):
            yield Refused("not for detection (to_ids)", row[value])
            continue
        known = None if kind is None else KINDS.get(row[kind].strip().lower())
        if kind is not None and known is None:
            yield Refused(f"type {row[kind]!r} is not looked for", row[value])
            continue
        try:
            yield Entry(
                known,
                row[value],
                _confidence(row[confidence]) if confidence is not None and row[confidence].strip() else None,
                instant(row[end]) if end is not None and row[end].strip() else None,
                _parted(row[tags]) if tags is not None else (),
            )
        except ValueError as error:
            yield Refused(str(error), row[value])


def _alone(line: str) -> str:
    """The first value of a line; no value whose kind is told by its looks has any of these marks in it."""
    return line.partition("#")[0].partition(",")[0].strip(' "\t\r\n')


@lru_cache(maxsize=4096)
def _parted(text: str) -> tuple[str, ...]:
    return tuple(it.strip() for it in re.split("[;,]", text) if it.strip())


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _confidence(text: str) -> int:
    if not re.fullmatch(r"\s*\d{1,3}\s*", text) or int(text) > 100:
        raise ValueError(f"confidence {text!r} is not a number from 0 to 100")
    return int(text)


class _StixObject(msgspec.Struct):
    type: str = ""
    pattern: str | None = None
    pattern_type: str = "stix"
    valid_until: str | None = None
    confidence: int | None = None
    revoked: bool = False
    labels: list[str] = []
    indicator_types: list[str] = []


class _StixBundle(msgspec.Struct):
    objects: list[_StixObject] = []


_STIX_PATHS = {
    "ipv4-addr:value": Kind.ADDRESS,
    "ipv6-addr:value": Kind.ADDRESS,
    "domain-name:value": Kind.DOMAIN,
    "network-traffic:extensions.'http-request-ext'.request_header.'User-Agent'": Kind.USER_AGENT,
}
_STIX_HASH = re.compile(r"file:hashes\.'?(md5|sha-?1|sha-?256)'?")
_COMPARISON = re.compile(r"\s*([a-z0-9_-]+:[\w.'-]+)(?:\s*=\s*|\s+ISSUBSET\s+)'((?:[^'\\]|\\.)*)'\s*")
_OR = re.compile(r"OR\b|\]\s*OR\s*\[")
_CUSTOM_KEY, _CUSTOM_ACCOUNT = re.compile(r"x-[\w-]*:.*access_?key(_?id)?"), re.compile(r"x-aws[\w-]*:.*account_?id")


def from_stix(text: bytes) -> Entries:
    """The indicators of a STIX 2.1 bundle. Raises msgspec.MsgspecError where it is none.

    A pattern is comparisons, or observations of one, joined by OR, each of an address (`=` or ISSUBSET), a domain, a
    file's hash or the header User-Agent; STIX has no object for AWS keys and accounts, so custom ones are
    told by the name of the path.
    """
    for it in msgspec.json.decode(text, type=_StixBundle).objects:
        if it.type != "indicator":
            continue
        pattern = it.pattern or ""
        if it.revoked:
            yield Refused("revoked", pattern)
            continue
        if it.pattern_type != "stix":
            yield Refused(f"pattern type {it.pattern_type!r} is not looked for", pattern)
            continue
        found = _comparisons(pattern)
        if found is None:
            yield Refused("a pattern of more than values joined by OR", pattern)
            continue
        try:
            end = instant(it.valid_until) if it.valid_until else None
        except ValueError as error:
            yield Refused(str(error), pattern)
            continue
        if it.confidence is not None and not 0 <= it.confidence <= 100:
            yield Refused(f"confidence {it.confidence} is not from 0 to 100", pattern)
            continue
        for path, value in found:
            kind = _stix_kind(path)
            if kind is None:
                yield Refused(f"{path} is not looked for", value)
            else:
                yield Entry(kind, value, it.confidence, end, (*it.indicator_types, *it.labels))


def _comparisons(pattern: str) -> list[tuple[str, str]] | None:
    """Paths and values of `[a = 'x' OR b = 'y']`, or of `[a = 'x'] OR [b = 'y']`; None for any other pattern."""
    inner = pattern.strip()
    if not (inner.startswith("[") and inner.endswith("]")):
        return None
    place, found = 1, []
    while match := _COMPARISON.match(inner, place):
        found.append((match[1], re.sub(r"\\(.)", r"\1", match[2])))
        place = match.end()
        if place == len(inner) - 1:
            return found
        joined = _OR.match(inner, place)
        if joined is None:
            return None
        place = joined.end()
    return None


def _stix_kind(path: str) -> Kind | None:
    if path in _STIX_PATHS:
        return _STIX_PATHS[path]
    lowered = path.lower()
    if _STIX_HASH.fullmatch(lowered):
        return Kind.HASH
    if _CUSTOM_KEY.fullmatch(lowered):
        return Kind.ACCESS_KEY
    return Kind.ACCOUNT if _CUSTOM_ACCOUNT.fullmatch(lowered) else None


class _MispTag(msgspec.Struct):
    name: str = ""


class _MispAttribute(msgspec.Struct):
    type: str
    value: str
    to_ids: bool = False
    deleted: bool = False
    tags: list[_MispTag] = msgspec.field(name="Tag", default_factory=list)


class _MispObject(msgspec.Struct):
    attributes: list[_MispAttribute] = msgspec.field(name="Attribute", default_factory=list)
    deleted: bool = False


class _MispEvent(msgspec.Struct):
    attributes: list[_MispAttribute] = msgspec.field(name="Attribute", default_factory=list)
    objects: list[_MispObject] = msgspec.field(name="Object", default_factory=list)
    tags: list[_MispTag] = msgspec.field(name="Tag", default_factory=list)


class _Wrapped(msgspec.Struct):
    event: _MispEvent = msgspec.field(name="Event")


class _Attributes(msgspec.Struct):
    response: _MispObject


class _Response(msgspec.Struct):
    response: list[_Wrapped]


_CONFIDENCE = {
    'misp:confidence-level="completely-confident"': 100,
    'misp:confidence-level="usually-confident"': 75,
    'misp:confidence-level="fairly-confident"': 50,
    'misp:confidence-level="rarely-confident"': 25,
    'misp:confidence-level="unconfident"': 0,
}
_COMPOSITE = {"ip-src|port", "ip-dst|port", "hostname|port"}


def from_misp(text: bytes) -> Entries:
    """The attributes for detection (`to_ids`) of MISP events, in any form that MISP exports.

    An attribute has its own tags and those of its event; the confidence is the lowest of their levels. MISP names no
    end. Raises msgspec.MsgspecError where it is none.
    """
    for event in _misp_events(text):
        parts = [event.attributes, *(it.attributes for it in event.objects if not it.deleted)]
        for attribute in chain.from_iterable(parts):
            yield from _misp_entries(attribute, event.tags)


def _misp_events(text: bytes) -> list[_MispEvent]:
    shape: Any = msgspec.json.decode(text, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
    if isinstance(shape, list):
        return [it.event for it in msgspec.json.decode(text, type=list[_Wrapped], strict=False)]
    if "Event" in shape:
        return [msgspec.json.decode(text, type=_Wrapped, strict=False).event]
    if bytes(shape["response"]).lstrip().startswith(b"["):
        return [it.event for it in msgspec.json.decode(text, type=_Response, strict=False).response]
    found = msgspec.json.decode(text, type=_Attributes, strict=False).response
    return [_MispEvent(attributes=found.attributes)]


def _misp_entries(attribute: _MispAttribute, event_tags: Sequence[_MispTag]) -> Entries:
    if attribute.deleted:
        yield Refused("deleted", attribute.value)
        return
    if not attribute.to_ids:
        yield Refused("not for detection (to_ids)", attribute.value)
        return
    tags = tuple(it.name for it in (*attribute.tags, *event_tags))
    confidence = min((_CONFIDENCE[it] for it in tags if it in _CONFIDENCE), default=None)
    type_, value = attribute.type, attribute.value
    if type_ == "domain|ip":
        domain, _, address = value.partition("|")
        yield Entry(Kind.DOMAIN, domain, confidence, None, tags)
        yield Entry(Kind.ADDRESS, address, confidence, None, tags)
        return
    if type_.startswith("filename|"):
        type_, value = type_.partition("|")[2], value.rpartition("|")[2]
    if type_ in _COMPOSITE:
        type_, value = type_.partition("|")[0], value.partition("|")[0]
    kind = KINDS.get(type_)
    if kind is None:
        yield Refused(f"type {attribute.type!r} is not looked for", attribute.value)
    else:
        yield Entry(kind, value, confidence, None, tags)
