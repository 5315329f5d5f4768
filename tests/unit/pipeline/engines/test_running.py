"""How a job on an engine is watched to its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import grpc
import pytest
from apache_beam.runners.runner import PipelineState

from pipeline.engines.running import _ended
from transforms.receive_messages import STOP


class Gone:
    """A job whose job server is there no more."""

    @property
    def state(self) -> str:
        raise grpc.RpcError("UNAVAILABLE")


@pytest.fixture(autouse=True)
def unstopped() -> Iterator[None]:
    STOP.clear()
    yield
    STOP.clear()


def test_a_job_server_that_the_same_signal_ended_is_no_fault() -> None:
    """Ctrl-C reaches the whole group of processes."""
    STOP.set()
    assert _ended(Gone()) == (Counter(), PipelineState.CANCELLED)


def test_a_job_server_that_is_gone_without_a_signal_is_a_fault() -> None:
    with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
        _ended(Gone())
