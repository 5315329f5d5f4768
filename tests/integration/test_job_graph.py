"""The unbounded graph as an engine is given it: one fused chain."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from support.world import World

from pipeline.graph import ingest_forever
from transforms.receive_messages import Limits

SHUFFLES = ("group_by_key", "flatten", "reshuffle", "combine")


@pytest.fixture
def graph(aws: World) -> Any:
    plan = aws.plan()
    pipeline = beam.Pipeline(runner="FnApiRunner", options=PipelineOptions(["--streaming"]))
    ingest_forever(pipeline, plan, Limits(200, 1.0, 1.0), 4)
    return pipeline.to_runner_api()


def test_nothing_between_the_source_and_the_acknowledgement_breaks_the_chain(graph: Any) -> None:
    leaves = [it for it in graph.components.transforms.values() if it.spec.urn and not it.subtransforms]
    after = [it for it in leaves if not it.unique_name.startswith("ReceiveMessages/")]
    assert not [it.unique_name for it in after if any(word in it.spec.urn for word in SHUFFLES)]
    read = [name for it in after for name in it.inputs.values()]
    assert len(after) > 10
    assert len(read) == len(set(read)) == len(after)
