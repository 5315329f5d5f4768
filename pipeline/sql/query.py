"""Questions to an output root: DuckDB with a view per dataset, and a library of named queries."""

from __future__ import annotations

import glob
import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa

from pipeline import sql as texts
from pipeline.sql.library import NamedQuery, Parameter, library, named
from pipeline.sql.tree import PARQUET, attach, open_tree, relation, snapshot
from pipeline.terminal.interrupts import interruptible
from schemas.errors import AccessError, ConfigError, StoreError, TrailweaveError
from transforms.stores.files import Output
from transforms.stores.settings import read_settings, rebuild

__all__ = ["NamedQuery", "Parameter", "connect", "library", "named", "run", "views_sql"]

# In the order of their making: a view stands on those before it.
_VIEWS = (
    "aws_s3_raw",
    "cloud_audit_logs",
    "cloud_audit_logs_with_raw",
    "detections",
    "session_fragments",
    "sessions",
    "profiles",
    "issues",
    "links",
    "session_stories",
    "stories",
    "recorded_stories",
    "cloud_audit_logs_with_story",
    "alerts",
    "deliveries",
    "ingest_log",
    "objects",
    "dead_letters",
    "open_dead_letters",
)
_MEMORY_LIMIT = "1GB"
_ROWS_AT_A_TIME = 10_000
_MOST_NAMES = 40
_UNREADABLE = re.compile(
    r"^(IO|HTTP) Error|Failed to read file|No magic bytes|too small to be a Parquet file"
    r"|reading the stream registered"
)
_UNKNOWN_TABLE = re.compile(r"Table with name (?P<name>\S+) does not exist")
_UNKNOWN_COLUMN = re.compile(r'column "(?P<name>[^"]+)" not found|have a column named "(?P<other>[^"]+)"')


def connect(output: Output, *, derived: Literal["sessions", "detections"] | None = None) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the views over the files that are in the output root now.

    Works offline: no extension is loaded or downloaded. Results that outgrow the memory limit spill to the
    system's temporary folder. Times are UTC. Raises ConfigError when the root holds no trailweave data, or was
    begun without the dataset that must be `derived`; AccessError when it cannot be reached.
    """
    store = open_tree(output)
    if derived and (settings := read_settings(store)) and not getattr(settings, derived):
        raise ConfigError(f"{output.uri!r} was begun without {derived}; {rebuild(store)}")
    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "memory_limit": _MEMORY_LIMIT,
            "temp_directory": str(Path(tempfile.gettempdir(), f"trailweave-query-{uuid.uuid4().hex}")),
        }
    )
    interruptible(connection)
    connection.execute("SET TimeZone = 'UTC'")
    attach(connection, store, (texts.text(f"views/{view}") for view in _VIEWS))
    connection.execute("SET lock_configuration = true")
    return connection


def views_sql(root: str) -> str:
    """The same views as a script for plain DuckDB (2.0 or newer), over a local root or `s3://bucket/prefix`.

    Read it again to see new files. Dead letters come last: they need DuckDB's avro extension.
    """
    quoted = glob.escape(root.rstrip("/")).replace("'", "''")
    later = ("dead_letters", "open_dead_letters")
    parts = [
        "SET TimeZone = 'UTC';\n",
        texts.text("files/listing", root=quoted),
        texts.text("files/files"),
        *(relation(dataset) for dataset in PARQUET),
        *(texts.text(f"views/{view}") for view in _VIEWS if view not in later),
        *(snapshot(dataset) for dataset in PARQUET),
        texts.text("files/dead_letters", root=quoted),
        *(texts.text(f"views/{view}") for view in later),
    ]
    return "\n".join(parts)


def run(
    connection: duckdb.DuckDBPyConnection, asked: str | NamedQuery, parameters: Mapping[str, str] | None = None
) -> pa.RecordBatchReader:
    """The rows that one query answers with, as a stream; it ends when the connection runs another query.

    `parameters` are values for the query's `$name`s; a named query has defaults for most of its own. Only queries are
    run: nothing that writes, here or to a file. Raises ConfigError for SQL that cannot be run, saying what exists
    where a name is unknown, and StoreError or AccessError for files that cannot be read, now or while the stream is
    read.
    """
    given = parameters or {}
    sql, given = (asked.sql, asked.values(given)) if isinstance(asked, NamedQuery) else (asked, given)
    try:
        values = _values(_only_query(connection, sql), given)
        reader = connection.sql(sql, params=values or None).to_arrow_reader(_ROWS_AT_A_TIME)
    except duckdb.Error as error:
        raise _explained(error, connection, sql) from error
    return pa.RecordBatchReader.from_batches(reader.schema, _batches(reader, connection, sql))


def _batches(
    reader: pa.RecordBatchReader, connection: duckdb.DuckDBPyConnection, sql: str
) -> Iterator[pa.RecordBatch]:
    try:
        yield from reader
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise _explained(error, connection, sql) from error


def _only_query(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    if not sql.isprintable() and any("\ud800" <= it <= "\udfff" for it in sql):
        raise ConfigError(
            "the SQL is no text in this terminal's encoding; set a UTF-8 locale, such as LC_ALL=C.UTF-8"
        )
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise ConfigError(f"the SQL holds {len(statements)} statements; give exactly one")
    (statement,) = statements
    if statement.type is not duckdb.StatementType.SELECT:
        raise ConfigError(
            f"a {statement.type.name} statement is not run here; give a query: SELECT, FROM, WITH, VALUES, DESCRIBE,"
            " SHOW TABLES or SUMMARIZE"
        )
    return statement


def _values(statement: duckdb.Statement, given: Mapping[str, str]) -> dict[str, str]:
    wanted: set[str] = set(statement.named_parameters)
    for name in sorted(wanted - given.keys()):
        raise ConfigError(f"the query's parameter ${name} has no value; give --param {name}=VALUE")
    for name in sorted(given.keys() - wanted):
        raise ConfigError(f"the query has no parameter ${name}; it has {', '.join(sorted(wanted)) or 'none'}")
    return dict(given)


def _explained(error: Exception, connection: duckdb.DuckDBPyConnection, sql: str) -> TrailweaveError:
    """The fault in the terms of whoever asked. A stream's faults come through Arrow, so only the text tells them."""
    text = str(error).split(". Detail: Python exception")[0]
    if text.startswith("Out of Memory"):
        return ConfigError(f"the query needs more than {_MEMORY_LIMIT} of memory; narrow it by account_id and day")
    if "Permission denied" in text:
        return AccessError(f"the query could not read the tree; let this user read it: {text}")
    if _UNREADABLE.search(text):
        return StoreError(f"the query could not read the tree; if files were just compacted, run it again: {text}")
    if unknown := _UNKNOWN_TABLE.search(text):
        known = _existing(unknown["name"], _tables(connection))
        return ConfigError(f"{text.split('Did you mean')[0].strip()}\n{known}")
    if (unknown := _UNKNOWN_COLUMN.search(text)) and (columns := _columns(connection, sql)):
        return ConfigError(f"{text}\n{_existing(unknown['name'] or unknown['other'], columns)}")
    return ConfigError(text)


def _existing(name: str, names: list[str]) -> str:
    close = get_close_matches(name.strip('"'), names, n=1)
    few = len(names) <= _MOST_NAMES
    told = (
        f"There are: {', '.join(names)}" if few else f"There are {len(names)}; DESCRIBE and the view's name list them"
    )
    return (f"Did you mean {close[0]}? " if close else "") + told


def _tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    query = "SELECT view_name FROM duckdb_views() WHERE NOT internal AND NOT temporary AND schema_name = 'main'"
    return sorted(name for (name,) in connection.execute(query).fetchall())


def _columns(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """Columns of the views that the text names, in their order."""
    views = [view for view in _tables(connection) if re.search(rf"\b{view}\b", sql)]
    found = [row[0] for view in views for row in connection.execute(f"DESCRIBE {view}").fetchall()]
    return list(dict.fromkeys(found))
