"""What CloudTrail's digest files prove, as pure functions: each is signed, and names the hash of the one before.

Source: "CloudTrail digest file structure" and "Custom implementations of CloudTrail log file integrity validation" in
the AWS CloudTrail user guide. The signature is RSA (PKCS #1 v1.5) with SHA-256 over four lines: the end of the
digest's time, its bucket and key, the hash of its text, and the signature of the digest before it (`null` for the
first). Backfill digests, which name log files that came late, are signed alike and form chains of their own.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from schemas.values import ObjectRef
from transforms.decoding.inflate import Caps, inflate
from transforms.stores.keys import facts
from transforms.stores.trail_digests import StoredDigest

_ALGORITHM = "SHA256withRSA"
_BACKFILL = "_backfill"
# An hour's digest names each log file in some 500 bytes.
_CAPS = Caps(object_bytes=200_000_000)


class LogFile(msgspec.Struct, frozen=True, rename="camel"):
    """A log file that a digest names, with the SHA-256 of its uncompressed text in hex."""

    s3_bucket: str
    s3_object: str
    hash_value: str
    hash_algorithm: str = "SHA-256"


class Digest(msgspec.Struct, frozen=True, rename="camel"):
    """The text of a digest file, as far as it is used; times as written there, `yyyy-mm-ddThh:mm:ssZ`."""

    digest_start_time: str
    digest_end_time: str
    digest_s3_bucket: str
    digest_s3_object: str
    digest_public_key_fingerprint: str
    previous_digest_s3_bucket: str | None = None
    previous_digest_s3_object: str | None = None
    previous_digest_hash_value: str | None = None
    previous_digest_signature: str | None = None
    log_files: tuple[LogFile, ...] = ()


@dataclass(frozen=True, slots=True)
class SignedText:
    """The text of a digest file, and what signs it; `generated` is when a backfill digest was signed."""

    ref: ObjectRef
    text: bytes
    signature: str | None
    algorithm: str | None
    generated: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A digest file and what is wrong with it in itself: None if its place and its signature are right."""

    stored: SignedText
    digest: Digest | None
    wrong: str | None


def opened(stored: StoredDigest) -> SignedText:
    """The digest file inflated. Raises `Damaged`."""
    text = b"".join(inflate(BytesIO(stored.body), len(stored.body), _CAPS))
    return SignedText(stored.ref, text, stored.signature, stored.algorithm, stored.generated)


def parse(stored: SignedText) -> Digest | None:
    """The digest that the text holds; None if it holds none."""
    try:
        return msgspec.json.decode(stored.text, type=Digest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def check(stored: SignedText, keys: Mapping[str, str]) -> Checked:
    """The digest by itself. `keys` are public keys by fingerprint: base64 of PKCS #1."""
    digest = parse(stored)
    return Checked(stored, digest, "it is no digest file" if digest is None else _wrong(stored, digest, keys))


def _wrong(stored: SignedText, digest: Digest, keys: Mapping[str, str]) -> str | None:
    place = f"{digest.digest_s3_bucket}/{digest.digest_s3_object}"
    if place != f"{stored.ref.bucket}/{stored.ref.key}":
        return "it was moved here from another place"
    if stored.signature is None or stored.algorithm is None:
        return "it has lost its signature (metadata signature, signature-algorithm)"
    if stored.algorithm != _ALGORITHM:
        return f"it is signed by {stored.algorithm!r}, not by {_ALGORITHM}"
    key = keys.get(digest.digest_public_key_fingerprint)
    if key is None:
        return f"the public key {digest.digest_public_key_fingerprint!r} is not among the region's"
    return None if _signed(stored, digest, key) else "its signature is not that of its content"


def _signed(stored: SignedText, digest: Digest, key: str) -> bool:
    lines = (
        digest.digest_end_time,
        f"{digest.digest_s3_bucket}/{digest.digest_s3_object}",
        sha256(stored.text).hexdigest(),
        "null" if digest.previous_digest_signature is None else digest.previous_digest_signature,
    )
    try:
        public = load_der_public_key(b64decode(key))
        if not isinstance(public, RSAPublicKey):
            return False
        public.verify(binascii.unhexlify(stored.signature or ""), "\n".join(lines).encode(), PKCS1v15(), SHA256())
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def chains(refs: Iterable[ObjectRef]) -> list[list[ObjectRef]]:
    """The digest files of each trail in each account and region, in order of time; backfill digests by themselves."""
    by_trail: dict[tuple[str, str, str], list[ObjectRef]] = defaultdict(list)
    for ref in refs:
        folder, _, name = ref.key.rpartition("/")
        _, trail, backfill = _named(name)
        by_trail["/".join(folder.split("/")[:-3]), trail, backfill].append(ref)
    return [sorted(chain, key=lambda it: _named(it.key)[0]) for _, chain in sorted(by_trail.items())]


def _named(name: str) -> tuple[str, str, str]:
    """Time, trail and `_backfill` (or nothing) of a digest's name.

    `<account>_CloudTrail-Digest_<region>_<trail>_<home>_<time>[_backfill].json.gz`
    """
    backfill = _BACKFILL if name.endswith(f"{_BACKFILL}.json.gz") else ""
    trail, _, time = name.removesuffix(f"{backfill}.json.gz").rpartition("_")
    return time, trail, backfill


@dataclass(frozen=True, slots=True)
class Gap:
    """Where a chain does not hold, and why: `missing` is about the digest that is gone, else the later one."""

    kind: Literal["missing", "broken", "restarted"]
    bucket: str
    key: str
    reason: str


def gaps(chain: Sequence[Checked], first_day: str | None) -> Iterator[Gap]:
    """Where each digest does not follow from the one before.

    The first may name one before it that retention removed; it counts as missing if it is of `first_day` or later.
    """
    held = {it.stored.ref.key: it for it in chain}
    for place, it in enumerate(chain):
        if it.digest is None:
            continue
        ref, key = it.stored.ref, it.digest.previous_digest_s3_object
        if key is None:
            if place:
                why = "a new chain begins here: validation was off before, or digests were removed"
                yield Gap("restarted", ref.bucket, ref.key, why)
        elif before := held.get(key):
            if it.digest.previous_digest_hash_value != sha256(before.stored.text).hexdigest():
                yield Gap(
                    "broken", ref.bucket, ref.key, f"{key}, the digest before it, has not the hash that it says"
                )
            elif it.digest.previous_digest_signature != before.stored.signature:
                yield Gap(
                    "broken", ref.bucket, ref.key, f"{key}, the digest before it, has not the signature that it says"
                )
        elif place or (first_day and (facts(key).day or "") >= first_day):
            bucket = it.digest.previous_digest_s3_bucket or ref.bucket
            yield Gap("missing", bucket, key, f"the digest {ref.key} follows it, and it is not there")
