"""Standard output as users leave it: closed, full, in another encoding, or read by `head`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from pipeline.sql import query
from schemas.errors import ConfigError

ROOT = Path(__file__).parents[4]
LIST = f"{sys.executable} -m pipeline query --list"


def shell(line: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **more}
    return subprocess.run(["sh", "-c", line], env=environment, capture_output=True, timeout=120, check=False)


def test_a_closed_standard_output_takes_everything() -> None:
    done = shell(f"{LIST} >&-")

    assert (done.returncode, done.stderr) == (0, b"")


def test_a_closed_standard_error_is_no_fault() -> None:
    done = shell(f"{LIST} 2>&-")

    assert done.returncode == 0
    assert b"denied-calls" in done.stdout


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_a_full_standard_output_is_one_line_and_exit_code_3(form: str) -> None:
    done = shell(f"{LIST} --format {form} >/dev/full")

    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith(b"trailweave: TW-STORE: standard output cannot be written: No space left on device")


def test_a_reader_that_has_enough_is_no_fault() -> None:
    done = shell(f"{LIST} --format csv | head -1")

    assert (done.stdout, done.stderr) == (b"name,parameters,description\n", b"")


def test_what_is_not_for_a_terminal_is_utf_8_whatever_the_locale() -> None:
    done = shell(LIST, PYTHONIOENCODING="ascii", LC_ALL="C")

    assert done.returncode == 0, done.stderr
    assert "───" in done.stdout.decode()


def test_sql_that_is_no_text_is_refused_with_the_remedy() -> None:
    with duckdb.connect() as connection, pytest.raises(ConfigError, match="UTF-8 locale"):
        query.run(connection, "SELECT '\udce4'")
