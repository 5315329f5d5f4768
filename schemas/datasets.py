"""The datasets under an output root. The Avro files beside this module are the single source of their columns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

import pyarrow as pa

_PRIMITIVES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "bytes": pa.binary(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "double": pa.float64(),
}


@dataclass(frozen=True)
class Dataset:
    """A named table of the tree, with its Avro schema (its own, or that of `like`) and the Arrow schema of it."""

    name: str
    like: str | None = None

    @cached_property
    def avro(self) -> dict[str, Any]:
        """The Avro schema as parsed JSON."""
        text = files("schemas").joinpath("avro", f"{self.like or self.name}.avsc").read_text(encoding="utf-8")
        schema: dict[str, Any] = json.loads(text)
        return schema

    @cached_property
    def arrow(self) -> pa.Schema:
        """The Arrow schema: what the Parquet files hold."""
        return pa.schema([_field(field) for field in self.avro["fields"]])


def _field(field: dict[str, Any]) -> pa.Field[Any]:
    declared = field["type"]
    nullable = isinstance(declared, list)
    if nullable:
        (declared,) = [branch for branch in declared if branch != "null"]
    return pa.field(field["name"], _type(declared), nullable=nullable)


def _type(declared: Any) -> pa.DataType:
    if isinstance(declared, str):
        return _PRIMITIVES[declared]
    if declared.get("logicalType") == "timestamp-micros":
        return pa.timestamp("us", tz="UTC")
    if declared["type"] == "array":
        return pa.list_(pa.field("element", _type(declared["items"]), nullable=False))
    raise ValueError(f"Avro type {declared!r} has no Arrow type here; add it to schemas.datasets")


RAW = Dataset("aws_s3_raw")
EVENTS = Dataset("cloud_audit_logs")
SESSIONS = Dataset("sessions")
DETECTIONS = Dataset("detections")
PROFILES = Dataset("profiles")
HUNTS = Dataset("hunts", like="detections")
STORIES = Dataset("stories")
ALERTS = Dataset("alerts")
DELIVERIES = Dataset("deliveries")
INGEST_LOG = Dataset("ingest_log")
DEAD_LETTERS = Dataset("dead_letters")

ALL = (RAW, EVENTS, SESSIONS, DETECTIONS, PROFILES, HUNTS, STORIES, ALERTS, DELIVERIES, INGEST_LOG, DEAD_LETTERS)
