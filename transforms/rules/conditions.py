"""A rule's condition as a small tree of frozen values, made from what pySigma parsed.

Semantics are two-valued: a test of a field that the event lacks does not hold, so its negation does.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.types import (
    Placeholder,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SigmaTimestampPart,
    SpecialChars,
)

from transforms.rules.matchers import AnyOf, Cidr, Compared, Glob, Matcher, OneOf, Regex, TimePart, escaped_in_json


@dataclass(frozen=True, slots=True)
class Test:
    """Any of the field's texts holds; without a field, the record's own text does."""

    field: str | None
    matcher: Matcher


@dataclass(frozen=True, slots=True)
class Exists:
    """The record has the field, be it empty or null."""

    field: str


@dataclass(frozen=True, slots=True)
class Absent:
    """The field is missing, null, or an empty list."""

    field: str


@dataclass(frozen=True, slots=True)
class SameAs:
    """Any text of the field equals any text of the other, whatever their case.

    With an open end it begins with the other, with an open start it ends with it, with both it contains it.
    """

    field: str
    other: str
    open_end: bool = False
    open_start: bool = False


@dataclass(frozen=True, slots=True)
class All:
    """Each part holds."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Any_:  # noqa: N801  # `Any` is taken
    """One of the parts holds."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Node


Node = bool | Test | Exists | Absent | SameAs | All | Any_ | Not


class UnsupportedError(ValueError):
    """Something that a rule asks for and that cannot be decided here; `field` is where."""

    def __init__(self, field: str | None, why: str) -> None:
        self.field = field
        super().__init__(f"field {field!r}: {why}" if field else why)


def all_of(parts: Sequence[Node]) -> Node:
    """Their conjunction, simplified."""
    if False in parts:
        return False
    kept = tuple(dict.fromkeys(it for part in parts for it in (part.parts if isinstance(part, All) else (part,))))
    kept = tuple(part for part in kept if part is not True)
    return kept[0] if len(kept) == 1 else All(kept) if kept else True


def any_of(parts: Sequence[Node]) -> Node:
    """Their disjunction, simplified: tests of one field become one test."""
    if True in parts:
        return True
    kept: list[Node] = []
    matchers: dict[str | None, list[Matcher]] = {}
    for part in (it for each in parts for it in (each.parts if isinstance(each, Any_) else (each,))):
        if isinstance(part, Test):
            matchers.setdefault(part.field, []).append(part.matcher)
        elif part is not False and part not in kept:
            kept.append(part)
    tests = tuple(Test(field, _united(these)) for field, these in matchers.items())
    found = (*tests, *kept)
    return found[0] if len(found) == 1 else Any_(found) if found else False


def negated(part: Node) -> Node:
    """Its negation, simplified."""
    if isinstance(part, bool):
        return not part
    return part.part if isinstance(part, Not) else Not(part)


def _united(matchers: Sequence[Matcher]) -> Matcher:
    flat = [it for matcher in matchers for it in (matcher.matchers if isinstance(matcher, AnyOf) else (matcher,))]
    united: list[Matcher] = []
    for cased in (False, True):
        sets = [it.texts for it in flat if isinstance(it, OneOf) and it.cased is cased]
        if sets:
            united.append(OneOf(frozenset().union(*sets), cased))
    united += dict.fromkeys(it for it in flat if not isinstance(it, OneOf))
    return united[0] if len(united) == 1 else AnyOf(tuple(united))


def fields_of(node: Node) -> Iterator[str]:
    """The fields that a condition looks at, in its order, perhaps with repeats."""
    match node:
        case All(parts) | Any_(parts):
            for part in parts:
                yield from fields_of(part)
        case Not(part):
            yield from fields_of(part)
        case SameAs(field, other):
            yield from (field, other)
        case Test(field) | Exists(field) | Absent(field) if field is not None:
            yield field


def condition_of(parsed: Any) -> Node:
    """The tree for what pySigma parsed. Raises UnsupportedError."""
    match parsed:
        case ConditionAND():
            return all_of([condition_of(it) for it in parsed.args])
        case ConditionOR():
            return any_of([condition_of(it) for it in parsed.args])
        case ConditionNOT():
            return negated(condition_of(parsed.args[0]))
        case ConditionFieldEqualsValueExpression():
            return _field(parsed.field, parsed.value)
        case ConditionValueExpression():
            return Test(None, _keyword(parsed.value))
    raise UnsupportedError(None, "the condition selects nothing")


def _field(field: str, value: Any) -> Node:
    match value:
        case SigmaExpansion():
            return any_of([_field(field, it) for it in value.values])
        case SigmaExists():
            return Exists(field) if value.exists else Not(Exists(field))
        case SigmaNull():
            return Absent(field)
        case SigmaFieldReference():
            return SameAs(field, value.field, value.starts_with, value.ends_with)
    try:
        return Test(field, _matcher(value))
    except ValueError as error:
        raise UnsupportedError(field, str(error)) from None


def _matcher(value: Any) -> Matcher:
    match value:
        case SigmaString():
            segments = _segments(value)
            cased = isinstance(value, SigmaCasedString)
            if len(segments) == 1 and None not in segments[0]:
                return OneOf(frozenset({"".join(part or "" for part in segments[0])}), cased)
            return Glob(segments, cased)
        case SigmaTimestampPart():
            return TimePart(value.timestamp_part.name.lower(), int(value.number))
        case SigmaNumber():
            return OneOf(frozenset({number_text(value.number)}))
        case SigmaBool():
            return OneOf(frozenset({"true" if value.boolean else "false"}))
        case SigmaRegularExpression():
            return Regex(_pattern(value))
        case SigmaCIDRExpression():
            return Cidr(ipaddress.ip_network(value.cidr, strict=False))
        case SigmaCompareExpression():
            return Compared(value.op.name.lower(), float(value.number.number))
    raise ValueError(f"a value of the kind {type(value).__name__} is not supported")


def number_text(number: float) -> str:
    """A number as the texts of fields have it: 5.0 is 5."""
    return str(int(number)) if isinstance(number, int) or number.is_integer() else repr(number)


def _segments(value: SigmaString) -> tuple[tuple[str | None, ...], ...]:
    cased = isinstance(value, SigmaCasedString)
    segments: list[list[str | None]] = [[]]
    for part in value.s:
        if isinstance(part, Placeholder):
            raise ValueError(f"the placeholder %{part.name}% has no values here; write the values into the rule")
        if part is SpecialChars.WILDCARD_MULTI:
            segments.append([])
        elif part is SpecialChars.WILDCARD_SINGLE:
            segments[-1].append(None)
        else:
            segments[-1].append(str(part) if cased else str(part).lower())
    return tuple(map(tuple, segments))


def _pattern(value: SigmaRegularExpression) -> str:
    if value.contains_placeholder():
        raise ValueError("a placeholder in a regular expression has no values here")
    flags = "".join(sorted(value.sigma_to_re_flag[flag] for flag in value.flags))
    text = str(value.regexp)
    return f"(?{flags}){text}" if flags else text


def _keyword(value: Any) -> Matcher:
    match value:
        case SigmaExpansion():
            return _united([_keyword(it) for it in value.values])
        case SigmaString():
            parts = []
            for segment in _segments(value):
                parts.append("".join("." if part is None else escaped_in_json(part) for part in segment))
            return Regex(f"(?{'s' if isinstance(value, SigmaCasedString) else 'is'}){'.*'.join(parts)}")
        case SigmaNumber():
            return Regex(re.escape(number_text(value.number)))
        case SigmaRegularExpression():
            return Regex(_pattern(value))
    raise UnsupportedError(None, f"a keyword of the kind {type(value).__name__} is not supported")
