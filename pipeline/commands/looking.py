"""The state of an output root, and questions in SQL."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pipeline.config import Config
from pipeline.sql.library import Parameter
from schemas.errors import ConfigError


def status(config: Config, *, as_json: bool, every_s: float | None = None) -> None:
    """Print the state of the output root; with `every_s` again and again, until a signal comes."""
    from pipeline.status import status as state
    from pipeline.status.page import render, watch
    from pipeline.terminal.rows import console
    from pipeline.terminal.stopping import stopping
    from transforms.receive_messages import STOP

    output = config.root()
    if as_json:
        if every_s is not None:
            raise ConfigError("--watch is for people; --json prints one object, ask for it again")
        print(state.as_json(state.status(output)))
    elif every_s is None:
        render(state.status(output), console(sys.stdout))
    else:
        with stopping():
            watch(lambda: state.status(output), console(sys.stdout), lambda: not STOP.wait(every_s))


def query(config: Config, sql: str | None, name: str | None, parameters: Mapping[str, str], form: str) -> None:
    """Run SQL or a query of the library and print its rows."""
    from pipeline.sql import query as asking
    from pipeline.terminal.rows import TABLE_ROWS, print_rows

    if (sql is None) == (name is None):
        raise ConfigError("give either SQL or --name NAME; `trailweave query --list` shows the names")
    with asking.connect(config.root()) as connection:
        rows = asking.run(connection, asking.named(name) if name else str(sql), parameters)
        count = print_rows(rows, form, sys.stdout)
    if form == "table" and count > TABLE_ROWS:
        print(f"{count - TABLE_ROWS:,} more rows; --format csv or jsonl shows all", file=sys.stderr)


def print_views(config: Config) -> None:
    """Print the script that makes the views in another DuckDB, over the output root as it is each time.

    A folder has to be there; a bucket may be one that only that DuckDB reaches.
    """
    from pipeline.sql import query as asking
    from pipeline.sql.tree import below_partition, open_tree

    uri = config.root().uri
    if "://" not in uri:
        open_tree(config.root())
        uri = str(Path(uri).absolute())
    if below_partition(uri):
        raise ConfigError(
            f"{uri!r} lies below a folder named as a partition, which DuckDB takes for one; ask by `trailweave query`"
        )
    if uri.startswith("gs://"):
        raise ConfigError(f"--views is for a local folder or s3://; ask {uri!r} by `trailweave query`")
    print(asking.views_sql(uri))


def list_queries(form: str) -> None:
    """Print the library of queries, and what their parameters mean."""
    import pyarrow as pa

    from pipeline.sql import query as asking
    from pipeline.terminal.rows import print_rows

    library = asking.library()
    names = [it.name for it in library]
    if form != "table":
        parameters = [[asdict(each) for each in it.parameters] for it in library]
        told = [it.description for it in library]
        print_rows(pa.table({"name": names, "parameters": parameters, "description": told}), form, sys.stdout)
        return
    # In a column of their own, 80 columns would not do for the names.
    told = [it.description + _named(it.parameters) for it in library]
    print_rows(pa.table({"name": names, "description": told}), form, sys.stdout)
    print()
    # Most queries share theirs.
    each = sorted({parameter for it in library for parameter in it.parameters}, key=lambda it: (it.name, it.meaning))
    values = [
        f"{it.default} if not given" if it.default is not None else f"to be given, such as {it.example}"
        for it in each
    ]
    rows = {"parameter": [it.name for it in each], "value": values, "meaning": [it.meaning for it in each]}
    print_rows(pa.table(rows), form, sys.stdout)


def _named(parameters: Sequence[Parameter]) -> str:
    return f" Parameters: {', '.join(it.name for it in parameters)}." if parameters else ""
