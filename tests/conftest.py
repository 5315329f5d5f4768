"""Its folder is on the path of every test, so that `from support import ...` works anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support.world import World, world

from pipeline.demo.emulator import Emulator, emulator
from transforms.receive_messages import STOP

# Runs share cores with others: no deadline by the clock, and no examples kept in the checkout. The same examples each
# time, so that a change alone turns a run red; `make soak` looks at others.
_common: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, **_common)
settings.register_profile("others", print_blob=True, **_common)
settings.load_profile(os.environ.get("TRAILWEAVE_EXAMPLES", "same"))


@pytest.fixture(autouse=True)
def _nobody_asked_to_stop() -> None:
    """A test that asks its own process to stop leaves the wish behind."""
    STOP.clear()


@pytest.fixture(scope="session")
def running_emulator() -> Iterator[Emulator]:
    """One emulated AWS for the whole session; each test makes its own bucket and queue in it."""
    with emulator() as started:
        yield started


@pytest.fixture
def make_world(running_emulator: Emulator, tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Make worlds: `make_world(proxied=True, visibility_timeout_s=2, max_receives=3)`."""
    with ExitStack() as stack:

        def make(**options: Any) -> World:
            return stack.enter_context(world(running_emulator, tmp_path, **options))

        yield make


@pytest.fixture
def aws(make_world: Callable[..., World]) -> World:
    """A world without faults."""
    return make_world()


@pytest.fixture
def faulty(make_world: Callable[..., World]) -> World:
    """A world whose product side goes through a fault proxy."""
    return make_world(proxied=True)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 and the product try again without waiting, and messages may be hidden for a second or two only."""
    monkeypatch.setattr("transforms.in_hand._MARGIN_S", 0.2)
    monkeypatch.setattr("transforms.in_hand.LOOK_S", 0.3)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    monkeypatch.setattr("transforms.stores.queue._FIRST_PAUSE_S", 0.01)
    for module in ("pipeline.ingestion.ingest", "pipeline.ingestion.breaker"):
        monkeypatch.setattr(f"{module}._FIRST_PAUSE_S", 0.02)
        monkeypatch.setattr(f"{module}._LONGEST_PAUSE_S", 0.1)
