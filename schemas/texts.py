"""Long texts that stay where they are: a column names them by index, and only the writing of a file moves them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import Raw
from numpy.typing import NDArray

from schemas.dictionaries import dictionary

# A row of Arrow's string views (Arrow columnar format, "Variable-size Binary View Layout").
_VIEW = np.dtype([("length", "<i4"), ("prefix", "V4"), ("buffer", "<i4"), ("offset", "<i4")])
# A text of so many bytes stands in the row itself.
_INLINE = 12


def pieces(text: bytes | bytearray, starts: NDArray[np.int32], lengths: NDArray[np.int32]) -> Any:
    """Pieces of a text as a column of string views, row `i` from byte `starts[i]` on; none of them is copied.

    A piece begins and ends with an ASCII character. None where the text is not UTF-8 or a piece too short for it.
    """
    if not len(lengths) or lengths.min() <= _INLINE or not _is_utf8(text):
        return None
    views = np.zeros(len(lengths), _VIEW)
    views["length"], views["offset"] = lengths, starts
    views["prefix"] = np.frombuffer(text, np.uint8)[starts[:, None] + np.arange(4)].view("V4")[:, 0]
    return _views(views, [pa.py_buffer(text)])


def _is_utf8(text: bytes | bytearray) -> bool:
    if np.frombuffer(text, np.uint8).max() < 128:
        return True
    bounds = array("i", [0, len(text)])
    try:
        pa.Array.from_buffers(pa.binary(), 1, [None, pa.py_buffer(bounds), pa.py_buffer(text)]).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def joined(texts: Sequence[bytes | Raw]) -> Any:
    """Texts as a column of binaries, each copied once."""
    offsets = array("i", accumulate(map(len, texts), initial=0))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(pa.binary(), len(texts), buffers)


def by_index(texts: Any) -> Any:
    """The column, dictionary encoded without looking at the texts: row `i` has value `i`. None of them is copied."""
    indices: Any = pa.array(np.arange(len(texts), dtype=np.int32))
    return dictionary(indices, texts.cast(pa.string_view()))


def lengths(column: Any) -> NDArray[np.int32]:
    """Bytes of each row's text, of such a column."""
    found: NDArray[np.int32] = _rows(column.dictionary)["length"][column.indices.to_numpy()]
    return found


def gathered(column: Any) -> Any:
    """Rows of such a column as views of their texts, for writing; Arrow cannot take views by index yet."""
    return taken(column.dictionary, column.indices.to_numpy())


def taken(texts: Any, rows: NDArray[Any]) -> Any:
    """Some rows of a column of views."""
    return _views(_rows(texts)[rows], texts.buffers()[2:])


def _rows(texts: Any) -> Any:
    return np.frombuffer(texts.buffers()[1], _VIEW)[texts.offset : texts.offset + len(texts)]


def _views(rows: Any, texts: list[Any]) -> Any:
    return pa.Array.from_buffers(pa.string_view(), len(rows), [None, pa.py_buffer(rows), *texts])


class Texts:
    """The texts of a column one by one, as bytes where they lie: of one `by_index`, of strings or of binaries."""

    def __init__(self, column: Any) -> None:
        one: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        named = pa.types.is_dictionary(one.type)
        self._places = one.indices.to_numpy() if named else np.arange(len(one))
        views: Any = (one.dictionary if named else one).cast(pa.binary_view())
        self._views = _rows(views)
        self._buffers: list[memoryview] = [
            memoryview(it) for it in (*views.buffers()[2:], self._views.view(np.uint8))
        ]

    def __getitem__(self, row: int) -> memoryview:
        place = int(self._places[row])
        length, _, buffer, offset = self._views[place].item()
        if length <= _INLINE:
            buffer, offset = -1, place * _VIEW.itemsize + 4
        text: memoryview = self._buffers[buffer][offset : offset + length]
        return text
