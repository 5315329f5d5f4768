"""What an indicator is: kinds, and the one form in which a value is kept and compared."""

from __future__ import annotations

import re
import socket
from enum import StrEnum


class Kind(StrEnum):
    """What an indicator is a value of."""

    ADDRESS = "address"
    NETWORK = "network"
    DOMAIN = "domain"
    USER_AGENT = "user_agent"
    ACCESS_KEY = "access_key"
    ACCOUNT = "account"
    HASH = "hash"


KINDS = {
    **{kind.value: kind for kind in Kind},
    **dict.fromkeys(("ip", "ipv4", "ipv6", "ipv4-addr", "ipv6-addr", "ip-src", "ip-dst"), Kind.ADDRESS),
    **dict.fromkeys(("cidr", "ip-range"), Kind.NETWORK),
    **dict.fromkeys(("domain-name", "hostname", "fqdn"), Kind.DOMAIN),
    **dict.fromkeys(("user-agent", "http-user-agent", "useragent"), Kind.USER_AGENT),
    **dict.fromkeys(("access-key", "access-key-id", "aws-access-key", "aws-access-key-id"), Kind.ACCESS_KEY),
    **dict.fromkeys(("md5", "sha1", "sha-1", "sha256", "sha-256", "filehash-md5", "filehash-sha1"), Kind.HASH),
    **dict.fromkeys(("filehash-sha256", "file_hash", "file-hash"), Kind.HASH),
    **dict.fromkeys(("account-id", "aws-account", "aws-account-id"), Kind.ACCOUNT),
}
"""Kinds by the words that lists use for them: CSV headers of feeds, STIX object types, MISP attribute types."""

_ACCESS_KEY = re.compile(r"A[A-Z]{2}A[A-Z0-9]{12,124}")
_ACCOUNT = re.compile(r"\d{12}")
_HASH = re.compile(r"(?:sha256:)?([0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})")
_DOMAIN = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")


def canonical(kind: Kind, value: str) -> tuple[Kind, str] | None:
    """The kind and form in which a value is kept; None if it is no such value.

    A network of one address is an address, and an address with a length a network; `[.]` is read as a dot. A hash is
    MD5, SHA-1 or SHA-256 in hexadecimal digits.
    """
    value = value.strip()
    if kind is Kind.USER_AGENT:
        return (kind, value) if value.strip("* ") else None
    value = value.replace("[.]", ".").replace("[:]", ":")
    if kind in (Kind.ADDRESS, Kind.NETWORK):
        return _network(value)
    if kind is Kind.DOMAIN:
        name = value.rstrip(".").lower()
        if not name.isascii():
            try:
                name = name.encode("idna").decode()
            except UnicodeError:
                return None
        return (kind, name) if _DOMAIN.fullmatch(name) else None
    if kind is Kind.HASH:
        found = _HASH.fullmatch(value.lower())
        return (kind, found[1]) if found else None
    if kind is Kind.ACCOUNT:
        digits = value.replace("-", "")
        return (kind, digits) if _ACCOUNT.fullmatch(digits) else None
    return (kind, value) if _ACCESS_KEY.fullmatch(value) else None


def guessed(value: str) -> tuple[Kind, str] | None:
    """The kind and form of a value of no told kind, by its looks; None where it looks like none."""
    for kind in (Kind.ADDRESS, Kind.ACCOUNT, Kind.ACCESS_KEY, Kind.HASH, Kind.DOMAIN):
        if found := canonical(kind, value):
            return found
    return None


_MAPPED = bytes(10) + b"\xff\xff"


def packed(address: str) -> bytes | None:
    """An address as 16 bytes, one of version 4 mapped into version 6; None if it is none."""
    try:
        if ":" not in address:
            return _MAPPED + socket.inet_pton(socket.AF_INET, address)
        return socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):
        return None


def packed_network(value: str) -> tuple[bytes, int] | None:
    """First address (16 bytes) and length in bits, of 128, of an address or network; None if it is none."""
    address, slash, length = value.partition("/")
    first = packed(address)
    if first is None:
        return None
    if not slash:
        return first, 128
    most = 128 if ":" in address else 32
    if not (length.isascii() and length.isdigit() and int(length) <= most):
        return None
    bits = int(length) + 128 - most
    mask = ((1 << bits) - 1) << (128 - bits)
    return (int.from_bytes(first) & mask).to_bytes(16), bits


def _network(value: str) -> tuple[Kind, str] | None:
    if ":" not in value and "/" not in value:  # most of most lists
        return (Kind.ADDRESS, value) if packed(value) else None
    found = packed_network(value)
    if found is None:
        return None
    first, bits = found
    if first.startswith(_MAPPED) and bits >= 96:
        text, length = socket.inet_ntop(socket.AF_INET, first[12:]), bits - 96
    else:
        text, length = socket.inet_ntop(socket.AF_INET6, first), bits
    return (Kind.ADDRESS, text) if bits == 128 else (Kind.NETWORK, f"{text}/{length}")
