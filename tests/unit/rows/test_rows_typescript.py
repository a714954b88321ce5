"""What the TypeScript implementation wrote, and what becomes of damaged bytes."""

from __future__ import annotations

import base64
import struct
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.errors import FormatError
from parquedb.model.schema import Schema
from parquedb.model.types import Field, IntType
from parquedb.parquet.arrow import schema_of_arrow
from parquedb.rows.assemble import assemble
from parquedb.rows.columns import evolve, system_schema
from parquedb.rows.shred import shred
from parquedb.rows.typescript import decode_batch, decode_entity, is_typescript_layout
from parquedb.rows.values import check_document
from tests.support.stored import assert_same, same
from tests.support.typescript import DATA, DUMP, expected_documents


def read(namespace: str) -> list[dict[str, Any]]:
    return decode_batch(pq.read_table(DATA / "data" / namespace / "data.parquet"))


@pytest.mark.parametrize("namespace", ["users", "posts"])
def test_entities_are_those_that_were_written(namespace: str) -> None:
    found = sorted(read(namespace), key=lambda document: document["$id"])
    wanted = expected_documents(namespace)
    assert_same(found, wanted)
    live = [document["$id"] for document in found if "deletedAt" not in document]
    assert live == sorted(DUMP["liveIds"][namespace])
    assert len(live) == DUMP["count"][namespace]


@pytest.mark.parametrize("namespace", ["users", "posts"])
def test_entities_become_typed_columns(namespace: str) -> None:
    found = read(namespace)
    for document in found:
        assert check_document(document, document["$id"]) > 0
    schema = evolve(None, found)
    assert_same(assemble(shred(found, schema), schema), found)
    assert {"users": {"email", "active", "big", "score", "tags"},
            "posts": {"title", "views", "status", "author", "rating"},
            }[namespace] <= set(schema.names)  # fmt: skip


def test_layout() -> None:
    written = schema_of_arrow(pq.read_schema(DATA / "data" / "users" / "data.parquet"))
    assert is_typescript_layout(written)
    assert not is_typescript_layout(system_schema())
    assert not is_typescript_layout(Schema(written.fields[:3]))
    assert not is_typescript_layout(Schema((*written.fields, Field(9, "more", IntType(32)))))
    assert not is_typescript_layout(Schema((*written.fields[:3], Field(4, "$data", IntType(32)))))


def entity(data: bytes) -> dict[str, Any]:
    return decode_entity(base64.b64encode(data).decode(), id_="users/1", type_="User", name="A")


def object_of(key: bytes, value: bytes) -> bytes:
    return b"\x56\x01\x12\x01" + bytes([len(key)]) + key + value


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not with 56 01"),
        (b"\x56\x02\x00", "not with 56 01"),
        (b"\x56\x01", "ends inside a value"),
        (b"\x56\x01\x00", "no object"),
        (b"\x56\x01\x12\x00\x00", "1 bytes are left"),
        (b"\x56\x01\x12\xff\xff\xff\xff\x0f", "reaches beyond"),
        (b"\x56\x01\x12" + b"\xff" * 11, "no length"),
        (object_of(b"a", b"\x11\xff\xff\xff\x7f"), "reaches beyond"),
        (object_of(b"a", b"\x10\x7f"), "reaches beyond"),
        (object_of(b"a", b"\x10\x01\xff"), "no UTF-8"),
        (object_of(b"a", b"\x08\x00"), "inside a number"),
        (object_of(b"a", b"\x63"), "tag 99"),
        (object_of(b"a", b"\x0d" + struct.pack("<q", 2**62)), "years 1 to 9999"),
        (object_of(b"a", b"\x11\x01" * 5000 + b"\x00"), "nested deeper"),
        (object_of(b"createdAt", b"\x10\x03now"), "createdAt is 'now'"),
        (object_of(b"version", b"\x03\xff"), "version is -1"),
        (object_of(b"createdBy", b"\x01"), "createdBy is True"),
    ],
)
def test_damaged_bytes_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason) as caught:
        entity(data or b"\x00")
    assert str(caught.value).startswith("users/1: ")


def test_no_base64() -> None:
    with pytest.raises(FormatError, match="no base64"):
        decode_entity("VgE*", id_="users/1", type_="User", name="A")


@given(st.binary(max_size=60), st.data())
def test_random_damage_never_escapes(tail: bytes, data: st.DataObject) -> None:
    table = pq.read_table(DATA / "data" / "users" / "data.parquet")
    row = data.draw(st.integers(0, 20))
    good = base64.b64decode(table.column("$data")[row].as_py())
    at = data.draw(st.integers(0, len(good)))
    for damaged in (good[:at] + tail, good[:at] + tail + good[at + len(tail) :]):
        try:
            document = entity(damaged)
        except FormatError:
            continue
        assert document["$id"] == "users/1"


def test_doubles() -> None:
    for number, wanted in [(2.0**40, 2**40), (0.5, 0.5), (-0.0, -0.0), (1e300, 1e300)]:
        got = entity(object_of(b"a", b"\x08" + struct.pack("<d", number)))
        assert same(got, {"$id": "users/1", "$type": "User", "name": "A", "a": wanted})


def test_times_of_the_system_are_instants() -> None:
    text = b"2020-01-02T03:04:05.678Z"
    got = entity(object_of(b"deletedAt", b"\x10" + bytes([len(text)]) + text))
    assert got["deletedAt"] == datetime(2020, 1, 2, 3, 4, 5, 678000, UTC)
    assert list(got) == ["$id", "$type", "name", "deletedAt"]
