"""`trailweave verify`: whether all that lies in the bucket is in the output, and is what CloudTrail delivered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from pipeline import sql
from pipeline.sql import query
from pipeline.terminal.rows import shown
from pipeline.upkeep.digest_chain import Checked, Digest, LogFile, SignedText, chains, check, gaps, opened
from schemas.errors import AccessError
from schemas.values import GOOGLE, LOCAL, ObjectRef
from transforms.decoding.inflate import Caps, Damaged, as_file, inflate
from transforms.list_objects import Selection, list_objects
from transforms.stores import locations
from transforms.stores.faults import CallFault
from transforms.stores.files import Output
from transforms.stores.keys import facts
from transforms.stores.objects import read_object
from transforms.stores.sources import Source
from transforms.stores.trail_digests import fetch_public_keys, read_digest

Kind = Literal[
    "missing",
    "altered",
    "not_ingested",
    "invalid",
    "broken",
    "unreadable",
    "dead_letter",
    "gone",
    "restarted",
    "unsigned",
]

# What these say is no defect: it is known in the output, or retention and configuration explain it.
_NOTES: tuple[Kind, ...] = ("dead_letter", "gone", "restarted", "unsigned")
_FIRST_DAY, _LAST_DAY = "0001-01-01", "9999-12-31"
_LISTED = pa.schema([(name, pa.string()) for name in ("bucket", "key", "etag")] + [("size", pa.int64())])
_ROWS_A_BATCH = 10_000
_READERS = 8
_SHOWN = 20
_MOST_DIGEST_BYTES = 50_000_000
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What is not as it should be, or worth knowing: of what kind, about which object, and why."""

    kind: Kind
    bucket: str
    key: str
    reason: str

    @property
    def uri(self) -> str:
        """The object as one writes it."""
        return ObjectRef(self.bucket, self.key).uri


@dataclass(frozen=True)
class Verification:
    """What was looked at, and what was found.

    `objects` counts the listed log files by state; `digests` and `log_files` what was proven by signature and hash.
    `signed_until` is the end of the newest digest that is right, None where there is none.
    """

    objects: Counter[str]
    digests: int
    log_files: int
    signed_until: str | None
    findings: tuple[Finding, ...] = field(default=(), repr=False)

    def as_json(self) -> dict[str, Any]:
        """Every count and every finding."""
        return {
            "complete": self.complete,
            "objects": dict(sorted(self.objects.items())),
            "digests_valid": self.digests,
            "log_files_valid": self.log_files,
            "signed_until": self.signed_until,
            "findings": [{"kind": it.kind, "object": it.uri, "reason": it.reason} for it in self.findings],
        }

    def as_text(self) -> str:
        """Counts, then the findings: at most so many of each kind."""
        states = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in sorted(self.objects.items()))
        signed = f", until {self.signed_until}" if self.signed_until else ""
        lines = [
            f"objects: {states or 'none'}",
            f"proven by signature: {self.digests:,} digests, {self.log_files:,} log files{signed}",
        ]
        for kind, group in groupby(self.findings, key=lambda it: it.kind):
            found = list(group)
            lines += [f"{kind.replace('_', ' ')}: {it.uri}: {it.reason}" for it in found[:_SHOWN]]
            if len(found) > _SHOWN:
                lines.append(f"{kind.replace('_', ' ')}: {len(found) - _SHOWN:,} more; --json lists all")
        lines.append("complete" if self.complete else "NOT complete")
        return "\n".join(shown(it) for it in lines)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing, altered or not ingested."""
        return all(it.kind in _NOTES for it in self.findings)


@dataclass(frozen=True)
class _WithDigests(Selection):
    """The log files of the days, and the digests of these days and the next, whose digests name them."""

    def takes_key(self, key: str) -> bool:
        return facts(key).is_digest or super().takes_key(key)

    def enters(self, folder: str) -> bool:
        return Selection(last_day=_next_day(self.last_day), first_day=self.first_day).enters(folder)


def _next_day(day: str | None) -> str | None:
    return day and (date.fromisoformat(day) + _DAY).isoformat()


def verify(
    output: Output,
    sources: Sequence[Source],
    *,
    first_day: str | None = None,
    last_day: str | None = None,
    digests: bool = True,
    keys: dict[str, str] | None = None,
) -> Verification:
    """Compare what lies under each source's location with the ingest log, and prove it by CloudTrail's digests.

    Days (`yyyy-mm-dd`, both ends in) are those of the keys. Every log file that a digest names is read once. `keys`
    are public keys by fingerprint; None asks CloudTrail. A folder has no signatures: it is compared only.
    Raises `AccessError` when listing, reading or asking for keys is denied, `ConfigError` for what is no location.
    """
    objects: Counter[str] = Counter()
    proven = _Proof(first_day, last_day, keys)
    findings: list[Finding] = []
    for source in sources:
        listing = list(
            list_objects(str(source.location), source.access, _WithDigests(first_day=first_day, last_day=last_day))
        )
        logs = [it for it in listing if not facts(it.key).is_digest]
        states = _compare(output, source, logs, first_day or _FIRST_DAY, last_day or _LAST_DAY)
        for bucket, key, state in states:
            objects[state] += 1
            if state != "ingested":
                findings.append(Finding(state, bucket, key, _REASONS[state]))
        if digests:
            try:
                findings += proven.of(source, [it for it in listing if facts(it.key).is_digest], logs)
            except CallFault as fault:
                raise AccessError(str(fault)) from fault
    findings = sorted(set(findings))
    return Verification(objects, proven.digests, proven.log_files, proven.until, tuple(findings))


_REASONS = {
    "not_ingested": "the ingest log does not hold it as done",
    "altered": "it has another etag or size than the object that was ingested",
    "dead_letter": "it could not be processed; see dead_letters",
    "gone": "it was ingested and is no longer there",
}


def _compare(
    output: Output, source: Source, logs: Sequence[ObjectRef], first_day: str, last_day: str
) -> Iterator[tuple[str, str, Any]]:
    """(bucket, key, state) of each listed log file, and of those that were ingested from there and are gone."""
    where = locations.split(str(source.location))
    remote = {"s3": where.netloc, "gs": f"{GOOGLE}{where.netloc}"}.get(where.scheme)
    bucket, prefix = (remote, where.path.lstrip("/")) if remote else (LOCAL, _folder(where.path))
    with query.connect(output) as connection:
        connection.register("listed", pa.Table.from_batches(_batches(logs), _LISTED))
        yield from connection.execute(sql.text("verify/compare")).fetchall()
        values = {"bucket": bucket, "prefix": prefix, "first_day": first_day, "last_day": last_day}
        for gone in connection.execute(sql.text("verify/gone"), values).fetchall():
            yield *gone, "gone"


def _folder(path: str) -> str:
    return str(Path(path).absolute())


def _batches(refs: Iterable[ObjectRef]) -> Iterator[pa.RecordBatch]:
    it = iter(refs)
    while some := list(islice(it, _ROWS_A_BATCH)):
        columns = ([getattr(ref, name) for ref in some] for name in _LISTED.names)
        yield pa.RecordBatch.from_arrays(
            [pa.array(c, t) for c, t in zip(columns, _LISTED.types, strict=True)], schema=_LISTED
        )


class _Proof:
    """Checks digests and the log files that they name; counts what is right."""

    def __init__(self, first_day: str | None, last_day: str | None, keys: dict[str, str] | None) -> None:
        self._days = Selection(first_day=first_day, last_day=last_day)
        self._keys = keys
        self.digests = 0
        self.log_files = 0
        self.until: str | None = None
        self._signed: dict[tuple[str | None, str | None], tuple[str, str]] = {}

    def of(self, source: Source, refs: Sequence[ObjectRef], logs: Sequence[ObjectRef]) -> Iterator[Finding]:
        """What is wrong with a source's digests, and with the log files against them."""
        if source.location is None or locations.split(source.location).scheme != "s3":
            return
        listed = {(it.bucket, it.key) for it in logs}
        unsigned = set(listed)
        with ThreadPoolExecutor(_READERS) as pool:
            for chain in chains(refs):
                read = list(pool.map(lambda ref: _read(ref, source), chain))
                texts = [it for it in read if isinstance(it, SignedText)]
                keys = self._keys if self._keys is not None else _asked_for(texts, source)
                checked = [check(it, keys) for it in texts]
                yield from (it for it in read if isinstance(it, Finding))
                yield from self._links(checked)
                right = [it.digest for it in checked if it.digest and not it.wrong]
                for digest in right:
                    unsigned.difference_update((it.s3_bucket, it.s3_object) for it in digest.log_files)
                    yield from self._log_files(digest, source, listed, pool.map)
                if right:
                    self._note_span(chain[0], right)
        yield from (Finding("unsigned", *it, "no digest names it") for it in unsigned if self._spans(it[1]))

    def _note_span(self, ref: ObjectRef, right: Sequence[Digest]) -> None:
        found = facts(ref.key)
        first, last = self._signed.get((found.account, found.region), (_LAST_DAY, _FIRST_DAY))
        self._signed[found.account, found.region] = (
            min(first, right[0].digest_start_time[:10]),
            max(last, right[-1].digest_end_time[:10]),
        )

    def _spans(self, key: str) -> bool:
        """Whether the key is of a day between the first and the last one that digests sign in part."""
        found = facts(key)
        first, last = self._signed.get((found.account, found.region), (_LAST_DAY, _FIRST_DAY))
        return found.day is not None and first < found.day < last

    def _links(self, checked: Sequence[Checked]) -> Iterator[Finding]:
        for it in checked:
            if it.wrong or it.digest is None:
                yield Finding("invalid", it.stored.ref.bucket, it.stored.ref.key, str(it.wrong))
            else:
                self.digests += 1
                self.until = max(self.until or "", it.digest.digest_end_time)
        for gap in gaps(checked, self._days.first_day):
            yield Finding(gap.kind, gap.bucket, gap.key, gap.reason)

    def _log_files(
        self,
        digest: Digest,
        source: Source,
        listed: set[tuple[str, str]],
        map_: Callable[..., Iterator[tuple[Kind, str] | None]],
    ) -> Iterator[Finding]:
        named = [it for it in digest.log_files if self._days.takes_key(it.s3_object)]
        for log_file, finding in zip(named, map_(lambda it: _wrong(it, source, listed), named), strict=True):
            if finding is None:
                self.log_files += 1
            else:
                kind, reason = finding
                yield Finding(kind, log_file.s3_bucket, log_file.s3_object, reason)


def _asked_for(chain: Sequence[SignedText], source: Source) -> dict[str, str]:
    """The keys that signed when a chain was written, from CloudTrail in the chain's region."""
    if not chain:
        return {}
    days = sorted(_signing_day(it) for it in chain)
    region = facts(chain[0].ref.key).region or ""
    try:
        return fetch_public_keys(region, days[0], days[-1] + _DAY, source.access)
    except CallFault as fault:
        raise AccessError(
            f"{fault}; or give --public-keys FILE, written by `aws cloudtrail list-public-keys`, or --no-digests"
        ) from fault


def _signing_day(text: SignedText) -> datetime:
    """The day of a digest's key; of a backfill digest the one that its metadata tell."""
    for told in (text.generated, facts(text.ref.key).day):
        try:
            return datetime.fromisoformat((told or "")[:10]).replace(tzinfo=UTC)
        except ValueError:
            continue
    return datetime.fromisoformat(_FIRST_DAY).replace(tzinfo=UTC)


def _read(ref: ObjectRef, source: Source) -> SignedText | Finding:
    if (ref.size or 0) > _MOST_DIGEST_BYTES:
        return Finding("invalid", ref.bucket, ref.key, f"it has {ref.size:,} bytes: no digest file is so large")
    try:
        return opened(read_digest(ref, source.access))
    except Damaged as damage:
        return Finding("invalid", ref.bucket, ref.key, f"it cannot be read: {damage}")
    except CallFault as fault:
        if fault.kind != "missing":
            raise
        return Finding("missing", ref.bucket, ref.key, "it was removed while this ran")


def _wrong(it: LogFile, source: Source, listed: set[tuple[str, str]]) -> tuple[Kind, str] | None:
    """What is wrong with a log file against the digest that names it; None if it is as CloudTrail delivered it."""
    absent = "a digest names it, and it is not there"
    place = str(source.location).removeprefix("s3://")
    if f"{it.s3_bucket}/{it.s3_object}".startswith(place) and (it.s3_bucket, it.s3_object) not in listed:
        return "missing", absent
    try:
        content = read_object(ObjectRef(it.s3_bucket, it.s3_object), source.access)
    except CallFault as fault:
        if fault.kind == "transient":
            raise
        return ("missing", absent) if fault.kind == "missing" else ("unreadable", fault.text)
    total = sha256()
    try:
        for chunk in inflate(as_file(content.body), content.size, Caps()):
            total.update(chunk)
    except Damaged as damage:
        return "altered", f"{damage}; a digest holds the hash of what was delivered"
    if total.hexdigest() != it.hash_value:
        return "altered", "its content has another hash than the digest says"
    return None
