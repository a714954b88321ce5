"""Documents in CSV. The types of columns are those that pyarrow finds in all of the file.

The file is read twice, each time in bounded memory: first for the types, then for the rows. An
empty cell is a field that the document does not have.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from parquedb.documents.exchange.files import Incoming, seekable
from parquedb.model.schema import Schema
from parquedb.model.types import Field, StringType
from parquedb.rows.assemble import assemble

if TYPE_CHECKING:
    from parquedb.documents.exchange.json_text import Placed

_BLOCK_BYTES = 8 << 20
_LEADING_ZERO = "^[-+]?0[0-9]"
_LONG_NUMBER = "^[-+]?[0-9]{16,}$"
_PARSE = pv.ParseOptions(newlines_in_values=True)
_ORDER = ("null", "int64", "double")
"""Types that widen from left to right."""


def read_csv(incoming: Incoming) -> Iterator[Placed]:
    """Yield the rows of a CSV file as documents, with the number of each row.

    Raises:
        InvalidInputError: It is no CSV; the message names the row.
    """
    incoming.unit = "row"
    with seekable(incoming) as file:
        start = file.tell()
        types = _find_types(incoming, file)
        if types is None:
            return
        file.seek(start)
        options = pv.ConvertOptions(column_types=types)
        number = 1  # the heading
        schema = _named(list(types))
        for batch in _batches(incoming, file, options):
            incoming.read_bytes = file.tell() - start
            for document in assemble(batch, schema):
                number += 1
                yield number, {name: value for name, value in document.items() if value != ""}


def _find_types(incoming: Incoming, file: BinaryIO) -> dict[str, Any] | None:
    """Return a type for each column that all of its values have; None for an empty file."""
    if not file.read(1):
        return None
    file.seek(-1, io.SEEK_CUR)
    heading = _heading(file)
    repeated = sorted({name for name in heading if heading.count(name) > 1})
    if repeated:
        incoming.refuse(", line 1", f"two columns are called {repeated[0]!r}; rename one")
    texts = pv.ConvertOptions(column_types=dict.fromkeys(heading, pa.string()))
    types: dict[str, Any] = dict.fromkeys(heading, pa.null())
    odd: set[str] = set()
    for batch in _batches(incoming, file, texts):
        for name, found in _inferred(batch).items():
            types[name] = _wider(types[name], found)
        odd |= {name for name in heading if _matches(batch.column(name), _LEADING_ZERO)}
        odd |= {
            name
            for name in heading
            if types[name] == pa.float64() and _matches(batch.column(name), _LONG_NUMBER)
        }
    return {name: pa.string() if name in odd else type_ for name, type_ in types.items()}


def _heading(file: BinaryIO) -> list[str]:
    """Return the names of the columns; the file stays where it is."""
    start = file.tell()
    line = file.readline(_BLOCK_BYTES)
    while line.count(b'"') % 2 and (more := file.readline(_BLOCK_BYTES)):
        line += more
    file.seek(start)
    try:
        names: list[str] = pv.read_csv(io.BytesIO(line), parse_options=_PARSE).column_names
    except pa.ArrowException:
        return []
    return names


def _batches(
    incoming: Incoming, file: BinaryIO, options: pv.ConvertOptions
) -> Iterator[pa.RecordBatch]:
    reading = pv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False)
    try:
        # a wrapper of its own, because pyarrow closes what it is given
        with pv.open_csv(
            cast("Any", pa.PythonFile(_Open(file), mode="r")),
            read_options=reading,
            parse_options=_PARSE,
            convert_options=options,
        ) as reader:
            yield from reader
    except pa.ArrowException as error:
        incoming.refuse("", f"this is not valid CSV ({error})")


class _Open(io.RawIOBase):
    """A file that stays open when it is closed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


def _inferred(batch: pa.RecordBatch) -> dict[str, Any]:
    """Return the types that pyarrow finds in columns of text."""
    text = io.BytesIO()
    pv.write_csv(batch, text)
    text.seek(0)
    found = pv.read_csv(text, parse_options=_PARSE).schema
    return {field.name: _kept(field.type) for field in found}


def _kept(type_: Any) -> Any:
    """Return a type that a document can hold."""
    return pa.string() if pa.types.is_time(type_) else type_


def _wider(one: Any, other: Any) -> Any:
    """Return a type that holds the values of both."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    names = str(one), str(other)
    if all(name in _ORDER for name in names):
        return one if _ORDER.index(names[0]) > _ORDER.index(names[1]) else other
    if pa.types.is_timestamp(one) and pa.types.is_timestamp(other) and one.tz == other.tz:
        return one if one.unit == "ns" else other
    days = {True: one, False: other}
    if pa.types.is_date(one) != pa.types.is_date(other):
        moment = days[pa.types.is_date(other)]
        if pa.types.is_timestamp(moment) and moment.tz is None:
            return moment
    return pa.string()


def _matches(column: Any, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(column, pattern)).as_py())


def _named(names: list[str]) -> Schema:
    """Return a schema of these names; what the columns hold is told by the rows."""
    return Schema(tuple(Field(i, name, StringType()) for i, name in enumerate(names, 1)))
