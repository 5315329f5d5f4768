"""What an operator does now and then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import config as configuration
from pipeline.commands.beginning import located
from pipeline.config import Config
from pipeline.upkeep.redrive import Redriven
from schemas.errors import ConfigError
from transforms.stores.files import Output, Store, prove
from transforms.stores.local import LocalStore
from transforms.stores.settings import SETTINGS, Settings, read_settings

if TYPE_CHECKING:
    from pipeline.compaction.compact import Compacted
    from pipeline.upkeep.verify import Verification

_SWEEP_S = 86_400.0


def repair(config: Config) -> tuple[int, int]:
    """(commits completed, temporary files removed) under the whole output root."""
    from pipeline.upkeep.repair import repair as complete

    output, store, settings = _begun(config)
    swept = store.sweep(_SWEEP_S) if isinstance(store, LocalStore) else 0
    return complete(output, settings, rules=config.rule_book(), enrichment=config.enrichment_book()), swept


def compact(config: Config, first_day: str | None, last_day: str | None) -> Compacted:
    """Merge the small files of quiet partitions between two days; a signal ends it after the partition in work."""
    from pipeline.compaction.compact import compact as merge
    from pipeline.terminal.stopping import stopping

    output, _, settings = _begun(config)
    with stopping():
        return merge(output, settings, since=first_day, until=last_day)


def _begun(config: Config) -> tuple[Output, Store, Settings]:
    """The output root, which was written before and may be written now."""
    from pipeline.sql.tree import open_tree

    output = config.root()
    store = open_tree(output)
    settings = read_settings(store)
    if settings is None:
        raise ConfigError(f"{store.describe(SETTINGS)} is gone, which says what is derived; put it back")
    prove(store)
    return output, store, settings


def redrive(queue_url: str, to: str, *, most: int | None) -> Redriven:
    """Move the messages of a dead-letter queue back; a signal ends it after the batch in work."""
    from pipeline.terminal.stopping import stopping
    from pipeline.upkeep.redrive import redrive as move

    source = configuration.queue_source(queue_url)
    configuration.queue_source(to)
    with stopping():
        return move(queue_url, to, source.access, most=most)


def verify(
    config: Config,
    names: Sequence[str],
    first_day: str | None,
    last_day: str | None,
    *,
    digests: bool,
    key_files: Sequence[Path],
) -> Verification:
    """Compare what lies in locations or named sources with the output root, and prove it by digests."""
    from pipeline.upkeep.verify import verify as prove_complete
    from transforms.stores.trail_digests import load_public_keys

    if not names:
        raise ConfigError("nothing to verify; give --source URI or the NAME of a [[source]] with a location")
    return prove_complete(
        config.root(),
        located(config, names),
        first_day=first_day,
        last_day=last_day,
        digests=digests,
        keys=load_public_keys(key_files) if key_files else None,
    )
