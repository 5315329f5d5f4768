"""What a command begins with: its configuration, its sources, and an output root that may be written."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

from pipeline import config as configuration
from pipeline.config import Config
from pipeline.graph import Plan
from schemas.errors import ConfigError
from transforms.stores import locations
from transforms.stores.files import Output, open_store, prove
from transforms.stores.settings import agree
from transforms.stores.sources import Source


def load(**flags: Any) -> Config:
    """The configuration under the flags that were given."""
    return configuration.load(flags)


def begin(config: Config, sources: dict[str, Source]) -> Plan:
    """Everything that a writing command does first.

    The output root must not lie where the sources are announced from; its store must honour create-if-absent; its
    settings must be the ones asked for; and the commits of the last seven days are completed.
    """
    from pipeline.upkeep.repair import recent
    from pipeline.upkeep.repair import repair as complete

    output, settings = config.root(), config.settings()
    for source in sources.values():
        refuse_loop(output, source)
    store = open_store(output)
    prove(store)
    agree(store, settings)
    rules, enrichment = config.rule_book(), config.enrichment_book()
    complete(output, settings, rules=rules, enrichment=enrichment, since=recent())
    return Plan(sources, output, settings, str(uuid.uuid4()), config.fetch(), rules, enrichment)


def refuse_loop(output: Output, source: Source) -> None:
    """An output inside what a source reads would be ingested again, for ever."""
    root, location = locations.split(output.uri), locations.split(source.location or "")
    if root.scheme in ("s3", "gs"):
        inside = f"{root.netloc}/{root.path.strip('/')}/"
        read = f"{location.netloc}/{location.path.strip('/')}".rstrip("/") + "/"
        loops = (location.scheme == root.scheme and inside.startswith(read)) or (
            root.scheme == "s3" and root.netloc in source.buckets
        )
    else:
        loops = (
            source.location is not None
            and location.scheme not in ("s3", "gs")
            and _folder(root).is_relative_to(_folder(location))
        )
    if loops:
        what = "bucket" if root.netloc else "folder"
        raise ConfigError(
            f"output {output.uri!r} lies in what source {source.name!r} reads; use another {what} for the output"
        )


def _folder(location: SplitResult) -> Path:
    return Path(location.path).resolve()


def queue_sources(config: Config, names: Sequence[str], queue_url: str | None) -> dict[str, Source]:
    """The sources to receive from. Raises `ConfigError` where there is none, or one has no queue."""
    if queue_url is not None:
        if names:
            raise ConfigError(f"--queue-url defines a source of its own; leave out {', '.join(names)}")
        return {"default": configuration.queue_source(queue_url)}
    sources = config.sources(names)
    found = {name: it for name, it in sources.items() if it.queue_url}
    lacking = [name for name in names if name not in found]
    if lacking or not found:
        what = f"source {lacking[0]!r} has no queue_url" if lacking else "no source with a queue_url"
        raise ConfigError(f"{what}; give --queue-url URL, or set it under [[source]] in {configuration.FILE}")
    return found


def located(config: Config, names: Sequence[str]) -> list[Source]:
    """Each URI as a source of its own, each other word as the name of a source with a location."""
    known = {it.name: it.source() for it in config.source}
    found = []
    for number, name in enumerate(names):
        if name in known:
            if known[name].location is None:
                raise ConfigError(f'source {name!r} has no location; set location = "s3://BUCKET/PREFIX" for it')
            found.append(known[name])
        elif not name:
            raise ConfigError(
                "--source is empty, as by a variable that is not set; write . for the folder you are in"
            )
        else:
            found.append(Source(f"replay-{number}" if number else "replay", location=name))
    return found
