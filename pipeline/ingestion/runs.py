"""One bounded run of the graph on this machine, and what it counted."""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import apache_beam as beam
from apache_beam.metrics import monitoring_infos
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from schemas import counters
from schemas.errors import TrailweaveError

# By name: "DirectRunner" picks another engine when it can reach the internet.
LOCAL_RUNNER = "FnApiRunner"
_WORK = {
    monitoring_infos.START_BUNDLE_MSECS_URN,
    monitoring_infos.PROCESS_BUNDLE_MSECS_URN,
    monitoring_infos.FINISH_BUNDLE_MSECS_URN,
}
# What Beam appends to the text of an error; the operator's text stands without it.
_STEP = re.compile(r" \[while running '[^']*'\]")


class _Options(PipelineOptions):
    """Beam's options, each view made once.

    Beam asks for some hundred in a run, all over the same values, and to make one takes a parser of arguments.
    """

    def view_as(self, cls: type[Any]) -> Any:
        views: dict[type[Any], Any] = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]

    def __getstate__(self) -> dict[str, Any]:
        """A copy makes views of its own."""
        return {name: value for name, value in super().__getstate__().items() if name != "_views"}


def run(build: Callable[[beam.Pipeline], Any], beam_flags: Sequence[str] = ()) -> Counter[str]:
    """Build, run to the end, and return the counters by name. Raises what a stage raised."""
    flags = list(beam_flags) if engine(beam_flags) else [*beam_flags, f"--runner={LOCAL_RUNNER}"]
    pipeline = beam.Pipeline(options=_Options(flags))
    build(pipeline)
    _settle()
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except TrailweaveError as error:
        error.args = tuple(_STEP.sub("", str(it)) for it in error.args)
        raise
    return counted(result)


def engine(beam_flags: Sequence[str]) -> str | None:
    """The engine that the flags ask for; None for this machine's own runner."""
    return engine_of(PipelineOptions(list(beam_flags))) if beam_flags else None


def engine_of(options: PipelineOptions) -> str | None:
    """The engine that options ask for; None for this machine's own runner."""
    asked = options.view_as(StandardOptions).runner
    return None if asked in (None, LOCAL_RUNNER, "DirectRunner") else str(asked)


@cache
def _settle() -> None:
    """Spare the garbage collector what lives for ever, once in a process.

    Modules and Beam's own objects are some hundred thousand; going through them again and again while a slice makes
    its tuples took an eighth of all CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def counted(result: Any) -> Counter[str]:
    """The run's counters by name; those that are counted by source or bucket as `namespace/name`."""
    found: Counter[str] = Counter()
    for metric in result.metrics().query()["counters"]:
        space, name = metric.key.metric.namespace, metric.key.metric.name
        if space == counters.NAMESPACE:
            found[name] += metric.committed or 0
        elif space in (counters.READ, counters.DENIED, counters.SPREAD, counters.REASONS):
            found[f"{space}/{name}"] += metric.committed or 0
    for stage, spent in _stage_ms(result).items():
        found[f"{counters.STAGE_MS}/{stage}"] += spent
    return found


def _stage_ms(result: Any) -> Counter[str]:
    """Milliseconds that each stage of the graph was at work, where the runner samples them."""
    spent: Counter[str] = Counter()
    for info in getattr(result, "monitoring_infos", list)():
        if info.urn in _WORK:
            spent[info.labels["PTRANSFORM"].split("/")[0]] += monitoring_infos.extract_counter_value(info)
    return spent
