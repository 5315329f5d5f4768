"""Folders that this user may not read, also where the tests run as root, who may."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest


def lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder that cannot be listed from now on, as the system would refuse it."""
    folder.mkdir(parents=True, exist_ok=True)
    scan = os.scandir

    def refuse(path: Any = ".") -> Any:
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return folder
