"""A field over the rows of a slice: each distinct entry once, and what was asked of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.dictionaries import distinct
from transforms.rules.entries import Entry

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Holds = Callable[[Sequence[Entry]], Sequence[bool] | Mask]
"""Which of some entries hold."""

_UNREAD, _UNASKED, _ENTRY_BYTES = -1, -1, 100


class Column:
    """A field, read as far as it was asked for; entries that are equal have one code.

    Rows share sources, such as the values of a dictionary; without `sources` each row is its own.
    """

    def __init__(self, count: int, sources: Rows | None = None) -> None:
        self.entries: list[Entry] = []
        self._sources = sources
        self._codes = np.full(count, _UNREAD, np.int32)
        self._known: dict[str | Entry, int] = {}
        self._answers: dict[int, NDArray[np.int8]] = {}

    def unread(self, rows: Rows) -> list[int]:
        """Sources of the rows, each given once, that have no entry yet."""
        sources = rows if self._sources is None else self._sources[rows]
        unread = sources[self._codes[sources] == _UNREAD]
        found: list[int] = (unread if self._sources is None else distinct(unread, len(self._codes))).tolist()
        return found

    def put(self, source: int, found: str | Entry) -> int:
        """The entry of a source, or its only text. Returns the bytes that it takes to keep it."""
        code = self._known.get(found)
        if code is not None:
            self._codes[source] = code
            return 0
        entry = Entry(True, (found,)) if isinstance(found, str) else found
        self._codes[source] = self._known[found] = len(self.entries)
        self.entries.append(entry)
        return _ENTRY_BYTES + sum(map(len, entry.texts))

    def codes(self, rows: Rows) -> NDArray[np.int32]:
        """Of each row the place of its entry in `entries`; all of them were read."""
        codes: NDArray[np.int32] = self._codes[rows if self._sources is None else self._sources[rows]]
        return codes

    def flags(self, question: object, rows: Rows, holds: Holds) -> Mask:
        """For each row, read, whether its entry holds; each entry is asked once by one and the same question."""
        codes = self.codes(rows)
        answers = self._grown(id(question))
        found = answers[codes]
        unasked = codes[found == _UNASKED]
        if len(unasked):
            unasked = distinct(unasked, len(answers))
            answers[unasked] = holds([self.entries[code] for code in unasked.tolist()])
            found = answers[codes]
        held: Mask = found == 1
        return held

    def _grown(self, question: int) -> NDArray[np.int8]:
        answers = self._answers.get(question)
        if answers is None or len(answers) < len(self.entries):
            known = answers
            answers = self._answers[question] = np.full(len(self.entries), _UNASKED, np.int8)
            if known is not None:
                answers[: len(known)] = known
        return answers
