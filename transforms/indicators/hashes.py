"""Hashes of code and images that calls name: of functions and layers (`codeSha256`), of images (`imageDigest`).

CloudTrail records no content, so only what AWS itself names by its hash can be told: what calls that change something
say in their parameters and responses, and the image that a pull asks for. Lambda writes SHA-256 in Base64, others in
hexadecimal digits; both are kept as the latter, as lists have them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.texts import Texts
from transforms.indicators.parameters import Named, changing
from transforms.indicators.values import Kind

_PULLS = ("BatchGetImage", "GetDownloadUrlForLayer", "BatchCheckLayerAvailability")


class _Record(msgspec.Struct):
    parameters: msgspec.Raw = msgspec.field(name="requestParameters", default_factory=lambda: msgspec.Raw(b""))
    response: msgspec.Raw = msgspec.field(name="responseElements", default_factory=lambda: msgspec.Raw(b""))


_record = msgspec.json.Decoder(_Record).decode
# SHA-256, SHA-1 and MD5; a slash within Base64 may be escaped in JSON.
_HASH = re.compile(
    rb"(?<![\w+/=-])(?:[0-9A-Fa-f]{64}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{32}"
    rb"|[A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{27}=|[A-Za-z0-9+/]{22}==)(?![\w+/=-])"
)


def named_hashes(records: pa.Table, events: pa.Table) -> list[Named]:
    """The hashes in question, each once a row and member of the record."""
    pulls: Any = pc.is_in(events["operation_name_orig"].cast(pa.string()), pa.array(_PULLS))
    rows = np.flatnonzero(changing(events) | np.asarray(pulls.to_numpy(), np.bool_))
    raws = Texts(records["raw_json"])
    found: list[Named] = []
    for row in rows.tolist():
        for column, text in _members(bytes(raws[row])):
            tokens = {_digits(it[0]) for it in _HASH.finditer(text.replace(b"\\/", b"/"))}
            found += [Named(row, Kind.HASH, token, column) for token in sorted(tokens)]
    return found


def _members(raw: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        record = _record(raw)
    except msgspec.MsgspecError:
        # What this parser does not follow is looked through whole.
        yield "raw_json", raw
        return
    yield "requestParameters", bytes(record.parameters)
    yield "responseElements", bytes(record.response)


def _digits(token: bytes) -> str:
    text = token.decode()
    return base64.b64decode(text).hex() if text.endswith("=") else text.lower()
