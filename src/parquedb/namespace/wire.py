"""The bytes of a journal: lines of JSON with a checksum each.

``docs/spec/journal.md`` describes them. Nothing here reads or writes a store.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, assert_never
from zlib import crc32

import orjson

from parquedb.errors import FormatError, InvalidInputError, UnsupportedError
from parquedb.model.format import Format
from parquedb.namespace.entry import (
    Body,
    Cutover,
    Entry,
    Flush,
    Kept,
    Migrate,
    Retire,
    Staged,
    State,
    Write,
)
from parquedb.rows.jsonform import encode_document, restore_document
from parquedb.rows.values import STORED_BYTES, too_large
from parquedb.slotted import dataclass

VERSION = 1
SECTION = "docs/spec/journal.md"
END = b"\n"
"""Follows the last line of a segment before another one is begun, so that readers notice."""
_CHECKSUM_BYTES = 9
_START = re.compile(rb"[0-9a-f]{8} \{")
_CANDIDATES = 64
_SHAPERS = (b'"op":"flush"', b'"op":"migrate"', b'"op":"cutover"', b'"op":"retire"')


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a segment.

    Args:
        journal: The journal's id.
        first: Number of the segment's first entry.
        state: The state before that entry.
    """

    journal: str
    first: int
    state: State


class Scan(NamedTuple):
    """The lines found in a piece of a segment.

    Attributes:
        payloads: What the whole, right lines say, without checksum and newline.
        length: How many bytes these lines are.
        rest: What follows them; nothing also where that is a reserve, zero bytes alone.
        behind: What right lines say that follow a line which is not.
        is_holed: Whether bytes are missing, hence zero, before the first of these.
    """

    payloads: list[bytes]
    length: int
    rest: bytes = b""
    behind: Sequence[bytes] = ()
    is_holed: bool = False

    def is_damaged(self, number: int) -> bool:
        """Whether this was damaged, and not only cut short by the end of a process or of power.

        Of lines that nobody had synced, a power failure keeps some and leaves zero bytes where
        others were. Lines behind such a hole tell whether what was there had been synced.

        Args:
            number: The entry that should be the first behind ``payloads``.
        """
        if not self.is_holed:
            return bool(self.behind)
        return any(not -1 < _synced(payload) < number for payload in self.behind)


def encode_line(payload: bytes) -> bytes:
    """Return a line: checksum, space, payload, newline."""
    return b"%08x %b\n" % (crc32(payload), payload)


def encode_header(header: Header) -> bytes:
    """Return a segment's first line."""
    migration, base = header.state.migration, header.state.base
    state = {
        "base": None if base is None else base.value,
        "migration": None if migration is None else _migration(migration),
        "through": header.state.through,
    }
    if header.state.format_version is not None:
        state["format_version"] = header.state.format_version
    raw = {"format": VERSION, "journal": header.journal, "first": header.first, "state": state}
    return encode_line(orjson.dumps(raw))


def encode_entry(number: int, at_us: int, tx: str, body: Body, synced: int | None = None) -> bytes:
    """Return an entry's line.

    Args:
        number: The entry's number.
        at_us: When it is written, microseconds since the epoch.
        tx: The attempt's identity.
        body: What it says.
        synced: Up to which entry all are known to be on the disk; None if nobody waits for it.

    Raises:
        InvalidInputError: A document holds what a document may not hold.
    """
    text = _encode_write(body) if type(body) is Write else _encode_other(body)
    if synced is not None:
        text = b'"synced":%d,%b' % (synced, text)
    payload = b'{"n":%d,"at":%d,"tx":%b,%b}' % (number, at_us, orjson.dumps(tx), text)
    return b"%08x %b\n" % (crc32(payload), payload)


def scan(data: bytes) -> Scan:
    """Return the lines of a piece of a segment up to the first that is not whole and right."""
    lines = data.split(b"\n")
    rest = lines.pop()
    payloads: list[bytes] = []
    for line in lines:
        payload = line[_CHECKSUM_BYTES:]
        if line[:_CHECKSUM_BYTES] != b"%08x " % crc32(payload):
            break
        payloads.append(payload)
    else:
        return Scan(payloads, len(data) - len(rest), _no_reserve(rest))
    count = len(payloads)
    length = sum(map(len, lines[:count])) + count
    behind: list[bytes] = []
    is_holed = False
    for index, line in enumerate(lines[count:]):
        start = _right_from(line, is_first=index == 0)
        if not behind:
            is_holed = is_holed or b"\0" in line[:start]
        if start is not None:
            behind.append(line[start + _CHECKSUM_BYTES :])
    return Scan(payloads, length, data[length:], behind, is_holed)


def _no_reserve(rest: bytes) -> bytes:
    return b"" if rest == bytes(len(rest)) else rest


def _right_from(line: bytes, *, is_first: bool) -> int | None:
    """Return where in a line a right one begins, None if nowhere.

    Args:
        line: The line, without its newline.
        is_first: Whether it is the first that is not right: the newline in it may be damaged.
    """
    starts = [0, line.rfind(b"\0") + 1]
    if is_first:
        starts += [found.start() for found in _START.finditer(line, 1)][-_CANDIDATES:]
    return next((start for start in starts if _is_right(line[start:])), None)


def _is_right(line: bytes) -> bool:
    return line[:_CHECKSUM_BYTES] == b"%08x " % crc32(line[_CHECKSUM_BYTES:])


def _synced(payload: bytes) -> int:
    """Return up to which entry all were synced when one was written; -1 if it does not say."""
    try:
        found = orjson.loads(payload).get("synced")
    except (AttributeError, ValueError):
        return -1
    return found if type(found) is int else -1


def shapes_state(data: bytes) -> bool:
    """Whether an entry in these bytes may be other than a write. False is certain."""
    return any(mark in data for mark in _SHAPERS)


def parse_header(payload: bytes, location: str) -> Header:
    """Return a segment's header.

    Raises:
        FormatError: It is none.
        UnsupportedError: A newer version of the format.
    """
    try:
        raw = orjson.loads(payload)
        version = raw["format"]
        if type(version) is int and version > VERSION:
            raise UnsupportedError(
                f"journal segment '{location}' is of version {version}, this program knows "
                f"{VERSION}: install the newer ParqueDB that wrote it",
                feature=f"journal format {version}",
            )
        if version != VERSION:
            raise ValueError(f"its format is {version!r}")
        state = raw["state"]
        base, migration = state["base"], state["migration"]
        return Header(
            _text(raw, "journal"),
            _count(raw, "first"),
            State(
                None if base is None else Format(base),
                None if migration is None else _parse_migrate(migration),
                _count(state, "through"),
                None if state.get("format_version") is None else _count(state, "format_version"),
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"journal segment '{location}': the header is not one ({_reason(error)}); "
            "restore the file from a backup",
            location=location,
            section=SECTION,
        ) from error


def parse_entry(payload: bytes, number: int, location: str) -> Entry:
    """Return an entry.

    Args:
        payload: Its line without checksum and newline.
        number: The number that it must have.
        location: The segment, for messages.

    Raises:
        FormatError: It is no entry, or has another number.
        UnsupportedError: It says something that only newer programs understand.
    """
    try:
        raw = orjson.loads(payload)
        op = raw["op"]
        if raw["n"] != number:
            raise ValueError(f"its number is {raw['n']!r}")
        at_us, tx = raw["at"], raw["tx"]
        if type(at_us) is not int or type(tx) is not str:
            raise ValueError("'at' must be a whole number and 'tx' a text")
        if op == "write":
            return Entry(number, at_us, tx, _parse_write(raw))
        parse = _PARSERS.get(op)
        if parse is not None:
            return Entry(number, at_us, tx, parse(raw))
    except (AttributeError, KeyError, TypeError, ValueError, FormatError) as error:
        raise FormatError(
            f"journal segment '{location}', entry {number}: {_reason(error)}; restore the file "
            "from a backup, or cut it before this entry to give up this entry and all after it",
            location=location,
            section=SECTION,
        ) from error
    raise UnsupportedError(
        f"journal segment '{location}', entry {number}: the operation {op!r} is not known; "
        "install the newer ParqueDB that wrote it",
        feature=f"journal operation {op}",
    )


def _encode_write(body: Write) -> bytes:
    kept: list[bytes] = []
    gone: list[str] = []
    for id_, document in body.documents.items():
        if document is None:
            gone.append(id_)
            continue
        if isinstance(document, bytes):
            image = document
        elif document["$id"] != id_:
            raise InvalidInputError(
                f"{id_!r}: the document's own $id is {document['$id']!r}; write it under that id"
            )
        else:
            image = encode_document(document)
        if len(image) > STORED_BYTES:
            raise InvalidInputError(f"{id_}: {too_large(len(image), STORED_BYTES)}")
        kept.append(image)
    text = b'"op":"write","docs":[%b]' % b",".join(kept)
    if gone:
        text += b',"gone":' + orjson.dumps(gone)
    if body.staged:
        text += b',"staged":' + orjson.dumps(
            [
                {"path": s.path, "size": s.size_bytes, "rows": s.rows, "fresh": s.fresh}
                for s in body.staged
            ]
        )
    return text


def _encode_other(body: Body) -> bytes:
    raw: dict[str, Any]
    match body:
        case Flush(through=through, format=format_, version=version, table=table):
            raw = {
                "op": "flush",
                "through": through,
                "format": format_.value,
                "version": version,
            }
            if table is not None:
                raw["table"] = table
        case Migrate():
            raw = {"op": "migrate", **_migration(body)}
        case Cutover():
            raw = {
                "op": "cutover",
                "to": body.target.value,
                "source_version": body.source_version,
                "target_version": body.target_version,
                "through": body.through,
            }
        case Retire(format=format_):
            raw = {"op": "retire", "format": format_.value}
        case Write():
            return _encode_write(body)
        case _:
            assert_never(body)
    return orjson.dumps(raw)[1:-1]


def _migration(migration: Migrate) -> dict[str, str]:
    return {
        "id": migration.id,
        "from": migration.source.value,
        "to": migration.target.value,
    }


def _parse_write(raw: Mapping[str, Any]) -> Write:
    documents: dict[str, Kept] = {}
    for parsed in raw["docs"]:
        documents[parsed["$id"]] = restore_document(parsed)
    count = len(raw["docs"])
    if len(raw) > 5:
        for id_ in raw.get("gone", ()):
            documents[id_] = None
            count += 1
    if len(documents) != count or not all(type(id_) is str for id_ in documents):
        raise ValueError("its ids are not texts, or one is there twice")
    if "staged" in raw:
        return Write(documents, tuple(_parse_staged(item) for item in raw["staged"]))
    return Write(documents)


def _parse_staged(raw: Mapping[str, Any]) -> Staged:
    return Staged(
        _text(raw, "path"), _count(raw, "size"), _count(raw, "rows"), raw["fresh"] is True
    )


def _parse_migrate(raw: Mapping[str, Any]) -> Migrate:
    return Migrate(_text(raw, "id"), Format(raw["from"]), Format(raw["to"]))


def _parse_flush(raw: Mapping[str, Any]) -> Flush:
    return Flush(
        _count(raw, "through"),
        Format(raw["format"]),
        _whole(raw, "version"),
        _text(raw, "table") if "table" in raw else None,
    )


def _parse_cutover(raw: Mapping[str, Any]) -> Cutover:
    return Cutover(
        Format(raw["to"]),
        _whole(raw, "source_version"),
        _whole(raw, "target_version"),
        _count(raw, "through"),
    )


_PARSERS: dict[str, Callable[[Mapping[str, Any]], Body]] = {
    "flush": _parse_flush,
    "migrate": _parse_migrate,
    "cutover": _parse_cutover,
    "retire": lambda raw: Retire(Format(raw["format"])),
}


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key!r} is no text: {value!r}")
    return value


def _whole(raw: Mapping[str, Any], key: str) -> int:
    value = raw[key]
    if type(value) is not int:
        raise ValueError(f"{key!r} is no whole number: {value!r}")
    return value


def _count(raw: Mapping[str, Any], key: str) -> int:
    value = _whole(raw, key)
    if value < 0:
        raise ValueError(f"{key!r} is negative: {value!r}")
    return value


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
