"""How sensitive a touched resource is, by a list of patterns over its ids that a user supplies.

A CSV without header: pattern, and perhaps a word for its sensitivity (`CROWN_JEWEL` without). In a pattern `*` stands
for any text and `?` for a character; case counts. `#` at the beginning of a line makes it a comment.
"""

from __future__ import annotations

import csv
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.dictionaries import INDEX
from transforms.providers.cloudtrail.columns import encoded, spread

CROWN_JEWEL = "CROWN_JEWEL"


class Patterns:
    """Patterns in the order of the list: the first that fits decides."""

    def __init__(self, content: bytes) -> None:
        """Raises ValueError for a list without patterns."""
        lines = [it for it in content.decode("utf-8-sig").splitlines() if not it.lstrip().startswith("#")]
        rows = [[part.strip() for part in row] for row in csv.reader(lines) if row and row[0].strip()]
        if not rows:
            raise ValueError("it holds no pattern")
        self.words = [row[1] if len(row) > 1 and row[1] else CROWN_JEWEL for row in rows]
        regexes = [_regex(row[0]) for row in rows]
        self._each = [re.compile(it, re.DOTALL) for it in regexes]
        self._any = f"(?s)^(?:{'|'.join(regexes)})$"
        self._fits(pa.array([], pa.string()))  # refuses more patterns than can be looked for at once

    def find(self, resource: str) -> int:
        """The place of the first pattern that fits a resource's id; one past the last where none does."""
        places = (place for place, pattern in enumerate(self._each) if pattern.fullmatch(resource))
        return next(places, len(self._each))

    def sensitivity(self, resources: pa.ChunkedArray[Any], first: pa.ChunkedArray[Any]) -> Any:
        """A word for each row: of the first pattern that fits any of its resources, or the one that stands first."""
        lists: Any = resources.combine_chunks()
        rows: Any = pc.list_parent_indices(lists)
        best = self._places(first)
        np.minimum.at(best, rows.to_numpy(), self._places(pa.chunked_array([lists.flatten()])))
        indices = pa.array(best, INDEX, mask=best == len(self.words))
        return spread(self.words, pa.string(), indices)

    def _places(self, column: pa.ChunkedArray[Any]) -> Any:
        """The place for each value; one past the last for null."""
        values: Any = encoded(column)
        # The last is that of null.
        places = np.full(len(values.dictionary) + 1, len(self.words), np.int32)
        # Few resources are sensitive: only those are looked at one by one.
        for row in np.flatnonzero(self._fits(values.dictionary).to_numpy(zero_copy_only=False)):
            places[row] = self.find(values.dictionary[int(row)].as_py())
        return places[values.indices.fill_null(len(values.dictionary)).to_numpy()]

    def _fits(self, values: Any) -> Any:
        return pc.match_substring_regex(values, self._any)


def _regex(pattern: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(it, re.escape(it)) for it in pattern)
