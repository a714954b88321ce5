"""Copies with another footer: names and ids change, and no value, index or filter does."""

import base64
import contextlib
import tracemalloc
from dataclasses import replace
from functools import partial

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.errors import FormatError, UnsupportedError
from parquedb.model.schema import Identity, Schema
from parquedb.model.types import Field, IntType, ListType, MapType, StringType, StructType
from parquedb.parquet.elements import Element, leaf_paths, read_elements
from parquedb.parquet.footer import read_footer
from parquedb.parquet.labels import has_names_of, with_names_of
from parquedb.parquet.match import stranger_id
from parquedb.parquet.rewrite import FooterCopy, copy_relabelled, copy_with_ids, relabel_footer
from parquedb.storage.local import LocalStore
from parquedb.storage.memory import MemoryStore

ROWS = 5_000


def field(id_, name, type_=None, **options):
    return Field(id_, name, type_ or IntType(64), **options)


def struct(*fields):
    return StructType(tuple(fields))


def schema(*fields):
    return Schema(fields, Identity.BY_ID)


def with_ids(one, ids):
    """Give an Arrow field and what is below it the next ids."""
    metadata = {"PARQUET:field_id": str(next(ids))}
    kind = one.type
    if pa.types.is_struct(kind):
        kind = pa.struct([with_ids(inner, ids) for inner in kind])
    elif pa.types.is_list(kind):
        kind = pa.list_(with_ids(kind.value_field, ids))
    elif pa.types.is_map(kind):
        kind = pa.map_(with_ids(kind.key_field, ids), with_ids(kind.item_field, ids))
    return pa.field(one.name, kind, one.nullable, metadata)


def deep(rows=ROWS):
    point = pa.struct([("x", pa.int64()), ("y", pa.string())])
    columns = {
        "id": pa.array(range(rows), pa.int64()),
        "word": pa.array([f"w{i % 50}" for i in range(rows)]),
        "at": pa.array([{"x": i, "y": f"y{i % 9}"} if i % 7 else None for i in range(rows)], point),
        "many": pa.array([[{"x": i, "y": None}] * (i % 3) for i in range(rows)], pa.list_(point)),
        "by": pa.array(
            [[(f"k{i % 4}", {"x": i, "y": "v"})] if i % 5 else None for i in range(rows)],
            pa.map_(pa.string(), point),
        ),
    }
    table = pa.table(columns)
    ids = iter(range(1, 100))
    return table.cast(pa.schema([with_ids(one, ids) for one in table.schema]))


DEEP = schema(
    field(1, "id"),
    field(2, "word", StringType()),
    field(3, "at", struct(field(4, "x"), field(5, "y", StringType()))),
    field(
        6, "many", ListType(field(7, "element", struct(field(8, "x"), field(9, "y", StringType()))))
    ),
    field(
        10,
        "by",
        MapType(
            field(11, "key", StringType(), required=True),
            field(12, "value", struct(field(13, "x"), field(14, "y", StringType()))),
        ),
    ),
)  # fmt: skip
RENAMED = schema(
    field(1, "key"),
    field(2, "wörd 'two'.\"%\"", StringType()),
    field(3, "place", struct(field(4, "y"), field(5, "x", StringType()))),
    field(
        6, "lots", ListType(field(7, "element", struct(field(8, "X"), field(9, "w", StringType()))))
    ),
    field(
        10,
        "map",
        MapType(
            field(11, "key", StringType(), required=True),
            field(12, "value", struct(field(13, "left"), field(14, "right", StringType()))),
        ),
    ),
)  # fmt: skip


def renamed_rows(rows):
    def point(value, x, y):
        return None if value is None else {x: value["x"], y: value["y"]}

    return [
        {
            "key": row["id"],
            "wörd 'two'.\"%\"": row["word"],
            "place": point(row["at"], "y", "x"),
            "lots": [point(one, "X", "w") for one in row["many"]],
            "map": None
            if row["by"] is None
            else [(key, point(value, "left", "right")) for key, value in row["by"]],
        }
        for row in rows
    ]


def copy(store, target, wanted, source="a.parquet"):
    relabel = partial(with_names_of, schema=wanted)
    (size_bytes,) = copy_relabelled(store, [FooterCopy(source, target, relabel)])
    info = store.head(target)
    assert info is not None
    assert info.size_bytes == size_bytes
    return read_elements(store, target)


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path, durable=False)


WRITERS = {
    "plain": {"use_dictionary": False, "compression": "none"},
    "dictionaries": {"use_dictionary": True, "compression": "snappy"},
    "pages-v2": {"data_page_version": "2.0", "compression": "zstd", "data_page_size": 512},
    "delta": {
        "use_dictionary": False,
        "column_encoding": {
            "id": "DELTA_BINARY_PACKED",
            "word": "DELTA_BYTE_ARRAY",
            "at.x": "DELTA_BINARY_PACKED",
            "at.y": "DELTA_LENGTH_BYTE_ARRAY",
        },
    },
    "indexed": {"write_page_index": True, "data_page_size": 512, "write_page_checksum": True},
    "sorted": {
        "sorting_columns": [pq.SortingColumn(0)],
        "store_schema": False,
        "write_page_index": True,
    },
}


@pytest.mark.parametrize("writer", WRITERS)
def test_readers_find_the_same_values_under_new_names(store, tmp_path, writer):
    table = deep()
    path, target = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pq.write_table(table, path, row_group_size=1_200, **WRITERS[writer])
    root = copy(store, "b.parquet", RENAMED)
    wanted = renamed_rows(table.to_pylist())
    assert pq.read_table(target).to_pylist() == wanted
    before, after = pq.ParquetFile(path).metadata, pq.ParquetFile(target).metadata
    assert after.num_row_groups == before.num_row_groups == 5
    for group in range(5):
        for number in range(before.num_columns):
            old = before.row_group(group).column(number).to_dict()
            new = after.row_group(group).column(number).to_dict()
            assert new.pop("path_in_schema") != old.pop("path_in_schema")
            assert new == old
            indexed = "write_page_index" in WRITERS[writer]
            assert after.row_group(group).column(number).has_column_index is indexed
            assert after.row_group(group).column(number).has_offset_index is indexed
        assert after.row_group(group).sorting_columns == before.row_group(group).sorting_columns
    assert [one.name for one in root.children] == list(RENAMED.names)
    columns = ["key", "place", "lots"]
    by_duck = duckdb.sql(f"SELECT {', '.join(columns)} FROM '{target}' ORDER BY key")
    assert by_duck.to_arrow_table().to_pylist() == [
        {name: row[name] for name in columns} for row in wanted
    ]
    by_polars = pl.scan_parquet(target).select(columns).sort("key").collect()
    assert by_polars.to_dicts() == [{name: row[name] for name in columns} for row in wanted]
    # statistics and page indexes prune
    for low in (17, 4_321):
        found = pq.read_table(target, filters=[("key", "=", low)])
        assert found.to_pylist() == wanted[low : low + 1]
        polars = pl.scan_parquet(target).filter(pl.col("key") == low).select(columns).collect()
        assert polars.to_dicts() == [{name: wanted[low][name] for name in columns}]


def test_bloom_filters_stay_valid(store, tmp_path):
    words = [f"word {i * 7919 % 100}" for i in range(20_000)]
    source = pa.table({"w": pa.array(words), "n": pa.array(range(20_000), pa.int64())})
    target = tmp_path / "b.parquet"
    with duckdb.connect() as connection:
        connection.register("source", source)
        connection.sql(f"COPY source TO '{tmp_path}/a.parquet' (ROW_GROUP_SIZE 4096)")
    copy(store, "b.parquet", schema(field(1, "n"), field(2, "w")), "a.parquet")  # nothing changes
    swapped = Schema(
        (field(1, "n", StringType()), field(2, "w")), Identity.BY_ID, (), ((1, ("w",)), (2, ("n",)))
    )
    root = copy(store, "b.parquet", swapped)
    assert [(one.name, one.id) for one in root.children] == [("n", 1), ("w", 2)]
    filters = duckdb.sql(
        f"SELECT path_in_schema, bloom_filter_offset FROM parquet_metadata('{target}')"
    ).fetchall()
    assert {name for name, offset in filters if offset} == {"n"}
    for word in ("word 1", "word 99", "no such word"):
        probed = duckdb.sql(
            f"SELECT * FROM parquet_bloom_probe('{target}', 'n', '{word}')"
        ).fetchall()
        assert len(probed) == 5
        assert all(excluded for *_, excluded in probed) == (word not in words)
        found = duckdb.sql(f"SELECT w FROM '{target}' WHERE n = '{word}' ORDER BY w").fetchall()
        assert found == [(i,) for i, one in enumerate(words) if one == word]


def test_columns_that_are_gone_get_names_that_nothing_asks_for(store, tmp_path):
    pq.write_table(deep(9), tmp_path / "a.parquet")
    kept = schema(
        field(21, "word"),  # another column of an old name
        field(3, "at", struct(field(22, "X"))),
        field(1, "__dropped_2_WORD"),
    )
    assert not has_names_of(read_elements(store, "a.parquet"), kept)
    root = copy(store, "b.parquet", kept)
    paths = [".".join(path) for path in leaf_paths(root)]
    assert paths[:4] == [
        "__dropped_2_WORD",
        "__dropped_2_word_",
        "at.__dropped_4_x",
        "at.__dropped_5_y",
    ]
    assert [one.name for one in root.children[3:]] == ["__dropped_6_many", "__dropped_10_by"]
    assert [one.id for one in root.children] == [1, 2, 3, 6, 10]
    assert has_names_of(root, kept)
    assert with_names_of(root, kept) == root
    again = copy(store, "c.parquet", DEEP, "b.parquet")
    assert again == read_elements(store, "a.parquet")
    assert pq.read_table(tmp_path / "c.parquet").to_pylist() == deep(9).to_pylist()


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (DEEP, True),
        (schema(), True),
        (schema(field(1, "id"), field(30, "new")), True),
        (schema(field(1, "ID")), False),
        (schema(field(30, "Word")), False),
        (schema(field(3, "at", struct(field(4, "x"))), field(30, "y")), True),
        (schema(field(3, "at", struct(field(4, "x"), field(30, "y")))), False),
        (schema(field(6, "many", ListType(field(7, "e", struct(field(8, "x2")))))), False),
        (schema(field(6, "many", ListType(field(7, "e", struct(field(8, "x")))))), True),
        (schema(*DEEP.fields[:4], replace(RENAMED.fields[4], name="by")), False),
        (Schema(DEEP.fields, Identity.BY_NAME), True),
        (Schema((field(1, "word", StringType()),), Identity.BY_NAME), True),
    ],
)
def test_names_fit_or_not(store, tmp_path, wanted, fits):
    pq.write_table(deep(9), tmp_path / "a.parquet")
    assert has_names_of(read_elements(store, "a.parquet"), wanted) is fits


def test_ids_by_name_or_alias(store, tmp_path):
    pq.write_table(pa.table({"a": [1], "b": ["x"], "c": [2.0]}), tmp_path / "a.parquet")
    aliased = replace(schema(field(7, "first"), field(8, "b")), aliases=((7, ("a", "old")),))
    copy_with_ids(store, [("a.parquet", "b.parquet")], aliased, {7: 70})
    root = read_elements(store, "b.parquet")
    strange = {name: stranger_id(name) for name in "abc"}  # no table's own
    assert [(one.name, one.id) for one in root.children] == [
        ("a", 70), ("b", 8), ("c", strange["c"]),
    ]  # fmt: skip
    by_name = replace(schema(field(3, "c")), file_ids=False)
    copy_with_ids(store, [("b.parquet", "c.parquet")], by_name)
    root = read_elements(store, "c.parquet")
    assert [(one.name, one.id) for one in root.children] == [
        ("a", strange["a"]), ("b", strange["b"]), ("c", 3),
    ]  # fmt: skip
    both = replace(schema(field(7, "z")), aliases=((7, ("a", "b")),))
    with pytest.raises(FormatError, match="2 columns"):
        copy(store, "d.parquet", both)
    assert not (tmp_path / "d.parquet").exists()


def node(name, *children, repetition=1, id_=None):
    """Make an element: 0 required, 1 optional, 2 repeated."""
    shape = bytes([0x35, repetition * 2])  # field 3, i32, zigzag
    if children:
        shape += bytes([0x25, len(children) * 2])
    return Element(name, id_, shape + b"\0", children)


def old_lists():
    x, y = node("x", id_=8), node("y", id_=9)
    return {
        "element": node("many", node("list", node("element", x, y), repetition=2), id_=6),
        "bag": node("many", node("bag", node("array_element", x, y), repetition=2), id_=6),
        "array": node("many", node("array", x, y, repetition=2), id_=6),
        "tuple": node("many", node("many_tuple", x, y, repetition=2), id_=6),
        "two": node("many", node("list", x, y, repetition=2), id_=6),
        "bare": node("many", x, y, repetition=2, id_=6),
    }


@pytest.mark.parametrize("kind", old_lists())
def test_all_ways_to_write_a_list(kind):
    root = node("root", old_lists()[kind])
    wanted = schema(RENAMED.fields[3])
    after = with_names_of(root, wanted)
    leaves = [path[-1] for path in leaf_paths(after)]
    assert leaves == ["X", "w"]
    assert after.children[0].name == "lots"
    assert after.children[0].id == 6
    assert has_names_of(after, wanted)
    assert not has_names_of(root, wanted)


def test_a_list_of_one_field_structs_of_old():
    one = node("many", node("many_tuple", node("x", id_=8), repetition=2), id_=6)
    wanted = schema(field(6, "m", ListType(field(7, "element", struct(field(8, "z"))))))
    after = with_names_of(node("root", one), wanted)
    assert list(leaf_paths(after)) == [("m", "m_tuple", "z")]
    assert has_names_of(after, wanted)


def test_a_list_that_gets_a_name_of_which_an_old_rule_makes_more():
    element = node("element", node("x", id_=8), id_=7)
    one = node("many", node("m_tuple", element, repetition=2), id_=6)
    wanted = schema(field(6, "m", ListType(field(7, "element", struct(field(8, "z"))))))
    after = with_names_of(node("root", one), wanted)
    assert list(leaf_paths(after)) == [("m", "list", "element", "z")]
    assert has_names_of(after, wanted)


def test_files_of_any_size_in_bounded_memory(tmp_path):
    numbers = pa.array(range(1_000_000), pa.int64())
    table = pa.table({"a": numbers, "b": numbers, "c": numbers})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False, compression="none")
    wanted = replace(schema(field(1, "z")), aliases=((1, ("a",)),))
    for durable in (False, True):
        store = LocalStore(tmp_path, durable=durable)
        tracemalloc.start()
        copy(store, "b.parquet", wanted)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 << 20 < (tmp_path / "a.parquet").stat().st_size // 5
        found = pq.read_table(tmp_path / "b.parquet")
        assert found.column_names == ["z", "__dropped_b", "__dropped_c"]
        assert found.rename_columns(["a", "b", "c"]) == table


def test_stores_without_files_stream_too(tmp_path):
    numbers = pa.array(range(1_000_000), pa.int64())
    pq.write_table(pa.table({"a": numbers}), tmp_path / "a.parquet", compression="none")
    store = MemoryStore()
    with store.open_create("a.parquet") as out:
        out.write((tmp_path / "a.parquet").read_bytes())
    wanted = replace(schema(field(1, "z")), aliases=((1, ("a",)),))
    copy(store, "b.parquet", wanted)
    copy(store, "b.parquet", wanted)  # again, as after a crash
    assert pq.read_table(pa.BufferReader(store.get("b.parquet")))["z"].combine_chunks() == numbers


def test_key_values_stay_and_embedded_schemas_go(store, tmp_path):
    table = pa.table({"a": [1]}).replace_schema_metadata(
        {
            "mine": "ü",
            "org.apache.spark.sql.parquet.row.metadata": "{}",
            "iceberg.schema": base64.b64encode(b"x").decode(),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    copy_with_ids(store, [("a.parquet", "b.parquet")], schema(field(1, "a")))
    assert set(pq.read_metadata(tmp_path / "b.parquet").metadata) == {
        b"mine",
        b"org.apache.spark.sql.parquet.row.metadata",
        b"iceberg.schema",
    }
    copy(store, "c.parquet", replace(schema(field(1, "z")), aliases=((1, ("a",)),)))
    assert read_footer(store, "c.parquet").key_values == {"mine": "ü"}


def encrypted(path, *, readable_footer):
    import pyarrow.parquet.encryption as pe

    class Keys(pe.KmsClient):
        def wrap_key(self, key_bytes, master_key_identifier):
            return base64.b64encode(key_bytes)

        def unwrap_key(self, wrapped_key, master_key_identifier):
            return base64.b64decode(wrapped_key)

    settings = pe.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["a"]}, plaintext_footer=readable_footer
    )
    factory = pe.CryptoFactory(lambda _: Keys())
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), settings)
    table = pa.table({"a": [1], "b": [2]})
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("readable_footer", [False, True])
def test_encrypted_files_are_refused(store, tmp_path, readable_footer):
    encrypted(tmp_path / "a.parquet", readable_footer=readable_footer)
    with pytest.raises(UnsupportedError, match="encrypted"):
        copy(store, "b.parquet", schema(field(1, "z")))
    assert not (tmp_path / "b.parquet").exists()


def footer_of(path):
    data = path.read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    return data[-8 - length : -8]


def test_pages_in_other_files_are_refused(store, tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    metadata.set_file_path("other.parquet")
    metadata.write_metadata_file(tmp_path / "_metadata")
    wanted = replace(schema(field(1, "z")), aliases=((1, ("a",)),))
    with pytest.raises(UnsupportedError, match="pages lie in other files"):
        relabel_footer(
            "_metadata", footer_of(tmp_path / "_metadata"), partial(with_names_of, schema=wanted)
        )


def test_damaged_footers(tmp_path):
    pq.write_table(deep(9), tmp_path / "a.parquet")
    footer = footer_of(tmp_path / "a.parquet")
    relabel = partial(with_names_of, schema=RENAMED)
    whole = relabel_footer("a", footer, relabel)
    for cut in range(0, len(footer) - 1, 29):
        with pytest.raises(FormatError, match="'a' is not a readable Parquet file"):
            relabel_footer("a", footer[:cut], relabel)
    for at in range(0, len(footer), 7):
        for value in (0, 0xFF, footer[at] ^ 1):
            broken = footer[:at] + bytes([value]) + footer[at + 1 :]
            with contextlib.suppress(FormatError, UnsupportedError):
                assert relabel_footer("a", broken, relabel)
    assert relabel_footer("a", whole, partial(with_names_of, schema=DEEP)) == whole_again(footer)


def whole_again(footer):
    return relabel_footer("a", footer, lambda root: root)
