"""`trailweave ingest --workers N`: N processes on one machine, each with a loop of its own, one summary."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any

from pipeline.graph import Plan
from pipeline.ingestion.ingest import Turn, ingest_until_stopped, unheard
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


_Word = Counter[str] | Turn | _Ended | None
"""What a worker tells: the counts of a run, a turn of its loop, its last word, or nothing, because it died."""


@dataclass
class _Crew:
    """The workers at work, begun by `start`; one that dies is replaced. `errors` are of those that were ended."""

    start: Callable[[], _Worker]
    at_work: list[_Worker] = field(default_factory=list)
    errors: list[TrailweaveError] = field(default_factory=list)
    _asked: set[_Worker] = field(default_factory=set)
    _deaths: int = 0

    def words(self) -> Iterator[tuple[_Worker, _Word]]:
        """What workers tell, for a moment. All are asked to stop once it is wished."""
        if STOP.is_set():
            for worker in self.at_work:
                if worker not in self._asked:
                    _ask_to_stop(worker)
                    self._asked.add(worker)
        for ready in wait([it.told for it in self.at_work], _LOOK_S):
            worker = next(it for it in self.at_work if it.told is ready)
            word = _word(worker)
            if isinstance(word, Counter):
                self._deaths = 0
            yield worker, word

    def lost(self, worker: _Worker, word: _Ended | None) -> None:
        """A worker came to its end, with its last word or without one: then another takes its place."""
        self.at_work.remove(worker)
        worker.process.join()
        worker.told.close()
        if word is not None:
            if word.error is not None:
                self._end(word.error)
        elif not STOP.is_set():
            self._deaths += 1
            log.error("worker_died: exit code %s; another takes its place", worker.process.exitcode)
            if self._deaths >= _DEATHS_BEFORE_EXIT:
                self._end(_too_many(self._deaths, worker.process.exitcode))
            else:
                self.at_work.append(self.start())

    def _end(self, error: TrailweaveError) -> None:
        self.errors.append(error)
        STOP.set()


def ingest_in_processes(
    plan: Plan,
    limits: Limits,
    *,
    workers: int,
    until_idle_s: float | None = None,
    beam_flags: Sequence[str] = (),
    quiet: bool = False,
    on_run: Callable[[Counter[str]], None] = unheard,
    on_turn: Callable[[Turn], None] = unheard,
) -> Summary:
    """Run `workers` loops until a signal, or until each has had no message for `until_idle_s` seconds.

    Exactly once holds as between any processes on one queue and one output. A worker that dies is replaced: the queue
    delivers again what it had in hand. Raises what a worker raised, once the others have finished the run in work;
    and `WorkerError` when ten have died in a row without a run between them.
    """
    started = time.monotonic()
    total: Counter[str] = Counter()
    with stopping(), Display(f"ingesting in {workers} processes", bounded=False, quiet=quiet) as display:
        crew = _Crew(partial(_start, plan, limits, until_idle_s, beam_flags))
        crew.at_work += [crew.start() for _ in range(workers)]
        while crew.at_work:
            for worker, word in crew.words():
                if isinstance(word, Counter):
                    total += word
                    display.show(total)
                    on_run(word)
                elif isinstance(word, Turn):
                    on_turn(word)
                else:
                    crew.lost(worker, word)
                    on_turn(Turn(worker.process.pid, ended=True))
    if crew.errors:
        raise crew.errors[0]
    return Summary(total, time.monotonic() - started)


def _start(plan: Plan, limits: Limits, until_idle_s: float | None, beam_flags: Sequence[str]) -> _Worker:
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_work, args=(theirs, plan, limits, until_idle_s, tuple(beam_flags)))
    process.start()
    # Ours alone is open here, so that a worker's death ends what it tells.
    theirs.close()
    return _Worker(process, ours)


def _word(worker: _Worker) -> _Word:
    try:
        word: _Word = worker.told.recv()
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
