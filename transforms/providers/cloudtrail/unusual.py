"""Records that tell no single call: Insights events and aggregated events.

Sources: AWS CloudTrail user guide, "CloudTrail record contents for Insights events for trails" and "CloudTrail record
contents for aggregated events".
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import msgspec

from transforms.providers.cloudtrail.lenient import Reader, Text
from transforms.providers.cloudtrail.record import Part, Record
from transforms.providers.cloudtrail.times import in_range, parse_time
from transforms.providers.cloudtrail.user_identity import known


class InsightDetails(Part):
    """What an Insights event found unusual."""

    state: str | None = None
    event_source: str | None = None
    event_name: str | None = None
    insight_type: str | None = None


class TimeWindow(Part):
    """The window of an aggregated event: its start included, its end excluded."""

    window_start: str | None = None
    window_end: str | None = None


class Statistic(Part):
    """A value that events had in common; how many is in the record."""

    name: str | None = None


class Dimension(Part):
    """What the events of an aggregated event are counted by."""

    dimension: str | None = None
    statistics: list[Statistic] | None = None


class Summary(Part):
    """The counts of an aggregated event."""

    primary_dimension: Dimension | None = None


class Unusual(Part):
    """Where Insights events and aggregated events keep what others keep at the top."""

    account_id: str | None = None
    aggregate_id: str | None = msgspec.field(default=None, name="eventId")
    insight_details: InsightDetails | None = None
    time_window: TimeWindow | None = None
    summary: Summary | None = None


class Counted(NamedTuple):
    """Columns of `cloud_audit_logs` that only Insights events and aggregated events fill."""

    insight_type: str | None = None
    insight_state: str | None = None
    aggregation_dimension: str | None = None
    aggregation_end_time: datetime | None = None


_read = Reader(Unusual).read


def complete(record: Record, text: Text) -> None:
    """Fills in from its other places what an Insights event or an aggregated event lacks at the top.

    An aggregated event counts the events of a window (5 minutes), so it stands at the window's start and thereby
    on their day. It has an operation where it counts those of one alone.
    """
    unusual = _read(text, "record", [])
    details = unusual.insight_details or InsightDetails()
    window = unusual.time_window or TimeWindow()
    record.event_source = record.event_source or details.event_source
    record.event_name = record.event_name or details.event_name or _operation(unusual.summary)
    record.event_time = record.event_time or window.window_start
    record.event_id = record.event_id or unusual.aggregate_id
    record.recipient_account_id = record.recipient_account_id or unusual.account_id


def counted(text: Text, notes: list[str]) -> Counted:
    """The columns of an Insights event or an aggregated event."""
    unusual = _read(text, "record", notes)
    details = unusual.insight_details or InsightDetails()
    window = unusual.time_window or TimeWindow()
    dimension = unusual.summary and unusual.summary.primary_dimension
    return Counted(
        insight_type=known(details.insight_type),
        insight_state=known(details.state),
        aggregation_dimension=known(dimension.dimension) if dimension else None,
        aggregation_end_time=in_range(parse_time(window.window_end)),
    )


def _operation(summary: Summary | None) -> str | None:
    dimension = summary and summary.primary_dimension
    if not dimension or dimension.dimension != "eventName":
        return None
    names = [statistic.name for statistic in dimension.statistics or ()]
    return names[0] if len(names) == 1 else None
