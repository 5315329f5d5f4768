"""The command line. Data goes to stdout, talk and progress to stderr; exit codes are documented in README.md.

Each module adds the commands of its subject to the one program.
"""

from __future__ import annotations

from pipeline.terminal.interrupts import quietly

# Their order is the order of the help.
# isort: off
with quietly():
    from pipeline.cli import onboarding, ingestion, looking, stories, alerts, detection, upkeep  # noqa: F401
    from pipeline.cli.app import app, main

# isort: on

__all__ = ["app", "main"]
