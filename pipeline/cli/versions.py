"""`trailweave --version`."""

from __future__ import annotations

from importlib.metadata import version

from transforms.stores.parquet import SCHEMA_VERSION


def versions() -> str:
    """The versions that a bug report needs, on one line."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("apache-beam", "duckdb", "pyarrow"))
    return f"trailweave {version('trailweave')} (schema {SCHEMA_VERSION}; {libraries})"
