"""The live display fits a terminal of 80 columns, and is none where there is no terminal."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from rich.console import Console
from rich.progress import Task

from pipeline.terminal.progress import Display
from schemas import counters

COUNTS = Counter(
    {
        counters.RECORDS: 1_234_567,
        counters.DEAD_LETTERS: 3,
    }
)


@pytest.mark.parametrize("bounded", [True, False])
def test_at_80_columns_nothing_of_it_is_cut(bounded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Task, "elapsed", 300.0)
    screen = io.StringIO()
    with Display(
        "ingesting", bounded=bounded, console=Console(file=screen, width=80, force_terminal=True)
    ) as display:
        if bounded:
            display.expect(2_345)
        display.show(COUNTS, 1_234)

    last = screen.getvalue()
    assert "1,234,567 records, 4,115/s, 3 dead" in last
    assert "…" not in last
    if bounded:
        assert "1,234/2,345 objects" in last


def test_without_a_terminal_nothing_is_written() -> None:
    screen = io.StringIO()
    with Display("ingesting", bounded=True, console=Console(file=screen, width=80)) as display:
        display.show(COUNTS, 1)

    assert screen.getvalue() == ""
