"""What trailweave itself asks of an engine."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.job import job
from transforms.stores.files import Output


def options(*flags: str) -> dict[str, Any]:
    found: dict[str, Any] = job(flags, Output("out"), []).options.get_all_options(retain_unknown_options=True)
    return found


def test_flink_gives_on_what_a_bundle_gave_before_a_checkpoint() -> None:
    """Else the start of the pollers may be held back for ever."""
    assert options("--runner=FlinkRunner")["finish_bundle_before_checkpointing"] is True


@pytest.mark.parametrize("runner", ["PrismRunner", "FnApiRunner"])
def test_other_engines_are_not_asked_for_what_they_do_not_know(runner: str) -> None:
    assert "finish_bundle_before_checkpointing" not in options(f"--runner={runner}")
