"""How CloudTrail lays a trail out in a bucket: the keys, and what the objects hold."""

from __future__ import annotations

import time
from collections.abc import Iterable
from random import Random
from string import ascii_letters, digits

import msgspec
from isal import igzip

ORGANISATION = "AWSLogs/o-exampleorg"
ARCHIVE = "security-archive/AWSLogs"
_PERIOD_S = 300
_LEVEL = 2


def trail_key(rng: Random, prefix: str, account: str, region: str, end: int) -> str:
    """The key of an object whose events were delivered until `end` (seconds of the epoch)."""
    moment = time.gmtime(end - end % _PERIOD_S)
    unique = "".join(rng.choices(ascii_letters + digits, k=16))
    folder = f"{prefix}/{account}/CloudTrail/{region}/{time.strftime('%Y/%m/%d', moment)}"
    return f"{folder}/{account}_CloudTrail_{region}_{time.strftime('%Y%m%dT%H%MZ', moment)}_{unique}.json.gz"


def digest_key(account: str, region: str, end: int) -> str:
    """The key of a digest object, which CloudTrail writes beside the trail to prove it complete."""
    moment = time.gmtime(end)
    folder = f"{ORGANISATION}/{account}/CloudTrail-Digest/{region}/{time.strftime('%Y/%m/%d', moment)}"
    stamp = time.strftime("%Y%m%dT%H%M%SZ", moment)
    return f"{folder}/{account}_CloudTrail-Digest_{region}_organisation_{region}_{stamp}.json.gz"


def trail_object(records: Iterable[bytes]) -> bytes:
    """The gzipped document of encoded records."""
    return _compressed(b'{"Records":[' + b",".join(records) + b"]}")


def digest_object(bucket: str, account: str, begin: int, end: int) -> bytes:
    """A digest of an hour in which nothing was delivered."""
    document: dict[str, object] = {
        "awsAccountId": account,
        "digestStartTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begin)),
        "digestEndTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end)),
        "digestS3Bucket": bucket,
        "digestSignatureAlgorithm": "SHA256withRSA",
        "newestEventTime": None,
        "oldestEventTime": None,
        "previousDigestS3Bucket": None,
        "previousDigestHashValue": None,
        "logFiles": [],
    }
    return _compressed(msgspec.json.encode(document))


def _compressed(text: bytes) -> bytes:
    compressed: bytes = igzip.compress(text, _LEVEL, mtime=0)
    return compressed
