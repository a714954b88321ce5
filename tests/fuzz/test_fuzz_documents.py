"""Damaged journals, ``$data`` of both kinds, and records that lie beside native files."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime

import orjson
from hypothesis import strategies as st

from parquedb.formats.native.marks import parse_through
from parquedb.formats.native.origin import read_origins
from parquedb.model.format import Format
from parquedb.namespace.entry import Cutover, Flush, Migrate, Staged, State, Write
from parquedb.namespace.segments import Collected, Segments
from parquedb.namespace.wire import Header, encode_entry, encode_header, encode_line, parse_entry
from parquedb.rows.jsonform import decode_document, decode_overflow, decode_value, encode_document
from parquedb.rows.typescript import decode_entity
from parquedb.storage.store import NewObject
from tests.support import corpus
from tests.support.mutate import damaged, damaged_json, fuzz

DOCUMENT = {
    "$id": "users/1", "$type": "User", "name": "Ann", "at": datetime(2024, 1, 2, tzinfo=UTC),
    "n": 1, "x": {"y": [1, 2.5, None, "z", b"raw", {"$odd": 2**70}]},
}  # fmt: skip
BODIES = [
    Write({"users/1": DOCUMENT, "users/2": None}, (Staged("s/x.parquet", 10, 2, fresh=True),)),
    Migrate("m", Format.NATIVE, Format.ICEBERG),
    Flush(1, Format.NATIVE, 7),
    Cutover(Format.ICEBERG, 1, 2, 3),
    Write({"users/3": DOCUMENT | {"$id": "users/3"}}),
]
ENTRIES = [encode_entry(n, n * 1000, f"tx{n}", body) for n, body in enumerate(BODIES, 1)]
SEGMENT = encode_header(Header("j", 1, State(Format.NATIVE, None, 0))) + b"".join(ENTRIES)


def journal_with(data):
    store = corpus.store()
    segments = Segments(store, "users")
    store.create(NewObject(segments.key(1), data))
    return segments


def entries_of(data):
    segments = journal_with(data)
    segment = segments.read(1, "j")
    if segment.last < 1:
        return []
    if segment.bad:
        raise segments.damaged(1, segment.end, segment.last + 1)
    segments.state_after(segment)
    found = segments.history(0, segment.last, "j")
    assert not isinstance(found, Collected)
    return found


def test_bytes_of_a_journal():
    """Damage is found by the checksums: what is read is what was written, or its beginning."""
    right = entries_of(SEGMENT)
    assert len(right) == len(BODIES)

    def check(data):
        found = entries_of(data)
        assert found == right[: len(found)]

    fuzz(check, damaged([SEGMENT]), 60)


def test_values_of_journal_entries():
    """The checksum is right and the entry is not one."""
    payloads = [line[9:-1] for line in ENTRIES]

    def check(payload):
        number = orjson.loads(payload)["n"]
        if type(number) is int and 0 < number < 10:
            parse_entry(payload, number, "x")

    def decodable(payload):
        try:
            return isinstance(orjson.loads(payload), dict) and b'"n"' in payload
        except ValueError:
            return False

    fuzz(check, damaged_json(payloads).filter(decodable).filter(has_number), 60)


def has_number(payload):
    return "n" in orjson.loads(payload)


def test_values_of_journal_headers():
    header = SEGMENT.split(b"\n")[0][9:]
    fuzz(lambda data: entries_of(encode_line(data)), damaged_json([header]), 80)


def test_data_of_documents():
    text = encode_document(DOCUMENT)

    def check(data):
        decode_document(data)
        decode_value(data)

    fuzz(check, damaged_json([text]), 60)
    fuzz(check, damaged([text]), 60)


def test_data_of_rows():
    text = orjson.dumps({"$int": ["a"], "a": 1.0, "b": {"$date": "2024-01-01T00:00:00Z"}})

    def check(data):
        decode_overflow(data.decode("utf-8", "surrogatepass"))

    fuzz(check, damaged_json([text]), 60)


def text_of(value):
    """Encode a value as ParqueDB for TypeScript does."""
    match value:
        case None | bool():
            return bytes([{None: 0, True: 1, False: 2}[value]])
        case int():
            return b"\x06" + value.to_bytes(8, "little", signed=True)
        case str():
            return b"\x10" + bytes([len(value)]) + value.encode()
        case bytes():
            return b"\x0f" + bytes([len(value)]) + value
        case list():
            return b"\x11" + bytes([len(value)]) + b"".join(map(text_of, value))
        case dict():
            pairs = (bytes([len(k)]) + k.encode() + text_of(v) for k, v in value.items())
            return b"\x12" + bytes([len(value)]) + b"".join(pairs)
    raise AssertionError(value)


ENTITY = {"createdAt": "2024-01-01T00:00:00Z", "version": 1, "a": [1, None, {"b": b"x", "c": "y"}]}
DEEP = [
    b"\x11\x01" * 5000 + b"\x00",
    b"\x12\x01\x01k" * 5000 + b"\x00",
    b"\x11" + b"\xff" * 9 + b"\x01",
]


def test_data_of_typescript():
    def check(data):
        found = decode_entity(b64encode(b"\x56\x01" + data).decode(), id_="x", type_=None, name="n")
        assert found["$id"] == "x"

    whole = text_of(ENTITY)
    check(whole)
    nested = st.sampled_from([b"\x12\x01\x01k" + item for item in DEEP])
    fuzz(check, damaged([whole]) | nested, 80)
    text = b64encode(b"\x56\x01" + whole)
    fuzz(
        lambda data: decode_entity(data.decode("latin1"), id_="x", type_="T", name=None),
        damaged([text]),
        50,
    )


def test_records_of_origin():
    record = {
        "entries": [
            {
                "origin": {"format": "delta", "table_id": "t", "version": 3},
                "completed_at_ms": 5,
                "file": {"size_bytes": 10, "tail": "x", "version": None},
            }
        ]
    }

    def check(data):
        store = corpus.store()
        store.create(NewObject("_parquedb/users/native-origin.json", data))
        for entry in read_origins(store, "users"):
            assert type(entry.size_bytes) is int

    fuzz(check, damaged_json([orjson.dumps(record)]), 100)


def test_marks_of_native_files():
    def check(text):
        found = parse_through({"parquedb.through": text})
        assert found is None or type(found.entry) is int

    texts = ["", ":", "x:", ":1", "a:1", "a:b:2", "a:²", "a:-1", "a:" + "9" * 5000]
    fuzz(check, st.sampled_from(texts) | st.text())
