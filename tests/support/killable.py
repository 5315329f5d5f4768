"""The command line in processes that die by kill -9 where they are told to, forked from one that has it all imported.

`aim` is (place, nth): the process kills itself when it comes to that place for the nth time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PLACES = (
    "before a fetch",
    "after a fetch",
    "before the raw file",
    "in a write",
    "after the raw file",
    "before the marker",
    "after the marker",
    "before the ledger",
    "before a delete",
    "after a delete",
)
COMPACTING = (
    "before a plan",
    "after a plan",
    "before a range",
    "in a range",
    "after a range",
    "before a removal",
    "after a removal",
)
_PRELOAD = [
    "pipeline.cli",
    "pipeline.commands",
    "pipeline.ingestion.ingest",
    "pipeline.ingestion.replay",
    "pipeline.ingestion.dead_letters",
    "pipeline.compaction.compact",
    "pipeline.compaction.beside",
    __name__,
]
# In the environment of a process that is to try again without waiting.
IMPATIENT = "TRAILWEAVE_TESTS_IMPATIENT"
# In the environment of a process that is to replay a few objects a run, so that it commits often.
SMALL_RUNS = "TRAILWEAVE_TESTS_SMALL_RUNS"
# In the environment of a process for which the hours of compaction are seconds.
HASTY = "TRAILWEAVE_TESTS_HASTY"
GRACE_S = 8.0
_FOLDERS = {"raw file": "aws_s3_raw", "marker": "cloud_audit_logs", "ledger": "ingest_log"}


class Starter:
    """Starts processes that run the command line; each dies with `die` or by its aim."""

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOAD)
        self._environment = dict(environment)
        self._logs = logs
        self.count = 0

    def start(self, arguments: Sequence[str], aim: tuple[str, int] | None = None) -> BaseProcess:
        self.count += 1
        log = str(self._logs / f"{self.count:03}.log")
        process = self._context.Process(target=_run, args=(list(arguments), self._environment, aim, log), daemon=True)
        process.start()
        return process

    def log_of_all(self) -> str:
        return "\n".join(f"--- {it.name}\n{it.read_text()[-1500:]}" for it in sorted(self._logs.glob("*.log")))


def die(process: BaseProcess) -> None:
    """kill -9, if it still runs."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(process.pid or 0), signal.SIGKILL)
    process.join()


def was_killed(process: BaseProcess) -> bool:
    return process.exitcode == -signal.SIGKILL


def _run(arguments: list[str], environment: dict[str, str], aim: tuple[str, int] | None, log: str) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.environ.clear()
    os.environ.update(environment)
    if aim:
        _install(*aim)
    if IMPATIENT in environment:
        _hurry()
    if HASTY in environment:
        _compact_soon()
    if SMALL_RUNS in environment:
        from transforms import list_objects

        assert list_objects.RUN_OBJECTS > 4
        list_objects.RUN_OBJECTS = 4
    sys.argv = ["trailweave", *arguments]
    from pipeline.cli import main

    main()


def _hurry() -> None:
    """As the fixture `impatient`: no pauses, and messages may be hidden for seconds only."""
    import botocore.retries.standard as retries

    from pipeline.ingestion import breaker, ingest
    from transforms import in_hand
    from transforms.stores import queue

    retries.ExponentialBackoff.delay_amount = lambda *_: 0  # type: ignore[method-assign]
    for module in (ingest, breaker):
        module._FIRST_PAUSE_S, module._LONGEST_PAUSE_S = 0.02, 0.1
    in_hand._MARGIN_S, in_hand.LOOK_S = 0.2, 0.3
    queue._FIRST_PAUSE_S, queue._LEAST_VISIBILITY_S = 0.01, 1


def _compact_soon() -> None:
    """Every partition is quiet, an hour is `GRACE_S`, and half an hour half of it."""
    from pipeline.compaction import beside, compact
    from transforms.stores import commit_log

    compact.GRACE_S, commit_log.FRESH_S = GRACE_S, GRACE_S / 2  # type: ignore[assignment]
    beside._SWEEP_S, beside._PAUSE_BY_WORK = 0.5, 1
    compact.compact_partition.__kwdefaults__["quiet_s"] = 0.0


def _install(place: str, nth: int) -> None:
    left = [nth]

    def reached() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    from transforms import acknowledge_messages, fetch_objects
    from transforms.stores import local, queue

    if "fetch" in place:
        _wrap(fetch_objects, "read_object", reached, place)
    elif "delete" in place:
        _wrap(queue, "delete", reached, place)
        assert acknowledge_messages.queue is queue
    elif "plan" in place:
        _wrap(local.LocalStore, "create", reached, place, lambda store, path, content: "/compaction/" in path)
    elif place == "in a range":
        _wrap(os, "link", reached, "before", lambda source, target: "-" in Path(target).name)
    elif "range" in place:
        _wrap(local.LocalStore, "create_from", reached, place)
    elif "removal" in place:
        _wrap(local.LocalStore, "remove", reached, place)
    elif place == "in a write":
        _wrap(os, "link", reached, "before", lambda source, target: "aws_s3_raw" in str(target))
    else:
        folder = next(folder for word, folder in _FOLDERS.items() if word in place)
        _wrap(local.LocalStore, "create", reached, place, lambda store, path, content: path.startswith(folder))


def _wrap(
    owner: Any, name: str, reached: Callable[[], None], place: str, matches: Callable[..., bool] = lambda *_: True
) -> None:
    work = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        hit = matches(*arguments, **named)
        if hit and not place.startswith("after"):
            reached()
        result = work(*arguments, **named)
        if hit and place.startswith("after"):
            reached()
        return result

    setattr(owner, name, wrapped)
