"""Long texts that stay where they are: a column names them by index, and only the writing of a file moves them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

_VIEW = np.dtype("V16")


def by_index(texts: Any) -> Any:
    """The column, dictionary encoded without looking at the texts: row `i` has value `i`. None of them is copied."""
    indices: Any = pa.array(np.arange(len(texts), dtype=np.int32))
    return pa.DictionaryArray.from_arrays(indices, texts.cast(pa.string_view()))


def gathered(column: Any) -> Any:
    """Rows of such a column as views of their texts, for writing; Arrow cannot take views by index yet."""
    _, views, *texts = column.dictionary.buffers()
    rows = np.frombuffer(views, _VIEW, len(column.dictionary))[column.indices.to_numpy()]
    return pa.Array.from_buffers(pa.string_view(), len(rows), [None, pa.py_buffer(rows), *texts])
