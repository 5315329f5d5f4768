"""Objects replayed into an output root in this process, as the command does it."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.commands import replay
from pipeline.config import Config
from pipeline.summary import Summary
from support.records import envelope
from transforms.list_objects import Selection


def replay_from(config: Config, source: Path | str, *, force: bool = True) -> Summary:
    """Everything at the source, in one quiet process."""
    everything = Selection()
    return replay(
        config, [str(source)], everything, workers=1, force=force, dead_letters=False, beam_flags=[], quiet=True
    )


def replay_records(config: Config, *objects: Sequence[Any]) -> Config:
    """Lists of records, each as one object, in this order; returns the configuration."""
    with tempfile.TemporaryDirectory() as folder:
        for number, records in enumerate(objects):
            Path(folder, f"{number:05}.json.gz").write_bytes(gzip.compress(envelope(records)))
        replay_from(config, folder)
    return config
