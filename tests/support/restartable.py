"""An emulated AWS that can be ended and begun again: what it held is there again, on the same port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.demo import emulator as demo
from pipeline.demo.emulator import LOOPBACK, Emulator

_START_S = 30.0


@dataclass
class Restartable:
    """The emulator, whose state lies in `folder` while it is away."""

    folder: Path
    listener: socket.socket
    process: subprocess.Popen[bytes] | None = None

    @property
    def emulator(self) -> Emulator:
        """As it is to others: an endpoint."""
        return Emulator(f"http://{LOOPBACK}:{self._port}", self.process.pid if self.process else 0)

    @property
    def _port(self) -> int:
        return int(self.listener.getsockname()[1])

    def start(self) -> None:
        """Begin, with what was held at the end; callers that came meanwhile are answered."""
        kept = demo._child_environment(self._port, self.folder, False, demo.SERVICES)
        kept |= {"PERSIST_STATE": "1", "S3_PERSIST": "1", "STATE_DIR": str(self.folder / "state")}
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-P", str(demo._CHILD), str(self.listener.fileno()), str(os.getpid())),
                str(self.folder / "nothing"),
            ],
            pass_fds=[self.listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=kept | {"S3_DATA_DIR": str(self.folder / "s3")},
            start_new_session=True,
        )
        until = time.monotonic() + _START_S
        while not demo._healthy(self._port):
            assert self.process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)

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
