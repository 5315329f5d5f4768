"""Sigma rules over one record at a time, plainly: its own reading of the YAML, no library but yaml.

Everything is decided by walking the record and comparing strings. Slow, and meant to be obviously right.
Source: Sigma specification 2.1.
"""

from __future__ import annotations

import base64
import fnmatch
import ipaddress
import itertools
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import yaml

Record = dict[str, Any]
DASHES = "-/\u2013\u2014\u2015"


def rules_in(text: str) -> Iterator[dict[str, Any]]:
    """The detection rules of a YAML text."""
    for document in yaml.safe_load_all(text):
        if isinstance(document, dict) and "detection" in document:
            yield document


def matches(rule: dict[str, Any], record: Record, raw: str | None = None) -> bool:
    """Whether the rule holds for the record."""
    detection = rule["detection"]
    conditions = detection["condition"]
    raw = json.dumps(record) if raw is None else raw
    named = {name: selected(what, record, raw) for name, what in detection.items() if name != "condition"}
    return any(Condition(it, named).value() for it in ([conditions] if isinstance(conditions, str) else conditions))


class Condition:
    """A recursive descent over: or, and, not, x of, parentheses."""

    def __init__(self, text: str, named: dict[str, bool]) -> None:
        self.words = re.findall(r"[()]|[^\s()]+", text)
        self.named = named

    def value(self) -> bool:
        value = self.either()
        assert not self.words, self.words
        return value

    def either(self) -> bool:
        values = [self.both()]
        while self.next_is("or"):
            values.append(self.both())
        return any(values)

    def both(self) -> bool:
        values = [self.single()]
        while self.next_is("and"):
            values.append(self.single())
        return all(values)

    def single(self) -> bool:
        if self.next_is("not"):
            return not self.single()
        if self.next_is("("):
            value = self.either()
            assert self.next_is(")")
            return value
        word = self.words.pop(0)
        if self.words and self.words[0] == "of":
            self.words.pop(0)
            pattern = self.words.pop(0)
            chosen = [
                value
                for name, value in self.named.items()
                if (not name.startswith("_") if pattern == "them" else fnmatch.fnmatchcase(name, pattern))
            ]
            return all(chosen) if word == "all" else any(chosen)
        return self.named[word]

    def next_is(self, word: str) -> bool:
        if self.words and self.words[0] == word:
            self.words.pop(0)
            return True
        return False


def selected(what: Any, record: Record, raw: str) -> bool:
    if isinstance(what, dict):
        return all(item(key, value, record, raw) for key, value in what.items())
    return any(
        selected(it, record, raw) if isinstance(it, dict) else in_text(wanted_text(it), raw)
        for it in (what if isinstance(what, list) else [what])
    )


def item(key: str, wanted: Any, record: Record, raw: str) -> bool:
    field, *modifiers = key.split("|")
    values = wanted if isinstance(wanted, list) else [wanted]
    if not field:
        held = [in_text(wanted_text(value), raw) for value in values]
    else:
        held = [one(field, modifiers, value, record) for value in values]
    whole = all(held) if "all" in modifiers else any(held)
    return not whole if "neq" in modifiers and isinstance(values[0], str) else whole


def one(field: str, modifiers: list[str], wanted: Any, record: Record) -> bool:
    there, texts = look(field, record)
    if "exists" in modifiers:
        return there == wanted
    if wanted is None:
        return not texts
    if "fieldref" in modifiers:
        others = [text.lower() for text in look(wanted, record)[1]]
        if "contains" in modifiers:
            return any(other in text.lower() for text in texts for other in others)
        if "startswith" in modifiers:
            return any(text.lower().startswith(other) for text in texts for other in others)
        if "endswith" in modifiers:
            return any(text.lower().endswith(other) for text in texts for other in others)
        return any(text.lower() == other for text in texts for other in others)
    return any(holds(text, modifiers, wanted) for text in texts)


def holds(text: str, modifiers: list[str], wanted: Any) -> bool:
    for comparison in ("lt", "lte", "gt", "gte", "neq"):
        if comparison in modifiers and not isinstance(wanted, str):
            try:
                number = float(text)
            except ValueError:
                return False
            wanted = float(wanted)
            return {
                "lt": number < wanted,
                "lte": number <= wanted,
                "gt": number > wanted,
                "gte": number >= wanted,
                "neq": number != wanted,
            }[comparison]
    for part in ("minute", "hour", "day", "week", "month", "year"):
        if part in modifiers:
            try:
                time = datetime.fromisoformat(text)
            except ValueError:
                return False
            time = time.astimezone(UTC) if time.tzinfo else time
            return (time.isocalendar().week if part == "week" else getattr(time, part)) == wanted
    if "cidr" in modifiers:
        try:
            return ipaddress.ip_address(text) in ipaddress.ip_network(wanted, strict=False)
        except ValueError:
            return False
    if "re" in modifiers:
        flags = (re.IGNORECASE if "i" in modifiers else 0) | (re.MULTILINE if "m" in modifiers else 0)
        return re.search(wanted, text, flags | (re.DOTALL if "s" in modifiers else 0)) is not None
    return any(re.fullmatch(pattern, text, re.DOTALL) for pattern in patterns(modifiers, wanted))


def patterns(modifiers: list[str], wanted: Any) -> Iterator[str]:
    """Regular expressions of Python, one for each form that the modifiers make of a value."""
    flag = "" if "cased" in modifiers else "(?i)"
    forms = [wanted_text(wanted)]
    for modifier in modifiers:
        if modifier == "windash":
            forms = [changed for form in forms for changed in dashed(form)]
        elif modifier in ("wide", "utf16le"):
            forms = [form.encode("utf-16-le").decode("latin-1") for form in forms]
        elif modifier == "utf16be":
            forms = [form.encode("utf-16-be").decode("latin-1") for form in forms]
        elif modifier == "base64":
            forms = [base64.b64encode(form.encode("latin-1")).decode() for form in forms]
        elif modifier == "base64offset":
            forms = [shifted for form in forms for shifted in offsets(form.encode("latin-1"))]
    for form in forms:
        pattern = globbed(form)
        if "contains" in modifiers:
            yield f"{flag}.*{pattern}.*"
        elif "startswith" in modifiers:
            yield f"{flag}{pattern}.*"
        elif "endswith" in modifiers:
            yield f"{flag}.*{pattern}"
        else:
            yield f"{flag}{pattern}"


def globbed(text: str) -> str:
    pattern, place = "", 0
    while place < len(text):
        character, place = text[place], place + 1
        if character == "\\" and text[place : place + 1] in ("*", "?", "\\"):
            pattern, place = pattern + re.escape(text[place]), place + 1
        elif character == "*":
            pattern += ".*"
        elif character == "?":
            pattern += "."
        else:
            pattern += re.escape(character)
    return pattern


def dashed(text: str) -> Iterator[str]:
    """Every dash that begins a word, as each kind of dash."""
    pieces = re.split(r"(?<!\w)([-/\u2013\u2014\u2015])(?=\w)", text)
    choices = [DASHES if place % 2 else [piece] for place, piece in enumerate(pieces)]
    yield from ("".join(chosen) for chosen in itertools.product(*choices))


def offsets(content: bytes) -> Iterator[str]:
    for shift, (begin, end) in enumerate([(0, None), (2, -3), (3, -2)]):
        encoded = base64.b64encode(b" " * shift + content).decode()
        tail = {0: None, 1: -3, 2: -2}[(len(content) + shift) % 3]
        yield encoded[begin:tail]
        del end


def wanted_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else number(value)


def number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def in_text(wanted: str, raw: str) -> bool:
    return any(re.search(f"(?is){globbed(form)}", raw) for form in (wanted, json.dumps(wanted)[1:-1]))


def look(field: str, value: Any) -> tuple[bool, list[str]]:
    """Whether the field is there, and its texts."""
    if isinstance(value, dict):
        names = field.split(".")
        for length in range(1, len(names) + 1):
            name, rest = ".".join(names[:length]), ".".join(names[length:])
            if name in value:
                found = look(rest, value[name]) if rest else (True, texts_of(value[name]))
                if found[0]:
                    return found
        return False, []
    if isinstance(value, list):
        found_all = [look(field, it) for it in value]
        return any(there for there, _ in found_all), [text for _, texts in found_all for text in texts]
    return False, []


def texts_of(value: Any) -> list[str]:
    if isinstance(value, list):
        return [text for it in value for text in texts_of(it)]
    if isinstance(value, dict):
        return [json.dumps(value, separators=(",", ":"), ensure_ascii=False)]
    return [] if value is None else [wanted_text(value)]
