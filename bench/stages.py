"""The CPU of each stage: that of the process while the stage is at work, thread pools of it and all.

Beam's own sampler looks every 200 ms at what is at work, which is longer than many stages take for a slice. A stage
is a generator, and what follows it works while it stands at a `yield`: that is none of its time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Any
from unittest import mock

import apache_beam as beam

# The fused chain, in order.
_CHAIN = (
    *("fetch_objects", "explode_records", "commit_raw", "normalize_records", "enrich_events", "stitch_sessions"),
    *("match_rules", "write_parquet", "write_dead_letters", "write_ingest_log", "acknowledge_messages"),
)


@contextmanager
def timed() -> Iterator[Counter[str]]:
    """CPU seconds by stage, in order of the chain, of what this process does while the block runs."""
    spent: Counter[str] = Counter()
    with ExitStack() as stack:
        for name in _CHAIN:
            module = import_module(f"transforms.{name}")
            stage = name.title().replace("_", "")
            spent[stage] = 0
            for fn in _do_fns(module):
                stack.enter_context(mock.patch.object(fn, "process", _timed(fn.process, stage, spent)))
        yield spent


def _do_fns(module: ModuleType) -> list[Any]:
    """The DoFns that a module defines itself."""
    classes = (it for it in vars(module).values() if isinstance(it, type) and it.__module__ == module.__name__)
    return [it for it in classes if issubclass(it, beam.DoFn)]


def _timed(process: Callable[..., Any], stage: str, spent: Counter[str]) -> Callable[..., Any]:
    @wraps(process)
    def work(*arguments: Any) -> Iterator[Any]:
        steps = iter(process(*arguments))
        while True:
            before = time.process_time()
            try:
                found = next(steps)
            except StopIteration:
                return
            finally:
                spent[stage] += time.process_time() - before  # type: ignore[assignment]
            yield found

    return work
