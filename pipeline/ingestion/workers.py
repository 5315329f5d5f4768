"""`trailweave ingest --workers N`: N processes on one machine, each with a loop of its own, one summary."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from pipeline.graph import Plan
from pipeline.ingestion.ingest import Turn, ingest_until_stopped
from pipeline.ingestion.summary import Summary
from pipeline.terminal.logs import start_worker
from pipeline.terminal.progress import Display
from pipeline.terminal.stopping import stopping
from schemas.errors import TrailweaveError, WorkerError
from transforms.receive_messages import STOP, Limits

log = logging.getLogger(__name__)

_SPAWN = multiprocessing.get_context("spawn")
_LOOK_S = 0.2
_DEATHS_BEFORE_EXIT = 10


@dataclass(frozen=True)
class _Ended:
    """A worker's last word: what ended it, None if its loop came to its end."""

    error: TrailweaveError | None


@dataclass(frozen=True, eq=False)
class _Worker:
    process: Any
    told: Connection


def ingest_in_processes(
    plan: Plan,
    limits: Limits,
    *,
    workers: int,
    until_idle_s: float | None = None,
    beam_flags: Sequence[str] = (),
    quiet: bool = False,
    on_run: Callable[[Counter[str]], None] | None = None,
    on_turn: Callable[[Turn], None] | None = None,
) -> Summary:
    """Run `workers` loops until a signal, or until each has had no message for `until_idle_s` seconds.

    Exactly once holds as between any processes on one queue and one output. A worker that dies is replaced: the queue
    delivers again what it had in hand. Raises what a worker raised, once the others have finished the run in work;
    and `WorkerError` when ten have died in a row without a run between them.
    """
    started = time.monotonic()
    total: Counter[str] = Counter()
    errors: list[TrailweaveError] = []
    deaths = 0
    with stopping(), Display(f"ingesting in {workers} processes", bounded=False, quiet=quiet) as display:
        crew = [_start(plan, limits, until_idle_s, beam_flags) for _ in range(workers)]
        asked: set[_Worker] = set()
        while crew:
            if STOP.is_set():
                for worker in crew:
                    if worker not in asked:
                        _ask_to_stop(worker)
                        asked.add(worker)
            for ready in wait([it.told for it in crew], _LOOK_S):
                (worker,) = (it for it in crew if it.told is ready)
                word = _word(worker)
                if isinstance(word, Counter):
                    deaths = 0
                    total += word
                    display.show(total)
                    if on_run:
                        on_run(word)
                    continue
                if isinstance(word, Turn):
                    if on_turn:
                        on_turn(word)
                    continue
                crew.remove(worker)
                if on_turn:
                    on_turn(Turn(worker.process.pid, ended=True))
                worker.process.join()
                worker.told.close()
                if isinstance(word, _Ended):
                    if word.error is not None:
                        errors.append(word.error)
                        STOP.set()
                elif not STOP.is_set():
                    deaths += 1
                    log.error("worker_died: exit code %s; another takes its place", worker.process.exitcode)
                    if deaths >= _DEATHS_BEFORE_EXIT:
                        errors.append(_too_many(deaths, worker.process.exitcode))
                        STOP.set()
                    else:
                        crew.append(_start(plan, limits, until_idle_s, beam_flags))
    if errors:
        raise errors[0]
    return Summary(total, time.monotonic() - started)


def _start(plan: Plan, limits: Limits, until_idle_s: float | None, beam_flags: Sequence[str]) -> _Worker:
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_work, args=(theirs, plan, limits, until_idle_s, tuple(beam_flags)))
    process.start()
    # Ours alone is open here, so that a worker's death ends what it tells.
    theirs.close()
    return _Worker(process, ours)


def _word(worker: _Worker) -> Counter[str] | Turn | _Ended | None:
    """What a worker tells: the counts of a run, a turn of its loop, its last word, or nothing, because it died."""
    try:
        word: Counter[str] | Turn | _Ended = worker.told.recv()
    except (EOFError, OSError):
        return None
    return word


def _ask_to_stop(worker: _Worker) -> None:
    with suppress(OSError):
        worker.told.send(None)


def _too_many(deaths: int, exit_code: int | None) -> WorkerError:
    return WorkerError(
        f"{deaths} workers died in a row, the last with exit code {exit_code}; nothing is lost: what they had in hand"
        " is in the queue. Give the machine more memory or run fewer --workers"
    )


def _work(told: Any, plan: Plan, limits: Limits, until_idle_s: float | None, beam_flags: Sequence[str]) -> None:
    """A worker's life. Ctrl-C reaches it through its parent alone, or it would count as two signals."""
    os.setpgrp()
    start_worker()
    threading.Thread(target=_follow_parent, args=(told,), name="parent", daemon=True).start()
    error: TrailweaveError | None = None
    try:
        ingest_until_stopped(
            plan,
            limits,
            until_idle_s=until_idle_s,
            beam_flags=beam_flags,
            quiet=True,
            on_run=told.send,
            on_turn=told.send,
        )
    except TrailweaveError as raised:
        error = raised
    except Exception as raised:
        # Not every exception can be handed to the parent.
        log.exception("worker_failed: %s: %s", type(raised).__name__, raised)
        error = WorkerError(f"a worker ended with {type(raised).__name__}: {raised}")
    told.send(_Ended(error))


def _follow_parent(told: Any) -> None:
    """Stop when the parent says so; end at once when it has ended."""
    parent = multiprocessing.parent_process()
    if parent is None or told in wait([told, parent.sentinel]):
        with suppress(EOFError, OSError):
            told.recv()
            while True:
                # The loop, if it is only about to begin, clears the wish.
                STOP.set()
                time.sleep(_LOOK_S)
    os._exit(1)
