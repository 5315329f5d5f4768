"""Correlations of rule hits: one question each for counts in sliding windows, ordered chains, and whole buckets."""
