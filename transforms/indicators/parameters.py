"""What calls that change something name in their parameters: addresses, accounts and access keys.

A port opened to an address, a snapshot shared with an account, a role that trusts one: no column of
`cloud_audit_logs` tells them. Only management events that change something are looked into, a small part of a trail.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.texts import Texts
from transforms.indicators.values import Kind

COLUMN = "requestParameters"


class Named(NamedTuple):
    """A text in a member of a row's record, such as an indicator of the kind has."""

    row: int
    kind: Kind
    text: str
    column: str = COLUMN


class _Record(msgspec.Struct):
    parameters: msgspec.Raw = msgspec.field(name=COLUMN, default_factory=lambda: msgspec.Raw(b""))


_record = msgspec.json.Decoder(_Record).decode
_TOKEN = re.compile(
    rb"(?P<access_key>\bA[A-Z]{2}A[A-Z0-9]{12,124}\b)"
    rb"|(?P<account>(?<![\w.-])\d{12}(?![\w.-]))"
    rb"|(?P<address>(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]|/(?!32\b))"
    rb"|(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f.]*(?![\w:]|/(?!128\b)))"
)


def named(records: pa.Table, events: pa.Table) -> list[Named]:
    """The texts in question, each once a row. A network counts only if it is a single address."""
    found: list[Named] = []
    rows = np.flatnonzero(changing(events))
    raws = Texts(records["raw_json"])
    for row in rows.tolist():
        text = _parameters(bytes(raws[row]))
        tokens = {(it.lastgroup or "", it[0].decode().partition("/")[0]) for it in _TOKEN.finditer(text)}
        found += [Named(row, Kind(kind), token) for kind, token in sorted(tokens)]
    return found


def changing(events: pa.Table) -> NDArray[np.bool_]:
    """Which rows manage something and do more than read.

    Old records do not say whether they only read; then the verb tells.
    """
    reads: Any = pc.is_in(_texts(events["operation_name"]), pa.array(["READ", "LIST"]))
    only_reads: Any = pc.coalesce(events["read_only"], reads)
    manages: Any = pc.equal(_texts(events["event_category"]), pa.scalar("Management")).fill_null(True)
    return np.asarray(pc.and_(pc.invert(only_reads), manages).to_numpy(), np.bool_)


def _texts(column: Any) -> Any:
    return column.cast(pa.string())


def _parameters(raw: bytes) -> bytes:
    try:
        return bytes(_record(raw).parameters)
    except msgspec.MsgspecError:
        # What this parser does not follow is looked through whole.
        return raw
