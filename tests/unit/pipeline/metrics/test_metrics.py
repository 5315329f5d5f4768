from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import apache_beam as beam
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.fault_proxy import denied, slow_down, sqs_denied, sqs_error
from support.trails import records, trail_key, trail_object
from support.world import World

from pipeline.commands import IngestOptions, ingest
from pipeline.config import load
from pipeline.ingestion.ingest import Turn, ingest_until_stopped
from pipeline.ingestion.runs import run
from pipeline.ingestion.workers import ingest_in_processes
from pipeline.metrics import metrics as metrics_module
from pipeline.metrics.metrics import Metrics
from pipeline.metrics.server import serving
from schemas import counters
from schemas.errors import AccessError, ConfigError
from schemas.values import ObjectPart, ObjectRef, Receipt
from transforms.receive_messages import STOP, Limits
from transforms.stores.aws import faults_since
from transforms.stores.sources import Source
from transforms.write_ingest_log import spread

OBJECTS = {trail_key(f"o{n}"): trail_object(records(range(n * 5, n * 5 + 5))) for n in range(4)}
QUICK = Limits(messages=100, wait_s=0.3, idle_s=0.3)
SOURCES = [Source("trail", queue_url="https://q/1/trail"), Source("other", location="s3://b/")]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Metrics, int]]:
    monkeypatch.setattr("transforms.stores.queue.depth", lambda source: {"visible": 7})
    with serving(SOURCES, "127.0.0.1", 0) as it:
        yield it


def scraped(port: int) -> dict[tuple[str, ...], float]:
    """Every sample: (name, label values in the order of the labels' names...) to value."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *(sample.labels[it] for it in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def health(port: int) -> tuple[int, dict[str, Any]]:
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


def test_every_counter_of_the_vocabulary_is_a_metric(served: tuple[Metrics, int]) -> None:
    """But denied objects, which are told by source, and dead letters, which are told by reason."""
    told, port = served
    names = [it for it in counters.MEANING if it not in (counters.OBJECTS_DENIED, counters.DEAD_LETTERS)]

    told.ran(Counter({name: 1000 + number for number, name in enumerate(names)}))

    values = set(scraped(port).values())
    assert {1000 + number for number in range(len(names))} <= values


def test_runs_add_up(served: tuple[Metrics, int]) -> None:
    told, port = served
    for _ in range(3):
        told.ran(Counter({counters.EVENTS_WRITTEN: 5, counters.OBJECTS_DEAD: 1, f"{counters.READ}/trail": 2}))

    found = scraped(port)

    assert found["trailweave_events_total", "new"] == 15
    assert found["trailweave_events_total", "repeat"] == 0
    assert found["trailweave_objects_total", "dead_letter"] == 3
    assert found["trailweave_source_objects_total", "read", "trail"] == 6
    assert found["trailweave_source_objects_total", "denied", "trail"] == 0


def test_only_a_run_that_wrote_something_moves_the_time_of_new_events(served: tuple[Metrics, int]) -> None:
    told, port = served
    told.ran(Counter())
    found = scraped(port)
    assert ("trailweave_last_run_timestamp_seconds",) in found
    assert ("trailweave_last_new_events_timestamp_seconds",) not in found

    told.ran(Counter({counters.EVENTS_WRITTEN: 1}))
    assert ("trailweave_last_new_events_timestamp_seconds",) in scraped(port)


NOW = datetime(2026, 1, 12, 10, tzinfo=UTC)


def done(size: int, record_count: int, event_lag_s: float, sent_lag_s: float, **members: Any) -> ObjectPart:
    sent = NOW - timedelta(seconds=sent_lag_s)
    receipt = Receipt("q", "m", "h", 0.0, 1, sent, received=sent + timedelta(seconds=1))
    time_ = NOW - timedelta(seconds=event_lag_s)
    many: dict[str, Any] = {"written": record_count, "last_event_time": time_, **members}
    return ObjectPart("s", ObjectRef("b", "k"), receipt, compressed_bytes=size, records=record_count, **many)


def test_histograms_are_cumulative_and_their_sum_is_exact(served: tuple[Metrics, int]) -> None:
    told, port = served
    ended = [done(500, 3, 200, 4), done(2_000, 1, 1e7, 5), done(10**10, 0, 1, 1)]
    told.ran(Counter({f"{counters.SPREAD}/{name}": n for name, n in spread(ended, NOW).items()}))

    found = scraped(port)

    def buckets(name: str) -> dict[str, float]:
        return {key[1]: value for key, value in found.items() if key[0] == f"trailweave_{name}_bucket"}

    sizes = buckets("object_size_bytes")
    assert (sizes["1000"], sizes["10000"], sizes["1000000000"], sizes["+Inf"]) == (1, 2, 2, 3)
    assert found[("trailweave_object_size_bytes_sum",)] == 10**10 + 2_500
    assert (buckets("object_records")["0"], buckets("object_records")["10"]) == (1, 3)
    # The third object held nothing new: it says nothing about events.
    lags = buckets("event_lag_seconds")
    assert (lags["180"], lags["300"], lags["604800"], lags["+Inf"]) == (0, 1, 1, 2)
    assert (buckets("delivery_lag_seconds")["5"], found[("trailweave_delivery_lag_seconds_sum",)]) == (3, 10)
    assert found[("trailweave_receive_lag_seconds_sum",)] == 7


def test_the_seconds_of_each_stage_are_told(served: tuple[Metrics, int]) -> None:
    told, port = served
    told.ran(Counter({f"{counters.STAGE_MS}/WriteParquet": 1_500, f"{counters.STAGE_MS}/FetchObjects": 250}))
    told.ran(Counter({f"{counters.STAGE_MS}/WriteParquet": 500}))
    found = scraped(port)
    assert found[("trailweave_stage_seconds_total", "WriteParquet")] == 2
    assert found[("trailweave_stage_seconds_total", "FetchObjects")] == 0.25


def test_a_run_counts_the_time_of_its_stages() -> None:
    counts = run(lambda pipeline: pipeline | beam.Create([0.7]) | "Work" >> beam.Map(time.sleep))
    assert counts[f"{counters.STAGE_MS}/Work"] > 0


def test_objects_that_are_not_done_are_in_no_histogram() -> None:
    assert not spread([done(5, 1, 1, 1, outcome="deferred"), done(5, 1, 1, 1, outcome="dead_letter")], NOW)


def test_health_is_ok_while_the_loop_turns(served: tuple[Metrics, int]) -> None:
    told, port = served
    told.turned(Turn(1))

    code, body = health(port)

    assert (code, body["status"], body["loops"]) == (200, "ok", 1)


def test_an_open_circuit_and_failed_runs_are_told_and_are_no_reason_to_restart(served: tuple[Metrics, int]) -> None:
    told, port = served
    told.turned(Turn(1, ("trail",)))
    told.turned(Turn(2, (), failures=3))

    code, body = health(port)

    assert (code, body["status"], body["circuits_open"], body["failed_runs_in_a_row"]) == (
        200,
        "circuit_open",
        ["trail"],
        3,
    )
    found = scraped(port)
    assert found["trailweave_circuit_open", "trail"] == 1
    assert found[("trailweave_failed_runs_in_a_row",)] == 3
    told.turned(Turn(1))
    assert health(port)[1]["status"] == "failing"
    told.turned(Turn(2, ended=True))
    assert health(port)[1] | {"seconds_since_turn": 0} == {
        "status": "ok",
        "loops": 1,
        "seconds_since_turn": 0,
        "circuits_open": [],
        "failed_runs_in_a_row": 0,
    }


def test_one_loop_that_stands_still_is_unhealthy_though_another_turns(
    served: tuple[Metrics, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    told, port = served
    told.turned(Turn(1))
    clock = time.monotonic
    monkeypatch.setattr(metrics_module.time, "monotonic", lambda: clock() + metrics_module.STALLED_S + 1)
    told.turned(Turn(2))

    assert health(port)[0] == 503
    told.turned(Turn(1))
    assert health(port)[0] == 200


def test_each_attempt_of_aws_that_failed_is_told_by_action_and_code(
    make_world: Callable[..., World], impatient: None, served: tuple[Metrics, int]
) -> None:
    """Those too after which botocore tried again by itself; that a file is not there yet is no fault."""
    told, port = served
    faulty = make_world(proxied=True)
    faulty.put_all(OBJECTS)
    faulty.proxy.when("GetObject").times(2).do(slow_down())
    faulty.proxy.when("DeleteMessageBatch").times(1).do(sqs_error(503, "ServiceUnavailable", "later"))
    faults_since()

    faulty.ingest(on_turn=told.turned)

    found = {key: value for key, value in scraped(port).items() if key[0] == "trailweave_aws_errors_total"}
    assert found == {
        ("trailweave_aws_errors_total", "s3:GetObject", "SlowDown"): 2,
        ("trailweave_aws_errors_total", "sqs:DeleteMessageBatch", "ServiceUnavailable"): 1,
    }


def test_messages_in_hand_and_those_that_came_back_are_told(served: tuple[Metrics, int]) -> None:
    told, port = served
    told.turned(Turn(1, in_flight=7))
    told.turned(Turn(2, in_flight=3))
    assert scraped(port)[("trailweave_messages_in_flight",)] == 10

    told.ran(Counter({counters.MESSAGES_RECEIVED: 7, counters.MESSAGES_DELETED: 5}))
    told.turned(Turn(1))
    found = scraped(port)
    assert found[("trailweave_messages_in_flight",)] == 3
    assert found[("trailweave_messages_returned_total",)] == 2


def test_a_run_says_what_it_has_in_hand_while_it_works(aws: World) -> None:
    aws.put_all(OBJECTS)
    turns: list[Turn] = []

    aws.ingest(on_turn=turns.append)

    assert sum(it.in_flight for it in turns) == len(OBJECTS)
    assert turns[-1].in_flight == 0


def test_dead_letters_are_told_by_their_reason(aws: World, served: tuple[Metrics, int]) -> None:
    told, port = served
    aws.put(trail_key("damaged"), trail_object(records(range(3)))[:-20])
    aws.put(trail_key("bad"), trail_object([{"eventID": "x"}]))
    aws.send("no notice")
    missing = {"Bucket": aws.bucket, "Key": trail_key("gone")}
    aws.s3.put_object(**missing, Body=b"x")
    aws.s3.delete_object(**missing)

    aws.ingest(on_run=told.ran)

    found = {key[1]: value for key, value in scraped(port).items() if key[0] == "trailweave_dead_letters_total"}
    assert found == {
        "unreadable_message": 1,
        "missing_object": 1,
        "unreadable_object": 1,
        "bad_record": 1,
        "other": 0,
    }


def test_other_paths_say_what_is_here(served: tuple[Metrics, int]) -> None:
    with pytest.raises(HTTPError) as told:
        urlopen(f"http://127.0.0.1:{served[1]}/", timeout=10)
    assert (told.value.code, told.value.read()) == (404, b"/metrics and /healthz are here\n")


def test_a_port_that_is_taken_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127.0.0.1:{port}: .*choose another"), serving([], "127.0.0.1", port):
            pass


def test_the_loop_is_seen_from_outside_while_it_runs(aws: World) -> None:
    """By the command itself: counts, histograms, depth of the queue, health."""
    aws.put_all(OBJECTS)
    port = free_port()
    config = load({"output": str(aws.output), "metrics_port": port, "max_wait": 0.3})
    seen: list[dict[tuple[str, ...], float]] = []
    healths: list[Any] = []

    def watch() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(0.2)
            try:
                found = scraped(port)
            except OSError:
                continue
            if found["trailweave_messages_deleted_total",] == len(OBJECTS):
                seen.append(found)
                healths.append(health(port))
                break
        STOP.set()

    threading.Thread(target=watch, daemon=True).start()
    summary = ingest(config, [], aws.queue_url, IngestOptions(until_idle_s=60, quiet=True))

    assert summary.counts["events_written"] == 20
    (found,) = seen
    assert found["trailweave_events_total", "new"] == 20
    assert found["trailweave_object_records_bucket", "10"] == 4
    assert found[("trailweave_object_records_sum",)] == 20
    assert found[("trailweave_event_lag_seconds_count",)] == 4
    assert found[("trailweave_delivery_lag_seconds_count",)] == 4
    assert ("trailweave_queue_messages", "default", "visible") in found
    assert found["trailweave_alerts_total", "recorded"] == 0
    assert healths[0][0] == 200
    assert healths[0][1]["status"] == "ok"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as it:
        return int(it.getsockname()[1])


def test_an_open_circuit_is_seen(make_world: Callable[..., World], impatient: None) -> None:
    faulty = make_world(proxied=True)
    faulty.put_all(OBJECTS)
    faulty.proxy.when("GetObject").do(denied())
    turns: list[Turn] = []

    def turned(turn: Turn) -> None:
        turns.append(turn)
        if turn.circuits_open:
            STOP.set()

    faults_since()

    with pytest.raises(AccessError):
        ingest_until_stopped(faulty.plan(), QUICK, until_idle_s=60, quiet=True, on_turn=turned)

    assert turns[0] == Turn(os.getpid())
    assert turns[-1] == Turn(os.getpid(), ("trail",), faults=(("s3:GetObject", "AccessDenied", len(OBJECTS)),))


def test_failed_runs_are_seen(aws: World, impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.ingestion.ingest._run", lambda *_, **__: 1 / 0)
    monkeypatch.setattr("pipeline.ingestion.ingest._FAILURES_BEFORE_EXIT", 3)
    turns: list[Turn] = []

    with pytest.raises(ZeroDivisionError):
        ingest_until_stopped(aws.plan(), QUICK, quiet=True, on_turn=turns.append)

    assert [it.failures for it in turns] == [0, 1, 2]


def test_the_loops_of_all_workers_are_seen_and_their_counts_added_up(aws: World) -> None:
    aws.put_all(OBJECTS)
    told = Metrics([aws.source()])
    loops: list[int] = []

    def turned(turn: Turn) -> None:
        told.turned(turn)
        loops.append(told.health().loops)

    ingest_in_processes(aws.plan(), QUICK, workers=2, until_idle_s=2, quiet=True, on_run=told.ran, on_turn=turned)

    assert max(loops) == 2
    assert loops[-1] == 0
    families = {it.name: it for it in told.collect()}
    assert sum(it.value for it in families["trailweave_messages_deleted"].samples) == len(OBJECTS)


def test_a_queue_that_may_not_be_asked_has_no_depth(make_world: Callable[..., World]) -> None:
    faulty = make_world(proxied=True)
    faulty.send("a", "b")
    told = Metrics([faulty.source()])
    told.look_at_queues()
    (depth,) = (it for it in told.collect() if it.name == "trailweave_queue_messages")
    assert {it.labels["state"]: it.value for it in depth.samples}["visible"] == 2

    faulty.proxy.when("GetQueueAttributes").do(sqs_denied("sqs:GetQueueAttributes"))
    told.look_at_queues()
    (depth,) = (it for it in told.collect() if it.name == "trailweave_queue_messages")
    assert not depth.samples


def test_on_an_engine_there_is_nothing_to_serve(aws: World) -> None:
    config = load({"output": str(aws.output), "metrics_port": 0})
    options = IngestOptions(beam_flags=["--runner=PrismRunner"], quiet=True)
    with pytest.raises(ConfigError, match="--metrics-port is for this machine's own loop"):
        ingest(config, [], aws.queue_url, options)
