"""Measure work in a fresh process of its own, warm, by CPU seconds."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any


@dataclass(frozen=True)
class Measurement:
    """Of one run: seconds of CPU (user and system, all threads and children), wall seconds, most memory in bytes."""

    records: int
    cpu_s: float
    wall_s: float
    peak_bytes: int

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU a record."""
        return self.cpu_s / self.records * 1e6

    @property
    def per_cpu_s(self) -> float:
        """Records per CPU second."""
        return self.records / self.cpu_s


def measure(work: Callable[[], int]) -> Measurement:
    """Run the work here; it says how many records it did."""
    cpu, wall = _cpu_s(), time.monotonic()
    records = work()
    peak = max(it.ru_maxrss for it in _usage())
    return Measurement(records, _cpu_s() - cpu, time.monotonic() - wall, peak * 1024)


def _cpu_s() -> float:
    return sum(it.ru_utime + it.ru_stime for it in _usage())


def _usage() -> list[resource.struct_rusage]:
    return [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


def fastest(measurements: list[Measurement]) -> Measurement:
    """The run with the least CPU: what else the machine does only adds."""
    return min(measurements, key=lambda it: it.cpu_s)


@contextmanager
def child(*arguments: str, variables: Mapping[str, str] | None = None) -> Iterator[IO[str]]:
    """`python -m ARGUMENTS` while the block runs: its standard output, where the last line is its answer."""
    # A file: a pipe that nobody reads yet would hold up a child that has much to say.
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=subprocess.PIPE, stderr=errors, text=True, env=variables
        ) as process:
            assert process.stdout is not None
            yield process.stdout
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(arguments)} failed:\n{errors.read()}")


def answer(output: IO[str]) -> dict[str, Any]:
    """The last line of a child's output, which is JSON."""
    lines = output.read().splitlines()
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return found
