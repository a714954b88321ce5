"""Variants as bytes and back, by Parquet's VariantEncoding.md.

Written are the types that JSON has; read are those and the others that Spark writes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from parquedb.parquet.rewrite import FooterCopy, copy_relabelled
from parquedb.parquet.thrift import RawField, encode_struct, read_struct
from parquedb.storage.local import LocalStore

_PARTS = [pa.field(name, pa.binary(), nullable=False) for name in ("value", "metadata")]
STORED = pa.struct(_PARTS)
"""How Delta's writers store one: a plain struct."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTS = {3: "<b", 4: "<h", 5: "<i", 6: "<q"}
_DECIMALS = {8: 4, 9: 8, 10: 16}


def encode(value: Any) -> dict[str, bytes]:
    """Return a JSON value as the two parts of a variant."""
    names = sorted(_names(value))
    texts = [name.encode() for name in names]
    offsets = [sum(map(len, texts[:place])) for place in range(len(texts) + 1)]
    metadata = bytes([0b11010001]) + b"".join(_u32(n) for n in (len(texts), *offsets))
    return {"metadata": metadata + b"".join(texts), "value": _encode(value, names)}


def decode(parts: Mapping[str, bytes] | None) -> Any:
    """Return what the two parts of a variant say; SQL's null is None as JSON's is."""
    if parts is None:
        return None
    metadata = parts["metadata"]
    size = (metadata[0] >> 6) + 1
    count = int.from_bytes(metadata[1 : 1 + size], "little")
    offsets = pairwise(_numbers(metadata, 1 + size, count + 1, size))
    start = 1 + size * (count + 2)
    names = [metadata[start + low : start + high].decode() for low, high in offsets]
    return _decode(parts["value"], 0, names)


def annotate(path: Path, columns: Iterable[str]) -> None:
    """Mark groups of a Parquet file as variants in its footer, as Iceberg's writers do.

    Args:
        path: The file.
        columns: Names of groups, at any depth.
    """
    wanted = set(columns)

    def mark(element: Any) -> Any:
        children = tuple(map(mark, element.children))
        if element.name not in wanted:
            return replace(element, children=children)
        fields = [*read_struct(element.shape, 0)[0], RawField(10, 12, b"\x0c\x20\x13\x01\x00\x00")]
        return replace(element, shape=encode_struct(fields), children=children)

    copy = path.with_name(f"{path.name}.copy")
    copy_relabelled(LocalStore(path.parent), [FooterCopy(path.name, copy.name, mark)])
    copy.replace(path)
    assert "(Variant(" in str(pq.read_metadata(path).schema)


def _names(value: Any) -> set[str]:
    match value:
        case dict():
            return set(value).union(*map(_names, value.values()))
        case list():
            return set().union(*map(_names, value))
        case _:
            return set()


def _encode(value: Any, names: list[str]) -> bytes:
    match value:
        case None:
            return b"\x00"
        case bool():
            return bytes([(1 if value else 2) << 2])
        case int():
            return bytes([6 << 2]) + struct.pack("<q", value)
        case float():
            return bytes([7 << 2]) + struct.pack("<d", value)
        case str() if len(value.encode()) < 64:
            return bytes([len(value.encode()) << 2 | 1]) + value.encode()
        case str():
            return bytes([16 << 2]) + _u32(len(value.encode())) + value.encode()
        case list():
            items = [_encode(item, names) for item in value]
            return bytes([0b11111]) + _u32(len(items)) + _laid_out(items)
        case dict():
            keys = sorted(value)
            ids = b"".join(_u32(names.index(key)) for key in keys)
            items = [_encode(value[key], names) for key in keys]
            return bytes([0b1111110]) + _u32(len(items)) + ids + _laid_out(items)
        case _:
            raise TypeError(f"JSON has no {type(value)}")


def _laid_out(items: list[bytes]) -> bytes:
    offsets = [sum(map(len, items[:place])) for place in range(len(items) + 1)]
    return b"".join(map(_u32, offsets)) + b"".join(items)


def _u32(number: int) -> bytes:
    return struct.pack("<I", number)


def _numbers(data: bytes, at: int, count: int, size: int) -> list[int]:
    return [
        int.from_bytes(data[at + n * size : at + (n + 1) * size], "little") for n in range(count)
    ]


def _decode(data: bytes, at: int, names: list[str]) -> Any:
    basic, header = data[at] & 3, data[at] >> 2
    if basic == 0:
        return _primitive(data, at + 1, header)
    if basic == 1:
        return data[at + 1 : at + 1 + header].decode()
    is_large = header >> (4 if basic == 2 else 2) & 1
    width = 4 if is_large else 1
    count = int.from_bytes(data[at + 1 : at + 1 + width], "little")
    at, size = at + 1 + width, (header & 3) + 1
    keys: list[int] = []
    if basic == 2:
        id_size = (header >> 2 & 3) + 1
        keys = _numbers(data, at, count, id_size)
        at += count * id_size
    offsets = _numbers(data, at, count + 1, size)
    start = at + (count + 1) * size
    items = [_decode(data, start + offset, names) for offset in offsets[:count]]
    return items if basic == 3 else dict(zip((names[key] for key in keys), items, strict=True))


def _primitive(data: bytes, at: int, kind: int) -> Any:
    if kind in _INTS:
        return struct.unpack_from(_INTS[kind], data, at)[0]
    if kind in _DECIMALS:
        unscaled = int.from_bytes(data[at + 1 : at + 1 + _DECIMALS[kind]], "little", signed=True)
        return Decimal(unscaled).scaleb(-data[at])
    match kind:
        case 0:
            return None
        case 1 | 2:
            return kind == 1
        case 7 | 14:
            return struct.unpack_from("<d" if kind == 7 else "<f", data, at)[0]
        case 11:
            return date(1970, 1, 1) + timedelta(struct.unpack_from("<i", data, at)[0])
        case 12 | 13:
            moment = _EPOCH + timedelta(microseconds=struct.unpack_from("<q", data, at)[0])
            return moment if kind == 12 else moment.replace(tzinfo=None)
        case 15 | 16:
            length = struct.unpack_from("<I", data, at)[0]
            found = data[at + 4 : at + 4 + length]
            return found if kind == 15 else found.decode()
        case _:
            raise TypeError(f"the primitive type {kind} is not known here")
