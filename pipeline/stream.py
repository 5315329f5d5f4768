"""`trailweave ingest` on a streaming engine: one unbounded run of the same graph."""

from __future__ import annotations

import time
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from pipeline.graph import Plan, ingest_forever
from pipeline.ingest import stopping
from pipeline.runs import counted
from pipeline.summary import Summary
from transforms.receive_messages import STOP, Limits

BATCH_MESSAGES = 200
# A poll blocks its bundle, and an engine's checkpoint waits for bundles.
_LONGEST_WAIT_S = 10.0
_LOOK_S = 1.0


def ingest_on_engine(plan: Plan, max_wait_s: float, beam_flags: Sequence[str], pollers: int = 1) -> Summary:
    """Submit the unbounded run and watch it until it ends or a signal comes; then cancel it.

    Each poller gathers up to 200 messages, for `max_wait_s` and ten seconds at most, and receives again when they are
    through: so `pollers` is the parallelism, and 200 times it the most messages of a source in flight. Cancelling
    loses nothing: what was not acknowledged is delivered again.
    """
    started = time.monotonic()
    pipeline = beam.Pipeline(options=PipelineOptions([*beam_flags, "--streaming"]))
    limits = Limits(BATCH_MESSAGES, min(max_wait_s, _LONGEST_WAIT_S), idle_s=1.0)
    ingest_forever(pipeline, plan, limits, pollers)
    with stopping():
        result = pipeline.run()
        while not PipelineState.is_terminal(result.state) and not STOP.is_set():
            time.sleep(_LOOK_S)
        counts = counted(result)
        if not PipelineState.is_terminal(result.state):
            result.cancel()
    return Summary(counts, time.monotonic() - started)
