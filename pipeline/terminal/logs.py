"""Logs: text on a terminal, JSON lines elsewhere or on demand; never a record, a body or a credential."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from datetime import UTC, datetime
from typing import Literal

from rich.console import Console
from rich.logging import RichHandler

from schemas.errors import ConfigError

_OURS = ("pipeline", "transforms", "schemas")

# What a line may say besides its text; given by `extra=`. Names of things and numbers, never their content.
FIELDS = (
    "run_id",
    "source",
    "stage",
    "bucket",
    "key",
    "account_id",
    "partition",
    "number",
    "messages",
    "events",
    "bytes",
    "duration_s",
    "error_type",
    "error_code",
)
# In the environment, so that worker processes have it too.
FORMAT_VARIABLE = "TRAILWEAVE_LOG_FORMAT"


class JsonLines(logging.Formatter):
    """One JSON object a line: timestamp, level, event, logger, text, and those of `FIELDS` that were given.

    The event is the text's first word, if a colon follows it.
    """

    def format(self, record: logging.LogRecord) -> str:
        event, text = _event(record)
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": event,
            "logger": record.name,
            "process": record.process,
            "text": text,
            **{name: getattr(record, name) for name in FIELDS if hasattr(record, name)},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _event(record: logging.LogRecord) -> tuple[str, str]:
    text = record.getMessage()
    event, separator, rest = text.partition(": ")
    return (event, rest) if separator and event.replace("_", "").isalnum() else ("log", text)


class Lines(logging.Formatter):
    """Text for a person: what keys and names hold that moves a terminal's cursor is shown as an escape."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging names it
        from pipeline.terminal.rows import shown

        record.message = shown(record.message)
        return super().formatMessage(record)


def set_up(*, debug: bool) -> None:
    """Send our own logs, and the warnings of libraries, to stderr, in the form that the environment asks for.

    Raises `ConfigError` for a form that is none.
    """
    logging.basicConfig(level=logging.DEBUG if debug else logging.ERROR, handlers=[_handler(_form())], force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.INFO)
    if not debug:
        # It logs each error of a stage with its traceback, and then raises it; who catches it tells.
        logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)
    # Even when debugging: these log headers and bodies.
    for name in ("botocore", "urllib3", "boto3"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _form() -> Literal["json", "text"]:
    asked = os.environ.get(FORMAT_VARIABLE) or ("text" if sys.stderr.isatty() else "json")
    if asked == "json":
        return "json"
    if asked == "text":
        return "text"
    raise ConfigError(f"log format {asked!r} is unknown; use --log-format json or text ({FORMAT_VARIABLE})")


def _handler(form: Literal["json", "text"]) -> logging.Handler:
    handler: logging.Handler
    if form == "json":
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
    elif sys.stderr.isatty():
        handler = RichHandler(console=Console(stderr=True), show_path=False, markup=False)
        handler.setFormatter(Lines("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Lines("%(asctime)s %(levelname)s %(message)s"))
    return handler


def start_worker() -> None:
    """For a worker process: its own logs, and no signals, which a terminal sends to all: the parent alone decides."""
    set_up(debug=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
