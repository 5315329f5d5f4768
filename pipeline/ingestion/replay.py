"""`trailweave replay`: historic buckets, folders and raw trees, cut into bounded runs, resumable."""

from __future__ import annotations

import logging
import multiprocessing
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

from pipeline.graph import Plan
from pipeline.ingestion.halving import run_or_halve
from pipeline.ingestion.summary import Summary
from pipeline.terminal.logs import start_worker
from pipeline.terminal.progress import Display
from pipeline.terminal.stopping import stopping
from schemas import counters
from schemas.values import Batch, Message
from transforms.list_objects import RUN_BYTES, SHARED_RUN_BYTES, cut
from transforms.receive_messages import STOP
from transforms.stores.files import open_store
from transforms.stores.ledger import done_objects, is_done

log = logging.getLogger(__name__)

_AHEAD = 64
# Where so many objects of a run end one by themselves, and nothing before them was read, the fault is not theirs.
_FAILURES_BEFORE_EXIT = 5
_DONE = "done"


def replay_all(
    plan: Plan,
    listed: Iterable[Message],
    *,
    workers: int = 1,
    force: bool = False,
    beam_flags: Sequence[str] = (),
    quiet: bool = False,
) -> Summary:
    """Read every listed object that the ingest log does not hold as done, in `workers` processes.

    A signal ends it after the runs in work; run again, it goes on where it was.
    """
    started = time.monotonic()
    total: Counter[str] = Counter()
    done = set() if force else done_objects(open_store(plan.output))
    passed: Counter[str] = Counter()
    fresh = _fresh(listed, done, passed)
    with stopping(), Display("replaying", bounded=True, quiet=quiet) as display:
        chunks = _listed_ahead(cut(fresh, RUN_BYTES if workers == 1 else SHARED_RUN_BYTES, workers), display)
        results = (
            _run_here(plan, chunks, beam_flags)
            if workers == 1
            else _run_in_processes(plan, chunks, workers, beam_flags)
        )
        for count, counts in results:
            total += counts
            display.show(total, count)
    return Summary(total, time.monotonic() - started, passed_over=passed[_DONE])


def _fresh(listed: Iterable[Message], done: set[bytes], passed: Counter[str]) -> Iterator[Message]:
    """What is not done yet; `passed` counts the others."""
    for message in listed:
        if message.objects and all(is_done(ref, done) for ref in message.objects):
            passed[_DONE] += 1
        else:
            yield message


def _listed_ahead(chunks: Iterator[Batch], display: Display) -> Iterator[Batch]:
    """List in a thread, a little ahead of the work, so that the bar knows more than what is done."""
    ahead: queue.Queue[Batch | BaseException | None] = queue.Queue(_AHEAD)

    def work() -> None:
        try:
            for chunk in chunks:
                display.expect(len(chunk.messages))
                ahead.put(chunk)
                if STOP.is_set():
                    break
            ahead.put(None)
        except BaseException as error:
            ahead.put(error)

    threading.Thread(target=work, name="list", daemon=True).start()
    while (found := ahead.get()) is not None:
        if isinstance(found, BaseException):
            raise found
        if STOP.is_set():
            return
        yield found


def _run_chunk(plan: Plan, chunk: Batch, beam_flags: Sequence[str]) -> tuple[int, Counter[str]]:
    failed: list[Message] = []

    def left_undone(message: Message, error: Exception) -> Counter[str]:
        keys = ", ".join(ref.key for ref in message.objects)
        log.exception("object_failed: %s of %s; it is left undone, please report this", type(error).__name__, keys)
        failed.append(message)
        if failed == list(chunk.messages[:_FAILURES_BEFORE_EXIT]):
            raise error
        return Counter({counters.OBJECTS_DEFERRED: 1})

    return len(chunk.messages), run_or_halve(plan, chunk.messages, beam_flags, left_undone)


def _run_here(plan: Plan, chunks: Iterator[Batch], beam_flags: Sequence[str]) -> Iterator[tuple[int, Counter[str]]]:
    for chunk in chunks:
        yield _run_chunk(plan, chunk, beam_flags)


def _run_in_processes(
    plan: Plan, chunks: Iterator[Batch], workers: int, beam_flags: Sequence[str]
) -> Iterator[tuple[int, Counter[str]]]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker) as pool:
        running: set[Future[tuple[int, Counter[str]]]] = set()
        for chunk in chunks:
            running.add(pool.submit(_run_chunk, plan, chunk, beam_flags))
            if len(running) > workers:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (it.result() for it in finished)
        for future in running:
            yield future.result()
