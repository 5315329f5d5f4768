"""The emulator's own process: ministack served on a socket that the parent has bound to loopback.

Run by path, never imported: `python emulator_child.py SOCKET_FD PARENT_PID FOLDER`. It ends when its parent is
gone, however that died, and removes FOLDER, which the parent no longer can. Asking for the parent's id works on
every POSIX system and, unlike a pipe, is not held open by other children of the parent.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time

WATCH_S = 0.25


def _end_with(parent: int, folder: str) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def main(socket_fd: int, parent: int, folder: str) -> None:
    """Serve until killed or orphaned."""
    threading.Thread(target=_end_with, args=(parent, folder), daemon=True).start()

    from hypercorn.config import Config
    from hypercorn.run import run

    config = Config()
    config.application_path = "ministack.app:app"
    config.bind = [f"fd://{socket_fd}"]
    config.workers = 0  # serve in this very process: a worker process would outlive a kill of its parent
    config.keep_alive_timeout = 75
    run(config)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
