"""Damaged Iceberg metadata: table metadata, manifest lists, manifests, delete files."""

from __future__ import annotations

import gzip
import zlib

import orjson
import pyarrow as pa
import pytest

from parquedb.errors import FormatError
from parquedb.formats.iceberg.avro import (
    MAGIC,
    decode_records,
    encode_block,
    encode_bytes,
    encode_header,
    encode_long,
    parse_container,
)
from parquedb.formats.iceberg.avro_decode import read_long
from parquedb.formats.iceberg.reader import IcebergReader
from parquedb.formats.iceberg.wire import parse_metadata
from tests.support import corpus
from tests.support.mutate import damaged, damaged_json, fuzz, within_bounds
from tests.support.sound import read_all

NEWEST = "t/metadata/v5.metadata.json"


def reading(key):
    def check(data):
        read_all(IcebergReader(corpus.Overlay(corpus.iceberg(), {key: data}), "t"))

    return check


def test_the_table_without_damage():
    read_all(IcebergReader(corpus.iceberg(), "t"))


def metadata_of_version_1():
    wire = orjson.loads(corpus.iceberg().get(NEWEST))
    wire |= {"format-version": 1, "schema": wire["schemas"][0], "partition-spec": []}
    for name in ("schemas", "partition-specs", "current-schema-id", "default-spec-id"):
        wire.pop(name)
    return orjson.dumps(wire)


def test_values_of_table_metadata():
    seeds = [corpus.iceberg().get(NEWEST), metadata_of_version_1()]
    fuzz(reading(NEWEST), damaged_json(seeds), 60)


def test_bytes_of_table_metadata():
    fuzz(reading(NEWEST), damaged([corpus.iceberg().get(NEWEST)]))


def with_codec(data, codec):
    """Return a container file with its blocks compressed."""
    container = parse_container(data, "seed")
    pieces = []
    for piece in container.pieces:
        count, at = read_long(piece, 0)
        _, at = read_long(piece, at)
        pieces.append((count, piece[at:]))
    return container_file(container.schema, codec, container.metadata, pieces)


def container_file(schema, codec, metadata, blocks):
    header = encode_header(schema, metadata, SYNC).replace(
        b"\x14avro.codec\x08null", b"\x14avro.codec" + encode_bytes(codec.encode())
    )
    return header + b"".join(encode_block(n, PACK[codec](data), SYNC) for n, data in blocks)


def deflate(data):
    return zlib.compress(data, wbits=-15)


def snappy(data):
    packed = pa.compress(data, codec="snappy", asbytes=True)
    return packed + zlib.crc32(data).to_bytes(4, "big")


SYNC = b"-sync-of-blocks-"
PACK = {
    "null": bytes,
    "deflate": deflate,
    "snappy": snappy,
    "zstandard": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}
FILES = {
    "list": "t/metadata/snap-5452427997905692977-1-51431193-e6c3-4339-9a2b-8f1ff1fd42a2.avro",
    "manifest": "t/metadata/e4b06ce6-0741-47a8-bce4-2c8218072e8c-m0.avro",
    "deletes": "t/metadata/51431193-e6c3-4339-9a2b-8f1ff1fd42a2-d0.avro",
}


@pytest.mark.parametrize("codec", list(PACK))
@pytest.mark.parametrize("kind", list(FILES))
def test_bytes_of_avro_files(kind, codec):
    seed = with_codec(corpus.iceberg().get(FILES[kind]), codec)
    reading(FILES[kind])(seed)
    fuzz(reading(FILES[kind]), damaged([seed]), 25 if codec == "null" else 8)


ZEROS = bytes(200 << 20)
LONG = b'{"type": "record", "name": "r", "fields": [{"name": "x", "type": "long"}]}'
NULLS = b'{"type": "array", "items": "null"}'
EMPTY = b'{"type": "record", "name": "r", "fields": []}'


def doubling(levels):
    """Return a schema of records of which each holds the one before twice."""
    fields = [{"name": "f0", "type": {"type": "record", "name": "r0", "fields": []}}]
    for level in range(1, levels):
        twice = [{"name": name, "type": f"r{level - 1}"} for name in "ab"]
        inner = {"type": "record", "name": f"r{level}", "fields": twice}
        fields.append({"name": f"f{level}", "type": inner})
    return orjson.dumps({"type": "record", "name": "top", "fields": fields})


def nested(levels):
    return b'{"type": "array", "items": ' * levels + b'"long"' + b"}" * levels


HUGE = encode_long(1 << 60)
CLAIM = b"\xff\xff\xff\xff\x0f1234"
BOMBS = {
    "deflate": lambda: container_file(LONG, "deflate", {}, [(len(ZEROS), ZEROS)]),
    "zstandard": lambda: container_file(LONG, "zstandard", {}, [(len(ZEROS), ZEROS)]),
    "snappy": lambda: container_file(LONG, "snappy", {}, [(len(ZEROS), ZEROS)]),
    "many records in a block": lambda: container_file(LONG, "null", {}, [(1 << 60, b"\x02")]),
    "many empty records": lambda: container_file(EMPTY, "null", {}, [(1 << 60, b"")]),
    "many nulls in a list": lambda: container_file(NULLS, "null", {}, [(1, HUGE + b"\x00")]),
    "doubling records": lambda: container_file(doubling(40), "null", {}, [(1, b"")]),
    "nested lists": lambda: container_file(nested(400), "null", {}, [(1, b"\x02" * 400)]),
    "deeper than JSON goes": lambda: container_file(nested(5000), "null", {}, [(1, b"\x02")]),
    "a long header": lambda: MAGIC + HUGE + HUGE + b"x" * 100,
    "a claim of snappy": lambda: container_file(LONG, "null", {}, [(1, CLAIM)]).replace(
        b"\x08null", b"\x0csnappy"
    ),
}  # fmt: skip


@pytest.mark.parametrize("bomb", list(BOMBS))
def test_bombs(bomb):
    """What is small and claims to be, or becomes, huge is an error, soon and in little memory."""

    def check(data):
        for _ in decode_records(parse_container(data, "bomb"), "bomb"):
            pass

    with pytest.raises(FormatError):
        within_bounds(check, BOMBS[bomb](), 300 << 20)


def test_a_compressed_metadata_file_that_becomes_huge(monkeypatch):
    monkeypatch.setattr("parquedb.formats.iceberg.wire.FILE_BYTES", 1 << 20)
    with pytest.raises(FormatError, match="more than 1048576 bytes"):
        parse_metadata(gzip.compress(bytes(2 << 20)), "bomb")


def test_what_is_compressed_is_read():
    plain = corpus.iceberg().get(NEWEST)
    half = len(plain) // 2
    members = gzip.compress(plain[:half]) + gzip.compress(plain[half:]) + bytes(16)
    assert parse_metadata(members, "x") == parse_metadata(plain, "x")


def test_a_checksum_of_snappy_that_is_wrong():
    data = with_codec(corpus.iceberg().get(FILES["list"]), "snappy")
    with pytest.raises(FormatError, match="checksum"):
        list(
            decode_records(
                parse_container(
                    data.replace(SYNC, b"x" + SYNC[1:])[:-17]
                    + bytes([data[-17] ^ 1])
                    + b"x"
                    + SYNC[1:],
                    "x",
                ),
                "x",
            )
        )


def test_bytes_of_a_position_delete_file():
    (key, *_) = corpus.keys(corpus.iceberg(), "-deletes.parquet")
    fuzz(reading(key), damaged([corpus.iceberg().get(key)]))
