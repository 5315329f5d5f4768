"""Objects replayed into an output root, as the command does it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.commands import replay
from pipeline.config import Config
from pipeline.ingestion.summary import Summary
from support.records import envelope
from transforms.list_objects import Selection

_CHILD = """
import sys
from pathlib import Path
from pipeline.cli import main
sys.argv = ["trailweave", "replay", "--source", sys.argv[1], "--output", sys.argv[2], "--json", "--quiet"]
try:
    main()
except SystemExit as end:
    assert not end.code
# Not getrusage's maximum, which a child inherits from the process that started it.
(peak,) = [it for it in Path("/proc/self/status").read_text().splitlines() if it.startswith("VmHWM")]
print(peak.split()[1])
"""


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


def replay_in_a_child(source: Path, output: Path) -> tuple[dict[str, Any], float]:
    """The summary and the peak memory in MB of a process of its own that replays a folder."""
    command = [sys.executable, "-c", _CHILD, str(source), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    summary, peak = done.stdout.splitlines()
    return json.loads(summary), int(peak) / 1024
