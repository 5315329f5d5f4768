"""Who asks an output root while others write and compact it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.sql import query
from transforms.stores.files import Output
from transforms.stores.tree import Numbered, parse_name


@dataclass
class Reader:
    """Asks again and again, as a user does: never an event twice, and each that was there once is there always."""

    output: Output
    seen: dict[str, set[str]] = field(default_factory=dict)
    asked: int = 0

    def ask(self) -> None:
        for view in ("aws_s3_raw", "cloud_audit_logs"):
            with query.connect(self.output) as connection:
                ids = query.run(connection, f"SELECT event_id FROM {view}").read_all()["event_id"].to_pylist()
            before, now = self.seen.get(view, set()), set(ids)
            assert len(ids) == len(now), f"{view} has {len(ids) - len(now)} events twice"
            assert before <= now, f"{view} lacks {len(before - now)} events that were there"
            self.seen[view] = now
            self.asked += 1


def assert_no_void_files(output: Path) -> list[Numbered]:
    """No range covers another file: then a plain reader counts each row once. Returns the ranges."""
    ranges = []
    for name in ("aws_s3_raw", "cloud_audit_logs", "sessions", "detections"):
        for partition in (output / name).glob("*/*"):
            files = [it for it in (parse_name(path.name) for path in partition.iterdir()) if it]
            assert not [it for it in files if any(wide.covers(it) for wide in files)], f"{partition} holds void files"
            ranges += [it for it in files if it.is_range]
    return ranges
