from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
import pipeline
import pyarrow as pa
from pipeline.memory import give_back

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 // 1_000_000

slices = [[pa.array(b"x" * 100_000 for _ in range(10)) for _ in range(20)] for _ in range(10)]
last = pa.array(range(1000))
full = resident()
del slices
kept = resident()
give_back()
print(full, kept, resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the heap is glibc's")
def test_a_slices_memory_is_kept_for_the_next_one_and_given_back_when_there_is_none() -> None:
    output = subprocess.run([sys.executable, "-c", _SCRIPT], check=True, capture_output=True, text=True).stdout
    full, kept, after = map(int, output.split())
    assert kept > full - 100, output
    assert after < full - 150, output
