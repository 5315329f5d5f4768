"""`trailweave ingest` and `replay` on an engine: one run of the same graph, unbounded or bounded."""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import nullcontext
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, TestOptions
from apache_beam.runners.runner import PipelineState

from pipeline.engines import flink
from pipeline.engines.job import on_dataflow
from pipeline.graph import Plan, ingest_forever, replay_by_workers
from pipeline.ingestion.runs import counted
from pipeline.ingestion.summary import Summary
from pipeline.terminal.stopping import stopping
from schemas.errors import AccessError, EngineError
from transforms.list_objects import Selection
from transforms.receive_messages import STOP, Limits
from transforms.stores import gcloud
from transforms.stores.faults import CallFault

log = logging.getLogger(__name__)

BATCH_MESSAGES = 200
# A poll blocks its bundle, and an engine's checkpoint waits for bundles. But an idle poll is not to be short either:
# before Beam mended https://github.com/apache/beam/issues/27648 each left 3 kB in the state of Flink.
_LONGEST_WAIT_S = 10.0
_LOOK_S = 1.0
# Beam has no class of its own for it.
_NOT_BEGUN = "Service failed to start up"


def ingest_on_engine(pipeline: beam.Pipeline, plan: Plan, max_wait_s: float, pollers: int = 1) -> Summary:
    """Submit the unbounded run, as the job `pipeline`, and watch it until it ends or a signal comes; then cancel it.

    Each poller gathers up to 200 messages, for `max_wait_s` and ten seconds at most, and receives again when they are
    through: so `pollers` is the most parallelism, and 200 times it the most messages of a source in flight.
    Cancelling loses nothing: what was not acknowledged is delivered again.
    """
    wait_s = min(max_wait_s, _LONGEST_WAIT_S)
    queues = sum(it.queue_url is not None for it in plan.sources.values())
    limits = Limits(BATCH_MESSAGES, wait_s, idle_s=max(1.0, wait_s / queues))
    ingest_forever(pipeline, plan, limits, pollers)
    return _watched(pipeline)


def replay_on_engine(pipeline: beam.Pipeline, plan: Plan, selection: Selection, *, force: bool) -> Summary:
    """Submit one bounded run over the locations of the sources, as the job `pipeline`, and watch it until it ends.

    Cancelled or failed, it is begun again where it was: what the ingest log holds as done is not read again.
    """
    replay_by_workers(pipeline, plan, selection, force=force)
    return _watched(pipeline)


def _watched(pipeline: beam.Pipeline) -> Summary:
    """Run a job and watch it. Raises `EngineError` for one that fails, `AccessError` where it cannot be submitted."""
    started = time.monotonic()
    on_cluster = flink.submission(pipeline.options)
    try:
        with stopping():
            result = _submitted(pipeline)
            if not _is_running(pipeline.options):
                return Summary(Counter(), time.monotonic() - started)
            counts, state = _ended(result)
            if on_cluster and STOP.is_set():
                on_cluster.cancel()
    except RuntimeError as error:
        if not str(error).startswith(_NOT_BEGUN):
            raise
        raise EngineError(
            f"the engine's job server ended as it began ({error}); begin it with --debug to see its log, and"
            " on Flink name by --flink_job_server_jar one that is whole, made for your Flink and this machine's Java"
        ) from error
    except grpc.RpcError as error:
        then = f"begin the job again, but {on_cluster.goes_on()}" if on_cluster else "begin the job again"
        raise EngineError(
            f"the engine's job server does not answer ({_code(error)}); nothing is lost: {then}"
        ) from error
    if state == PipelineState.FAILED:
        raise EngineError("the engine's job failed, and its log says why; nothing is lost: begin it again")
    # Flink's job server tells counts of what has ended by itself only.
    is_counted = bool(counts) or state == PipelineState.DONE
    return Summary(counts, time.monotonic() - started, is_counted)


def _ended(result: Any) -> tuple[Counter[str], str]:
    """What a job counted, and its state, when it has ended or was cancelled because a signal came."""
    counts: Counter[str] = Counter()
    try:
        while not PipelineState.is_terminal(result.state) and not STOP.is_set():
            time.sleep(_LOOK_S)
        counts = counted(result)
        if not PipelineState.is_terminal(result.state):
            result.cancel()
        return counts, str(result.state)
    except grpc.RpcError:
        # Ctrl-C and a service's stop reach the job server, a child of this process, as well.
        if not STOP.is_set():
            raise
        return counts, str(PipelineState.CANCELLED)


def _code(error: grpc.RpcError) -> str:
    return error.code().name if isinstance(error, grpc.Call) else str(error)


def _submitted(pipeline: beam.Pipeline) -> Any:
    google = pipeline.options.view_as(GoogleCloudOptions)
    by_google = on_dataflow(pipeline.options)
    try:
        with gcloud.calling("dataflow.jobs.create", f"project {google.project}") if by_google else nullcontext():
            result = pipeline.run()
    except CallFault as fault:
        raise AccessError(str(fault)) from fault
    if by_google and _is_running(pipeline.options):
        log.info("job_submitted: %s in %s", result.job_id(), google.region)
    return result


def _is_running(options: PipelineOptions) -> bool:
    """Whether there is a job: a template is only stored, a dry run only built."""
    return not (options.view_as(GoogleCloudOptions).template_location or options.view_as(TestOptions).dry_run)
