"""Documents to rows of a document table.

A value that its column can hold exactly is there and nowhere else. Everything else is in
``$data``: fields without a column, values of another type, explicit nulls, structs with keys
that the column lacks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import field
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa

from parquedb.errors import InvalidInputError
from parquedb.model.schema import Schema
from parquedb.model.types import Field, FloatType, Type
from parquedb.parquet.arrow import arrow_schema_of
from parquedb.parquet.dynamic import AnyArray, AnyType
from parquedb.rows.arrays import MISFITS, build, fits
from parquedb.rows.columns import DATA, OWN_FIELDS
from parquedb.rows.infer import is_exact_float
from parquedb.rows.jsonform import encode_overflow
from parquedb.rows.values import (
    MAX_SIZE_BYTES,
    STORED_BYTES,
    Document,
    check_size,
    find_problems,
    is_clean,
    plain,
    raise_problems,
    require_dict,
)
from parquedb.slotted import dataclass

_PART_ROWS = 4096
_SPARSE = 16
"""A field is sparse if this many times its documents are fewer than all."""
_SHOWN = 5
"""How many documents one message lists."""
_SWELLS = 6
_KEY_BYTES = 64

Shape = tuple[str, ...]


@dataclass(slots=True)
class _Rest:
    """What columns do not hold, by row."""

    extras: dict[int, Document] = field(default_factory=dict)
    hints: dict[int, list[str]] = field(default_factory=dict)
    problems: dict[int, list[str]] = field(default_factory=dict)

    def put(self, row: int, name: str, value: Any) -> None:
        self.extras.setdefault(row, {})[name] = value

    def hint(self, row: int, name: str) -> None:
        self.hints.setdefault(row, []).append(name)

    def check(self, row: int, name: str, value: Any) -> bool:
        """Whether a value is acceptable; where it is not, its problems are noted."""
        if is_clean(value, 1):
            return True
        problems: list[str] = []
        find_problems(value, problems, name, 1)
        if problems:
            self.problems.setdefault(row, []).extend(problems)
        return not problems


def shred(documents: Sequence[Document], schema: Schema) -> pa.RecordBatch:
    """Return documents as rows; every value is checked on the way.

    Args:
        documents: Stored images. A batch's text should stay below 1 GiB.
        schema: The columns of a document table.

    Returns:
        The rows in order, with the columns of ``arrow_schema_of(schema)``.

    Raises:
        InvalidInputError: Some values are not acceptable; the message names documents and paths.
        UnsupportedError: A column's type cannot be written.
    """
    return join_parts(shred_parts(documents, schema))


def shred_parts(documents: Sequence[Document], schema: Schema) -> list[pa.RecordBatch]:
    """Return what :func:`shred` does in parts, which :func:`join_parts` joins.

    There is one at least. To join them another thread can do, for it needs no Python.
    """
    arrow = arrow_schema_of(schema)
    if set(map(type, documents)) != {dict}:
        for row, document in enumerate(documents):
            require_dict(document, f"document {row}")
    parts: list[pa.RecordBatch] = []
    problems: dict[int, list[str]] = {}
    for start in range(0, max(len(documents), 1), _PART_ROWS):
        rest = _Rest()
        part = documents[start : start + _PART_ROWS]
        arrays = _shred_part(part, schema, arrow, rest)
        if not rest.problems:
            _check_sizes(part, arrays)
        parts.append(pa.RecordBatch.from_arrays(arrays, schema=arrow))
        problems |= {start + row: found for row, found in rest.problems.items()}
    if problems:
        _refuse(documents, problems)
    return parts


def join_parts(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Return the rows of :func:`shred_parts` together."""
    if len(parts) == 1:
        return parts[0]
    columns = zip(*(part.columns for part in parts), strict=True)
    arrays = [pa.concat_arrays(list(column)) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=parts[0].schema)


def _shred_part(
    documents: Sequence[Document], schema: Schema, arrow: pa.Schema, rest: _Rest
) -> list[AnyArray]:
    """Return the columns of so few documents that they stay in the processor's cache."""
    shapes = Counter(map(tuple, documents))
    having: Counter[str] = Counter()
    for shape, count in shapes.items():
        for key in shape:
            having[key] += count
    sparse = _sparse_values(documents, having)
    columns = {
        one.name: _column(
            documents,
            sparse.get(one.name) or _values(documents, one.name, having[one.name]),
            having[one.name],
            one,
            arrow.field(index).type,
            rest,
        )
        for index, one in enumerate(schema.fields)
        if one.name != DATA
    }
    _gather_others(documents, shapes, frozenset(columns), rest)
    if schema.find(DATA) is not None:
        columns[DATA] = _data_column(len(documents), rest)
    else:
        for row in {*rest.extras, *rest.hints}:
            names = sorted({*rest.extras.get(row, ()), *rest.hints.get(row, ())})
            rest.problems.setdefault(row, []).append(
                f"{', '.join(names)}: no column can hold it and the table has no column "
                f"{DATA!r} for the rest; add one with evolve_schema"
            )
    return [columns[name] for name in schema.names]


def _values(documents: Sequence[Document], name: str, having: int) -> list[Any]:
    if having == len(documents):
        return list(map(itemgetter(name), documents))
    return [document.get(name) for document in documents] if having else []


def _sparse_values(documents: Sequence[Document], having: Counter[str]) -> dict[str, list[Any]]:
    """Return the values of fields that few documents have, gathered in one pass."""
    sparse: dict[str, list[Any]] = {
        name: [None] * len(documents)
        for name, count in having.items()
        if count * _SPARSE < len(documents)
    }
    if sparse:
        for row, document in enumerate(documents):
            for name, value in document.items():
                if name in sparse:
                    sparse[name][row] = value
    return sparse


def _column(
    documents: Sequence[Document],
    values: list[Any],
    having: int,
    column: Field,
    arrow: AnyType,
    rest: _Rest,
) -> AnyArray:
    name = column.name
    lacking = len(documents) - having
    if not having:
        if column.required:
            values = [None] * lacking
        else:
            return pa.nulls(lacking, arrow)
    system = name in OWN_FIELDS
    try:
        array = build(values, column.type, arrow)
        empty = array.null_count
    except pa.ArrowCapacityError as error:
        raise InvalidInputError(f"{name}: {error}; pass fewer documents at once") from error
    except MISFITS:
        kept = _set_misfits_aside(values, column, rest, system=system)
        array = _build_surely(kept, column, arrow, rest)
        empty = values.count(None)
    if empty != lacking and not system:
        for row, document in enumerate(documents):
            if values[row] is None and name in document:
                rest.put(row, name, None)
    if column.required and array.null_count:
        for row, value in enumerate(values):
            if value is None:
                rest.problems.setdefault(row, []).append(f"{name}: it is required and missing")
    return array


def _build_surely(values: list[Any], column: Field, arrow: AnyType, rest: _Rest) -> AnyArray:
    """Build an array of values that fit; if they do not after all, they go to ``$data``."""
    try:
        return build(values, column.type, arrow)
    except MISFITS:
        for row, value in enumerate(values):
            if value is not None:
                rest.put(row, column.name, value)
        return pa.nulls(len(values), arrow)


def _set_misfits_aside(values: list[Any], column: Field, rest: _Rest, *, system: bool) -> list[Any]:
    """Return the values that fit, and put the others in ``$data``.

    Values of system fields have to fit: they are what the database itself relies on.
    """
    name, type_ = column.name, column.type
    kept: list[Any] = [None] * len(values)
    for row, value in enumerate(values):
        if value is None or not rest.check(row, name, value):
            continue
        value = plain(value)
        if fits(value, type_):
            kept[row] = value
        elif _is_float_as_int(value, type_):
            kept[row] = float(value)
            rest.hint(row, name)
        elif system:
            rest.problems.setdefault(row, []).append(
                f"{name}: {value!r} does not fit the system field"
            )
        else:
            rest.put(row, name, value)
    return kept


def _is_float_as_int(value: Any, type_: Type) -> bool:
    return type(value) is int and type_ == FloatType(64) and is_exact_float(value)


def _gather_others(
    documents: Sequence[Document],
    shapes: Counter[tuple[str, ...]],
    known: frozenset[str],
    rest: _Rest,
) -> None:
    """Put the fields without a column in ``$data``."""
    others = {shape: [key for key in shape if key not in known] for shape in shapes}
    if not any(others.values()):
        return
    for row, document in enumerate(documents):
        for key in others[tuple(document)]:
            value = document[key]
            if not is_clean({key: value}, 0):
                problems: list[str] = []
                find_problems({key: value}, problems)
                if problems:
                    rest.problems.setdefault(row, []).extend(problems)
                    continue
            if value is not None or key not in OWN_FIELDS:
                rest.put(row, key, value)


def _data_column(rows: int, rest: _Rest) -> AnyArray:
    if not rest.extras and not rest.hints:
        return pa.nulls(rows, pa.string())
    texts: list[bytes | None] = [None] * rows
    for row, extras in rest.extras.items():
        texts[row] = encode_overflow(extras, rest.hints.get(row, ()))
    known: dict[Shape, bytes] = {}
    for row, names in rest.hints.items():
        if row not in rest.extras:
            key = tuple(names)
            if key not in known:
                known[key] = encode_overflow({}, names)
            texts[row] = known[key]
    return pa.array(texts, pa.string())


def _refuse(documents: Sequence[Document], problems: dict[int, list[str]]) -> None:
    rows = sorted(problems)
    if len(rows) == 1:
        raise_problems(_name(documents, rows[0]), problems[rows[0]])
    shown = [f"{_name(documents, row)}: {'; '.join(problems[row][:3])}" for row in rows[:_SHOWN]]
    raise InvalidInputError(
        f"{len(rows)} of {len(documents)} documents are not acceptable, the first of them: "
        + " | ".join(shown)
    )


def _name(documents: Sequence[Document], row: int) -> str:
    id_ = documents[row].get("$id")
    return id_ if isinstance(id_, str) else f"document {row}"


def _check_sizes(documents: Sequence[Document], arrays: Sequence[AnyArray]) -> None:
    """Refuse documents that are too large, by the exact measure only where it can matter.

    It is the journal's measure: what that has accepted is never refused here.
    """
    if sum(array.nbytes for array in arrays) * _SWELLS < MAX_SIZE_BYTES:
        return
    sizes = sum((_row_bytes(array) for array in arrays), np.zeros(len(documents), np.int64))
    for row in np.flatnonzero(sizes * _SWELLS > MAX_SIZE_BYTES).tolist():
        check_size(documents[row], _name(documents, row), STORED_BYTES)


def _row_bytes(array: AnyArray) -> Any:
    """Return how many bytes each row's value has, about; names of struct fields included."""
    kind = array.type
    if pa.types.is_struct(kind):
        names = sum(len(one.name) + _KEY_BYTES for one in kind.fields)
        parts = (_row_bytes(array.field(index)) for index in range(kind.num_fields))
        return sum(parts, np.full(len(array), names, np.int64))
    if pa.types.is_list(kind):
        ends = np.concatenate(([0], np.cumsum(_row_bytes(array.values))))
        return np.diff(ends[array.offsets.to_numpy()])
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        offsets = np.frombuffer(array.buffers()[1] or b"\0\0\0\0", np.int32)
        if not len(array):
            return np.zeros(0, np.int64)
        return np.diff(offsets[array.offset : array.offset + len(array) + 1]) + np.int64(8)
    return np.full(len(array), 40, np.int64)
