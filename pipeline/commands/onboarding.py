"""The Test button."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipeline.commands.beginning import queue_sources
from pipeline.config import Config


def check(config: Config, names: Sequence[str], queue_url: str | None, *, wait_s: int, as_json: bool) -> int:
    """Walk the path of the sources and of the output, print each step, and say how it ended: the exit code."""
    from dataclasses import asdict

    from pipeline.onboarding import check as walk
    from pipeline.onboarding.page import render
    from pipeline.terminal.rows import as_json as json_of
    from pipeline.terminal.rows import console

    sources = [*queue_sources(config, names, queue_url).values()]
    output = config.root() if config.output is not None else None
    steps = []
    page = console(sys.stdout)
    for step in walk.check(sources, output, config.settings(), config.fetch(), wait_s):
        steps.append(step)
        if not as_json:
            render(step, page)
    code = walk.exit_code(steps)
    if as_json:
        print(json_of({"exit_code": code, "steps": [asdict(step) for step in steps]}))
    return code
