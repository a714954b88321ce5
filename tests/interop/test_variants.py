"""Variants between Delta tables and Iceberg tables of format version 3, at every version."""

import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable as ReadDelta
from deltalake import write_deltalake

from parquedb import DB
from parquedb.backends import check_backend, create_backend, migrate_backend, verify_backend
from parquedb.errors import ConflictError, InvalidInputError, UnsupportedError
from parquedb.log.change import AddFile
from parquedb.migrate.report import Means
from parquedb.model.files import DataFile
from tests.interop.test_version_3_written import in_delta
from tests.support import duck
from tests.support.targets import metadata_file
from tests.support.variants import STORED, decode, encode
from tests.support.version3 import Table3, simple

T0 = 1_700_000_000_000
PLACES = {
    "v": "variant",
    "one": {
        "type": "struct",
        "fields": [{"name": "in", "type": "variant", "nullable": True, "metadata": {}}],
    },
    "many": {"type": "array", "elementType": "variant", "containsNull": True},
    "pairs": {
        "type": "map",
        "keyType": "string",
        "valueType": "variant",
        "valueContainsNull": True,
    },
}
COLUMNS = {
    "id": pa.int64(),
    "v": STORED,
    "one": pa.struct([("in", STORED)]),
    "many": pa.list_(STORED),
    "pairs": pa.map_(pa.string(), STORED),
}
VALUES = ({"a": 1, "b": ["x", None, {"c": 2.5}]}, None, "text", [True, "t" * 80], {})
FEATURES = ("readerFeatures", "writerFeatures")
NONE = object()
"""No variant at all, which is not the variant null."""


class DeltaTable:
    """A Delta table with variants, written by hand."""

    def __init__(self, root, names=("id", *PLACES), *, mapped=False):
        self.folder, self.names, self.files = root / "users", names, {}
        self.mapped, self.versions = mapped, []
        features = ["columnMapping", "variantType"]
        protocol = {"minReaderVersion": 3, "minWriterVersion": 7}
        self.describe({"protocol": protocol | dict.fromkeys(FEATURES, features)})

    def describe(self, *actions):
        """Make a version with the columns that there are now."""
        kinds = {"id": "long"} | PLACES
        fields = [
            {"name": n, "type": kinds[n], "nullable": True, "metadata": {}} for n in self.names
        ]
        configuration = {}
        if self.mapped:
            configuration = {"delta.columnMapping.mode": "name"}
            configuration["delta.columnMapping.maxColumnId"] = str(len(fields))
            for place, one in enumerate(fields, 1):
                one["metadata"] = {"delta.columnMapping.id": place}
                one["metadata"]["delta.columnMapping.physicalName"] = f"col-{one['name']}"
        metadata = {
            "id": "9c12d441-03fe-4693-9a96-a0705ddf69c1",
            "format": {"provider": "parquet", "options": {}},
            "schemaString": json.dumps({"type": "struct", "fields": fields}),
            "partitionColumns": [],
            "configuration": configuration,
        }
        self.commit(*actions, {"metaData": metadata})

    def add(self, name, rows):
        """Add a file with a row for each pair of an id and a value."""
        path = self.folder / name
        table = stored(rows, self.names)
        if self.mapped:
            table = table.rename_columns([f"col-{name}" for name in self.names])
        pq.write_table(table, path)
        self.files[name] = rows
        nulls = {"col-v" if self.mapped else "v": sum(value is NONE for _, value in rows)}
        stats = json.dumps({"numRecords": len(rows), "nullCount": nulls})
        add = {"path": name, "partitionValues": {}, "size": path.stat().st_size, "stats": stats}
        self.commit({"add": {**add, "modificationTime": T0, "dataChange": True}})

    def remove(self, name):
        """Take a file out."""
        del self.files[name]
        self.commit({"remove": {"path": name, "deletionTimestamp": T0, "dataChange": True}})

    def commit(self, *actions):
        """Write the next version."""
        number = len(self.versions)
        info = {"timestamp": T0 + 1000 * number, "operation": "WRITE", "operationParameters": {}}
        path = self.folder / "_delta_log" / f"{number:020d}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(map(json.dumps, ({"commitInfo": info}, *actions))))
        self.versions.append(dict(pair for rows in self.files.values() for pair in rows))


def stored(rows, names=tuple(COLUMNS)):
    """Return rows with a variant in each place that is asked for."""

    def row(number, value):
        part = None if value is NONE else encode(value)
        every = {"id": number, "v": part, "one": {"in": part}, "many": [part, None]}
        return {key: item for key, item in (every | {"pairs": {"k": part}}).items() if key in names}

    schema = pa.schema([(name, COLUMNS[name]) for name in names])
    return pa.Table.from_pylist([row(*pair) for pair in rows], schema)


def numbered(start, values):
    return list(enumerate(values, start))


def wanted(known, names):
    """Return what readers that know variants show, as JSON: null for both kinds of nothing."""
    found = []
    for number, value in known.items():
        plain = None if value is NONE else value
        every = {"v": plain, "one": {"in": plain}, "many": [plain, None], "pairs": {"k": plain}}
        found.append({"id": number} | {name: every[name] for name in names if name != "id"})
    return sorted(found, key=lambda row: row["id"])


AS_JSON = {
    "id": "id",
    "v": "v::JSON AS v",
    "one": 'one::STRUCT("in" JSON) AS one',
    "many": "many::JSON[] AS many",
    "pairs": "pairs::MAP(VARCHAR, JSON) AS pairs",
}


def in_duckdb(scan, names):
    """Return the rows that DuckDB finds, its variants as the JSON that they are."""
    rows = duck.query(
        f"SELECT {', '.join(map(AS_JSON.__getitem__, names))} FROM {scan} ORDER BY id"
    )
    return [{name: from_json(value) for name, value in row.items()} for row in rows]


def from_json(value):
    match value:
        case str():
            return json.loads(value)
        case list():
            return [from_json(item) for item in value]
        case dict():
            return {key: from_json(item) for key, item in value.items()}
        case _:
            return value


def decoded(value):
    """Return a value as Polars and Arrow show it, with the two parts of variants decoded."""
    match value:
        case {"metadata": bytes(), "value": bytes()}:
            return decode(value)
        case {"in": inner}:
            return {"in": decoded(inner)}
        case [{"key": _, "value": _}, *_]:
            return {item["key"]: decoded(item["value"]) for item in value}
        case [tuple(), *_]:
            return {key: decoded(item) for key, item in value}
        case dict():
            return {key: decoded(item) for key, item in value.items()}
        case list():
            return [decoded(item) for item in value]
        case _:
            return value


def decoded_rows(rows):
    found = [{name: decoded(value) for name, value in row.items()} for row in rows]
    return sorted(found, key=lambda row: row["id"])


def assert_iceberg(root, versions, names):
    """DuckDB and our own reader find the rows of every version."""
    backend = create_backend(type="iceberg", storage=root)
    history = backend.history("users")
    assert len(history) == len(versions)
    where = metadata_file(root / "users")
    for version, known in zip(history, versions, strict=True):
        rows = wanted(known, names)
        scan = f"iceberg_scan('{where}', snapshot_from_id={version.version})"
        assert in_duckdb(scan, names) == rows
        ours = backend.to_arrow("users", version=version.version).to_pylist()
        assert decoded_rows(ours) == rows


def assert_delta(root, versions, names, *, vectors=False):
    """DuckDB, Polars, our own reader and, without vectors, delta-rs find every version's rows."""
    backend = create_backend(type="delta", storage=root)
    table = ReadDelta(str(root / "users"))
    assert len(backend.history("users")) == len(versions)
    for version, known in enumerate(versions):
        rows = wanted(known, names)
        assert in_duckdb(f"delta_scan('{root / 'users'}', version={version})", names) == rows
        frame = pl.read_delta(str(root / "users"), version=version)
        assert decoded_rows(frame.to_dicts()) == rows
        table.load_as_version(version)
        if not vectors:  # its pyarrow datasets know none
            assert decoded_rows(table.to_pyarrow_table().to_pylist()) == rows
        assert decoded_rows(backend.to_arrow("users", version=version).to_pylist()) == rows


def annotations(root, format_):
    """Return how many groups are annotated as variants in each file of a table."""
    backend = create_backend(type=format_, storage=root)
    texts = [str(pq.read_metadata(root / key).schema) for key in backend.snapshot("users").files]
    return [text.count("(Variant(1))") for text in texts]


def healthy(root):
    assert check_backend(root, ["users"], deep=True).namespaces["users"].findings == ()
    assert verify_backend(root, "users", against="delta", content=True)["equal"]


def files(root):
    return sorted(p for p in root.rglob("*") if p.is_file() and p.name != ".pqdb-lock")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "lake"


@pytest.mark.parametrize("names", [("id", "v"), ("id", *PLACES)], ids=["flat", "nested"])
def test_from_delta_to_version_3_and_back(root, names):
    table = DeltaTable(root, names)
    table.add("a.parquet", numbered(1, VALUES))
    table.add("b.parquet", numbered(6, [NONE, None, 5]))
    options = {"storage": root, "from_": "delta", "to": "iceberg", "verify": "content"}
    report = migrate_backend(**options, format_version=3).namespaces["users"]
    # Iceberg's readers find the plain files by their names; nested columns need ids
    how = {Means.LINKED: 2} if names == ("id", "v") else {Means.FOOTER: 2}
    assert {k: n for k, n in report.files.items() if n} == how
    assert_iceberg(root, table.versions, names)
    assert annotations(root, "iceberg") == [0 if names == ("id", "v") else 4] * 2
    healthy(root)
    table.remove("a.parquet")
    table.add("c.parquet", numbered(9, [{"late": [1]}]))
    assert migrate_backend(**options).namespaces["users"].versions == 2
    assert_iceberg(root, table.versions, names)
    healthy(root)
    (root / "users" / "_delta_log").rename(root / "kept")
    migrate_backend(storage=root, from_="iceberg", to="delta", verify="content")
    assert_delta(root, table.versions, names)
    assert set(annotations(root, "delta")) == {0}
    healthy(root)


def annotated_table(root):
    table = simple(root / "users", kind="variant")
    for name, rows in (("a", numbered(0, VALUES)), ("b", numbered(5, [NONE, None, 7]))):
        table.add(f"{name}.parquet", stored(rows, ("id", "v")))
        table.commit()
    return table


def rows_of(table):
    return [{row["id"]: row["v"] for row in known.rows} for known in table.known]


def versions_of(table):
    return [
        {key: NONE if value is None else decode(value) for key, value in rows.items()}
        for rows in rows_of(table)
    ]


def test_from_iceberg_to_delta_without_annotations(root):
    """Spark 4.0 reads no row of a file in a Delta table in which a variant is annotated."""
    table = annotated_table(root)
    report = migrate_backend(storage=root, to="delta", verify="content").namespaces["users"]
    assert report.files[Means.FOOTER] == 2
    assert any("variants" in line for line in report.warnings)
    assert_delta(root, versions_of(table), ("id", "v"))
    assert annotations(root, "delta") == [0, 0]
    log = root / "users" / "_delta_log" / f"{0:020d}.json"
    actions = map(json.loads, log.read_text().splitlines())
    (protocol,) = (action["protocol"] for action in actions if "protocol" in action)
    assert (protocol["minReaderVersion"], protocol["minWriterVersion"]) == (3, 7)
    assert protocol["readerFeatures"] == ["variantType"]
    healthy(root)
    table.vectors("1.puffin", {"a.parquet": [0, 3]})
    table.commit("delete")
    table.add("c.parquet", stored(numbered(8, [{"z": 1}]), ("id", "v")))
    table.remove("b.parquet")
    table.commit("overwrite")
    again = migrate_backend(storage=root, to="delta", verify="content").namespaces["users"]
    assert (again.versions, again.files[Means.FOOTER]) == (2, 1)
    assert_delta(root, versions_of(table), ("id", "v"), vectors=True)
    healthy(root)


def test_what_delta_gets_later_goes_back(root):
    table = annotated_table(root)
    migrate_backend(storage=root, to="delta")
    plain = root / "users" / "late.parquet"
    pq.write_table(stored([(20, {"late": None})], ("id", "v")), plain)
    in_delta(root, AddFile(DataFile("users/late.parquet", plain.stat().st_size, 1)))
    report = migrate_backend(storage=root, from_="delta", to="iceberg", verify="content")
    assert report.namespaces["users"].versions == 1
    versions = versions_of(table)
    assert_iceberg(root, [*versions, versions[-1] | {20: {"late": None}}], ("id", "v"))
    assert sorted(annotations(root, "iceberg")) == [0, 1, 1]
    healthy(root)


def test_what_delta_rs_does_is_carried(root):
    table = DeltaTable(root)
    table.add("a.parquet", numbered(1, VALUES))
    options = {"storage": root, "from_": "delta", "to": "iceberg", "verify": "content"}
    migrate_backend(**options, format_version=3)
    written = ReadDelta(str(root / "users"))
    written.delete("id = 2")
    write_deltalake(written, stored(numbered(6, [NONE, {"more": "x" * 90}])), mode="append")
    written.optimize.compact()
    assert migrate_backend(**options).namespaces["users"].versions == 3
    first = table.versions[-1]
    fewer = {key: value for key, value in first.items() if key != 2}
    more = fewer | dict(numbered(6, [NONE, {"more": "x" * 90}]))
    assert_iceberg(root, [*table.versions, fewer, more, more], tuple(COLUMNS))
    healthy(root)


def test_files_that_are_written_again_follow_the_format(root):
    table = DeltaTable(root)
    table.add("a.parquet", numbered(1, VALUES))
    migrate_backend(storage=root, to="iceberg", format_version=3, files="rewrite", verify="content")
    assert_iceberg(root, table.versions, tuple(COLUMNS))
    assert annotations(root, "iceberg") == [4]
    healthy(root)
    (root / "users" / "_delta_log").rename(root / "kept")
    migrate_backend(storage=root, from_="iceberg", to="delta", files="rewrite", verify="content")
    assert_delta(root, table.versions, tuple(COLUMNS))
    assert annotations(root, "delta") == [0]
    healthy(root)


def test_column_mapping_and_variants(root):
    table = DeltaTable(root, ("id", "v"), mapped=True)
    table.add("a.parquet", numbered(1, VALUES))
    table.add("b.parquet", numbered(6, [NONE]))
    migrate_backend(storage=root, to="iceberg", format_version=3, verify="content")
    assert_iceberg(root, table.versions, ("id", "v"))
    assert check_backend(root, ["users"], deep=True).namespaces["users"].findings == ()


@pytest.mark.parametrize("form", ["delta", "iceberg"])
def test_columns_change_beside_and_under_variants(root, form):
    if form == "delta":
        table = DeltaTable(root, ("id", "v"))
        table.add("a.parquet", numbered(0, VALUES))
        other, scan = "iceberg", "iceberg_scan('{}')"
    else:
        annotated_table(root)
        other, scan = "delta", "delta_scan('{}')"
    backend = create_backend(type=form, storage=root)
    before = backend.to_arrow("users").sort_by("id").to_pylist()
    with pytest.raises(InvalidInputError, match="unknown type 'variant'"):
        backend.evolve_schema("users", add_column={"name": "w", "type": "variant"})
    backend.evolve_schema("users", add_column={"name": "more", "type": "string"})
    backend.rename_column("users", "v", "late")
    wanted = [{"id": row["id"], "late": row["v"], "more": None} for row in before]
    assert backend.to_arrow("users").sort_by("id").to_pylist() == wanted
    options = {"format_version": 3} if form == "delta" else {}
    migrate_backend(storage=root, to=other, verify="content", **options)
    healthy(root)
    found = duck.query(f"SELECT id, late::JSON AS v FROM {scan.format(root / 'users')} ORDER BY id")
    assert [from_json(row["v"]) for row in found] == [decode(row["v"]) for row in before]


def test_into_version_2_they_are_refused(root):
    table = DeltaTable(root, ("id", "v"))
    table.add("a.parquet", numbered(1, VALUES))
    before = files(root)
    with pytest.raises(UnsupportedError, match=r"'v': variant .*--format-version 3 .* keeps"):
        migrate_backend(storage=root, to="iceberg", allow_lossy=True)
    assert files(root) == before


def test_a_table_of_version_2_gets_no_variants(root):
    table = DeltaTable(root, ("id",))
    migrate_backend(storage=root, to="iceberg")
    table.names = ("id", "v")
    table.describe()
    before = files(root)
    with pytest.raises(UnsupportedError, match=r"'v': variant .* there is one of version 2"):
        migrate_backend(storage=root, from_="delta", to="iceberg", format_version=3)
    assert files(root) == before


def test_rows_are_searched_by_the_two_parts_of_variants(root):
    table = DeltaTable(root)
    table.add("a.parquet", numbered(1, VALUES))
    table.add("b.parquet", numbered(6, [NONE]))
    first = encode(VALUES[0])
    with DB(root) as db:
        found = {row["id"]: row for row in db.Users.find()}
        assert found[1]["v"] == found[1]["one"]["in"] == found[1]["many"][0] == first
        assert {i: decode(row["v"]) for i, row in found.items() if "v" in row} == dict(
            numbered(1, VALUES)
        )
        for filter_, ids in (
            ({"v": {"$exists": True}}, [1, 2, 3, 4, 5]),
            ({"v": None}, [6]),
            ({"v": first}, [1]),
            ({"one.in.value": first["value"]}, [1]),
            ({"many": first}, [1]),
        ):
            assert sorted(row["id"] for row in db.Users.find(filter_)) == ids
        ordered = [row["id"] for row in db.Users.find({}, sort={"v": 1})]
        assert sorted(ordered) == [1, 2, 3, 4, 5, 6]
        assert ordered[0] == 6
        rows = db.Users.find({}, sort={"v": 1}).to_arrow().to_pylist()  # through documents
        assert {row["id"]: row["v"] for row in rows} == {
            i: row.get("v") for i, row in found.items()
        }
        assert [row["many"] for row in rows] == [found[i]["many"] for i in ordered]


@pytest.mark.parametrize("build", [annotated_table, DeltaTable])
def test_into_native_files_they_are_refused(root, build):
    build(root)
    before = files(root)
    with pytest.raises(UnsupportedError, match="'v': variant has no equivalent"):
        migrate_backend(storage=root, to="native", allow_lossy=True)
    assert files(root) == before


def shredded(root):
    """Return an Iceberg table with a variant of which some values are in a column of their own."""
    table = simple(root / "users", kind="variant")
    value = encode(7)
    kind = pa.struct([*STORED, pa.field("typed_value", pa.int64())])
    row = {"metadata": value["metadata"], "value": value["value"], "typed_value": None}
    table.add("a.parquet", pa.table({"id": [1], "v": pa.array([row], kind)}))
    table.commit()


def test_shredded_variants_are_refused(root):
    shredded(root)
    before = files(root)
    with pytest.raises(UnsupportedError, match=r"a\.parquet.*'v' is shredded"):
        migrate_backend(storage=root, to="delta")
    assert files(root) == before
    with pytest.raises(UnsupportedError, match=r"column 'v'.*shredded"):
        create_backend(type="iceberg", storage=root).to_arrow("users")
    (finding,) = check_backend(root, ["users"], deep=True).namespaces["users"].findings
    assert "shredded" in finding.problem


def test_shredded_variants_in_delta_are_refused(root):
    """No table feature says so here, as the specification demands."""
    table = DeltaTable(root, ("id", "v"))
    kind = pa.struct([*STORED, pa.field("typed_value", pa.int64())])
    shredded_rows = pa.table({"id": [1], "v": pa.array([encode(7) | {"typed_value": None}], kind)})
    pq.write_table(shredded_rows, root / "users" / "a.parquet")
    size = (root / "users" / "a.parquet").stat().st_size
    table.commit(
        {
            "add": {
                "path": "a.parquet",
                "partitionValues": {},
                "size": size,
                "modificationTime": T0,
                "dataChange": True,
            }
        }
    )
    before = files(root)
    with pytest.raises(UnsupportedError, match=r"a\.parquet.*'v' is shredded"):
        migrate_backend(storage=root, to="iceberg", format_version=3)
    assert files(root) == before


def test_another_variant_is_found_by_the_verification(root):
    table = DeltaTable(root, ("id", "v"))
    table.add("a.parquet", numbered(1, [{"a": 1}]))
    migrate_backend(storage=root, to="iceberg", format_version=3, files="copy")
    (key,) = create_backend(type="iceberg", storage=root).snapshot("users").files
    path = root / key
    size = path.stat().st_size
    other = stored(numbered(1, [{"a": 2}]), ("id", "v"))
    pq.write_table(other, path)
    assert path.stat().st_size == size
    assert not verify_backend(root, "users", against="iceberg", content=True)["equal"]


def test_documents_are_not_written_beside_variants(root):
    schema = simple(root / "users", kind="variant").schemas
    fields = [schema[0]["fields"][1], {"id": 1, "name": "$id", "type": "string", "required": False}]
    table = Table3(root / "users", [{"fields": fields}])
    rows = {"v": pa.array([encode({"a": 1})], STORED), "$id": ["users/1"]}
    table.add("a.parquet", pa.table(rows))
    table.commit()
    before = files(root)
    with DB(root) as db, pytest.raises(UnsupportedError, match="'v' of the type variant"):
        db.Users.create({"name": "x"})
    assert files(root) == before
    with DB(root) as db:
        assert [decode(row["v"]) for row in db.Users.find()] == [{"a": 1}]


def test_both_sides_are_merged(root):
    table = DeltaTable(root)
    table.add("a.parquet", numbered(1, VALUES))
    migrate_backend(storage=root, to="iceberg", format_version=3)
    (root / "users" / "_delta_log").rename(root / "kept")
    other = DeltaTable(root)
    other.add("b.parquet", numbered(2, [{"other": 1}, NONE]))
    options = {"storage": root, "from_": "delta", "to": "iceberg", "verify": "content"}
    with pytest.raises(ConflictError):
        migrate_backend(**options)
    migrate_backend(**options, on_conflict="merge", key="id")
    merged = table.versions[-1] | other.versions[-1]
    assert_iceberg(root, [*table.versions, merged], tuple(COLUMNS))
    assert annotations(root, "iceberg") == [4]
