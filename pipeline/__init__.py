"""Composition: the graph, the runtimes, the command line, the queries."""
