"""Documents in JSON: one a line, or an array of them, read in bounded memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import orjson

from parquedb.documents.exchange.files import Incoming
from parquedb.errors import FormatError
from parquedb.rows.jsonform import restore_document

Document = dict[str, Any]
Placed = tuple[int, Document]
"""A document and the number of the line that it begins in."""

_CHUNK_BYTES = 1 << 20
_MAX_BYTES = 128 << 20
"""No document that can be stored is longer, however it is written."""
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]|"', re.DOTALL)
_BLANK = re.compile(rb"[ \t\r\n]*")
_LONG_INT = re.compile(rb"[0-9]{19}")
_BOM = b"\xef\xbb\xbf"
_GIVEN = "$name"


def read_json(incoming: Incoming) -> Iterator[Placed]:
    """Yield the documents of a JSON array, or of lines with one each.

    Raises:
        InvalidInputError: It is neither; the message names the line.
    """
    head = _skip_bom(incoming)
    while head is not None and not head.strip():
        head = incoming.read(_CHUNK_BYTES) or None
    if head is None:
        return
    if head.lstrip()[:1] == b"[":
        yield from _Array(incoming, head).documents()
    else:
        yield from _lines(incoming, head)


def parse_document(incoming: Incoming, text: bytes, line: int) -> Document:
    """Return the document of its JSON, plain or with the tags of the extended form.

    Raises:
        InvalidInputError: It is none; the message names the line.
    """
    where = f", line {line}"
    try:
        if _LONG_INT.search(text):  # orjson would make floats of ints beyond 64 bit
            parsed = json.loads(text, parse_constant=_no_constant)
        else:
            parsed = orjson.loads(text)
    except (ValueError, RecursionError) as error:
        incoming.refuse(where, f"this is not valid JSON ({error})")
    if not isinstance(parsed, dict):
        kind = "null" if parsed is None else type(parsed).__name__
        incoming.refuse(where, f"a document is a JSON object, not {kind}")
    given = {_GIVEN: parsed.pop(_GIVEN)} if _GIVEN in parsed else {}
    try:
        return restore_document(parsed) | given
    except FormatError as error:
        incoming.refuse(where, f"a value cannot be read: {error}")


def _skip_bom(incoming: Incoming) -> bytes | None:
    head = incoming.read(_CHUNK_BYTES)
    return head.removeprefix(_BOM) or None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _lines(incoming: Incoming, head: bytes) -> Iterator[Placed]:
    number = 0
    rest = head
    while True:
        lines = rest.split(b"\n")
        rest = lines.pop()
        for line in lines:
            number += 1
            if line.strip():
                yield number, parse_document(incoming, line, number)
        if len(rest) > _MAX_BYTES:
            incoming.refuse(f", line {number + 1}", f"the line is longer than {_MAX_BYTES} bytes")
        more = incoming.read(max(_CHUNK_BYTES, len(rest)))
        if not more:
            break
        rest += more
    if rest.strip():
        yield number + 1, parse_document(incoming, rest, number + 1)


class _Array:
    """The elements of a JSON array, found by counting brackets outside of strings."""

    def __init__(self, incoming: Incoming, head: bytes) -> None:
        self._incoming = incoming
        self._buffer = head
        self._at = 0
        self._line = 1

    def documents(self) -> Iterator[Placed]:
        """Yield the elements."""
        self._next()
        self._move(self._at + 1)  # the bracket
        if self._next() == b"]":
            self._move(self._at + 1)
        else:
            yield from self._elements()
        if self._next():
            self._refuse("something follows the end of the array")

    def _elements(self) -> Iterator[Placed]:
        while True:
            line = self._line
            if self._next() != b"{":
                self._refuse("a document is expected here, a JSON object")
            end = self._end_of_object()
            text = self._buffer[self._at : end]
            yield line, parse_document(self._incoming, text, line)
            self._move(end)
            after = self._next()
            if after not in (b",", b"]"):
                self._refuse("a comma or the end of the array is expected here")
            self._move(self._at + 1)
            if after == b"]":
                return
            self._next()

    def _end_of_object(self) -> int:
        """Return where the object that begins here ends."""
        depth, at = 0, self._at
        while True:
            for token in _TOKEN.finditer(self._buffer, at):
                first = token[0]
                at = token.end()
                if first in (b"{", b"["):
                    depth += 1
                elif first in (b"}", b"]"):
                    depth -= 1
                    if depth == 0:
                        return at
                elif first == b'"':  # a string whose end is not read yet
                    at = token.start()
                    break
            else:
                at = len(self._buffer)
            dropped = self._at
            if not self._fill():
                self._refuse("the file ends in the middle of this document")
            at -= dropped

    def _next(self) -> bytes:
        """Go to what follows after white space; nothing at the file's end."""
        while True:
            found = _BLANK.match(self._buffer, self._at)
            self._move(found.end() if found else self._at)
            if self._at < len(self._buffer):
                return self._buffer[self._at : self._at + 1]
            if not self._fill():
                return b""

    def _move(self, to: int) -> None:
        self._line += self._buffer.count(b"\n", self._at, to)
        self._at = to

    def _fill(self) -> bool:
        """Read more behind what is not done yet, which comes to the buffer's beginning."""
        rest = self._buffer[self._at :]
        if len(rest) > _MAX_BYTES:
            self._refuse(f"the document is longer than {_MAX_BYTES} bytes")
        more = self._incoming.read(max(_CHUNK_BYTES, len(rest)))
        self._buffer, self._at = rest + more, 0
        return bool(more)

    def _refuse(self, problem: str) -> NoReturn:
        self._incoming.refuse(f", line {self._line}", problem)
