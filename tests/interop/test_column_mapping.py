"""Delta tables with column mapping become Iceberg tables and native files, version by version."""

from __future__ import annotations

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyiceberg.expressions import EqualTo

from parquedb.backends import create_backend, migrate_backend
from parquedb.db import DB
from parquedb.errors import FormatError, UnsupportedError
from tests.golden.compare import ICEBERG, iceberg_line, native_rows, with_note
from tests.interop.test_migration import fingerprints
from tests.support import duck
from tests.support.mapped import ArrayOf, Col, MapOf, MappedTable
from tests.support.rows import assert_same_rows
from tests.support.targets import metadata_file, open_iceberg

FEATURES = {
    "minReaderVersion": 3,
    "minWriterVersion": 7,
    "readerFeatures": ["columnMapping"],
    "writerFeatures": ["columnMapping", "appendOnly", "invariants"],
}
LEGACY = {"minReaderVersion": 2, "minWriterVersion": 5}
ID = Col("id", "long", 1, "col-1")
NAME = Col("name", "string", 2, "col-2")
AGE = Col("age", "long", 3, "col-3")
READERS = ("pyiceberg", "duckdb", "polars")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")  # the other one is not installed
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def migrate(root, **options):
    return migrate_backend(storage=root, **options).namespaces["users"]


def assert_iceberg(root, table, readers=READERS, known=None):
    """Every version reads the same in the Iceberg table, in other readers and in ours."""
    known = known or table.known
    line = iceberg_line(root / "users")
    assert [at for _, at in line] == [one.at_ms for one in known]
    ours = create_backend(type="iceberg", storage=root)
    for (snapshot, _), one in zip(line, known, strict=True):
        for name in readers:
            found = ICEBERG[name](root / "users", snapshot)
            with_note(f"{name} at {one.version}", found, one.rows)
        with_note(f"ours at {one.version}", ours.to_arrow("users", version=snapshot), one.rows)


def assert_all(root, table, *, readers=READERS, means=None):
    """Read it as Delta, migrate it to Iceberg and to a native file, and read these."""
    ours = create_backend(type="delta", storage=root)
    for one in table.known:
        found = ours.to_arrow("users", version=one.version)
        with_note(f"Delta at {one.version}", found, one.rows)
        assert not one.rows or list(found.schema.names) == list(one.rows[0])
    before = fingerprints(root)
    done = migrate(root, to="iceberg", verify="content")
    assert before.items() <= fingerprints(root).items()
    if means is not None:
        assert {key.value: count for key, count in done.files.items() if count} == means
    assert_iceberg(root, table, readers)
    assert migrate(root, to="iceberg").action == "skipped"
    migrate(root, from_="delta", to="native", allow_lossy=True, verify="content")
    for name, rows in native_rows(root / "data" / "users" / "data.parquet"):
        with_note(name, rows, table.known[-1].rows)


ADDRESS = Col("address", (Col("city", "string", 5, "col-5"), Col("zip", "long", 6, "col-6")), 4,
              "col-4")  # fmt: skip


def evolve(table, *, ids=True):
    """Rename, drop, add again and swap columns, at the top and in a struct; write in between."""
    id_, name, age, address = table.columns
    table.add(
        {"id": 1, "name": "a", "age": 10, "address": {"city": "Bern", "zip": 3000}},
        {"id": 2, "name": None, "age": None, "address": None},
        ids=ids,
    )
    title, town = replace(name, name="title"), replace(address.type[0], name="town")
    table.alter((id_, title, age, replace(address, type=(town, address.type[1]))), mode="name")
    gone = table.add({"id": 3, "title": "c", "age": 30, "address": {"town": "Chur", "zip": 7000}})
    table.alter((id_, title, replace(address, type=(town,))))
    age, name = Col("age", "string", 20, "col-20"), Col("name", "long", 21, "col-21")
    address = replace(address, type=(town, Col("zip", "string", 22, "col-22")))
    table.alter((age, id_, title, address, name))
    table.add({"id": 4, "title": "d", "age": "old", "name": 9, "address": {"zip": "CH-1"}})
    table.alter((age, replace(id_, name="title"), replace(title, name="id"), address, name))
    table.add({"title": 5, "id": "e", "age": None, "name": 10, "address": {"town": "Genf"}})
    table.remove(gone)


@pytest.mark.parametrize("protocol", [LEGACY, FEATURES], ids=["legacy", "features"])
def test_renames_drops_and_the_same_name_again(root, protocol):
    table = MappedTable(root / "users", (ID, NAME, AGE, ADDRESS), protocol=protocol)
    evolve(table)
    assert_all(root, table, means={"linked": 4})


def test_mapping_is_switched_on_in_mid_history(root):
    """Old files have no ids; their names are the physical ones, one of which is used again."""
    plain = tuple(replace(c, physical="") for c in (ID, NAME, AGE))
    table = MappedTable(root / "users", (*plain, Col("lost", "string", 99)), None,
                        protocol={"minReaderVersion": 1, "minWriterVersion": 2})  # fmt: skip
    table.add({"id": 0, "name": "z", "age": 5, "lost": "before"}, ids=False)
    table.alter((*plain,))  # as overwriteSchema can
    table.add({"id": 1, "name": "a", "age": 10}, ids=False)
    table.alter(plain, mode="name", protocol=FEATURES)
    id_, name, age = plain
    table.add({"id": 2, "name": "b", "age": 20})
    name, age = replace(name, name="age", physical="name"), replace(age, name="x", physical="age")
    table.alter((id_, name, age))
    table.add({"id": 3, "age": "c", "x": 30})
    again = Col("name", "long", 4, "col-4")
    table.alter((id_, name, again))  # the physical name "age" is retired
    table.add({"id": 4, "age": "d", "name": 40})
    table.alter((id_, name, again, Col("lost", "string", 5, "col-5")))
    table.add({"id": 5, "age": "e", "name": 50, "lost": "found"})
    assert_all(root, table, means={"linked": 6})
    mapping = json.loads(open_iceberg(root / "users").properties["schema.name-mapping.default"])
    names = {entry["field-id"]: entry["names"] for entry in mapping}
    (lost,) = (names.pop(id_) for id_ in list(names) if id_ > 1000)
    assert lost == ["lost"]
    assert names == {1: ["id"], 2: ["name"], 3: ["age"], 4: ["col-4"], 5: ["col-5"]}


def test_nested_columns_of_a_table_that_was_upgraded(root):
    """Structs without ids are null in some readers, so these files get ids in their footers."""
    plain = replace(ADDRESS, physical="address", type=tuple(
        replace(c, physical=c.name) for c in ADDRESS.type))  # fmt: skip
    columns = (*(replace(c, physical=c.name) for c in (ID, NAME, AGE)), plain)
    table = MappedTable(root / "users", columns, None)
    evolve(table, ids=False)
    assert_all(root, table, means={"footer": 1, "linked": 3})


@pytest.mark.parametrize("mode", ["name", "id"])
@pytest.mark.parametrize("told", [False, True], ids=["no nested ids", "nested ids"])
def test_lists_and_maps(root, mode, told):
    """Only writers of icebergCompatV2 give their insides ids; other files get them."""
    ids = [
        {"col-2.element": 102}, {"col-3.key": 103, "col-3.value": 104, "col-3.value.element": 105}
    ] if told else [{}, {}]  # fmt: skip
    inner = (Col("x", "long", 5, "col-5"), Col("y", "string", 6, "col-6"))
    items = Col("items", ArrayOf(inner), 2, "col-2", ids[0])
    groups = Col("groups", MapOf(ArrayOf("long")), 3, "col-3", ids[1])
    properties = {"delta.enableIcebergCompatV2": "true"} if told else {}
    protocol = {**FEATURES, "writerFeatures": [*FEATURES["writerFeatures"], "icebergCompatV2"]}
    table = MappedTable(root / "users", (ID, items, groups), mode,
                        protocol=protocol, properties=properties)  # fmt: skip
    table.add({"id": 1, "items": [{"x": 1, "y": "a"}, {"x": 2}], "groups": {"k": [1, 2], "l": []}})
    swapped = (replace(inner[0], name="y"), replace(inner[1], name="x"))
    table.alter((ID, replace(items, name="things", type=ArrayOf(swapped)), groups))
    table.add({"id": 2, "things": [{"y": 3, "x": "b"}], "groups": {}})
    table.alter((ID, replace(items, name="things", type=ArrayOf(swapped[:1]))))
    added = (swapped[0], Col("x", "long", 7, "col-7"))
    table.alter((ID, replace(items, name="things", type=ArrayOf(added))))
    table.add({"id": 3, "things": [{"y": 4, "x": 5}]})
    assert_all(root, table, means={"linked" if told else "footer": 3})


def test_partition_columns_are_renamed(root):
    """Partition values are recorded under physical names; the columns are in no file."""
    kind, level = Col("kind", "string", 2, "col-2"), Col("level", "integer", 3, "col-3")
    table = MappedTable(root / "users", (ID, kind, level), partitioned_by=("kind", "level"))
    table.add({"id": 1, "kind": "a b", "level": 1})
    table.add({"id": 2, "kind": None, "level": 2})
    kind, level = replace(kind, name="level"), replace(level, name="kind")
    table.alter((ID, kind, level), partitioned_by=("level", "kind"))
    table.add({"id": 3, "level": "x=1", "kind": None})
    kind, level = replace(kind, name="sort"), replace(level, name="rank")
    table.alter(
        (ID, kind, level, Col("kind", "string", 4, "col-4")), partitioned_by=("sort", "rank")
    )
    table.add({"id": 4, "sort": "c", "rank": 4, "kind": "new"})
    assert_all(root, table, means={"linked": 4})
    users = open_iceberg(root / "users")
    ids = {field.name: field.field_id for field in users.schema().fields}
    for spec in users.specs().values():  # Java refuses names of other columns
        assert all(ids.get(field.name, field.source_id) == field.source_id for field in spec.fields)
    scan = users.scan(row_filter=EqualTo("sort", "x=1"))
    assert scan.to_arrow()["id"].to_pylist() == [3]
    assert len(list(scan.plan_files())) == 1


def test_statistics_are_of_the_right_columns(root):
    table = MappedTable(root / "users", (ID, NAME, AGE))
    for number in range(4):
        table.add({"id": number, "name": f"n{number}", "age": 100 + number})
    table.alter((replace(AGE, name="id"), NAME, replace(ID, name="age")))
    table.add({"id": 200, "name": "last", "age": 50})
    migrate(root, to="iceberg")
    users = open_iceberg(root / "users")
    for column, value, wanted in (("id", 102, "n2"), ("age", 3, "n3"), ("id", 200, "last")):
        scan = users.scan(row_filter=EqualTo(column, value))
        assert scan.to_arrow()["name"].to_pylist() == [wanted]
        assert len(list(scan.plan_files())) == 1
    found = duck.query(
        f"SELECT name FROM iceberg_scan('{metadata_file(root / 'users')}') WHERE id = 101"
    )
    assert found == [{"name": "n1"}]


def test_by_id_where_files_have_names_of_their_own(root):
    """As tables converted from Iceberg have: only the ids tell which column is which."""
    table = MappedTable(root / "users", (ID, NAME, AGE), "id")
    table.add({"id": 1, "name": "a", "age": 10}, names={1: "id", 2: "old name", 3: "age"})
    table.add({"id": 2, "name": "b", "age": 20}, names={1: "age", 2: "x", 3: "id"})
    table.alter((ID, replace(NAME, name="title"), AGE))
    table.add({"id": 3, "title": "c", "age": 30})
    assert_all(root, table, means={"linked": 3})


def test_by_id_with_lists_in_files_with_names_of_their_own(root):
    tags = Col("tags", ArrayOf((Col("v", "long", 5, "col-5"),)), 4, "col-4")
    table = MappedTable(root / "users", (ID, tags), "id")
    table.add({"id": 1, "tags": [{"v": 7}]}, names={1: "tags", 4: "id"})
    table.alter((ID, replace(tags, name="marks")))
    table.add({"id": 2, "marks": [{"v": 8}, {"v": None}]})
    assert_all(root, table, means={"footer": 2})


def test_by_name_ids_in_files_mean_nothing(root):
    """As files have that another program wrote before the table was converted and mapped."""
    table = MappedTable(root / "users", (ID, AGE))
    name = table.add({"id": 1, "age": 10})
    path = root / "users" / name
    strange = pa.schema(
        [
            pa.field("col-1", pa.int64(), metadata={"PARQUET:field_id": "3"}),
            pa.field("col-3", pa.int64(), metadata={"PARQUET:field_id": "1"}),
        ]
    )
    pq.write_table(pq.read_table(path).cast(strange), path, store_schema=False)
    log = root / "users" / "_delta_log" / f"{1:020}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    actions[1]["add"]["size"] = path.stat().st_size
    log.write_text("".join(json.dumps(action) + "\n" for action in actions))
    table.alter((ID, replace(AGE, name="years")))
    table.add({"id": 2, "years": 20})
    # the commit that was edited has another modification time, which is not its own
    assert_all(root, table, means={"footer": 1, "linked": 1})


def test_it_is_read_under_its_names(root):
    table = MappedTable(root / "users", (ID, NAME, AGE, ADDRESS))
    evolve(table)
    assert_same_rows(pa.table(DeltaTable(root / "users").scan().read_all()), table.known[-1].rows)
    with DB(root) as db:
        found = db.sql("SELECT title, id, address.town AS town FROM users WHERE title > 1")
        assert sorted(found.to_pylist(), key=lambda row: row["title"]) == [
            {"title": 2, "id": None, "town": None},
            {"title": 4, "id": "d", "town": None},
            {"title": 5, "id": "e", "town": "Genf"},
        ]


def test_a_log_that_begins_with_a_checkpoint(root):
    table = MappedTable(root / "users", (ID, NAME, AGE))
    table.add({"id": 1, "name": "a", "age": 10})
    table.alter((ID, replace(NAME, name="title"), AGE))
    DeltaTable(root / "users").create_checkpoint()
    table.add({"id": 2, "title": "b", "age": 20})
    for version in range(2):
        (root / "users" / "_delta_log" / f"{version:020}.json").unlink()
    done = migrate(root, to="iceberg", verify="content")
    assert (done.versions, done.files["linked"]) == (2, 2)
    assert_iceberg(root, table, known=table.known[2:])


# -- what goes on after a migration ---------------------------------------------------------


def test_renames_after_a_migration(root):
    table = MappedTable(root / "users", (ID, NAME, AGE, ADDRESS))
    table.add({"id": 0, "name": "x", "age": 1, "address": {"city": "Zug", "zip": 6300}})
    migrate(root, to="iceberg")
    evolve(table)
    migrate(root, to="iceberg", verify="content")
    assert_iceberg(root, table)


def test_mapping_is_switched_on_after_a_migration(root):
    """The Iceberg table gave the columns ids of its own, in another order than Delta does."""
    plain = tuple(replace(c, physical=c.name) for c in (AGE, NAME, ID))
    table = MappedTable(root / "users", plain, None)
    table.add({"id": 1, "name": "a", "age": 10}, ids=False)
    migrate(root, to="iceberg")
    table.alter(plain, mode="name", protocol=FEATURES)
    table.add({"id": 2, "name": "b", "age": 20})
    age, name, id_ = plain
    table.alter((replace(age, name="id"), name, replace(id_, name="age")))
    table.add({"id": 30, "name": "c", "age": 3})
    table.alter((replace(age, name="id"), Col("age", "string", 8, "col-8")))
    table.add({"id": 40, "age": "d"})
    migrate(root, to="iceberg", verify="content")
    assert_iceberg(root, table)


# -- what is refused -------------------------------------------------------------------------


def refused(root, error, words, **options):
    before = fingerprints(root)
    with pytest.raises(error, match=words):
        migrate_backend(storage=root, **options)
    assert fingerprints(root) == before


@pytest.mark.parametrize("dry_run", [False, True])
def test_such_a_table_is_not_written(root, dry_run):
    table = MappedTable(root / "users", (ID, NAME, AGE))
    table.add({"id": 1, "name": "a", "age": 10})
    migrate(root, to="iceberg")
    create_backend(type="iceberg", storage=root).rename_column("users", "name", "title")
    before = fingerprints(root)
    options = {"storage": root, "from_": "iceberg", "to": "delta", "dry_run": dry_run}
    if dry_run:
        planned = migrate_backend(**options).namespaces["users"]
        assert planned.action == "refused"
        assert "columnMapping" in planned.reason
    else:
        with pytest.raises(UnsupportedError, match="columnMapping"):
            migrate_backend(**options)
    assert fingerprints(root) == before


def test_mapping_that_was_switched_off_and_on_again(root):
    table = MappedTable(root / "users", (ID, NAME))
    table.add({"id": 1, "name": "a"})
    table.alter((ID, replace(NAME, id=9)))
    refused(root, UnsupportedError, "columnMapping.*'name' has the id 9", to="iceberg")


def test_an_id_that_was_given_out_again(root):
    """``RESTORE`` turns back the counter of ids, too."""
    extra = Col("extra", "long", 3, "col-3")
    table = MappedTable(root / "users", (ID, NAME))
    table.add({"id": 1, "name": "a"})
    table.alter((ID, NAME, extra))
    gone = table.add({"id": 2, "name": "b", "extra": 5})
    table.remove(gone)
    table.alter((ID, NAME))
    table.alter((ID, NAME, Col("other", "string", 3, "col-3b")))
    table.add({"id": 3, "name": "c", "other": "text"})
    assert_all(root, table, means={"linked": 2, "footer": 1})


def test_an_id_that_was_given_out_again_where_files_are_matched_by_it(root):
    table = MappedTable(root / "users", (ID, NAME), "id")
    table.add({"id": 1, "name": "a"})
    table.alter((ID,))
    table.alter((ID, replace(NAME, physical="col-9")))
    refused(root, UnsupportedError, "columnMapping.*another column had", to="iceberg")


def test_ids_that_differ_from_those_of_the_migration_before(root):
    """A list's element got an id when the table was made compatible with Iceberg."""
    tags = Col("tags", ArrayOf("long"), 2, "col-2")
    table = MappedTable(root / "users", (ID, tags))
    table.add({"id": 1, "tags": [1]})
    migrate(root, to="iceberg")
    table.alter((ID, replace(tags, nested_ids={"col-2.element": 7})))
    refused(root, UnsupportedError, "'tags.element'.*has the id .* for it", to="iceberg")


BROKEN = {
    "no physical name": ("physicalName", None, "no delta.columnMapping.physicalName"),
    "no id": ("id", None, "no delta.columnMapping.id"),
    "an id twice": ("id", 1, "has the id 1 of column 'id'"),
    "a physical name twice": ("physicalName", "col-1", "shares the physical name"),
    "an id that is none": ("id", "x", "no delta.columnMapping.id"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_mappings_that_are_damaged(root, name):
    MappedTable(root / "users", (ID, NAME))
    path = root / "users" / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in path.read_text().splitlines()]
    (metadata,) = (action["metaData"] for action in actions if "metaData" in action)
    schema = json.loads(metadata["schemaString"])
    key, value, words = BROKEN[name]
    schema["fields"][1]["metadata"][f"delta.columnMapping.{key}"] = value
    metadata["schemaString"] = json.dumps(schema)
    path.write_text("".join(json.dumps(action) + "\n" for action in actions))
    refused(root, FormatError, words, to="iceberg")


def test_the_property_counts_only_where_the_protocol_allows_it(root):
    table = MappedTable(root / "users", (ID, replace(NAME, physical="name")), None,
                        protocol={"minReaderVersion": 1, "minWriterVersion": 2},
                        properties={"delta.columnMapping.mode": "name"})  # fmt: skip
    table.columns = (replace(ID, physical="id"), table.columns[1])
    table.add({"id": 1, "name": "a"}, ids=False)
    assert_iceberg_after(root, table)


def assert_iceberg_after(root, table):
    migrate(root, to="iceberg", verify="content")
    assert_iceberg(root, table)
