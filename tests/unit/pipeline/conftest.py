"""The command line in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline import cli


@pytest.fixture
def command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Runs it with arguments: exit code, stdout, stderr."""
    monkeypatch.setattr("pipeline.terminal.logs.set_up", lambda *, debug: None)

    def go(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["trailweave", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as error:
            code = int(error.code or 0)
        return code, *capsys.readouterr()

    return go
