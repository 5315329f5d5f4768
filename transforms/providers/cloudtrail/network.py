"""Where a call came from: `sourceIPAddress` holds an address, a service's name, `AWS Internal` or neither.

Source: CloudTrail user guide, "CloudTrail record contents", sourceIPAddress and tlsDetails.
"""

from __future__ import annotations

import re
import socket
from typing import NamedTuple

from transforms.providers.cloudtrail.lenient import Reader, Text
from transforms.providers.cloudtrail.record import Part

_CONSOLE_AGENTS = frozenset({"console.amazonaws.com", "signin.amazonaws.com"})
_S3_CONSOLE = ("[S3Console/", "S3Console/")

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")


class Caller(NamedTuple):
    """Columns of `cloud_audit_logs`; `caller_ip` is an address in its canonical text or null, never a name."""

    caller_ip_orig: str
    caller_ip: str | None = None
    caller_service: str | None = None


class Tls(NamedTuple):
    """Columns of `cloud_audit_logs`."""

    tls_version: str | None
    tls_cipher_suite: str | None
    tls_client_host: str | None


class TlsDetails(Part):
    """The element `tlsDetails` (since event version 1.08)."""

    tls_version: str | None = None
    cipher_suite: str | None = None
    client_provided_host_header: str | None = None


_read = Reader(TlsDetails).read


def tls(text: Text, name: str, notes: list[str]) -> Tls:
    """How the connection was secured, from the part `name`."""
    details = _read(text, name, notes)
    return Tls(details.tls_version, details.cipher_suite, details.client_provided_host_header)


def is_console(user_agent: str) -> bool:
    """Whether it is the console itself (CloudTrail user guide, userAgent), or that of S3, which may set no flag."""
    return user_agent in _CONSOLE_AGENTS or user_agent.startswith(_S3_CONSOLE)


def caller(source: str) -> Caller:
    """What `sourceIPAddress` says; an address with leading zeros or a zone is none, as is any other text."""
    if _IPV4.fullmatch(source):
        return Caller(source, source)
    if ":" in source and "\0" not in source:
        return Caller(source, _ipv6(source))
    is_service = source.endswith((".amazonaws.com", ".amazonaws.com.cn")) or source.startswith("AWS Internal")
    return Caller(source, None, source if is_service else None)


def _ipv6(source: str) -> str | None:
    try:
        return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, source))
    except (OSError, UnicodeEncodeError):
        return None
