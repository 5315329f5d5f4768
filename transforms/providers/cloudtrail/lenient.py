"""Reading JSON whose parts may be of any kind: a wrong kind costs a field, never a record.

`Reader` decodes a JSON object into a msgspec Struct. Where the typed decode fails, the members are fitted one by
one: a number or a boolean becomes its text, a lone surrogate becomes U+FFFD, and a value of a kind that cannot be
read as the field's becomes null with a note. Notes name the field and the kinds, never a value.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, Generic, TypeVar, get_args, get_origin

import msgspec

Text = bytes | msgspec.Raw
S = TypeVar("S", bound=msgspec.Struct)

REFUSED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for text that does not fit the type."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[][{}:,]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Number(str):
    """The text of a JSON number, of any size."""


_GENERIC = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_Number)


class UnreadableError(ValueError):
    """Text that is not JSON; the message holds no part of it."""


class TooDeepError(UnreadableError):
    """JSON nested more deeply than the parsers follow."""


def loads(text: Text) -> Any:
    """Any JSON value, numbers as text; raises UnreadableError."""
    try:
        return _GENERIC.decode(bytes(text).decode("utf-8"))
    except RecursionError:
        raise TooDeepError("nested too deeply") from None
    except UnicodeDecodeError:
        raise UnreadableError("not valid UTF-8") from None
    except json.JSONDecodeError as error:
        raise UnreadableError(f"not valid JSON: {error.msg}") from None


def cleaned(value: Any) -> Any:
    """A value from `loads` with each lone surrogate as U+FFFD, so that UTF-8 can hold all of its texts."""
    if isinstance(value, dict):
        return {_clean(name): cleaned(member) for name, member in value.items()}
    if isinstance(value, list):
        return [cleaned(element) for element in value]
    return _clean(value) if type(value) is str else value


def is_plain(value: Any) -> bool:
    """Whether a value is text as delivered: a string that UTF-8 can hold."""
    return type(value) is str and not _SURROGATE.search(value)


def kind(value: Any) -> str:
    """The JSON kind of a value, in words."""
    kinds = {type(None): "null", bool: "a boolean", _Number: "a number", str: "a string", list: "an array"}
    return kinds.get(type(value), "an object")


def kind_of_text(text: Text) -> str:
    """The JSON kind of a value that is still text."""
    kinds = {"": "missing", "{": "an object", "[": "an array", '"': "a string", "n": "null"}
    kinds |= {"t": "a boolean", "f": "a boolean"}
    return kinds.get(bytes(text).lstrip()[:1].decode("ascii", "replace"), "a number")


def members(text: bytes) -> dict[str, bytes]:
    """The members of a JSON object as text, however deep they nest; the last of repeated names holds.

    The caller vouches for the syntax outside of strings; a member whose name cannot be read is left out.
    """
    found: dict[str, bytes] = {}
    depth, start = 0, 0
    name, string = b"", b""
    for match in _TOKEN.finditer(text):
        token = match.group()
        if depth == 1:
            if token[0] == ord('"'):
                string = token
            elif token == b":":
                name, start = string, match.end()
            elif token in (b",", b"}") and name:
                found[_name(name)] = text[start : match.start()].strip()
                name = b""
        depth += (token in (b"{", b"[")) - (token in (b"}", b"]"))
    found.pop("", None)
    return found


def _name(token: bytes) -> str:
    try:
        return _clean(loads(token))
    except UnreadableError:
        return ""


def _clean(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)


class Reader(Generic[S]):
    """Reads JSON objects as the Struct `shape`, whose fields are text, Structs and lists of Structs."""

    def __init__(self, shape: type[S]) -> None:
        self._shape = shape
        self._decode = msgspec.json.Decoder(shape).decode

    def read(self, text: Text, name: str, notes: list[str]) -> S:
        """The object in `text`; empty for null and nothing. What could not be read is added to `notes`.

        `name` is the object's name in its record, empty for the record itself.
        """
        try:
            return self._decode(text)
        except REFUSED:
            pass
        try:
            value = loads(text) if bytes(text) else None
        except UnreadableError as error:
            notes.append(f"{name or 'record'} is {error}")
            return self._shape()
        return fit(self._shape, value, name, notes)


def fit(shape: type[S], value: Any, name: str, notes: list[str]) -> S:
    """`value` (from `loads`) as a `shape`, field by field."""
    if value is None:
        return shape()
    if not isinstance(value, dict):
        notes.append(f"{name or 'record'} is {kind(value)}, not an object")
        return shape()
    fitted = {}
    for field, member, inner, container in _fields(shape):
        if value.get(member) is not None:
            fitted[field] = _fit_field(inner, container, value[member], f"{name}.{member}" if name else member, notes)
    return shape(**fitted)


def _fit_field(inner: type[Any], container: type | None, value: Any, name: str, notes: list[str]) -> Any:
    if container is list and isinstance(value, list):
        return [_fit_one(inner, item, f"{name}[]", notes) for item in value]
    if container is dict and isinstance(value, dict):
        texts = {_clean(key): fit_text(item, f"{name}{{}}", notes) for key, item in value.items()}
        return {key: text for key, text in texts.items() if text is not None}
    if container is not None:
        notes.append(f"{name} is {kind(value)}, not {'an array' if container is list else 'an object'}")
        return None
    return _fit_one(inner, value, name, notes)


def _fit_one(inner: type[Any], value: Any, name: str, notes: list[str]) -> Any:
    if issubclass(inner, msgspec.Struct):
        return fit(inner, value, name, notes)
    return fit_text(value, name, notes)


def fit_text(value: Any, name: str, notes: list[str]) -> str | None:
    """Text as it is, a number or a boolean as its text, null for anything else, with a note."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _clean(value)
    notes.append(f"{name} is {kind(value)}, not a string")
    return None


@cache
def _fields(shape: type[msgspec.Struct]) -> tuple[tuple[str, str, type[Any], type | None], ...]:
    """Per field: its name, its name in JSON, the type of its value or values, the container of these."""
    found = []
    for field in msgspec.structs.fields(shape):
        declared = next(option for option in get_args(field.type) if option is not bool)
        container = get_origin(declared)
        inner = get_args(declared)[-1] if container else declared
        found.append((field.name, field.encode_name, inner, container))
    return tuple(found)
