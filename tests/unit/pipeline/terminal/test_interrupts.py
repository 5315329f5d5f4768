"""Ctrl-C while a query runs in C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.trees import Tree

from pipeline.terminal.interrupts import interrupting, quietly

ROOT = Path(__file__).parents[4]
# Once it has its row, each would go on for days.
ENDLESS = {
    "nothing comes out": "SELECT count(*) FROM {rows}, range(1000000000000) a, range(1000000) b WHERE a.range = -i",
    "rows come out": "SELECT a.range + i AS n FROM {rows}, range(1000000000000) a",
}


@pytest.mark.parametrize("form", ["table", "csv"])
@pytest.mark.parametrize("sql", ENDLESS.values(), ids=ENDLESS)
def test_ctrl_c_ends_a_query_with_one_line_and_exit_code_130(tmp_path: Path, sql: str, form: str) -> None:
    root = Tree(tmp_path / "tree").root
    (root / "aws_s3_raw").mkdir(parents=True)
    fifo = tmp_path / "rows.csv"
    os.mkfifo(fifo)
    rows = f"read_csv('{fifo}', header = false, auto_detect = false, columns = {{'i': 'BIGINT'}})"
    command = [sys.executable, "-m", "pipeline", "query", "--output", str(root), "--format", form]
    with (
        (tmp_path / "out").open("wb") as out,
        subprocess.Popen([*command, sql.format(rows=rows)], cwd=ROOT, stdout=out, stderr=subprocess.PIPE) as asking,
    ):
        fifo.write_text("1\n")
        asking.send_signal(signal.SIGINT)
        _, told = asking.communicate(timeout=60)

    assert (asking.returncode, told.decode()) == (130, "trailweave: interrupted\n")


def test_other_errors_of_what_is_watched_come_as_they_are() -> None:
    before = signal.set_wakeup_fd(-1)
    with pytest.raises(RuntimeError, match="something else"), interrupting():
        raise RuntimeError("something else")

    assert signal.set_wakeup_fd(before) == -1


def test_while_a_program_loads_a_signal_ends_it_without_a_word() -> None:
    before = signal.getsignal(signal.SIGINT)
    with quietly():
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL

    assert signal.getsignal(signal.SIGINT) == before
