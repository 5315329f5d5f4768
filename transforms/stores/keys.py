"""What the key of an object says: account, region, day, and whether it is a trail at all.

Layouts: CloudTrail's own (`[prefix/]AWSLogs/[o-id/]account/CloudTrail/region/yyyy/mm/dd/file`), organisation and
control-tower prefixes, the folders of flow logs for Hive, and files laid anywhere, whose name alone may say it
(`account_CloudTrail_region_yyyymmddThhmmZ_random.json.gz`). Source: "CloudTrail log file name format" and "Finding
your CloudTrail log files" in the AWS CloudTrail user guide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from schemas.datasets import ALL

_FOLDERS = re.compile(
    r"AWSLogs/(?:o-[a-z0-9]+/)?(?:aws-account-id=)?(?P<account>\d{12})/(?:aws-service=)?(?P<service>[^/]+)"
    r"(?:/(?P<region>[a-z0-9-]+)(?:/(?P<year>\d{4})/(?P<month>\d{1,2})/(?P<date>\d{1,2}))?)?(?:/|$)"
)
_NAME = re.compile(
    r"(?:^|/)(?P<account>\d{12})_(?P<service>CloudTrail[A-Za-z-]*)_(?P<region>[a-z0-9-]+)_"
    r"(?:[^/]*_)?(?P<year>\d{4})(?P<month>\d{2})(?P<date>\d{2})T\d{4,6}Z"
)
_RAW = re.compile(
    r"(?:^|/)aws_s3_raw/account_id=(?P<account>[\w-]+)/day=(?P<year>\d{4})-(?P<month>\d{2})-(?P<date>\d{2})/"
)
_DATA_SUFFIXES = (".parquet", ".avro")
_PARTITIONED = re.compile(rf"(?:^|/)(?:{'|'.join(it.name for it in ALL)})/(?:account_id|day|ruleset)=[^/]+/.+\.")
_OWN = re.compile(r"(?:^|/)\.trailweave/")


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What a key says; None for what it does not say. `day` is `yyyy-mm-dd`."""

    account: str | None = None
    region: str | None = None
    day: str | None = None
    service: str | None = None

    @property
    def is_digest(self) -> bool:
        """Whether the key names a digest file of log file validation."""
        return self.service == "CloudTrail-Digest"


@lru_cache(maxsize=65536)
def facts(key: str) -> KeyFacts:
    """What the key says, by its folders and by its file name."""
    raw = _RAW.search(key)
    if raw:
        return KeyFacts(raw["account"], None, _day(raw["year"], raw["month"], raw["date"]))
    found = _NAME.search(key) or _FOLDERS.search(key)
    if found is None:
        return KeyFacts()
    return KeyFacts(
        found["account"], found["region"], _day(found["year"], found["month"], found["date"]), found["service"]
    )


def _day(year: str | None, month: str | None, day: str | None) -> str | None:
    if not (year and month and day):
        return None
    try:
        return date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        return None


def is_of_tree(key: str) -> bool:
    """Whether the key names a file of an output root."""
    is_data = key.endswith(_DATA_SUFFIXES) and _PARTITIONED.search(key) is not None
    return is_data or _OWN.search(key) is not None


def is_foreign(service: str) -> bool:
    """Whether a folder holds no trail: objects of another service, or what queries of CloudTrail Lake found."""
    return not service.startswith("CloudTrail") or service == "CloudTrail-Lake"


def no_trail(key: str) -> str | None:
    """Why the key cannot be a trail's log file; None if it can."""
    service = facts(key).service
    if key.endswith("/"):
        return "a folder marker"
    if is_of_tree(key):
        return "a file of an output of trailweave"
    if key.endswith(_DATA_SUFFIXES):
        return "a data file, not a log file"
    if key.endswith(".instruction"):
        return "an instruction file of the Amazon S3 Encryption Client, not a log file"
    if service and is_foreign(service):
        return f"an object of {service[:40]}, not of a trail"
    return None
