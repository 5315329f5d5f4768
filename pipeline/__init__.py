"""Composition: the graph, the runtimes, the command line, the queries."""

import os

# Read by Arrow's allocator when it is loaded. Memory that a slice returns serves the next one within ten seconds (the
# default is one, or less): a tenth of all CPU went into pages that were given back and zeroed again.
os.environ.setdefault("MIMALLOC_PURGE_DELAY", "10000")
