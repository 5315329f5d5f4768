"""Composition: the graph, the runtimes, the command line, the queries."""

from pipeline import memory

memory.keep()
