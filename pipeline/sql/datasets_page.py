"""`python -m pipeline.sql.datasets_page`: docs/datasets.md, what each column means, by Avro files and views."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pyarrow as pa

from pipeline import sql
from schemas.datasets import ALL, Dataset

PAGE = Path(__file__).parents[2] / "docs" / "datasets.md"
_HEAD = """\
# Datasets and views

What each column means. `make datasets` writes this page from [schemas/avro](../schemas/avro), the single source of
columns, and from [pipeline/sql/views](../pipeline/sql/views). Columns are only added; `*` marks those never null.
Times are UTC in microseconds. `account_id` and `day` stand in the path, not in the files; read `account_id` as text.
`trailweave query --output ROOT "DESCRIBE cloud_audit_logs"` lists the columns of a view with their types.
"""
_VIEWS = """
## Views

What `trailweave query` asks: the datasets above without what is void or double, and what follows from them.
`trailweave query --views` prints them for a DuckDB of your own.

| view | rows |
|---|---|
"""


def page() -> str:
    """The page as it should stand in docs/datasets.md."""
    views = (f"| `{name}` | {_cell(_beginning(sql.text(f'views/{name}')))} |\n" for name in sql.names("views"))
    return _HEAD + "".join(_section(it) for it in ALL) + _VIEWS + "".join(views)


def _section(dataset: Dataset) -> str:
    title = f"\n## {dataset.name}\n\n"
    if dataset.like:
        return f"{title}The columns of [{dataset.like}](#{dataset.like}).\n"
    rows = "".join(_rows(dataset))
    return f"{title}{_plain(dataset.avro['doc'])}\n\n| column | type | meaning |\n|---|---|---|\n{rows}"


def _rows(dataset: Dataset) -> Iterator[str]:
    for field, declared in zip(dataset.arrow, dataset.avro["fields"], strict=True):
        yield f"| `{field.name}`{'' if field.nullable else ' *'} | {_word(field.type)} | {_cell(declared['doc'])} |\n"


def _word(type_: pa.DataType) -> str:
    if isinstance(type_, pa.ListType):
        return f"list of {_word(type_.value_type)}"
    words = {"string": "text", "bool": "boolean", "int32": "integer", "int64": "integer", "double": "number"}
    return "time" if pa.types.is_timestamp(type_) else words.get(str(type_), str(type_))


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    return text.replace("<", "\\<")


def _beginning(text: str) -> str:
    """The first paragraph of the comment at the head."""
    lines = takewhile(lambda line: line.startswith("-- "), text.splitlines())
    return " ".join(line.removeprefix("-- ") for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
