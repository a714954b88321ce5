"""Iceberg tables of format version 3 that we write, by the rules and in others' readers."""

import json
import shutil

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from parquedb import DB
from parquedb.backends import (
    check_backend,
    cleanup_backend,
    create_backend,
    create_backend_with_migration,
    migrate_backend,
)
from parquedb.errors import InvalidInputError, LossyError
from parquedb.formats.delta.reader import DeltaReader
from parquedb.formats.delta.writer import DeltaWriter
from parquedb.formats.iceberg.reader import IcebergReader
from parquedb.formats.iceberg.writer import IcebergWriter
from parquedb.log.change import AddFile, RemoveFile, SetDeletes, SetSchema
from parquedb.log.commit import Commit, Operation
from parquedb.log.ports import Committed
from parquedb.migrate.report import Means
from parquedb.parquet.deletes import inline_vector
from parquedb.parquet.footer import read_footer
from parquedb.storage.local import LocalStore
from tests.interop import test_row_deletes as deletes
from tests.interop.test_version_3 import numbers, upgraded, vectors, with_equality
from tests.support import duck
from tests.support.histories import people
from tests.support.lineage import assert_version_3, row_ids
from tests.support.lineage import vectors as live_vectors
from tests.support.rows import assert_same_rows
from tests.support.spark import iceberg_catalog, read_iceberg_at
from tests.support.targets import assert_iceberg_has, metadata_file, open_iceberg
from tests.support.version3 import Table3, simple

T0 = 1_700_000_000_000


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def healthy(root):
    """The check, rows and vectors included, finds nothing wrong."""
    assert check_backend(root, ["users"], deep=True).namespaces["users"].findings == ()


def in_delta(root, *changes, operation=Operation.OVERWRITE):
    """Commit to the Delta table by hand."""
    reader = DeltaReader(LocalStore(root), "users")
    commit = Commit(0, T0 + 10_000_000 + 1000 * reader.latest(), operation, changes)
    result = DeltaWriter(LocalStore(root), "users").append([commit], expect=reader.latest())
    assert isinstance(result, Committed)


def delta_rows(root, start):
    """What delta-rs says of the versions from one on."""
    return deletes.known_delta(root, start)


@pytest.mark.parametrize("build", [vectors, upgraded, with_equality])
def test_a_table_of_version_3_comes_back_from_delta(root, build):
    table = build(root)
    before = row_ids(root / "users")
    migrate_backend(storage=root, to="delta")
    start = len(table.known)
    DeltaTable(root / "users").delete("id = 1001")
    write_deltalake(root / "users", numbers(9000, 4), mode="append")
    wanted = [*table.known, *delta_rows(root, start)]
    report = migrate_backend(storage=root, to="iceberg", verify="content")
    assert report.namespaces["users"].versions == len(wanted) - start
    skip = start if build is with_equality else 0  # pyiceberg refuses the older versions
    assert_iceberg_has(root / "users", wanted[skip:], skip=skip)
    assert_version_3(root / "users", since=start)
    after = row_ids(root / "users")
    assert all(after[name] == ids for name, ids in before.items() if name in after)
    assert any(name in after for name in before)
    healthy(root)


def test_position_deletes_of_version_2_times_go_into_the_vector(root):
    table = upgraded(root)
    migrate_backend(storage=root, to="delta")
    reader = DeltaReader(LocalStore(root), "users")
    (key,) = (key for key in reader.snapshot().files if key.endswith("b.parquet"))
    in_delta(root, SetDeletes(key, (inline_vector([0, 7, 49]),)), operation=Operation.DELETE)
    wanted = [*table.known, *delta_rows(root, len(table.known))]
    assert live_vectors(root / "users") == {"a.parquet": 3}
    migrate_backend(storage=root, to="iceberg", verify="content")
    assert_iceberg_has(root / "users", wanted)
    assert live_vectors(root / "users") == {"a.parquet": 3, "b.parquet": 3}
    assert_version_3(root / "users", since=len(table.known))
    healthy(root)


@pytest.mark.parametrize("at", [4, 7])
def test_our_table_of_version_2_that_others_upgraded(root, at):
    """All rows get ids with our next commit; position deletes stay until their file changes."""
    commits = deletes.history(root)
    deletes.make_delta(root, commits[:at])
    migrate_backend(storage=root, to="iceberg")
    rewritten(root, lambda wire: wire.update({"format-version": 3, "next-row-id": 0}))
    wanted = deletes.make_delta(root, commits[at:], expect=at - 1)
    migrate_backend(storage=root, to="iceberg", verify="content")
    assert_iceberg_has(root / "users", wanted)
    assert_version_3(root / "users", since=at)
    snapshots = json.loads(metadata_file(root / "users").read_bytes())["snapshots"]
    assert [("first-row-id" in snapshot) for snapshot in snapshots] == [
        number >= at for number in range(len(wanted))
    ]
    first = row_ids(root / "users", snapshots[at]["snapshot-id"])
    assert all(ids is not None for ids in first.values())
    last = row_ids(root / "users")
    assert all(last[name] == ids for name, ids in first.items() if name in last and at > 6)
    healthy(root)


def test_a_vector_that_others_wrote_stays_until_its_file_changes(root):
    table = vectors(root)
    migrate_backend(storage=root, to="delta")
    before = set((root / "users" / "data").glob("*.puffin"))
    write_deltalake(root / "users", numbers(9000, 4), mode="append")
    migrate_backend(storage=root, to="iceberg", verify="content")
    assert live_vectors(root / "users") == {"b.parquet": 1, "c.parquet": 3}
    assert set((root / "users").rglob("*.puffin")) == before
    wanted = [*table.known, *delta_rows(root, len(table.known))]
    assert_iceberg_has(root / "users", wanted)


def test_defaults_of_columns_stay(root):
    """In the metadata, and in what rows of older files read as."""
    first, second = simple(root, kind="int").schemas[0]["fields"]
    table = Table3(root / "users", [{"fields": [first]}])
    table.add("a.parquet", pa.table({"id": pa.array([1, 2], pa.int64())}))
    table.commit()
    default = {**second, "initial-default": 7, "write-default": 8}
    table.schemas.append({"fields": [first, default]})
    table.commit()
    create_backend(type="iceberg", storage=root).evolve_schema(
        "users", add_column={"name": "more", "type": "string"}
    )
    wire = json.loads(metadata_file(root / "users").read_bytes())
    fields = wire["schemas"][-1]["fields"]
    assert [field["name"] for field in fields] == ["id", "v", "more"]
    assert fields[1] == default == wire["schemas"][1]["fields"][1]
    rows = [{"id": 1, "v": 7, "more": None}, {"id": 2, "v": 7, "more": None}]
    assert_same_rows(duck.rows_iceberg(metadata_file(root / "users")), rows)
    assert_same_rows(create_backend(type="iceberg", storage=root).to_arrow("users"), rows)
    assert_version_3(root / "users")


def test_columns_change_beside_a_variant(root):
    """It is not in the way of a change of metadata."""
    table = simple(root / "users", kind="variant")
    table.add("a.parquet", numbers(0, 3).select(["id"]))
    table.commit()
    backend = create_backend(type="iceberg", storage=root)
    backend.evolve_schema("users", add_column={"name": "more", "type": "string"})
    wire = json.loads(metadata_file(root / "users").read_bytes())
    fields = wire["schemas"][-1]["fields"]
    assert [(one["name"], one["type"]) for one in fields[1:]] == [
        ("v", "variant"),
        ("more", "string"),
    ]
    scan = f"iceberg_scan('{metadata_file(root / 'users')}')"
    rows = [{"id": i, "more": None} for i in range(3)]
    assert_same_rows(duck.query(f"SELECT id, more FROM {scan} WHERE v IS NULL"), rows)
    rows = [{"id": i, "v": None, "more": None} for i in range(3)]
    assert_same_rows(backend.to_arrow("users"), rows)


def test_a_file_that_lacks_a_column_with_a_default_is_written_again(root):
    """Null in Delta would be the default in Iceberg."""
    first, second = simple(root, kind="int").schemas[0]["fields"]
    table = Table3(root / "users", [{"fields": [first, {**second, "initial-default": 7}]}])
    table.add(
        "a.parquet", pa.table({"id": pa.array([1], pa.int64()), "v": pa.array([1], pa.int32())})
    )
    table.commit()
    migrate_backend(storage=root, to="delta")
    pq.write_table(pa.table({"id": pa.array([2], pa.int64())}), root / "users" / "late.parquet")
    footer = read_footer(LocalStore(root), "users/late.parquet")
    from parquedb.model.files import DataFile

    in_delta(root, AddFile(DataFile(footer.key, footer.size_bytes, footer.rows)))
    wanted = [{"id": 1, "v": 1}, {"id": 2, "v": None}]
    assert_same_rows(pl.read_delta(str(root / "users")).to_arrow(), wanted)
    report = migrate_backend(storage=root, to="iceberg", verify="content")
    assert report.namespaces["users"].files == {Means.REWRITTEN: 1}
    assert_same_rows(duck.rows_iceberg(metadata_file(root / "users")), wanted)
    fields = json.loads(metadata_file(root / "users").read_bytes())["schemas"][-1]["fields"]
    assert fields[1]["initial-default"] == 7


def test_row_ids_stay_while_manifests_are_merged(root):
    """Forty appends and removals in batches of any size."""
    store = LocalStore(root)
    schema, files = None, []
    for number in range(40):
        file, schema = deletes.put(root, f"{number}.parquet", people(number * 10, 3))
        files.append(file)
    first = Commit(0, T0, Operation.APPEND, (SetSchema(schema), AddFile(files[0])))
    more = [
        Commit(n, T0 + n, Operation.APPEND, (AddFile(file),)) for n, file in enumerate(files[1:], 1)
    ]
    gone = Commit(50, T0 + 100, Operation.DELETE, tuple(RemoveFile(f) for f in files[3:30:9]))
    writer = IcebergWriter(store, "users", format_version=3)
    done = writer.append([first], expect=None)
    for batch in (more[:10], more[10:35], [], more[35:], [gone]):
        done = writer.append(batch, expect=done.version)
        assert isinstance(done, Committed)
    assert_version_3(root / "users")
    ids = row_ids(root / "users")
    assert len(ids) == 37
    assert [ids[f"{n}.parquet"].start for n in (0, 1, 2, 4)] == [0, 3, 6, 12]
    again = IcebergWriter(store, "users")
    for number, file in enumerate((files[3], files[12])):
        commit = Commit(60, T0 + 200 + number, Operation.APPEND, (AddFile(file),))
        done = again.append([commit], expect=done.version)
    assert_version_3(root / "users")
    assert {**row_ids(root / "users"), **ids} == row_ids(root / "users")
    rows = open_iceberg(root / "users").scan().to_arrow()
    assert_same_rows(duck.rows_iceberg(metadata_file(root / "users")), rows)
    healthy(root)


def test_settings_change_no_row_ids(root):
    vectors(root)
    before = json.loads(metadata_file(root / "users").read_bytes())
    IcebergWriter(LocalStore(root), "users").set_completed(5)
    after = json.loads(metadata_file(root / "users").read_bytes())
    assert after["next-row-id"] == before["next-row-id"]
    assert after["snapshots"] == before["snapshots"]
    assert after["schemas"] == before["schemas"]


@pytest.mark.parametrize("how", ["flush", "migrate"])
def test_whoever_flushes_first_makes_a_table_of_the_version_that_was_asked_for(root, how):
    """The process that was told so is gone before its first flush."""
    died = root.parent / "died"
    with DB(root, backend={"type": "iceberg", "format_version": 3}) as db:
        db.users.create({"name": "a"})
        shutil.copytree(root, died)
    if how == "flush":
        with DB(died) as db:
            db.flush("users")
    else:
        migrate_backend(storage=died, to="delta")
    assert json.loads(metadata_file(died / "users").read_bytes())["format-version"] == 3
    assert open_iceberg(died / "users").scan().to_arrow()["name"].to_pylist() == ["a"]


def test_documents_are_flushed_into_a_table_of_version_3(root):
    settings = {"type": "iceberg", "format_version": 3}
    with DB(root, backend=settings) as db:
        db.users.create_many([{"name": f"n{i}", "i": i} for i in range(50)])
        db.flush()
        db.users.update_many({"i": 3}, {"$set": {"i": 300}})
        db.users.delete_many({"i": 7}, hard=True)
        db.flush()
        db.compact()
        assert db.users.count() == 49
    assert json.loads(metadata_file(root / "users").read_bytes())["format-version"] == 3
    assert_version_3(root / "users")
    rows = open_iceberg(root / "users").scan().to_arrow()
    assert rows.num_rows == 49
    assert_same_rows(duck.rows_iceberg(metadata_file(root / "users")), rows)
    healthy(root)
    with DB(root, backend="iceberg") as db:  # a table keeps its version
        db.users.create({"name": "late"})
        db.flush()
    assert_version_3(root / "users")


@pytest.mark.parametrize("files", ["auto", "rewrite"])
def test_vectors_of_delta_become_vectors_in_every_version(root, files):
    wanted = deletes.make_delta(root, deletes.history(root))
    report = migrate_backend(
        storage=root, to="iceberg", format_version=3, verify="content", files=files
    )
    assert report.namespaces["users"].versions == len(wanted)
    assert_iceberg_has(root / "users", wanted)
    assert_version_3(root / "users")
    assert not list(root.rglob("*-deletes.parquet"))
    healthy(root)
    cleanup_backend(root, "users", "delta")
    migrate_backend(storage=root, to="delta", allow_lossy=True, verify="content")
    healthy(root)


@pytest.mark.parametrize("at", [3, 8])
def test_vectors_in_two_runs(root, at):
    commits = deletes.history(root)
    deletes.make_delta(root, commits[:at])
    migrate_backend(storage=root, to="iceberg", format_version=3)
    wanted = deletes.make_delta(root, commits[at:], expect=at - 1)
    migrate_backend(storage=root, to="iceberg", verify="content")
    assert_iceberg_has(root / "users", wanted)
    assert_version_3(root / "users")


def nanoseconds(root):
    stamps = [1, -1, 1_700_000_000_123_456_789, None]
    table = pa.table(
        {
            "id": pa.array(range(4), pa.int64()),
            "at": pa.array(stamps, pa.timestamp("ns", "UTC")),
            "local": pa.array(stamps, pa.timestamp("ns")),
        }
    )
    path = root / "data" / "users" / "data.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path)
    return table


def test_nanoseconds_are_kept(root, monkeypatch):
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
    table = nanoseconds(root)
    with pytest.raises(
        LossyError, match=r"--format-version 3 .* keeps column 'at', column 'local'"
    ):
        migrate_backend(storage=root, to="iceberg")
    report = migrate_backend(storage=root, to="iceberg", format_version=3, verify="content")
    assert report.namespaces["users"].files == {Means.COPIED: 1}
    assert report.namespaces["users"].lost == ()
    found = open_iceberg(root / "users").scan().to_arrow().sort_by("id")
    polars = pl.scan_iceberg(str(metadata_file(root / "users")), reader_override="native")
    for name in ("at", "local"):
        wanted = table.column(name).cast(pa.int64()).to_pylist()
        assert found.column(name).cast(pa.int64()).to_pylist() == wanted
        column = polars.sort("id").collect().to_arrow().column(name)
        assert column.cast(pa.int64()).to_pylist() == wanted
    (file,) = IcebergReader(LocalStore(root), "users").snapshot().files.values()
    assert (file.stats.lower[2], file.stats.upper[3]) == (-1, 1_700_000_000_123_456_789)
    healthy(root)
    with pytest.raises(LossyError, match="nanoseconds"):
        migrate_backend(storage=root, from_="iceberg", to="delta")


def test_a_table_keeps_its_format_version(root):
    deletes.make_delta(root, deletes.history(root)[:2])
    migrate_backend(storage=root, to="iceberg")
    deletes.make_delta(root, deletes.history(root)[2:3], expect=1)
    report = migrate_backend(storage=root, to="iceberg", format_version=3)
    told = ("the Iceberg table has format version 2 and keeps it",)
    assert [line.partition(":")[0] for line in report.namespaces["users"].warnings] == [*told]
    wire = json.loads(metadata_file(root / "users").read_bytes())
    assert wire["format-version"] == 2
    report = migrate_backend(storage=root, to="iceberg", format_version=3)
    assert report.namespaces["users"].action == "skipped"
    assert report.namespaces["users"].warnings[0].startswith(*told)


@pytest.mark.parametrize(
    ("to", "version", "message"),
    [
        ("iceberg", 1, "new Iceberg tables are of version 2 or 3"),
        ("iceberg", 4, "new Iceberg tables are of version 2 or 3"),
        ("iceberg", "3", "new Iceberg tables are of version 2 or 3"),
        ("delta", 3, "Delta has no choice of it"),
    ],
)
def test_other_format_versions_are_bad_input(root, to, version, message):
    nanoseconds(root)
    with pytest.raises(InvalidInputError, match=message):
        migrate_backend(storage=root, to=to, format_version=version)
    with pytest.raises(InvalidInputError, match=message):
        create_backend_with_migration(type=to, storage=root, format_version=version)
    with pytest.raises(InvalidInputError, match=message):
        DB(root, backend={"type": to, "format_version": version})
    with pytest.raises(InvalidInputError, match="has no choice of it"):
        DB(root, backend={"format_version": 3})
    assert not (root / "users").exists()


def three_snapshots(root):
    table = simple(root / "users")
    for name, start in (("a", 0), ("b", 100), ("c", 200)):
        table.add(f"{name}.parquet", numbers(start, 10))
        table.commit()
    table.vectors("v.puffin", {"a.parquet": [1, 2, 3]})
    table.commit("delete")
    return table


def problems(root, *, deep=True):
    found = check_backend(root, ["users"], deep=deep).namespaces["users"]
    return [f"{one.path}: {one.problem}" for one in found.findings], list(found.notes)


def rewritten(root, change):
    path = metadata_file(root / "users")
    wire = json.loads(path.read_bytes())
    change(wire)
    path.write_text(json.dumps(wire))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda w: w.update({"next-row-id": 29}), "next-row-id is 29, and ids up to 30 were given"),
        (
            lambda w: w["snapshots"][1].update({"first-row-id": 9}),
            "the snapshots 1 and 2 give the same row ids to different rows",
        ),
        (
            lambda w: [w["snapshots"][2].pop(key) for key in ("first-row-id", "added-rows")],
            "the snapshot 3 has no first-row-id, and older ones have",
        ),
    ],
)
def test_the_check_knows_the_row_ids_of_snapshots(root, change, problem):
    three_snapshots(root)
    assert problems(root) == ([], [])
    rewritten(root, change)
    assert any(problem in found for found in problems(root)[0])


def test_the_check_finds_rows_with_the_same_ids(root):
    table = three_snapshots(root)
    table.data["c.parquet"].record["first_row_id"] = 19
    table.commit()
    (found,) = problems(root)[0]
    assert "users/data/c.parquet: its rows have ids from 19 on, and those of " in found
    table.data["c.parquet"].record["first_row_id"] = 25
    table.commit()
    (found,) = problems(root)[0]
    assert "its rows have ids up to 35, and the table's next-row-id is 30" in found


def test_the_check_finds_wrong_vectors(root):
    table = three_snapshots(root)
    path = root / "users" / "data" / "v.puffin"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"cardinality": "3"', b'"cardinality": "4"'))
    assert problems(root, deep=False) == ([], [])
    (found,) = problems(root)[0]
    assert "a manifest names the deletion vector of " in found
    assert "of 3 rows; the file's footer does not" in found
    path.write_bytes(whole[:-1] + b"?")
    (found,) = problems(root)[0]
    assert "is no whole Puffin file: it is cut off" in found
    path.write_bytes(whole)
    one = table.deletes["vector of a.parquet"]
    table.vectors("w.puffin", {"a.parquet": [4]})
    table.deletes["another"] = one
    table.commit()
    assert any("a.parquet has two deletion vectors" in found for found in problems(root)[0])
    del table.deletes["another"]
    del table.data["a.parquet"]
    table.commit()
    found, notes = problems(root)
    assert not any("two deletion vectors" in one for one in found)
    assert any("which is not part of the table" in note for note in notes)


@pytest.mark.spark
def test_spark_reads_our_row_ids_and_goes_on(spark, root):
    wanted = deletes.make_delta(root, deletes.history(root))
    migrate_backend(storage=root, to="iceberg", format_version=3)
    folder = root / "users"
    ids_at = "SELECT _row_id, _last_updated_sequence_number AS seq, _file, _pos FROM "
    table = f"{iceberg_catalog(spark, root)}.users"
    snapshots = json.loads(metadata_file(folder).read_bytes())["snapshots"]
    for snapshot, known in zip(snapshots, wanted, strict=True):
        at = snapshot["snapshot-id"]
        assert_same_rows(read_iceberg_at(spark, folder, snapshot_id=at), known.rows)
        ids = row_ids(folder, at)
        for row in spark.sql(f"{ids_at}{table} VERSION AS OF {at}").collect():
            name = row["_file"].rpartition("/")[2]
            assert row["_row_id"] == ids[name].start + row["_pos"]
            assert row["seq"] <= snapshot["sequence-number"]
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('write.delete.mode' = 'merge-on-read')")
    spark.sql(f"INSERT INTO {table} SELECT * FROM {table} WHERE id < 103")
    spark.sql(f"DELETE FROM {table} WHERE id % 5 = 1")
    assert_version_3(folder)
    healthy(root)
    held = {(row["id"], row["_row_id"]) for row in _ids(spark, table)}
    create_backend(type="iceberg", storage=root).rename_column("users", "name", "called")
    assert {(row["id"], row["_row_id"]) for row in _ids(spark, table)} == held
    spark.sql(
        f"CALL {table.partition('.')[0]}.system.rewrite_data_files(table => 'users', "
        "options => map('rewrite-all', 'true'))"
    )
    assert {(row["id"], row["_row_id"]) for row in _ids(spark, table)} == held
    ours = create_backend(type="iceberg", storage=root).to_arrow("users")
    assert_same_rows(ours, read_iceberg_at(spark, folder))
    migrate_backend(storage=root, from_="iceberg", to="delta", verify="content")
    assert_same_rows(pl.read_delta(str(folder)).to_arrow(), ours)
    healthy(root)


def _ids(spark, table):
    return spark.sql(f"SELECT id, _row_id FROM {table}").collect()
