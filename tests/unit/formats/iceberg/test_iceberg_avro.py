from __future__ import annotations

import io
import zlib

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.errors import FormatError, UnsupportedError
from parquedb.formats.iceberg.avro import (
    decode_records,
    encode_block,
    encode_bytes,
    encode_header,
    encode_long,
    parse_container,
)
from parquedb.formats.iceberg.avro_decode import compile_schema, read_long
from parquedb.formats.iceberg.avro_schemas import MANIFEST_LIST_SCHEMA, manifest_schema
from parquedb.formats.iceberg.entries import (
    PartitionColumn,
    decimal_size,
    encode_data_file,
    encode_decoded,
    encode_partition,
    partition_values,
    sanitize,
)
from parquedb.formats.iceberg.metrics import NO_METRICS
from parquedb.model.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    FixedType,
    FloatType,
    IntType,
    StringType,
    TimestampType,
    TimeType,
    UuidType,
)

SYNC = bytes(range(16))
COLUMNS = tuple(
    PartitionColumn(name, 1000 + position, type_)
    for position, (name, type_) in enumerate(
        [
            ("bool", BooleanType()),
            ("int", IntType(32)),
            ("long", IntType(64)),
            ("float", FloatType(32)),
            ("double", FloatType(64)),
            ("date", DateType()),
            ("time", TimeType()),
            ("ts", TimestampType("us", utc=False)),
            ("tstz", TimestampType("us", utc=True)),
            ("a.b-ü", StringType()),
            ("1st", StringType()),
            ("uuid", UuidType()),
            ("uuid2", UuidType()),
            ("fixed", FixedType(3)),
            ("bytes", BinaryType()),
            ("dec", DecimalType(9, 2)),
            ("dec2", DecimalType(9, 2)),
        ]
    )
)
VALUES = (
    True, -5, 2**40, 1.5, -2.25, 19000, 5, -1, 10**15, "x;ü", "", b"u" * 16, b"v" * 16, b"abc",
    b"\0", -12345, 99,
)  # fmt: skip
EMPTY_ENTRY = b"\x02\x02\x54\x02\x02\x02\x02"


def _file(schema: bytes, records: int, body: bytes, **meta: bytes) -> bytes:
    return encode_header(schema, meta, SYNC) + encode_block(records, body, SYNC)


def _manifest(partition: bytes, columns: tuple[PartitionColumn, ...]) -> bytes:
    data_file = encode_data_file("file:///x/ü.parquet", partition, 7, 1234, NO_METRICS)
    return _file(manifest_schema(columns), 1, EMPTY_ENTRY + data_file)


@given(st.integers(-(2**63), 2**63 - 1))
def test_longs_round_trip(value):
    assert read_long(encode_long(value), 0) == (value, len(encode_long(value)))


@given(st.integers(-(2**63), 2**63 - 1))
def test_longs_are_those_of_fastavro(value):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, {"type": "long"}, value)
    assert encode_long(value) == out.getvalue()


@pytest.mark.parametrize("values", [VALUES, (None,) * len(VALUES)], ids=["values", "nulls"])
def test_fastavro_reads_every_partition_type(values):
    raw = _manifest(encode_partition(COLUMNS, values), COLUMNS)
    (record,) = fastavro.reader(io.BytesIO(raw))
    assert record["data_file"]["file_path"] == "file:///x/ü.parquet"
    assert record["data_file"]["column_sizes"] == []
    assert len(record["data_file"]["partition"]) == len(COLUMNS)
    (ours,) = decode_records(parse_container(raw, "x"), "x")
    assert partition_values(COLUMNS, ours["data_file"]["partition"]) == values


def test_an_entry_decoded_and_encoded_again_is_the_same():
    partition = encode_partition(COLUMNS, VALUES)
    data_file = encode_data_file("file:///x/ü.parquet", partition, 7, 1234, NO_METRICS)
    (record,) = decode_records(parse_container(_manifest(partition, COLUMNS), "x"), "x")
    assert encode_decoded(COLUMNS, record["data_file"]) == data_file


@given(
    st.recursive(
        st.sampled_from(["null", "boolean", "int", "long", "double", "string", "bytes"]),
        lambda inner: (
            inner.map(lambda t: {"type": "array", "items": t})
            | inner.map(lambda t: {"type": "map", "values": t})
            | st.lists(inner, min_size=1, max_size=3).map(
                lambda ts: {
                    "type": "record",
                    "name": f"r{abs(hash(repr(ts)))}",
                    "fields": [{"name": f"m{i}", "type": t} for i, t in enumerate(ts)],
                }
            )
        ),
        max_leaves=6,
    ),
    st.integers(0, 2**32),
)
def test_records_are_decoded_as_fastavro_does(schema, seed):
    import json
    import random

    from fastavro.utils import generate_many

    record = {"type": "record", "name": "top", "fields": [{"name": "v", "type": schema}]}
    random.seed(seed)
    try:
        records = list(generate_many(record, 3))
        out = io.BytesIO()
        fastavro.writer(out, record, records, codec="deflate", sync_interval=1)
    except fastavro.schema.SchemaParseException:
        return  # the same record was drawn twice
    container = parse_container(out.getvalue(), "x")
    assert list(decode_records(container, "x")) == records
    assert compile_schema(json.dumps(record).encode())


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy", "zstandard"])
def test_codecs(codec):
    schema = {"type": "record", "name": "r", "fields": [{"name": "a", "type": "string"}]}
    rows = [{"a": "x" * 100 + str(i)} for i in range(50)]
    out = io.BytesIO()
    try:
        fastavro.writer(out, schema, rows, codec=codec)
        raw = out.getvalue()
    except ValueError:  # fastavro has no compressor for it here
        raw = _compressed(schema, rows, codec)
    assert list(decode_records(parse_container(raw, "x"), "x")) == rows


def _compressed(schema, rows, codec):
    import json

    import pyarrow as pa

    body = b"".join(encode_bytes(row["a"].encode()) for row in rows)
    name = {"zstandard": "zstd"}.get(codec, codec)
    data = pa.compress(body, codec=name, asbytes=True)
    if codec == "snappy":
        data += zlib.crc32(body).to_bytes(4, "big")
    header = encode_header(json.dumps(schema).encode(), {}, SYNC)
    header = header.replace(encode_bytes(b"null"), encode_bytes(codec.encode()))
    return header + encode_block(len(rows), data, SYNC)


def test_an_unknown_codec_is_refused():
    raw = _file(MANIFEST_LIST_SCHEMA, 1, b"x").replace(encode_bytes(b"null"), encode_bytes(b"lzma"))
    with pytest.raises(UnsupportedError, match="lzma"):
        list(decode_records(parse_container(raw, "x"), "x"))


def test_every_truncation_is_an_error():
    raw = _manifest(encode_partition(COLUMNS, VALUES), COLUMNS)
    whole = len(encode_header(manifest_schema(COLUMNS), {}, SYNC))
    for size in range(len(raw)):
        if size == whole:
            continue  # a file without a block is whole
        with pytest.raises(FormatError):
            list(decode_records(parse_container(raw[:size], "x"), "x"))


def test_every_flipped_byte_of_a_block_is_an_error_or_other_values():
    raw = _manifest(encode_partition(COLUMNS, VALUES), COLUMNS)
    start = len(encode_header(manifest_schema(COLUMNS), {}, SYNC))
    for at in range(start, len(raw)):
        broken = raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :]
        try:
            records = list(decode_records(parse_container(broken, "x"), "x"))
        except FormatError:
            continue
        assert records != list(decode_records(parse_container(raw, "x"), "x"))


def test_members_are_found_by_field_id():
    schema = MANIFEST_LIST_SCHEMA.replace(b'"added_files_count"', b'"added_data_files_count"')
    numbers = b"".join(map(encode_long, range(1, 13)))
    raw = _file(schema, 1, encode_bytes(b"m") + numbers + b"\x00\x00")
    (record,) = decode_records(parse_container(raw, "x"), "x")
    assert record["added_files_count"] == 7


def test_names_are_escaped_as_in_java():
    assert sanitize("a.b") == "a_x2Eb"
    assert sanitize("9x") == "_9x"
    assert sanitize("ok_1") == "ok_1"


@pytest.mark.parametrize("precision", range(1, 39))
def test_decimals_take_the_fewest_bytes(precision):
    size = decimal_size(precision)
    largest = 10**precision - 1
    assert largest.to_bytes(size, "big", signed=True)
    if size > 1:
        with pytest.raises(OverflowError):
            largest.to_bytes(size - 1, "big", signed=True)
