"""What a field of a record is to rules: an entry, that is, whether it is there, and its texts.

A string is its text, a number its shortest form, a flag true or false, an object its JSON; a list has the texts of
its elements. Null and an empty list have none. A field is a path of members by dots, through lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from transforms.providers.cloudtrail.lenient import REFUSED, UnreadableError, cleaned, loads
from transforms.rules.conditions import number_text

_decode = msgspec.json.Decoder().decode


class Entry(NamedTuple):
    """A field's value in one record."""

    present: bool
    texts: tuple[str, ...]


MISSING = Entry(False, ())
_NULL = Entry(True, ())


def entry_of(value: Any) -> Entry:
    """The entry of a JSON value that is there."""
    if type(value) is str:
        return Entry(True, (value,))
    texts = tuple(_texts(value))
    return Entry(True, texts) if texts else _NULL


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bool):
        yield "true" if value else "false"
    elif isinstance(value, int | float):
        yield number_text(value)
    elif isinstance(value, dict):
        yield msgspec.json.encode(value).decode()
    elif isinstance(value, list):
        for element in value:
            yield from _texts(element)


def entry_of_column(value: Any) -> Entry:
    """The entry of a value of an Arrow column, which does not tell null from absent; times as ISO 8601."""
    if value is None:
        return MISSING
    return entry_of(value.isoformat() if hasattr(value, "isoformat") else value)


def find(value: Any, path: Sequence[str]) -> Entry:
    """What a path of members leads to in a JSON value, through lists; a member may have dots in its name."""
    if not path:
        return entry_of(value)
    if isinstance(value, list):
        found = [entry for entry in (find(element, path) for element in value) if entry.present]
        return Entry(True, tuple(text for entry in found for text in entry.texts)) if found else MISSING
    if isinstance(value, dict):
        if len(path) == 1:
            return entry_of(value[path[0]]) if path[0] in value else MISSING
        for length in range(1, len(path) + 1):
            name = ".".join(path[:length])
            if name in value:
                found_here = find(value[name], path[length:])
                if found_here.present:
                    return found_here
    return MISSING


def any_json(text: bytes | msgspec.Raw | str) -> Any:
    """Any JSON value; None for what no parser follows, such as thousands of levels: it has no field."""
    try:
        return _decode(text)
    except REFUSED:
        try:
            return cleaned(loads(text.encode() if isinstance(text, str) else text))
        except (UnreadableError, RecursionError):
            return None
