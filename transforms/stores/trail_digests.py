"""CloudTrail's digest files as they lie in a bucket, and the public keys that CloudTrail signs them for."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError
from schemas.values import ObjectRef
from transforms.stores.aws import Access, client, partition
from transforms.stores.aws_faults import calling


@dataclass(frozen=True, slots=True)
class StoredDigest:
    """A digest file, compressed, and the signature (hex) and algorithm that S3 keeps as its metadata.

    `generated` is when a backfill digest was signed, which may be long after the time that it is about.
    """

    ref: ObjectRef
    body: bytes
    signature: str | None
    algorithm: str | None
    generated: str | None = None


def read_digest(ref: ObjectRef, access: Access) -> StoredDigest:
    """The digest file with its metadata. Raises `CallFault`."""
    with calling("s3:GetObject", f"arn:{partition(access)}:s3:::{ref.bucket}/{ref.key}", access):
        answer = client("s3", access).get_object(Bucket=ref.bucket, Key=ref.key)
        body = answer["Body"].read()
    told = answer.get("Metadata", {})
    names = ("signature", "signature-algorithm", "backfill-generation-timestamp")
    return StoredDigest(ref, body, *(told.get(name) for name in names))


def fetch_public_keys(region: str, first: datetime, last: datetime, access: Access) -> dict[str, str]:
    """Keys that signed in a region between two times, by fingerprint: base64 of PKCS#1. Raises `CallFault`."""
    cloudtrail = client("cloudtrail", replace(access, region=region))
    found: list[Any] = []
    with calling("cloudtrail:ListPublicKeys", f"region {region}", access):
        for page in cloudtrail.get_paginator("list_public_keys").paginate(StartTime=first, EndTime=last):
            found += page.get("PublicKeyList", ())
    return {it["Fingerprint"]: _base64(it["Value"]) for it in found}


def load_public_keys(paths: Iterable[Path]) -> dict[str, str]:
    """The same from files as `aws cloudtrail list-public-keys` prints them. Raises `ConfigError`."""
    keys: dict[str, str] = {}
    for path in paths:
        try:
            listed = json.loads(path.read_bytes())["PublicKeyList"]
            keys |= {it["Fingerprint"]: str(it["Value"]) for it in listed}
        except OSError as error:
            raise ConfigError(f"--public-keys {str(path)!r} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"--public-keys {str(path)!r} holds no list of public keys; write one with"
                " `aws cloudtrail list-public-keys --region REGION --start-time TIME > FILE`"
            ) from error
    return keys


def _base64(value: Any) -> str:
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)
