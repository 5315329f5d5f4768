"""A trail of six log files and four digests, and what `verify` says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.upkeep.verify import Verification, verify
from support.digests import key_file
from support.trails import records, trail_key, trail_object
from support.world import World
from transforms.stores.files import Output
from transforms.stores.sources import Source
from transforms.stores.trail_digests import load_public_keys

LOGS = [(trail_key(f"o{n}"), trail_object(records(range(n * 5, n * 5 + 5)))) for n in range(6)]
HOURS = [LOGS[:2], LOGS[2:4], [], LOGS[4:]]


def verified(world: World, tmp_path: Path, **options: Any) -> Verification:
    source = Source("s", location=f"s3://{world.bucket}/AWSLogs/", access=world.access)
    keys = load_public_keys([key_file(tmp_path)])
    return verify(Output(str(world.output)), [source], **{"keys": keys, **options})


def found(told: Verification) -> list[tuple[str, str]]:
    return [(it.kind, it.key) for it in told.findings]
