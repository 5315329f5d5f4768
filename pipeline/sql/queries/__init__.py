"""The library of named queries."""
