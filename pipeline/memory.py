"""The heap of this process: one for Python and Arrow, kept between slices, given back when there is nothing to do."""

from __future__ import annotations

import ctypes
import os

# glibc's parameters of these names (mallopt(3)); another C library has neither function.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LIBC = ctypes.CDLL(None)


def keep() -> None:
    """From now on what a slice gives back stays with the process for the next one; before Arrow and numpy are loaded.

    A twentieth of all CPU went into asking for the same pages again. One heap for all threads, since each would keep
    one of its own.
    """
    # Read when Arrow is loaded: one heap for it and for Python.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # Read when numpy is loaded: no linear algebra happens here, and its idle threads cost processor time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if mallopt := getattr(_LIBC, "mallopt", None):
        mallopt(_M_TRIM_THRESHOLD, 256 << 20)
        mallopt(_M_MMAP_THRESHOLD, 64 << 20)
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """What is kept and not in use goes back to the system: for a process that will wait."""
    if malloc_trim := getattr(_LIBC, "malloc_trim", None):
        malloc_trim(0)
