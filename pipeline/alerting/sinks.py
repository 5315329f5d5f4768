"""Where alerts are delivered to: stdout, a webhook (Slack's too), an SNS topic. At least once each.

What a sink has taken is recorded after it took it, so a kill in between delivers again. A sink that fails is tried
some times with growing pauses, then told, and tried again at the next evaluation: nothing is dropped.
"""

from __future__ import annotations

import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa

from pipeline import sql
from pipeline.alerting.alerts import connect, level_number
from pipeline.sql import query
from pipeline.terminal.rows import as_json
from schemas.datasets import DELIVERIES
from schemas.errors import TrailweaveError
from transforms.stores.aws import Access, client
from transforms.stores.aws_faults import calling
from transforms.stores.faults import CallFault
from transforms.stores.files import Output, open_store
from transforms.stores.parquet import DELIVERIES_LAYOUT, encode
from transforms.stores.tree import dated_path

log = logging.getLogger(__name__)

_TRIES = 4
_PAUSE_S = 1.0
_TIMEOUT_S = 15.0
_LONGEST_SUBJECT = 100
_COLUMNS = (
    *("alert_id", "level", "rule_title", "rule_id", "kind", "tags", "story_id", "root_identity", "accounts"),
    *("first_seen", "last_seen", "events", "evidence", "seen", "explanation"),
)

Row = Mapping[str, Any]


class SinkError(TrailweaveError):
    """A sink that did not take an alert, after some tries. Never shows a webhook's address, which is a secret."""

    code = "TW-SINK"


@dataclass(frozen=True)
class Sink:
    """One sink: `url` of a webhook, `topic_arn` of an SNS topic. Alerts below `level` are not for it."""

    name: str
    kind: Literal["stdout", "webhook", "slack", "sns"]
    level: str = "medium"
    url: str | None = None
    topic_arn: str | None = None
    access: Access = field(default_factory=Access)

    def __repr__(self) -> str:
        return f"Sink({self.name!r}, {self.kind!r})"


def deliver(
    output: Output, sinks: Sequence[Sink], *, pause: Callable[[float], None] = time.sleep
) -> tuple[int, list[SinkError]]:
    """Hand every sink the open alerts that it has not taken: how many were taken, and which sinks failed."""
    count, failed = 0, []
    for sink in sinks:
        with connect(output) as connection:
            values = {"sink": sink.name, "level": str(level_number(sink.level))}
            alerts = query.run(connection, sql.text("alerts/undelivered"), values).read_all().to_pylist()
        taken: list[Row] = []
        try:
            for alert in alerts:
                _send(sink, alert, pause)
                taken.append(alert)
        except SinkError as error:
            failed.append(error)
        finally:
            _record(output, sink, taken)
        count += len(taken)
    return count, failed


def _record(output: Output, sink: Sink, taken: Sequence[Row]) -> None:
    if taken:
        now = datetime.now(UTC)
        rows = [
            {"delivered_time": now, "alert_id": it["alert_id"], "sink": sink.name, "last_seen": it["last_seen"]}
            for it in taken
        ]
        content = encode(pa.Table.from_pylist(rows, DELIVERIES.arrow), DELIVERIES_LAYOUT)
        open_store(output).create(dated_path(DELIVERIES, now), content)


def _send(sink: Sink, alert: Row, pause: Callable[[float], None]) -> None:
    body = as_json({name: alert[name] for name in _COLUMNS})
    if sink.kind == "stdout":
        print(body, flush=True)
    elif sink.kind == "sns":
        _publish(sink, alert, body)
    else:
        _post(sink, slack_text(alert) if sink.kind == "slack" else body, pause)


def slack_text(alert: Row) -> str:
    """The alert as a message of Slack's incoming webhooks; what a log put into it is text, never markup."""
    text = f"[{alert['level']}] {alert['explanation']}\n{alert['alert_id']}"
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, escaped)
    return json.dumps({"text": text})


def _post(sink: Sink, body: str, pause: Callable[[float], None]) -> None:
    request = urllib.request.Request(  # noqa: S310  # the scheme was checked with the configuration
        str(sink.url), body.encode(), {"Content-Type": "application/json", "User-Agent": "trailweave"}
    )
    why = ""
    for attempt in range(_TRIES):
        if attempt:
            pause(_PAUSE_S * 2**attempt)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310
                return
        except urllib.error.HTTPError as error:
            why = f"it answered {error.code}"
            error.close()
            if error.code < 500 and error.code != 429:
                break
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            why = f"it cannot be reached: {type(reason).__name__}"
    raise SinkError(f"sink {sink.name!r} did not take an alert: {why}; check its url")


def _publish(sink: Sink, alert: Row, body: str) -> None:
    subject = f"[{alert['level']}] {alert['rule_title']}".encode("ascii", "replace").decode()
    try:
        with calling("sns:Publish", str(sink.topic_arn), sink.access):
            client("sns", sink.access).publish(
                TopicArn=sink.topic_arn, Message=body, Subject=" ".join(subject.split())[:_LONGEST_SUBJECT]
            )
    except CallFault as fault:
        raise SinkError(f"sink {sink.name!r} did not take an alert: {fault}") from fault


def stdout_sink(level: str) -> Sink:
    """Alerts as JSON lines on stdout."""
    return Sink("stdout", "stdout", level)
