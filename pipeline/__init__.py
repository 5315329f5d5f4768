"""Composition: the graph, the runtimes, the command line, the queries."""

import ctypes
import os

# Read when Arrow is loaded: one heap for it and for Python, so that what a slice gives back serves the next one.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
# Read when numpy is loaded: no linear algebra happens here, and its idle threads cost processor time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# glibc's parameters of these names (mallopt(3)); another C library has no such function. What a slice gives back
# stays with the process for the next one: a twentieth of all CPU went into asking for the same pages again.
# One heap for all threads, since each would keep one of its own.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
if _set := getattr(ctypes.CDLL(None), "mallopt", None):
    _set(_M_TRIM_THRESHOLD, 256 << 20)
    _set(_M_MMAP_THRESHOLD, 64 << 20)
    _set(_M_ARENA_MAX, 1)
