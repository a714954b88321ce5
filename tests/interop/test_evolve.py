"""Columns that change, in every format: every version reads right in every reader."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import SortField, SortOrder
from pyiceberg.transforms import BucketTransform, IdentityTransform
from pyiceberg.types import IntegerType, LongType, NestedField, StringType, StructType

from parquedb.ambient import SYSTEM
from parquedb.backends import create_backend, migrate_backend
from parquedb.catalog import FilesystemCatalog
from parquedb.errors import InvalidInputError, UnsupportedError
from parquedb.formats.dialects import DIALECTS
from parquedb.log.change import AddFile, SetDeletes, SetSchema
from parquedb.log.commit import Commit, Operation
from parquedb.maintain import evolve
from parquedb.maintain.evolve_rules import check_table
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.parquet.deletes import inline_vector
from parquedb.parquet.footer import read_footer
from parquedb.storage.local import LocalStore
from tests.support.evolving import (
    COLUMNS,
    DELTA,
    ICEBERG,
    READERS,
    SOURCES,
    Evolving,
    compare,
    some,
)
from tests.support.rows import assert_same_rows
from tests.support.spark import iceberg_catalog, read_delta_at, read_iceberg_at
from tests.support.targets import open_iceberg

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ADDRESS = COLUMNS.field("address").type
LINES = COLUMNS.field("lines").type


@pytest.fixture(autouse=True)
def _planner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")


def columns(table: Evolving, **changes: Any) -> list[tuple[str, Any]]:
    """Return the columns of a table with some types changed, dropped (None) or added."""
    kept = [
        (field.name, changes.get(field.name, field.type))
        for field in table.columns
        if changes.get(field.name, field.type) is not None
    ]
    known = table.columns.names
    return [*kept, *((name, type_) for name, type_ in changes.items() if name not in known)]


def struct(type_: pa.StructType, **changes: Any) -> pa.StructType:
    """Return a struct with some children changed or added."""
    names = [child.name for child in type_]
    new = [(child.name, changes.get(child.name, child.type)) for child in type_]
    return pa.struct([*new, *((n, t) for n, t in changes.items() if n not in names)])


def add(table: Evolving) -> None:
    done = table.backend.evolve_schema(
        "users",
        add_column=[
            {"name": "email", "type": "string", "nullable": True},
            {"name": "address.country", "type": pa.string()},
            {"name": "lines.element.price", "type": "decimal(9,2)"},
        ],
    )
    assert done.changed
    assert "email" in done.columns

    def change(row: dict[str, Any]) -> None:
        row["email"] = None
        if row["address"] is not None:
            row["address"]["country"] = None
        for line in row["lines"]:
            line["price"] = None

    table.changed(
        columns(
            table,
            address=struct(ADDRESS, country=pa.string()),
            lines=pa.list_(struct(LINES.value_type, price=pa.decimal128(9, 2))),
            email=pa.string(),
        ),
        change,
    )
    rows = some(20, 2)
    rows[0]["email"] = "a@example.com"
    rows[0]["address"]["country"] = "CH"
    rows[1]["email"] = None
    rows[1]["address"]["country"] = None
    for row in rows:
        for line in row["lines"]:
            line["price"] = Decimal("1.50")
    table.append(rows)


def rename(table: Evolving) -> None:
    files = len(table.backend.snapshot("users").files)
    done = table.backend.rename_column("users", "name", "title")
    copied = 0 if table.format == "iceberg" else files
    assert (done.footer, done.rewritten) == (copied, 0)

    def change(row: dict[str, Any]) -> None:
        row["title"] = row.pop("name")

    table.changed([("title" if n == "name" else n, t) for n, t in columns(table)], change)
    table.backend.rename_column("users", "address.city", "town")
    address = table.columns.field("address").type

    def change_city(row: dict[str, Any]) -> None:
        if row["address"] is not None:
            row["address"]["town"] = row["address"].pop("city")

    towns = pa.struct([("town" if c.name == "city" else c.name, c.type) for c in address])
    table.changed(columns(table, address=towns), change_city)
    row = dict(table.rows[-1], id=30, title="after")
    table.append([row])


def swap(table: Evolving) -> None:
    """Give a column the name that another one had before."""
    table.backend.rename_column("users", "score", "name")

    def change(row: dict[str, Any]) -> None:
        row["name"] = row.pop("score")

    table.changed([("name" if n == "score" else n, t) for n, t in columns(table)], change)
    table.append([dict(table.rows[-1], id=31, name=7.5)])


def drop(table: Evolving) -> None:
    name = table.reused
    table.backend.drop_column("users", name)
    table.changed(columns(table, **{name: None}), lambda row: row.pop(name))
    table.append([dict(table.rows[-1], id=40)])
    table.backend.drop_column("users", "lines.element.n")
    lines = table.columns.field("lines").type.value_type

    def change(row: dict[str, Any]) -> None:
        for line in row["lines"]:
            line.pop("n")

    kept = pa.list_(pa.struct([child for child in lines if child.name != "n"]))
    table.changed(columns(table, lines=kept), change)


def add_again(table: Evolving) -> None:
    """Add a column of a dropped one's name."""
    name = table.reused
    type_, value = (pa.string(), "new") if name == "name" else (pa.float32(), 0.5)
    table.backend.evolve_schema("users", add_column={"name": name, "type": type_})
    table.changed(columns(table, **{name: type_}), lambda row: row.update({name: None}))
    table.append([dict(table.rows[-1], id=50, **{name: value})])


def widen(table: Evolving) -> None:
    for name, type_, arrow in [
        ("visits", "int64", pa.int64()),
        ("paid", "decimal(18,2)", pa.decimal128(18, 2)),
        ("address.zip", "long", None),
    ]:
        done = table.backend.widen_column("users", name, type_)
        assert done.changed
        assert not table.backend.widen_column("users", name, type_).changed
        if arrow is None:
            address = struct(table.columns.field("address").type, zip=pa.int64())
            table.changed(columns(table, address=address), lambda _: None)
        else:
            table.changed(columns(table, **{name: arrow}), lambda _: None)
    table.append([dict(table.rows[-1], id=60, visits=2**40, paid=Decimal("1e12"))])


def arrange(table: Evolving) -> None:
    optional = {"make_optional": ["id"]}
    table.backend.evolve_schema("users", reorder=["email", "id"], **optional)
    table.changed(columns(table), lambda _: None)
    assert table.backend.snapshot("users").schema.names[:2] == ("email", "id")


STEPS = (add, rename, swap, drop, add_again, widen, arrange)


@pytest.mark.parametrize("source", SOURCES)
def test_all_versions_read_right_everywhere(source: str, tmp_path: Path) -> None:
    table = Evolving(tmp_path, source)
    table.make()
    for step in STEPS:
        step(table)
    table.check()


CARRIED = [
    ("native", "iceberg"),
    ("native", "delta"),
    ("pyiceberg", "delta"),
    ("pyiceberg", "native"),
    ("native to iceberg", "delta"),
    ("delta-rs", "iceberg"),
    ("delta-rs", "native"),
]


@pytest.mark.parametrize(("source", "to"), CARRIED)
def test_a_migration_carries_the_changes(source: str, to: str, tmp_path: Path) -> None:
    table = Evolving(tmp_path, source)
    table.make()
    steps = list(STEPS)
    if (source, to) == ("delta-rs", "iceberg"):  # see below
        steps.remove(swap)
        table.reused = "score"
    for step in steps:
        step(table)
    migrate_backend(storage=tmp_path, to=to, namespaces=["users"], allow_lossy=True)
    if to == "native":
        del table.versions[:-1]
    table.check(to)


def test_another_type_under_an_old_name_is_refused_where_names_are_all(tmp_path: Path) -> None:
    table = Evolving(tmp_path, "delta-rs")
    table.make()
    rename(table)
    swap(table)
    with pytest.raises(UnsupportedError, match="the type of column 'name' changes from string"):
        migrate_backend(storage=tmp_path, to="iceberg", namespaces=["users"])
    assert not (table.folder / "metadata").exists()


def test_files_without_ids_keep_their_columns(tmp_path: Path) -> None:
    """A name mapping tells what is what, whatever the columns are called later."""
    path = tmp_path / "data" / "users" / "data.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1, 2], "b": [3, 4], "c": [5, 6]}), path)
    migrate_backend(storage=tmp_path, to="iceberg", namespaces=["users"])
    backend = create_backend(type="iceberg", storage=tmp_path)
    backend.rename_column("users", "a", "x")
    backend.rename_column("users", "b", "a")
    backend.drop_column("users", "c")
    backend.evolve_schema("users", add_column={"name": "c", "type": "int"})
    backend.evolve_schema("users", add_column={"name": "b", "type": "int"})
    wanted: list[list[dict[str, Any]]] = [
        [{"a": 1, "b": 3, "c": 5}, {"a": 2, "b": 4, "c": 6}],
        [{"x": 1, "b": 3, "c": 5}, {"x": 2, "b": 4, "c": 6}],
        [{"x": 1, "a": 3, "c": 5}, {"x": 2, "a": 4, "c": 6}],
        [{"x": 1, "a": 3}, {"x": 2, "a": 4}],
        [{"x": 1, "a": 3, "c": None}, {"x": 2, "a": 4, "c": None}],
        [{"x": 1, "a": 3, "c": None, "b": None}, {"x": 2, "a": 4, "c": None, "b": None}],
    ]
    for version, rows in zip(backend.history("users"), wanted, strict=True):
        assert_same_rows(backend.to_arrow("users", version=version.version), rows)
        for name, read in ICEBERG.items():
            found = read(tmp_path / "users", version.version)
            compare(name, version.version, found, rows)


@pytest.mark.parametrize("format_", ["iceberg", "delta"])
def test_deleted_rows_stay_deleted(format_: str, tmp_path: Path) -> None:
    """Deletes are of positions, and copies keep these."""
    store = LocalStore(tmp_path)
    path = tmp_path / "users" / "data" / "a.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"n": pa.array(range(10), pa.int32()), "s": ["x"] * 10}), path)
    footer = read_footer(store, "users/data/a.parquet")
    file = DataFile(footer.key, footer.size_bytes, footer.rows, stats=footer.stats)
    deletes = (inline_vector([0, 3, 9]),)
    commits = [
        Commit(0, 1, Operation.APPEND, (SetSchema(footer.schema), AddFile(file))),
        Commit(1, 2, Operation.DELETE, (SetDeletes(file.path, deletes),)),
    ]
    writer = DIALECTS[Format(format_)].open_writer(store, "users", SYSTEM, None, None)
    writer.append(commits, expect=None)
    backend = create_backend(type=format_, storage=tmp_path)
    backend.rename_column("users", "n", "number")
    backend.widen_column("users", "number", "int64")
    backend.drop_column("users", "s")
    backend.evolve_schema("users", add_column={"name": "s", "type": "string"})
    kept = [1, 2, 4, 5, 6, 7, 8]
    wanted: list[list[dict[str, Any]]] = [
        [{"n": n, "s": "x"} for n in range(10)],
        [{"n": n, "s": "x"} for n in kept],
        [{"number": n, "s": "x"} for n in kept],
        [{"number": n, "s": "x"} for n in kept],
        [{"number": n} for n in kept],
        [{"number": n, "s": None} for n in kept],
    ]
    for version, rows in zip(backend.history("users"), wanted, strict=True):
        assert version.rows == len(rows)
        compare("ours", version.version, backend.to_arrow("users", version=version.version), rows)
        for name, read in READERS[format_].items():
            if name != "pyarrow":  # refuses vectors
                compare(name, version.version, read(tmp_path / "users", version.version), rows)


def test_a_partitioned_delta_table(tmp_path: Path) -> None:
    """Readers that take partition values from the path find them there."""
    folder = str(tmp_path / "users")
    rows: list[dict[str, Any]] = [{"country": c, "n": n} for n, c in enumerate(["CH", "a b", None])]
    write_deltalake(folder, pa.Table.from_pylist(rows), partition_by=["country"])
    backend = create_backend(type="delta", storage=tmp_path)
    with pytest.raises(InvalidInputError, match="partitioned by 'country'"):
        backend.drop_column("users", "country")
    done = backend.rename_column("users", "country", "land")
    assert (done.footer, done.rewritten) == (3, 0)
    write_deltalake(folder, pa.table({"land": ["FR"], "n": [3]}), mode="append")
    renamed = [{"land": row["country"], "n": row["n"]} for row in rows]
    grown = [*renamed, {"land": "FR", "n": 3}]
    for version, wanted in enumerate([rows, renamed, grown]):
        compare("ours", version, backend.to_arrow("users", version=version), wanted)
        for name, read in DELTA.items():
            compare(name, version, read(tmp_path / "users", version), wanted)
    found = pl.scan_delta(folder).filter(pl.col("land") == "a b").collect()
    assert found["n"].to_list() == [1]
    assert DeltaTable(folder).metadata().partition_columns == ["land"]


def test_a_partitioned_iceberg_table(tmp_path: Path) -> None:
    catalog = FilesystemCatalog("lake", warehouse=str(tmp_path))
    schema = Schema(
        NestedField(1, "k", IntegerType(), required=False),
        NestedField(2, "n", IntegerType(), required=False),
        NestedField(3, "v", StringType(), required=False),
    )
    spec = PartitionSpec(
        PartitionField(1, 1000, IdentityTransform(), "k"),
        PartitionField(2, 1001, BucketTransform(4), "n_bucket"),
    )
    columns = pa.schema([("k", pa.int32()), ("n", pa.int32()), ("v", pa.string())])
    rows = [{"k": i % 2, "n": i, "v": "x"} for i in range(6)]
    table = catalog.create_table("users", schema, partition_spec=spec)
    table.append(pa.Table.from_pylist(rows, columns))
    backend = create_backend(type="iceberg", storage=tmp_path)
    for name in ("k", "n"):
        with pytest.raises(InvalidInputError, match=f"partitioned by '{name}'"):
            backend.drop_column("users", name)
        backend.widen_column("users", name, "int64")
    with pytest.raises(InvalidInputError, match="name of a partition field"):
        backend.rename_column("users", "v", "n_bucket")
    backend.rename_column("users", "k", "key")
    new = [{"key": 1, "n": 2**40, "v": "y"}, {"key": 5, "n": 3, "v": "y"}]
    wide = pa.schema([("key", pa.int64()), ("n", pa.int64()), ("v", pa.string())])
    table = catalog.load_table("users")
    table.append(pa.Table.from_pylist(new, wide))
    wanted = [{"key": row["k"], "n": row["n"], "v": row["v"]} for row in rows] + new
    version = backend.history("users")[-1].version
    compare("ours", version, backend.to_arrow("users"), wanted)
    for name, read in ICEBERG.items():
        compare(name, version, read(tmp_path / "users", version), wanted)
    found = catalog.load_table("users").scan("key == 1 and n == 3").to_arrow()
    assert_same_rows(found, [row for row in wanted if (row["key"], row["n"]) == (1, 3)])


def test_what_an_iceberg_table_needs_stays(tmp_path: Path) -> None:
    catalog = FilesystemCatalog("lake", warehouse=str(tmp_path))
    inner = StructType(NestedField(5, "n", LongType(), required=True))
    columns = Schema(
        NestedField(1, "id", LongType(), required=True),
        NestedField(2, "at", LongType(), required=False),
        NestedField(3, "v", LongType(), required=False),
        NestedField(4, "s", inner, required=True),
        identifier_field_ids=[1, 5],
    )
    order = SortOrder(SortField(2, IdentityTransform()))
    catalog.create_table("users", columns, sort_order=order)
    backend = create_backend(type="iceberg", storage=tmp_path)
    with pytest.raises(InvalidInputError, match="identifies the rows"):
        backend.drop_column("users", "id")
    for name in ("id", "s", "s.n"):
        with pytest.raises(InvalidInputError, match="identifies the rows"):
            backend.evolve_schema("users", make_optional=name)
    with pytest.raises(InvalidInputError, match="sorted by 'at'"):
        backend.drop_column("users", "at")
    backend.rename_column("users", "id", "key")
    backend.drop_column("users", "v")
    backend.evolve_schema("users", add_column={"name": "w", "type": "int"})
    schema = catalog.load_table("users").schema()
    assert [(field.field_id, field.name) for field in schema.fields] == [
        (1, "key"),
        (2, "at"),
        (4, "s"),
        (6, "w"),
    ]
    assert schema.identifier_field_names() == {"key", "s.n"}
    assert catalog.load_table("users").metadata.last_column_id == 6


def test_comments_are_kept_by_both_table_formats(tmp_path: Path) -> None:
    for source, read in (("pyiceberg", _iceberg_doc), ("delta-rs", _delta_doc)):
        table = Evolving(tmp_path / source, source)
        table.make()
        table.backend.evolve_schema("users", set_doc={"name": "who it is"})
        assert read(table) == "who it is"
        table.backend.rename_column("users", "name", "title")
        table.backend.evolve_schema("users", set_doc={"title": None})
        assert read(table, "title") is None


def _iceberg_doc(table: Evolving, name: str = "name") -> str | None:
    return open_iceberg(table.folder).schema().find_field(name).doc


def _delta_doc(table: Evolving, name: str = "name") -> str | None:
    (field,) = [f for f in DeltaTable(table.folder).schema().fields if f.name == name]
    return field.metadata.get("comment")


def _meanwhile(monkeypatch: pytest.MonkeyPatch, meddle: Callable[[], None]) -> None:
    """Do something once between the reading of a table and the commit of a change."""
    left = [meddle]

    def check(*args: Any) -> None:
        check_table(*args)
        if left:
            left.pop()()

    monkeypatch.setattr(evolve, "check_table", check)


def test_columns_that_others_add_meanwhile_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Iceberg's columns may change without a snapshot: that is a conflict all the same."""
    table = Evolving(tmp_path, "pyiceberg")
    table.make()

    def add_theirs() -> None:
        catalog = FilesystemCatalog("lake", warehouse=str(tmp_path))
        with catalog.load_table("users").update_schema() as update:
            update.add_column("theirs", LongType())

    _meanwhile(monkeypatch, add_theirs)
    table.backend.drop_column("users", "score")
    names = open_iceberg(table.folder).schema().column_names
    assert "theirs" in names
    assert "score" not in names


@pytest.mark.parametrize("source", ["native", "pyiceberg", "delta-rs"])
def test_rows_that_others_add_meanwhile_stay(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Evolving(tmp_path, source)
    table.make()
    _meanwhile(monkeypatch, lambda: table.append(some(30, 2)))
    done = table.backend.rename_column("users", "name", "title")
    table.changed([], lambda row: row.update(title=row.pop("name")))
    table.check()
    files = sorted(file.path for file in table.backend.snapshot("users").files.values())
    lying = sorted(
        str(path.relative_to(tmp_path))
        for path in tmp_path.rglob("*.parquet")
        if re.fullmatch("[0-9a-f-]{36}", path.stem) or path.parent.name == "staged"
    )
    if source == "delta-rs":
        assert lying == files  # no copy that nothing refers to
        assert done.footer == 3
    if source == "native":
        assert lying == []


def test_copies_for_columns_that_changed_meanwhile_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Evolving(tmp_path, "delta-rs")
    table.make()
    theirs = {"name": "theirs", "type": "int"}
    _meanwhile(monkeypatch, lambda: table.backend.evolve_schema("users", add_column=theirs))
    table.backend.rename_column("users", "name", "title")
    snapshot = table.backend.snapshot("users")
    assert snapshot.schema.names[-1] == "theirs"
    assert {"title", "theirs"} < set(snapshot.schema.names)
    lying = {str(path.relative_to(tmp_path)) for path in table.folder.glob("data/*.parquet")}
    assert lying == set(snapshot.files)
    wanted = [{**row, "theirs": None, "title": row["name"]} for row in table.rows]
    for row in wanted:
        del row["name"]
    assert_same_rows(table.backend.to_arrow("users"), wanted)


@pytest.mark.spark
@pytest.mark.parametrize("source", ["pyiceberg", "delta-rs"])
def test_spark_reads_and_goes_on(source: str, tmp_path: Path, spark: SparkSession) -> None:
    """Spark reads versions, writes to the changed table, and changes it further."""
    table = Evolving(tmp_path, source)
    table.make()
    for step in STEPS:
        step(table)
    iceberg = table.format == "iceberg"
    name = f"delta.`{table.folder}`"
    if iceberg:
        name = f"{iceberg_catalog(spark, tmp_path)}.users"
    spark.sql(f"INSERT INTO {name} SELECT * FROM {name} WHERE id = 60")
    table.versions.append([*table.rows, *(row for row in table.rows if row["id"] == 60)])
    history = [v.version for v in table.backend.history("users")][-len(table.versions) :]
    pairs = list(zip(history, table.versions, strict=True))
    for version, rows in (*pairs[:-1:5], pairs[-1]):
        if iceberg:
            found = read_iceberg_at(spark, table.folder, snapshot_id=version)
        else:
            found = read_delta_at(spark, table.folder, version=version)
        compare("Spark", version, found, rows)
    spark.sql(f"ALTER TABLE {name} ADD COLUMN spark INT")
    table.backend.rename_column("users", "spark", "sparks")
    table.backend.widen_column("users", "sparks", "int64")
    spark.sql(f"UPDATE {name} SET sparks = {2**40} WHERE id = 1")
    wanted = [{**row, "sparks": 2**40 if row["id"] == 1 else None} for row in table.rows]
    compare("ours", 0, table.backend.to_arrow("users"), wanted)
    found = read_iceberg_at(spark, table.folder) if iceberg else read_delta_at(spark, table.folder)
    compare("Spark", 0, found, wanted)


def test_delta_structs_inside_lists_are_not_read_by_position(tmp_path):
    """delta-rs takes their fields in order where a file has others, but as many."""
    items = pa.list_(pa.struct([("a", pa.string()), ("b", pa.string())]))
    rows = [[{"a": "x", "b": "y"}], []]
    write_deltalake(tmp_path / "t", pa.table({"items": pa.array(rows, items)}))
    backend = create_backend(type="delta", storage=tmp_path)
    backend.drop_column("t", "items.element.a")
    backend.evolve_schema("t", add_column={"name": "items.element.c", "type": "string"})
    found = pa.table(DeltaTable(tmp_path / "t").scan()).to_pylist()
    assert found == [{"items": [{"b": "y", "c": None}]}, {"items": []}]
    old = pa.table(DeltaTable(tmp_path / "t", version=0).scan()).to_pylist()
    assert old == [{"items": row} for row in rows]


def test_delta_maps_do_not_hold_fields_that_were_dropped(tmp_path: Path) -> None:
    """delta-rs refuses a map whose structs have more fields in a file than in the table."""
    items = pa.map_(pa.string(), pa.struct([("a", pa.string()), ("b", pa.string())]))
    rows = [[("k", {"a": "x", "b": "y"})], []]
    write_deltalake(tmp_path / "t", pa.table({"id": [1, 2], "items": pa.array(rows, items)}))
    backend = create_backend(type="delta", storage=tmp_path)
    done = backend.drop_column("t", "items.value.a")
    assert done.rewritten == 1
    assert backend.history("t")[-1].version == 1
    wanted = [{"id": 1, "items": {"k": {"b": "y"}}}, {"id": 2, "items": {}}]
    for name, read in DELTA.items():
        compare(name, 1, read(tmp_path / "t", 1), wanted)
        old = [{"id": i, "items": dict(row)} for i, row in enumerate(rows, 1)]
        compare(name, 0, read(tmp_path / "t", 0), old)
    assert backend.drop_column("t", "items").rewritten == 0


@pytest.mark.parametrize("nested", [False, True])
def test_a_column_that_comes_back_in_delta_brings_no_values_back_into_iceberg(
    nested: bool, tmp_path: Path
) -> None:
    """Delta's copies are without the column; Iceberg's own files have it, by an id."""
    type_ = pa.struct([("a", pa.int64())]) if nested else pa.int64()
    old: list[Any] = [{"a": 1}, None] if nested else [1, 2]
    table = pa.table({"id": [1, 2], "l": pa.array(old, type_), "z": pa.array([1, 2], pa.int32())})
    catalog = FilesystemCatalog("lake", warehouse=str(tmp_path))
    catalog.create_table("users", table.schema).append(table)
    iceberg = create_backend(type="iceberg", storage=tmp_path)
    iceberg.drop_column("users", "l")
    iceberg.widen_column("users", "z", "int64")  # so that Delta gets files of its own
    migrate_backend(storage=tmp_path, to="delta", namespaces=["users"], verify="content")
    delta = create_backend(type="delta", storage=tmp_path)
    delta.evolve_schema("users", add_column={"name": "l", "type": type_})
    new = pa.table({"id": [3], "z": [3], "l": pa.array(old[:1], type_)})
    for _ in range(2):
        migrate_backend(
            storage=tmp_path, to="iceberg", from_="delta", namespaces=["users"], verify="content"
        )
        rows: list[dict[str, Any]] = [{"id": i, "z": i, "l": None} for i in (1, 2)]
        history = [version.version for version in iceberg.history("users")]
        for name, read in ICEBERG.items():
            compare(name, history[3], read(tmp_path / "users", history[3]), rows)
            compare(name, history[0], read(tmp_path / "users", history[0]), table.to_pylist())
        write_deltalake(str(tmp_path / "users"), new, mode="append")
        DeltaTable(tmp_path / "users").delete("id = 1")
    delta.check("users")
    assert iceberg.check("users", deep=True).healthy
