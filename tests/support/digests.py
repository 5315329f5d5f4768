"""A CloudTrail of the tests' own: digest files signed with a key made here, as the user guide describes them."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.trails import ACCOUNT, DAY, REGION


@cache
def private_key(number: int = 0) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def public_key(number: int = 0) -> bytes:
    return private_key(number).public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)


def fingerprint(number: int = 0) -> str:
    return md5(public_key(number), usedforsecurity=False).hexdigest()


def key_list(number: int = 0) -> dict[str, Any]:
    """As cloudtrail:ListPublicKeys answers."""
    value = b64encode(public_key(number)).decode()
    return {"PublicKeyList": [{"Value": value, "Fingerprint": fingerprint(number)}]}


def key_file(folder: Path, number: int = 0) -> Path:
    path = folder / "keys.json"
    path.write_text(json.dumps(key_list(number)))
    return path


def digest_key(hour: int, day: str = DAY, region: str = REGION, *, backfill: bool = False) -> str:
    folder = f"AWSLogs/{ACCOUNT}/CloudTrail-Digest/{region}/{day.replace('-', '/')}"
    name = f"{ACCOUNT}_CloudTrail-Digest_{region}_main-trail_{region}_{day.replace('-', '')}T{hour:02}0000Z"
    return f"{folder}/{name}{'_backfill' if backfill else ''}.json.gz"


@dataclass
class Trail:
    """Writes hour by hour; each digest names the log files given, and the digest before it.

    With `generated` it writes backfill digests, which are signed at that time.
    """

    s3: Any
    bucket: str
    key_number: int = 0
    before: dict[str, Any] = field(default_factory=dict)
    generated: str | None = None

    def write(self, hour: int, logs: Sequence[tuple[str, bytes]], day: str = DAY, **members: Any) -> str:
        """Store the digest of an hour: its key. `members` replace what it says."""
        key = digest_key(hour, day, backfill=self.generated is not None)
        digest = {
            "awsAccountId": ACCOUNT,
            "digestStartTime": f"{day}T{hour - 1:02}:00:00Z",
            "digestEndTime": f"{day}T{hour:02}:00:00Z",
            "digestS3Bucket": self.bucket,
            "digestS3Object": key,
            "digestPublicKeyFingerprint": fingerprint(self.key_number),
            "digestSignatureAlgorithm": "SHA256withRSA",
            "newestEventTime": None,
            "oldestEventTime": None,
            "previousDigestS3Bucket": self.before.get("bucket"),
            "previousDigestS3Object": self.before.get("key"),
            "previousDigestHashValue": self.before.get("hash"),
            "previousDigestHashAlgorithm": "SHA-256",
            "previousDigestSignature": self.before.get("signature"),
            "logFiles": [
                {
                    "s3Bucket": self.bucket,
                    "s3Object": log_key,
                    "hashValue": sha256(gzip.decompress(body)).hexdigest(),
                    "hashAlgorithm": "SHA-256",
                    "newestEventTime": f"{day}T00:00:00Z",
                    "oldestEventTime": f"{day}T00:00:00Z",
                }
                for log_key, body in logs
            ],
            **members,
        }
        text = json.dumps(digest).encode()
        hash_ = sha256(text).hexdigest()
        lines = (
            digest["digestEndTime"],
            f"{self.bucket}/{key}",
            hash_,
            digest["previousDigestSignature"] or "null",
        )
        signature = (
            private_key(self.key_number).sign("\n".join(map(str, lines)).encode(), padding.PKCS1v15(), SHA256()).hex()
        )
        self.put(key, text, signature)
        self.before = {"bucket": self.bucket, "key": key, "hash": hash_, "signature": signature}
        return key

    def put(self, key: str, text: bytes, signature: str | None) -> None:
        metadata = {"signature": signature, "signature-algorithm": "SHA256withRSA"} if signature else {}
        if self.generated:
            metadata["backfill-generation-timestamp"] = self.generated
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=gzip.compress(text), Metadata=metadata)
