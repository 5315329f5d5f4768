"""`trailweave demo`: the product at work, offline, on an invented organisation with an attack in its trail."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from pipeline.alerting import alerts
from pipeline.commands import begin
from pipeline.config import Config, load
from pipeline.demo.emulator import emulator, provision, upload
from pipeline.demo.organisation import BUCKET, organisation
from pipeline.demo.trail import Trail
from pipeline.ingestion.ingest import ingest_until_stopped
from pipeline.ingestion.summary import Summary
from pipeline.sql import query
from pipeline.stories import stories
from pipeline.stories.page import render
from pipeline.terminal.rows import console as rows_console
from pipeline.terminal.rows import print_rows
from schemas import counters
from schemas.errors import ConfigError
from transforms.receive_messages import Limits
from transforms.rules.book import RuleBook
from transforms.stores.aws import Access, client
from transforms.stores.files import Output, open_store
from transforms.stores.local import LocalStore
from transforms.stores.sources import Source

QUEUE = "trailweave-demo"
_LIMITS = Limits(messages=250, wait_s=2.0, idle_s=1.0)
_IDLE_S = 3.0
# Says that a folder is the demo's own, which alone it removes: any other output may be years of somebody's trail.
_MARK = ".trailweave/demo"

_DEAD_LETTERS = """
    SELECT scope, reason, regexp_extract(object_key, '[^/]*$') AS object FROM dead_letters ORDER BY scope"""

# The questions of the first hour of an incident. The first answer's first row gives the key whose story is shown, and
# `$address` to the others.
_FIRST_QUESTION = (
    "Which identity was denied most, and from where?",
    """SELECT identity_name AS identity, access_key_id, caller_ip, count(*) AS denied, min(_time) AS begin
       FROM cloud_audit_logs WHERE error_class = 'DENIED' AND caller_ip IS NOT NULL
       GROUP BY ALL ORDER BY denied DESC, identity LIMIT 3""",
)
_QUESTIONS = (
    (
        "What was taken from there?",
        """SELECT min(_time) AS begin, account_id, operation_name_orig AS operation, count(*) AS calls
           FROM cloud_audit_logs WHERE caller_ip = $address AND operation_status = 'SUCCESS'
             AND operation_name_orig IN ('GetSecretValue', 'GetObject')
           GROUP BY ALL ORDER BY begin""",
    ),
    (
        "Who touched the trails themselves?",
        """SELECT _time, account_id, operation_name_orig AS operation, operation_status AS outcome, caller_ip
           FROM cloud_audit_logs
           WHERE operation_name_orig IN ('StopLogging', 'DeleteTrail', 'UpdateTrail', 'PutEventSelectors')
           ORDER BY _time""",
    ),
)


def run_demo(output: Path, *, quiet: bool = False) -> None:
    """Emulate, announce, ingest, show. A folder that a demo made is made anew; any other is refused and kept."""
    _make_room(output)
    console = Console(stderr=True)
    # It tells its own story: the lines of a service's log would stand in between.
    for name in ("pipeline.ingestion", "pipeline.alerting"):
        logging.getLogger(name).setLevel(logging.WARNING)
    trail = organisation()
    console.print(
        f"[bold]1.[/] An emulated AWS on this machine; {len(trail):,} objects of an invented organisation's trail:"
        f" {trail.delivered:,} records of {trail.events:,} events, delivered late, twice and out of order."
    )
    with emulator() as aws, aws.applied():
        access = Access(endpoint_url=aws.endpoint_url)
        queue_url = provision(client("s3", access), client("sqs", access), bucket=BUCKET, queue=QUEUE)
        console.print("[bold]2.[/] The bucket announces each object in a queue; trailweave ingests until it is idle.")
        summary = _ingest(trail, access, queue_url, output, quiet=quiet)
        left = _messages_left(client("sqs", access), queue_url)
    _show(console, summary, left, output)


def _config(output: Path) -> Config:
    """Everything is derived, whatever the trailweave.toml of this folder says: each answer stands on it."""
    return load({"output": str(output), "normalize": True, "sessions": True, "detections": True})


def _make_room(output: Path) -> None:
    if output.exists():
        if not (output / _MARK).is_file():
            raise ConfigError(f"{str(output)!r} exists, and the demo did not make it; give --output another folder")
        shutil.rmtree(output)
    open_store(Output(str(output))).create(_MARK, b"")


def _ingest(trail: Trail, access: Access, queue_url: str, output: Path, *, quiet: bool) -> Summary:
    sources = {"demo": Source("demo", queue_url=queue_url, buckets=(BUCKET,), access=access)}
    plan = begin(_config(output), sources)
    failures: list[BaseException] = []

    def deliver() -> None:
        try:
            upload(client("s3", access), BUCKET, trail)
        except BaseException as error:
            failures.append(error)

    delivery = threading.Thread(target=deliver, name="deliver")
    delivery.start()
    summary = ingest_until_stopped(plan, _LIMITS, until_idle_s=_IDLE_S, quiet=quiet)
    delivery.join()
    if failures:
        raise failures[0]
    return summary


def _messages_left(sqs: Any, queue_url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)


def _show(console: Console, summary: Summary, left: int, output: Path) -> None:
    told = summary.counts
    console.print(f"[bold]3.[/] {escape(summary.as_text())}.")
    console.print(
        f"   {told[counters.MESSAGES_RECEIVED]:,} messages received, {told[counters.MESSAGES_DELETED]:,} deleted,"
        f" {left} left; {told[counters.COMMITS]:,} commits."
    )
    console.print("[bold]4.[/] The tree, one folder an account and day:")
    console.print(_tree(output))
    alerts.evaluate(_config(output).root(), RuleBook.of().rule_set())
    with query.connect(_config(output).root()) as connection:
        console.print("[bold]5.[/] What could not be processed, and why:")
        _ask(connection, _DEAD_LETTERS)
        question, sql = _FIRST_QUESTION
        console.print(f"[bold]6.[/] {question}")
        _ask(connection, sql)
        (first, *_) = query.run(connection, sql).read_all().to_pylist()
        console.print("[bold]7.[/] Where did that lead? The story of that key, across accounts:")
        _tell(connection, first["access_key_id"])
        address = first["caller_ip"]
        for number, (question, sql) in enumerate(_QUESTIONS, 8):
            console.print(f"[bold]{number}.[/] {question}")
            _ask(connection, sql, address=address)
        console.print(f"[bold]{8 + len(_QUESTIONS)}.[/] What would an analyst have been told?")
        _list_alerts(connection)
    console.print(
        "Ask more:  [bold]trailweave query --list[/]   "
        f"[bold]trailweave story list --output {escape(str(output))}[/]   "
        f"[bold]trailweave alert show ID --output {escape(str(output))}[/]   "
        f'[bold]trailweave query --output {escape(str(output))} "SELECT ..."[/]   '
        f"[bold]trailweave status --output {escape(str(output))}[/]"
    )


def _tell(connection: duckdb.DuckDBPyConnection, key: str) -> None:
    story = stories.show(connection, stories.Asked("access key", key))
    assert isinstance(story, stories.Story)
    render(story, rows_console(sys.stdout), with_timeline=False)
    sys.stdout.flush()


def _list_alerts(connection: duckdb.DuckDBPyConnection) -> None:
    found = alerts.listed(
        connection, level="medium", since=stories.FIRST, until=stories.LAST, everything=False, most=20
    )
    print_rows(alerts.in_short(found), "table", sys.stdout)
    sys.stdout.flush()


def _ask(connection: duckdb.DuckDBPyConnection, sql: str, **parameters: str) -> None:
    given = {name: value for name, value in parameters.items() if f"${name}" in sql}
    print_rows(query.run(connection, sql, given), "table", sys.stdout)
    sys.stdout.flush()


def _tree(output: Path) -> Tree:
    store = open_store(_config(output).root())
    assert isinstance(store, LocalStore)
    root = Tree(f"{output}/")
    for dataset in store.folders(""):
        branch = root.add(f"{dataset}/  [dim]{_weight(output / dataset)}[/]")
        for account in store.folders(dataset):
            leaf = branch.add(f"{account}/")
            for day in store.folders(f"{dataset}/{account}"):
                leaf.add(f"{day}/  [dim]{_weight(output / dataset / account / day)}[/]")
    return root


def _weight(folder: Path) -> str:
    sizes = Counter({path: path.stat().st_size for path in folder.rglob("*") if path.is_file()})
    return f"{len(sizes)} files, {sizes.total() / 1e6:.2f} MB"
