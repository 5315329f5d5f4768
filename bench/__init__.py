"""The product beside the floor and beside good DuckDB and chDB scripts, on the same seeded objects."""
