"""An emulated AWS that can be ended and begun again: what it held is there again, on the same port."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.demo.emulator import LOOPBACK, Emulator, start


@dataclass
class Restartable:
    """The emulator, whose state lies in `folder` while it is away."""

    folder: Path
    listener: socket.socket
    process: subprocess.Popen[bytes] | None = None

    @property
    def emulator(self) -> Emulator:
        """As it is to others: an endpoint."""
        port = int(self.listener.getsockname()[1])
        return Emulator(f"http://{LOOPBACK}:{port}", self.process.pid if self.process else 0)

    def start(self) -> None:
        """Begin, with what was held at the end; callers that came meanwhile are answered."""
        kept = {"STATE_DIR": str(self.folder / "state"), "S3_DATA_DIR": str(self.folder / "s3")}
        self.process = start(self.listener, self.folder, {"PERSIST_STATE": "1", "S3_PERSIST": "1", **kept})

    def end(self) -> None:
        """As a service ends: it writes down what it holds."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


@contextmanager
def restartable(folder: Path) -> Iterator[Restartable]:
    """A running one for the time of the block."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        found = Restartable(folder, listener)
        folder.mkdir(parents=True, exist_ok=True)
        found.start()
        try:
            yield found
        finally:
            if found.process is not None:
                found.process.kill()
                found.process.wait()
