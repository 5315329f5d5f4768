"""ListObjects: what a replay reads, from a bucket or a folder, pruned by account, region and day in the key."""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import apache_beam as beam

from schemas.errors import AccessError, ConfigError
from schemas.values import GOOGLE, LOCAL, Batch, Message, ObjectRef
from transforms.stores import gcloud, locations
from transforms.stores.aws import Access, client
from transforms.stores.aws_faults import calling
from transforms.stores.faults import CallFault
from transforms.stores.files import Output, open_store
from transforms.stores.keys import facts, is_foreign, no_trail
from transforms.stores.ledger import done_objects, is_done
from transforms.stores.local import walk
from transforms.stores.objects import local_ref
from transforms.stores.sources import Source

log = logging.getLogger(__name__)

RUN_OBJECTS = 10_000
RUN_BYTES = 256_000_000
# Beside each other, runs are short, so that all workers end at about the same time.
SHARED_RUN_BYTES = 32_000_000
_WINDOW = 50_000

_RAW_FILE = re.compile(r"(?:^|/)aws_s3_raw/account_id=[^/]+/day=[^/]+/[0-9-]+\.parquet$")
_LEVELS = re.compile(
    r"(?:AWSLogs/(?:o-[a-z0-9]+/)?(?P<account>\d{12})/(?:(?P<service>[^/]+)/(?:(?P<region>[a-z0-9-]+)/"
    r"(?:(?P<year>\d{4})/(?:(?P<month>\d{1,2})/(?:(?P<date>\d{1,2})/)?)?)?)?)?"
    r"|aws_s3_raw/account_id=(?P<raw_account>[^/]+)/(?:day=(?P<raw_day>\d{4}-\d\d-\d\d)/)?)$"
)


@dataclass(frozen=True, slots=True)
class Selection:
    """What to read: accounts, regions, and days (`yyyy-mm-dd`, both ends in) of the keys; empty or None is all.

    A key that does not say its account, region or day is always in.
    """

    accounts: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    first_day: str | None = None
    last_day: str | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing is pruned."""
        return self == Selection()

    def takes(self, account: str | None, region: str | None, low: str | None, high: str | None) -> bool:
        """Whether something of the account and region, on a day from `low` to `high`, may be selected."""
        return (
            (not self.accounts or account is None or account in self.accounts)
            and (not self.regions or region is None or region in self.regions)
            and (self.first_day is None or high is None or high >= self.first_day)
            and (self.last_day is None or low is None or low <= self.last_day)
        )

    def takes_key(self, key: str) -> bool:
        """Whether the object is selected and can be a log file, or is one of a raw tree.

        Raises `ConfigError` where regions are asked of a raw tree: one file of it holds those of a whole account.
        """
        found = facts(key)
        if _RAW_FILE.search(key):
            if self.regions:
                raise ConfigError(
                    f"--region cannot be asked of a raw tree, whose files hold all regions of a day: {key};"
                    " leave it out, and ask the new output by its column region"
                )
        elif no_trail(key) is not None:
            return False
        return not found.is_digest and self.takes(found.account, found.region, found.day, found.day)

    def enters(self, folder: str) -> bool:
        """Whether a folder (with its trailing slash) can hold anything selected."""
        found = _LEVELS.search(folder)
        if found is None:
            return True
        if found["service"] and is_foreign(found["service"]):
            return False
        low, high = _span(found)
        return self.takes(found["account"] or found["raw_account"], found["region"], low, high)


def _span(found: re.Match[str]) -> tuple[str | None, str | None]:
    """The first and last day that a folder can hold."""
    if found["raw_day"]:
        return found["raw_day"], found["raw_day"]
    if not found["year"]:
        return None, None
    month, date = found["month"], found["date"]
    low = f"{found['year']}-{int(month or 1):02d}-{int(date or 1):02d}"
    high = f"{found['year']}-{int(month or 12):02d}-{int(date or 31):02d}"
    return low, high


def list_objects(location: str, access: Access, selection: Selection) -> Iterator[ObjectRef]:
    """The selected objects under a location, in order of their keys, page by page.

    Raises `ConfigError` for a location that is none, `AccessError` where listing is denied, even of a part.
    """
    parts = locations.split(location)
    if parts.scheme in ("s3", "gs"):
        if not parts.netloc:
            raise ConfigError(f"source {location!r} names no bucket; write {parts.scheme}://BUCKET/PREFIX")
        of_s3 = partial(_s3_pages, parts.netloc, access)
        pages = of_s3 if parts.scheme == "s3" else partial(_google_pages, parts.netloc)
        return _list_bucket(pages, parts.path.lstrip("/"), selection)
    if parts.scheme not in ("", "file"):
        raise ConfigError(
            f"source {location!r} has the scheme {parts.scheme!r}; use s3://BUCKET/PREFIX,"
            " gs://BUCKET/PREFIX or a folder"
        )
    path = Path(parts.path if parts.scheme else location).absolute()
    if path.is_file():
        return iter([local_ref(str(path))])
    if not path.is_dir():
        raise ConfigError(f"source {location!r} is no folder, no file and no s3:// or gs:// location")
    return _list_folder(path, selection)


def _list_folder(root: Path, selection: Selection) -> Iterator[ObjectRef]:
    for folder, folders, names in walk(root):
        folders[:] = sorted(it for it in folders if it[0] != "." and selection.enters(f"{folder}/{it}/"))
        for link in filter(os.path.islink, (f"{folder}/{it}" for it in folders)):
            # It may lead back here.
            log.warning("link_not_followed: %s is a link to a folder; name it as a --source of its own", link)
        for name in sorted(names):
            path = f"{folder.rstrip('/')}/{name}"
            if name[0] != "." and selection.takes_key(path):
                yield _local(path)


def _local(path: str) -> ObjectRef:
    """What cannot be looked at now, such as a link to nowhere, is told when it is read."""
    try:
        path.encode()
        return local_ref(path)
    except UnicodeEncodeError:
        raise ConfigError(f"the name of {path!r} is not in UTF-8, so no row could name it; rename the file") from None
    except (OSError, CallFault):
        return ObjectRef(LOCAL, path)


# A page of a listing: the objects under a prefix, and the folders where the listing is folder by folder.
_Page = tuple[list[ObjectRef], list[str]]
_Pages = Callable[[str, bool], Iterator[_Page]]


def _list_bucket(pages: _Pages, prefix: str, selection: Selection) -> Iterator[ObjectRef]:
    """Flat where nothing is pruned; else folder by folder, entering only what can hold something selected."""
    for refs, folders in pages(prefix, selection.everything):
        for ref in refs:
            if ref.size and selection.takes_key(ref.key):
                yield ref
        for folder in folders:
            if selection.enters(folder):
                yield from _list_bucket(pages, folder, selection)


def _s3_pages(bucket: str, access: Access, prefix: str, flat: bool) -> Iterator[_Page]:
    delimiter = {} if flat else {"Delimiter": "/"}
    try:
        with calling("s3:ListBucket", f"arn:aws:s3:::{bucket}", access):
            paginator = client("s3", access).get_paginator("list_objects_v2")
            for page in paginator.paginate(Bucket=bucket, Prefix=prefix, **delimiter):
                yield (
                    [
                        ObjectRef(bucket, it["Key"], etag=it["ETag"].strip('"'), size=it["Size"])
                        for it in page.get("Contents", ())
                    ],
                    [it["Prefix"] for it in page.get("CommonPrefixes", ())],
                )
    except CallFault as fault:
        raise AccessError(str(fault)) from fault


def _google_pages(bucket: str, prefix: str, flat: bool) -> Iterator[_Page]:
    delimiter = {} if flat else {"delimiter": "/"}
    for page in gcloud.pages(bucket, prefix, "items(name,size,generation),prefixes", **delimiter):
        refs = [
            ObjectRef(f"{GOOGLE}{bucket}", it.name, version_id=str(it.generation), size=int(it.size)) for it in page
        ]
        yield refs, list(page.prefixes)


def as_messages(refs: Iterable[ObjectRef], source: str) -> Iterator[Message]:
    """Each object as a message of its own, without a receipt."""
    return (Message(source, (ref,)) for ref in refs)


def cut(messages: Iterable[Message], run_bytes: int = RUN_BYTES, workers: int = 1) -> Iterator[Batch]:
    """Runs of about `run_bytes`, or 10,000 objects; within a window of 50,000, one account and day after the other.

    Those that share an account and day would, side by side, each write a file again that the other has come first
    with. So a run ends where an account's day ends once it is half full, and for several `workers` the runs of one
    account's day stand as far apart as can be.
    """
    window: list[Message] = []
    for message in messages:
        window.append(message)
        if len(window) == _WINDOW:
            yield from _apart(_cut_window(window, run_bytes), workers)
            window = []
    yield from _apart(_cut_window(window, run_bytes), workers)


def _apart(runs: Iterator[Batch], workers: int) -> Iterator[Batch]:
    """First those of no account's day that the `workers - 1` runs before are of; of these, the day with most left."""
    if workers == 1:
        yield from runs
        return
    waiting: defaultdict[tuple[str, ...], deque[Batch]] = defaultdict(deque)
    for run in runs:
        waiting[_order(run.messages[0])[:2]].append(run)
    turns: dict[tuple[str, ...], int] = {}
    for turn in range(sum(map(len, waiting.values()))):
        group = max(waiting, key=lambda it: (min(turn - turns.get(it, -workers), workers), len(waiting[it])))
        turns[group] = turn
        yield waiting[group].popleft()
        if not waiting[group]:
            del waiting[group]


def _cut_window(window: list[Message], run_bytes: int) -> Iterator[Batch]:
    members: list[Message] = []
    size = 0
    previous = None
    for message in sorted(window, key=_order):
        group = _order(message)[:2]
        full = size >= run_bytes or len(members) >= RUN_OBJECTS
        half = size >= run_bytes // 2 or len(members) >= RUN_OBJECTS // 2
        if members and (full or (half and group != previous)):
            yield Batch(tuple(members))
            members, size = [], 0
        members.append(message)
        size += sum(ref.size or 0 for ref in message.objects)
        previous = group
    if members:
        yield Batch(tuple(members))


def _order(message: Message) -> tuple[str, str, str]:
    ref = message.objects[0] if message.objects else ObjectRef("", "")
    found = facts(ref.key)
    return found.day or "", found.account or "", ref.key


def listed_messages(sources: Iterable[Source], selection: Selection) -> Iterator[Message]:
    """What lies at the locations of the sources. Raises `ConfigError` for one that is none, before it lists any."""
    listings = [as_messages(list_objects(str(it.location), it.access, selection), it.name) for it in sources]
    return chain.from_iterable(listings)


@dataclass(eq=False)
class ListObjects(beam.PTransform[Any, Any]):
    """Pipeline in, Batch out: what lies at the locations of the sources, listed on a worker of an engine.

    References only cross the shuffle that spreads the batches over the workers. What the ingest log of `done_in`
    holds as done is left out; None leaves nothing out.
    """

    sources: tuple[Source, ...]
    selection: Selection
    done_in: Output | None

    def expand(self, pipeline: Any) -> Any:
        """List, and spread the batches."""
        start = pipeline | "Start" >> beam.Create([self.sources])
        listed = start | "List" >> beam.FlatMap(_list, self.selection, self.done_in).with_output_types(Batch)
        return listed | "Spread" >> beam.Reshuffle()


def _list(sources: tuple[Source, ...], selection: Selection, done_in: Output | None) -> Iterator[Batch]:
    done = done_objects(open_store(done_in)) if done_in else set()
    listed = listed_messages(sources, selection)
    return cut((it for it in listed if not is_done(it.objects[0], done)), SHARED_RUN_BYTES)


# Batches on their way into a run of this very process, by token.
_handed: dict[str, Batch] = {}


class ListedObjects(beam.PTransform[Any, Any]):
    """Pipeline in, one Batch out: the messages that a listing in this process found.

    They are handed over inside the process, once. Beam would pickle, compress and shuffle thousands of references,
    as elements of `Create` and as a transform's field alike, which costs as much as reading small objects does.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        super().__init__()
        self._token = str(uuid.uuid4())
        _handed[self._token] = Batch(tuple(messages))

    def expand(self, pipeline: Any) -> Any:
        """Take the batch."""
        return pipeline | beam.Create([self._token]) | beam.Map(_take).with_output_types(Batch)


def _take(token: str) -> Batch:
    return _handed.pop(token)
