"""Composition: the graph, the runtimes, the command line, the queries."""

import os

# Read when Arrow is loaded: one heap for it and for Python, so that what a slice gives back serves the next one.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
# Read when numpy is loaded: no linear algebra happens here, and its idle threads cost processor time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
