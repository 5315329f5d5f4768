"""Logs: text on a terminal, JSON lines elsewhere; never a record, a body or a credential."""

from __future__ import annotations

import json
import logging
import signal
import sys
from datetime import UTC, datetime

from rich.console import Console
from rich.logging import RichHandler

_OURS = ("pipeline", "transforms", "schemas")


class JsonLines(logging.Formatter):
    """One JSON object a line: timestamp, level, logger, and the text, whose first word names the event."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        event, separator, rest = text.partition(": ")
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": event if separator and event.replace("_", "").isalnum() else "log",
            "logger": record.name,
            "text": rest if separator else text,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up(*, debug: bool) -> None:
    """Send our own logs, and the warnings of libraries, to stderr."""
    handler: logging.Handler
    if sys.stderr.isatty():
        handler = RichHandler(console=Console(stderr=True), show_path=False, markup=False)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.DEBUG if debug else logging.ERROR, handlers=[handler], force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.INFO)
    if not debug:
        # It logs each error of a stage with its traceback, and then raises it; who catches it tells.
        logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)
    # Even when debugging: these log headers and bodies.
    for name in ("botocore", "urllib3", "boto3"):
        logging.getLogger(name).setLevel(logging.WARNING)


def start_worker() -> None:
    """For a worker process: its own logs, and no signals, which a terminal sends to all: the parent alone decides."""
    set_up(debug=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
