"""The runtimes of this machine: the loop of `ingest`, `replay`, and what runs beside and after their bounded runs."""
