"""Cut JSON text into records while it streams by: for objects larger than a slice, and for damaged ones.

A structural scan (quotes, backslashes, brackets, commas; vectorised with numpy) finds where records end, so a cut is
exact whatever the records hold, and the memory is one chunk and one record.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import chain

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.values import NoRecord
from transforms.decoding.inflate import Damaged

NO_OBJECT = "a record is no JSON object"
_UNFINISHED = "the text ends inside a record"
_UNCLOSED = "the text ends inside a list of records"
_OPEN, _CLOSE, _COMMA = 1, -1, 2
_KINDS = np.zeros(256, np.int8)
_KINDS[[ord("{"), ord("[")]] = _OPEN
_KINDS[[ord("}"), ord("]")]] = _CLOSE
_KINDS[ord(",")] = _COMMA
_HEAD = 1 << 16
_FIRST_WINDOW, _LAST_WINDOW = 1 << 12, 1 << 22
# How deep the records of an envelope are.
_LISTED = 2
_ENVELOPE = re.compile(rb'"(?:Records|Events)"\s*:\s*\[')
_SPACE = b" \t\r\n\xef\xbb\xbf"
# With all backslashes before it (an odd number makes it an escape), and the second half of a pair if that follows.
_SURROGATE = re.compile(
    rb"\\(?<!\\\\)(\\*+)u[dD](?:[89abAB][0-9a-fA-F]{2}(\\u[dD][c-fC-F][0-9a-fA-F]{2})?|[c-fC-F][0-9a-fA-F]{2})"
)
_UNKNOWN = b"\\ufffd"


def cut_records(chunks: Iterable[bytes], record_bytes: int) -> Iterator[bytes | NoRecord]:
    """Each record's bytes, in order, untouched; what is no record comes as `NoRecord` in its place.

    UTF-16, which PowerShell writes and a byte order mark tells, is read as the UTF-8 of the same text.

    The form is told by the first 64 kB: an envelope with lists of records, a bare array, JSON lines, or values one
    after the other; another document may follow the first, as in an object of several gzip members. A record above
    `record_bytes` is passed over. When `chunks` raises `Damaged`, what was whole before has been given.
    """
    feed = _Feed(_in_utf8(chunks))
    while feed.find():
        yield from _document(feed, record_bytes)
    if feed.damage and not feed.reported:
        yield NoRecord(b"", feed.damage, damage=True)


def _in_utf8(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest, head = iter(chunks), b""
    while len(head) < len(codecs.BOM_UTF16) and (chunk := next(rest, b"")):
        head += chunk
    if not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield from chain([head], rest)
        return
    decode = codecs.getincrementaldecoder("utf-16")("replace").decode
    for chunk in chain([head], rest):
        # Half a character alone gives no text yet; no text would be the end.
        if text := decode(chunk):
            yield text.encode()


class _Feed:
    """The text that is not cut yet. Damage is its end, with the reason.

    Only what is asked for is looked at, so that many small documents in one text cost no more than a large one.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._text = b""
        self._at = 0
        self.damage: str | None = None
        self.reported = False

    def head(self) -> bytes:
        """The first 64 kB, or what there is."""
        while len(self._text) - self._at < _HEAD and (chunk := self._chunk()):
            self._text = self._text[self._at :] + chunk
            self._at = 0
        return self._text[self._at : self._at + _HEAD]

    def skip(self, size: int) -> None:
        """Pass over so many bytes of the head."""
        self._at += size

    def give_back(self, size: int) -> None:
        """So many bytes of what was taken last are still to be cut."""
        self._at -= size

    def find(self) -> bool:
        """Pass over white space; whether anything follows it."""
        while head := self.head():
            text = head.lstrip(_SPACE)
            self.skip(len(head) - len(text))
            if text:
                return True
        return False

    def take(self, size: int) -> bytes:
        """At most so many bytes, of one chunk; none at the end of the text."""
        if self._at == len(self._text):
            self._text, self._at = self._chunk(), 0
        taken = self._text[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def windows(self) -> Iterator[bytes]:
        """All of the text in pieces, the first one small: who stops gives back what he did not use."""
        size = _FIRST_WINDOW
        while window := self.take(size):
            yield window
            size = min(2 * size, _LAST_WINDOW)

    def _chunk(self) -> bytes:
        try:
            return next(self._chunks, b"")
        except Damaged as damage:
            self.damage = str(damage)
            return b""

    def end(self, rest: bytes, record_bytes: int, *, in_list: bool = False) -> Iterator[NoRecord]:
        """The text ended with `rest` unfinished, perhaps in a list that is not closed: more may have followed."""
        rest = rest.strip(_SPACE)
        if in_list and not rest:
            self.damage = self.damage or _UNCLOSED
        if rest or (self.damage and not self.reported):
            self.reported = True
            reason = self.damage or (_UNFINISHED if rest.startswith(b"{") else NO_OBJECT)
            yield NoRecord(rest[:record_bytes], reason, damage=self.damage is not None)


def _document(feed: _Feed, record_bytes: int) -> Iterator[bytes | NoRecord]:
    head = feed.head()
    entry, depth = _entry(head)
    if depth == 0 and _is_lines(head):
        return _lines(feed, record_bytes)
    feed.skip(entry)
    return _envelope(feed, record_bytes) if depth == _LISTED else _values(feed, depth, record_bytes)


def _envelope(feed: _Feed, record_bytes: int) -> Iterator[bytes | NoRecord]:
    """From within the first list of records: this one and any other that the envelope has, and no other member."""
    depth = _LISTED
    while depth == _LISTED:
        yield from _values(feed, depth, record_bytes)
        # As if the members behind the list were those of an envelope of their own.
        entry, depth = _entry(b"{" + feed.head()) if feed.find() else (0, 0)
        feed.skip(max(entry - 1, 0))
    others = _values(feed, 1, record_bytes)
    yield from (it for it in others if isinstance(it, NoRecord) and it.damage)


def _entry(head: bytes) -> tuple[int, int]:
    """Where the first record begins, and the depth at which records are separated."""
    if head[:1] == b"[":
        return 1, 1
    for found in _ENVELOPE.finditer(head):
        _, _, depths = _Scanner(0).scan(head[: found.end()])
        if (depths <= 0).any():
            break  # of a later document
        if depths[-1] == _LISTED:
            return found.end(), _LISTED
    return 0, 0


def readable(text: bytes) -> bytes:
    """The text, no longer and no shorter, with each escaped half of a surrogate pair as U+FFFD.

    Half of a pair is JSON (RFC 8259, 8.2) that msgspec refuses: whoever may choose a text of a record would keep the
    record out of the tables by it.
    """
    return _SURROGATE.sub(_mended, text)


def _mended(found: re.Match[bytes]) -> bytes:
    is_escape, is_followed = len(found[1]) % 2 == 0, found[2] is not None
    # A pair; or no escape at all, and so no first half of what would follow it.
    if is_escape == is_followed:
        return found[0]
    return found[0][: -len(_UNKNOWN)] + _UNKNOWN


def _is_json(text: bytes) -> bool:
    return _is_read(text) or _is_read(readable(text))


def _is_read(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _is_lines(text: bytes) -> bool:
    """Whether each line is a record: the first, or, that one being no JSON at all, another that begins with it."""
    first, *others = text.split(b"\n")[:-1] or [b""]
    if first[:1] == b"{" and _is_json(first):
        return True
    _, kinds, depths = _Scanner(0).scan(first)
    several = np.count_nonzero((kinds == _CLOSE) & (depths == 0)) > 1 and not (depths < 0).any()
    return not several and any(line[:2] == b'{"' and _is_json(line) for line in others)


def _lines(feed: _Feed, record_bytes: int) -> Iterator[bytes | NoRecord]:
    rest, passing = b"", False
    for window in feed.windows():
        *whole, rest = (rest + window).split(b"\n")
        for line in whole:
            if not passing:
                yield from _line(line.strip(_SPACE), record_bytes)
            passing = False
        if len(rest) > record_bytes:
            if not passing:
                yield _giant(rest.lstrip(_SPACE), record_bytes)
            rest, passing = b"", True
    if not passing and not feed.damage and (_is_json(rest) or _joined(rest)):
        yield from _line(rest.strip(_SPACE), record_bytes)
        rest = b""
    yield from feed.end(b"" if passing else rest, record_bytes)


def _line(line: bytes, record_bytes: int) -> Iterator[bytes | NoRecord]:
    """The records of a line: one, or several where a text without a last line break was continued by another."""
    start = 0
    for end in _joined(line) or [len(line)]:
        record = line[start:end].strip(_SPACE)
        if record:
            yield record if len(record) <= record_bytes else _giant(record, record_bytes)
        start = end


def _joined(line: bytes) -> list[int]:
    """The ends of the values that follow each other in a line; none where it is one value, or not whole."""
    if b"}{" not in line or _is_json(line):
        return []
    scanner = _Scanner(0)
    ends, _ = scanner.record_ends(line, 0)
    return ends if scanner.depth == 0 and not line[ends[-1] :].strip(_SPACE) else []


def _values(feed: _Feed, depth: int, record_bytes: int) -> Iterator[bytes | NoRecord]:
    """Those at a depth, to the end of what holds them."""
    scanner, pending, passing = _Scanner(depth), b"", False
    for window in feed.windows():
        ends, closing = scanner.record_ends(window, depth)
        start = 0
        for end in ends:
            record = (pending + window[start:end]).strip(_SPACE)
            if record and not passing:
                yield record if len(record) <= record_bytes else _giant(record, record_bytes)
            start, pending, passing = end + (depth > 0), b"", False
        if closing is not None:
            feed.give_back(len(window) - closing)
            return
        pending = (pending + window[start:]).lstrip(_SPACE)
        if len(pending) > record_bytes:
            if not passing:
                yield _giant(pending, record_bytes)
            pending, passing = b"", True
    yield from feed.end(b"" if passing else pending, record_bytes, in_list=depth > 0)


def _giant(text: bytes, record_bytes: int) -> NoRecord:
    reason = f"a record is larger than the cap of {record_bytes:,} bytes (max_record_bytes)"
    return NoRecord(text[: min(1 << 16, record_bytes)], reason)


class _Scanner:
    """Where strings end and how deep brackets nest, carried from one chunk to the next."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._in_string = False
        self._escaping = False

    def record_ends(self, chunk: bytes, depth: int) -> tuple[list[int], int | None]:
        """(ends of records in the chunk, where the list that holds them ends if it does).

        Records at depth 0 end behind their bracket; those in a list before a comma or the list's own bracket.
        """
        places, kinds, depths = self.scan(chunk)
        if depth == 0:
            return (places[(kinds == _CLOSE) & (depths <= 0)] + 1).tolist(), None
        over = np.flatnonzero((kinds == _CLOSE) & (depths < depth))
        last = int(over[0]) if len(over) else len(places)
        ends = places[:last][(kinds[:last] == _COMMA) & (depths[:last] == depth)].tolist()
        if not len(over):
            return ends, None
        end = int(places[last])
        return [*ends, end], end + 1

    def scan(self, chunk: bytes) -> tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.int64]]:
        """Positions outside strings of brackets and commas, their kinds, and the depth after each."""
        text = np.frombuffer(chunk, np.uint8)
        quotes = self._quotes(text)
        places = np.flatnonzero(_KINDS[text])
        inside = (np.searchsorted(quotes, places) + self._in_string) & 1
        places = places[inside == 0]
        kinds = _KINDS[text[places]]
        depths = self.depth + np.cumsum(np.where(kinds == _COMMA, 0, kinds), dtype=np.int64)
        self._in_string = bool((len(quotes) + self._in_string) & 1)
        self.depth = int(depths[-1]) if len(depths) else self.depth
        return places, kinds, depths

    def _quotes(self, text: NDArray[np.uint8]) -> NDArray[np.int64]:
        quotes = np.flatnonzero(text == ord('"'))
        escaped = self._escaped(np.flatnonzero(text == ord("\\")), len(text))
        if not len(escaped):
            return quotes
        # One more: the escaped character may be the first of the next chunk.
        is_escaped = np.zeros(len(text) + 1, np.bool_)
        is_escaped[escaped] = True
        return quotes[~is_escaped[quotes]]

    def _escaped(self, slashes: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Positions right behind an odd run of backslashes; a run may begin in the chunk before."""
        carried, self._escaping = self._escaping, False
        if not len(slashes):
            return np.array([0] if carried else [], np.int64)
        starts = np.flatnonzero(np.diff(slashes, prepend=-2) != 1)
        lengths = np.diff(starts, append=len(slashes))
        lengths[0] += carried and slashes[0] == 0
        behind = slashes[starts + np.diff(starts, append=len(slashes)) - 1][lengths % 2 == 1] + 1
        if len(behind) and behind[-1] == length:
            self._escaping = True
        return np.insert(behind, 0, 0) if carried and slashes[0] != 0 else behind
