"""What all writers of an output root agree on, and what they share."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from support.together import at_once

from transforms.stores import settings
from transforms.stores.commit_log import CommitLog
from transforms.stores.files import Output


def test_threads_that_want_an_outputs_commit_log_at_once_get_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def slow(*arguments: Any) -> CommitLog:
        time.sleep(0.2)
        return CommitLog(*arguments)

    monkeypatch.setattr(settings, "CommitLog", slow)
    found = at_once(lambda: settings.commit_log(Output(str(tmp_path)), settings.Settings()))
    assert len(set(map(id, found))) == 1
