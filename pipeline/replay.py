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
from dataclasses import dataclass

from pipeline.graph import Plan, replay
from pipeline.ingest import stopping
from pipeline.logs import start_worker
from pipeline.progress import Display
from pipeline.runs import run
from pipeline.summary import Summary
from schemas import counters
from schemas.errors import TrailweaveError
from schemas.values import Message, ObjectRef
from transforms.receive_messages import STOP
from transforms.stores.aws import AwsFault
from transforms.stores.files import open_store
from transforms.stores.keys import facts
from transforms.stores.ledger import done_objects, is_done

log = logging.getLogger(__name__)

RUN_OBJECTS = 10_000
RUN_BYTES = 256_000_000
# Beside each other, runs are short, so that all workers end at about the same time.
SHARED_RUN_BYTES = 32_000_000
_WINDOW = 50_000
_AHEAD = 64


@dataclass(frozen=True)
class Chunk:
    """The messages of one bounded run."""

    messages: tuple[Message, ...]


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
    fresh = (it for it in listed if not all(is_done(ref, done) for ref in it.objects) or not it.objects)
    with stopping(), Display("replaying", bounded=True, quiet=quiet) as display:
        chunks = _listed_ahead(cut(fresh, RUN_BYTES if workers == 1 else SHARED_RUN_BYTES), display)
        results = (
            _run_here(plan, chunks, beam_flags)
            if workers == 1
            else _run_in_processes(plan, chunks, workers, beam_flags)
        )
        for count, counts in results:
            total += counts
            display.show(total, count)
    return Summary(total, time.monotonic() - started)


def cut(messages: Iterable[Message], run_bytes: int = RUN_BYTES) -> Iterator[Chunk]:
    """Runs of about `run_bytes`, or 10,000 objects; within a window of 50,000, one account and day after the other.

    A run ends where an account's day ends once it is half full, so that runs side by side seldom share a partition.
    """
    window: list[Message] = []
    for message in messages:
        window.append(message)
        if len(window) == _WINDOW:
            yield from _cut_window(window, run_bytes)
            window = []
    yield from _cut_window(window, run_bytes)


def _cut_window(window: list[Message], run_bytes: int) -> Iterator[Chunk]:
    members: list[Message] = []
    size = 0
    previous = None
    for message in sorted(window, key=_order):
        group = _order(message)[:2]
        full = size >= run_bytes or len(members) >= RUN_OBJECTS
        half = size >= run_bytes // 2 or len(members) >= RUN_OBJECTS // 2
        if members and (full or (half and group != previous)):
            yield Chunk(tuple(members))
            members, size = [], 0
        members.append(message)
        size += sum(ref.size or 0 for ref in message.objects)
        previous = group
    if members:
        yield Chunk(tuple(members))


def _order(message: Message) -> tuple[str, str, str]:
    ref = message.objects[0] if message.objects else ObjectRef("", "")
    found = facts(ref.key)
    return found.day or "", found.account or "", ref.key


def _listed_ahead(chunks: Iterator[Chunk], display: Display) -> Iterator[Chunk]:
    """List in a thread, a little ahead of the work, so that the bar knows more than what is done."""
    ahead: queue.Queue[Chunk | BaseException | None] = queue.Queue(_AHEAD)

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


def _run_chunk(plan: Plan, chunk: Chunk, beam_flags: Sequence[str]) -> tuple[int, Counter[str]]:
    return len(chunk.messages), _run_or_halve(plan, chunk.messages, beam_flags)


def _run_or_halve(plan: Plan, messages: Sequence[Message], beam_flags: Sequence[str]) -> Counter[str]:
    """One run; if something unforeseen ends it, its halves, so that one object does not stop all others."""
    try:
        return run(lambda pipeline: replay(pipeline, plan, list(messages)), beam_flags)
    except (TrailweaveError, AwsFault):
        raise
    except Exception as error:
        if len(messages) > 1:
            middle = len(messages) // 2
            halves = messages[:middle], messages[middle:]
            return sum((_run_or_halve(plan, half, beam_flags) for half in halves), Counter())
        keys = ", ".join(ref.key for ref in messages[0].objects)
        log.exception("object_failed: %s of %s; it is left undone, please report this", type(error).__name__, keys)
        return Counter({counters.OBJECTS_DEFERRED: 1})


def _run_here(plan: Plan, chunks: Iterator[Chunk], beam_flags: Sequence[str]) -> Iterator[tuple[int, Counter[str]]]:
    for chunk in chunks:
        yield _run_chunk(plan, chunk, beam_flags)


def _run_in_processes(
    plan: Plan, chunks: Iterator[Chunk], workers: int, beam_flags: Sequence[str]
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


def as_messages(refs: Iterable[ObjectRef], source: str) -> Iterator[Message]:
    """Each object as a message of its own, without a receipt."""
    return (Message(source, (ref,)) for ref in refs)
