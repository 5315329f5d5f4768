"""Fields of records as they were delivered, read from their JSON."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from transforms.providers.cloudtrail.lenient import REFUSED, members
from transforms.rules.entries import MISSING, Entry, any_json, find

_ABSENT = object()


class Reader:
    """Reads some fields of a record in one pass, which skips all members that none of them may begin with."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        paths = [tuple(field.split(".")) for field in fields]
        # The member itself may have dots in its name: each that a path may begin with is asked for, shortest first.
        ways = [[(".".join(path[:length]), path[length:]) for length in range(1, len(path) + 1)] for path in paths]
        self._names = tuple(dict.fromkeys(name for way in ways for name, _ in way))
        self._ways = [[(self._names.index(name), rest) for name, rest in way] for way in ways]
        own = [f"member_{number}" for number in range(len(self._names))]
        shape = msgspec.defstruct(
            "Members",
            [(it, msgspec.Raw, None) for it in own],
            rename=dict(zip(own, self._names, strict=True)),
        )
        self._decode = msgspec.json.Decoder(shape).decode

    def read(self, text: memoryview) -> list[str | Entry]:
        """Of each field its entry, or its only text."""
        try:
            found = msgspec.structs.astuple(self._decode(text))
        except REFUSED:
            own = members(bytes(text))
            found = tuple(own.get(name) for name in self._names)
        values = [_ABSENT if member is None else any_json(member) for member in found]
        return [_first(values, ways) for ways in self._ways]


reader = lru_cache(maxsize=4096)(Reader)


def _first(values: Sequence[Any], ways: Sequence[tuple[int, tuple[str, ...]]]) -> str | Entry:
    for place, path in ways:
        value = values[place]
        if value is _ABSENT:
            continue
        if len(path) == 1 and type(value) is dict:
            value = value.get(path[0], _ABSENT)
            if value is _ABSENT:
                continue
            path = ()
        if not path and type(value) is str:
            return value
        found = find(value, path)
        if found.present:
            return found
    return MISSING
