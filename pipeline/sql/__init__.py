"""The SQL of the tree: views over its files, and the library of named queries. DuckDB's dialect, one file each."""

from __future__ import annotations

from importlib.resources import files
from string import Template


def names(folder: str) -> list[str]:
    """Names of the SQL files in `folder` (`views` or `queries`), without their ending, sorted."""
    found = (file.name for file in files(__package__).joinpath(folder).iterdir())
    return sorted(name.removesuffix(".sql") for name in found if name.endswith(".sql"))


def text(path: str, **values: str) -> str:
    """The text of `<path>.sql`; with `values`, each `$name` in it is replaced."""
    content = files(__package__).joinpath(*f"{path}.sql".split("/")).read_text(encoding="utf-8")
    return Template(content).substitute(values) if values else content
