"""One bounded run of the graph on this machine, and what it counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from schemas import counters

# By name: "DirectRunner" picks another engine when it can reach the internet.
LOCAL_RUNNER = "FnApiRunner"


def run(build: Callable[[beam.Pipeline], Any], beam_flags: Sequence[str] = ()) -> Counter[str]:
    """Build, run to the end, and return the counters by name. Raises what a stage raised."""
    flags = list(beam_flags)
    if not any(flag.startswith("--runner") for flag in flags):
        flags.append(f"--runner={LOCAL_RUNNER}")
    pipeline = beam.Pipeline(options=PipelineOptions(flags))
    build(pipeline)
    result = pipeline.run()
    result.wait_until_finish()
    return counted(result)


def counted(result: Any) -> Counter[str]:
    """The run's counters."""
    found: Counter[str] = Counter()
    for metric in result.metrics().query()["counters"]:
        if metric.key.metric.namespace == counters.NAMESPACE:
            found[metric.key.metric.name] += metric.committed or 0
    return found
