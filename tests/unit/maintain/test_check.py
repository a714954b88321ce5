"""Checks: healthy tables of every writer give nothing, each damage its own finding."""

import json
import re
import shutil
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from parquedb import DB
from parquedb.backends import check_backend, create_backend, migrate_backend
from parquedb.errors import FormatError, NotFoundError
from parquedb.namespace import local_journal
from parquedb.namespace.entry import Write
from parquedb.namespace.wire import encode_entry, encode_line
from parquedb.storage.memory import MemoryStore
from tests.interop.test_row_deletes import history as history_of_deletes
from tests.interop.test_row_deletes import make_delta, make_iceberg
from tests.support import histories
from tests.support.damage import (
    cut,
    edit_avro,
    edit_commit,
    edit_metadata,
    edit_stats,
    flip_in_footer,
    newest_metadata,
    one,
    seen,
)
from tests.support.histories import people

HEALTHY = (
    "delta_plain", "delta_compacted", "delta_partitioned", "delta_evolved", "delta_nested",
    "delta_checkpointed", "iceberg_plain", "iceberg_evolved", "iceberg_partitioned",
    "iceberg_nested",
)  # fmt: skip


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def checked(root, **options):
    """Check a storage, and make sure that nothing was written."""
    before = seen(root)
    report = check_backend(str(root), **options)
    assert seen(root) == before
    return report


def problems(root, **options):
    """Check a storage and say what is wrong."""
    report = checked(root, **options)
    found = [one for each in report.namespaces.values() for one in each.findings]
    assert all(one.advice for one in found)
    assert report.healthy == (not found)
    return [(one.path, one.problem) for one in found]


def only(root, path, problem, **options):
    """Make sure that there is exactly one finding, and all of its words."""
    assert problems(root, **options) == [(path, problem)]


def key(root, path):
    return str(path.relative_to(root))


# Healthy


@pytest.mark.parametrize("name", HEALTHY)
def test_tables_of_reference_writers_and_their_copies(root, name):
    getattr(histories, name)(root)
    assert problems(root, deep=True) == []
    migrate_backend(storage=root, to="iceberg" if name.startswith("delta") else "delta")
    report = checked(root, deep=True)
    assert report.healthy
    assert report.namespaces["users"].compared > 1
    assert report.namespaces["users"].orphans == ()


def test_tables_with_row_level_deletes(root):
    make_delta(root, history_of_deletes(root))
    assert problems(root, deep=True) == []
    migrate_backend(storage=root, to="iceberg")
    report = checked(root, deep=True)
    assert report.healthy
    assert report.namespaces["users"].compared == 10


def test_position_deletes(root):
    make_iceberg(root, history_of_deletes(root))
    assert problems(root, deep=True) == []


@pytest.mark.parametrize("backend", ["native", "iceberg", "delta"])
def test_a_database_that_is_written(root, backend):
    with DB(str(root), backend=backend) as db:
        ids = db.users.create_many([{"name": f"n{i}", "age": i} for i in range(50)])
        db.flush()
        db.users.update_many({"age": {"$gt": 40}}, {"$set": {"name": "old"}})
        assert problems(root, deep=True) == []
    assert problems(root, deep=True) == []
    assert len(ids) == 50
    migrate_backend(
        storage=root, to="delta" if backend == "iceberg" else "iceberg", allow_lossy=True
    )
    report = checked(root, deep=True)
    assert report.healthy
    assert report.namespaces["users"].orphans == ()


def test_a_storage_that_is_no_disk():
    store = MemoryStore("check")
    with DB(store, backend="delta") as db:
        db.users.create_many([{"name": f"n{i}"} for i in range(9)])
    migrate_backend(storage=store, to="iceberg")
    report = check_backend(store, deep=True)
    assert report.healthy
    assert set(report.namespaces["users"].versions) == {"delta", "iceberg"}


def test_one_backend_and_what_is_not_there(root):
    histories.delta_plain(root)
    assert create_backend(type="delta", storage=str(root)).check("users").healthy
    with pytest.raises(NotFoundError, match="No data found for namespace 'nobody'"):
        check_backend(str(root), ["nobody"])
    assert check_backend(str(root / "nothing")).namespaces == {}


# Data files


def test_a_data_file_that_was_cut_short(root):
    histories.delta_plain(root)
    path = one(root, "users/*.parquet")
    size = path.stat().st_size
    cut(path)
    only(root, key(root, path), f"the table records {size} bytes, the file has {size - 7}")


@pytest.mark.parametrize("build", ["delta_plain", "iceberg_plain"])
def test_a_data_file_that_is_gone(root, build):
    getattr(histories, build)(root)
    path = one(root, "users/**/*.parquet", -1)
    path.unlink()
    only(root, key(root, path), "the table refers to this file, which does not exist")


@pytest.mark.parametrize("build", ["delta_plain", "iceberg_plain", "native"])
def test_a_bit_of_a_footer(root, build):
    if build == "native":
        (root / "data/users").mkdir(parents=True)
        pq.write_table(people(0, 9), root / "data/users/data.parquet")
    else:
        getattr(histories, build)(root)
    path = one(root, "**/*.parquet")
    flip_in_footer(path)
    found = problems(root)
    assert {where for where, _ in found} <= {key(root, path), "users"}
    assert any("is not a readable Parquet file" in problem for _, problem in found)


def test_a_page_is_damaged_and_only_the_rows_tell(root):
    write_deltalake(root / "users", people(0, 500))
    path = one(root, "users/*.parquet")
    data = path.read_bytes()
    path.write_bytes(data[:60] + bytes(3_000) + data[3_060:])
    assert problems(root) == []
    assert [where for where, _ in problems(root, deep=True)][:1] == [key(root, path)]


def test_what_a_delta_log_records_of_files(root):
    write_deltalake(root / "users", people(0, 20))
    path = one(root, "users/*.parquet")
    where, size = key(root, path), path.stat().st_size
    log = root / "users/_delta_log"
    saved = (log / f"{0:020d}.json").read_bytes()

    def after(change):
        (log / f"{0:020d}.json").write_bytes(saved)
        edit_commit(log, 0, change)
        return problems(root)

    resized = after(lambda a: "add" in a and a["add"].update(size=size + 1))
    assert resized == [(where, f"the table records {size + 1} bytes, the file has {size}")]
    counted = after(lambda a: edit_stats(a, numRecords=21))
    assert counted == [(where, "the table records 21 rows, the file's footer 20")]
    nulls = after(lambda a: edit_stats(a, nullCount={"id": 3}))
    assert nulls == [(where, "the table records 3 nulls in 'id', the file's footer 0")]
    low = after(lambda a: edit_stats(a, minValues={"id": 5}))
    assert low == [(where, "the table records 5 as lower bound of 'id', and a row has 0")]
    high = after(lambda a: edit_stats(a, maxValues={"name": "name 1"}))
    assert high == [
        (where, "the table records 'name 1' as upper bound of 'name', and a row has 'name 9 ä€😀'")
    ]
    wider = after(lambda a: edit_stats(a, minValues={"id": -5}, maxValues={"name": "zzz"}))
    assert wider == []


def test_bounds_of_every_type_hold_in_the_rows(root):
    digits = Decimal("12345678901234567890123456780123456.789")
    table = pa.table({
        "big": pa.array([digits, -digits, None], pa.decimal128(38, 3)),
        "nan": [float("nan"), -0.0, 1.5],
        "long": ["a" * 100, "\U0010ffff" * 40, None],
        "at": pa.array([-1, 0, 999_999], pa.timestamp("us", "UTC")),
        "day": pa.array([-5, None, 5], pa.date32()),
        "raw": [b"\xff" * 40, b"", None],
        "in": [{"x": 1}, None, {"x": None}],
        "yes": [True, None, False],
    })  # fmt: skip
    write_deltalake(root / "users", table)
    migrate_backend(storage=root, to="iceberg")
    assert problems(root, deep=True) == []


def test_a_partition_that_its_rows_do_not_have(root):
    folder = root / "users"
    write_deltalake(folder, pa.table({"k": pa.array([1], pa.int64()), "v": [1]}), partition_by="k")
    path = one(root, "users/*/*.parquet")
    pq.write_table(pa.table({"k": pa.array([2], pa.int64()), "v": [1]}), path)
    size = path.stat().st_size
    edit_commit(folder / "_delta_log", 0, lambda a: "add" in a and a["add"].update(size=size))
    only(
        root,
        key(root, path),
        "its partition 'k' is 1, and rows go from 2 to 2 in the column 'k'",
    )


def test_field_ids_that_the_table_does_not_know(root):
    histories.iceberg_plain(root)
    path = one(root, "users/data/*.parquet")
    table = pq.read_table(path)
    moved = [
        f.with_metadata({b"PARQUET:field_id": b"%d" % (500 + i)})
        for i, f in enumerate(table.schema)
    ]
    pq.write_table(table.cast(pa.schema(moved)), path)
    found = problems(root)
    assert (
        key(root, path),
        "the column 'id' has the field id 500 in the file and 1 in the table, so that it reads as "
        "null",
    ) in found


# Delta


def test_a_commit_that_is_missing(root):
    histories.delta_plain(root)
    path = root / "users/_delta_log" / f"{2:020d}.json"
    path.unlink()
    report = checked(root)
    assert next((one.path, one.problem) for one in report.namespaces["users"].findings) == (
        key(root, path), "version 2 is missing, and the log goes on after it",
    )  # fmt: skip
    assert report.namespaces["users"].orphans == ()
    assert "orphans are not told" in report.namespaces["users"].notes[0]


def test_a_commit_that_is_no_json(root):
    histories.delta_plain(root)
    path = root / "users/_delta_log" / f"{3:020d}.json"
    path.write_text("{nonsense\n")
    found = problems(root)
    assert found[0][0] == key(root, path)
    assert "line 1: no valid JSON" in found[0][1]


def lose(log, version, kind, index=0):
    """Lose a line of a Delta commit."""
    path = log / f"{version:020d}.json"
    lines = path.read_text().splitlines(keepends=True)
    found = [line for line in lines if line.startswith(f'{{"{kind}"')]
    lines.remove(found[index])
    path.write_text("".join(lines))
    return path


def test_a_lost_line_of_a_commit(root):
    """The writer counted its files, and so do we."""
    histories.delta_plain(root)
    log = root / "users/_delta_log"
    saved = {path: path.read_text() for path in log.glob("*.json")}
    lost = {}
    for path, text in sorted(saved.items()):
        for kind in ("add", "remove"):
            if f'{{"{kind}"' in text:
                lose(log, int(path.stem), kind)
                lost.setdefault(kind, []).append(
                    [p for w, p in problems(root) if w == key(root, path)]
                )
                path.write_text(text)
    words = {"add": "adds", "remove": "removes"}
    for kind, found in lost.items():
        assert all(
            re.match(rf"{words[kind]} \d files, and its writer counted \d", p[0]) for p in found
        )
    assert len(lost["add"]) > 3
    assert lost["remove"]


@pytest.mark.parametrize("counted", [True, False])
def test_a_lost_line_of_our_own_commits(root, counted):
    histories.iceberg_plain(root)
    migrate_backend(storage=root, to="delta")
    shutil.rmtree(root / "users/metadata")
    log = root / "users/_delta_log"
    if not counted:  # as other writers, and older versions
        for version in range(len(list(log.glob("*.json")))):
            edit_commit(log, version, lambda a: a.get("commitInfo", {}).pop("operationMetrics", 0))
    assert problems(root) == []
    path = lose(log, 1, "add")
    ((where, problem), *_) = problems(root)
    if counted:
        assert where == key(root, path)
        assert problem == "adds 0 files, and its writer counted 1: lines of it are lost"
    else:  # told once the file is removed
        assert where > key(root, path)
        assert problem.endswith(
            "which no version before it added, or one before removed: lines of an older version "
            "are lost"
        )


def checkpoint(root, version, like):
    """Let the checkpoint of a version be that of another one."""
    table = DeltaTable(root / "users", version=like)
    table.create_checkpoint()
    log = root / "users/_delta_log"
    path = log / f"{version:020d}.checkpoint.parquet"
    (log / f"{like:020d}.checkpoint.parquet").rename(path)
    (log / "_last_checkpoint").unlink()
    return path


def test_a_checkpoint_that_disagrees(root):
    histories.delta_plain(root)
    path = checkpoint(root, 6, like=1)
    found = problems(root)
    assert {where for where, _ in found} == {key(root, path)}
    assert [re.sub(r"'.*'", "…", problem) for _, problem in found] == [
        "it holds 2 files that the commits removed, such as …",
        "it lacks 2 files that the commits added, such as …",
        "it has another metaData than the commits",
    ]
    checkpoint(root, 1, like=1)
    path.unlink()
    assert problems(root) == []


def test_a_checkpoint_that_cannot_be_read_and_a_hint_at_none(root):
    histories.delta_checkpointed(root)
    path = one(root, "users/_delta_log/*.checkpoint.parquet")
    flip_in_footer(path)
    assert [where for where, _ in problems(root)] == [key(root, path)]
    path.unlink()
    only(
        root,
        "users/_delta_log/_last_checkpoint",
        "names the checkpoint of version 3, which is not complete",
    )
    (root / "users/_delta_log/_last_checkpoint").write_text("[]")
    only(
        root,
        "users/_delta_log/_last_checkpoint",
        "the hint at the newest checkpoint cannot be read",
    )


def test_checksums_and_compacted_commits(root):
    histories.delta_plain(root)
    log = root / "users/_delta_log"
    adds = [
        json.loads(line)["add"]
        for line in (log / f"{1:020d}.json").read_text().splitlines()
        if line.startswith('{"add"')
    ]
    checksum = log / f"{1:020d}.crc"
    compacted = log / f"{0:020d}.{1:020d}.compacted.json"
    compacted.write_text("".join(json.dumps({"add": add}) + "\n" for add in adds))
    checksum.write_text(json.dumps({"numFiles": 2, "numMetadata": 1}))
    assert problems(root) == []
    checksum.write_text(json.dumps({"numFiles": 5}))
    only(root, key(root, checksum), "says numFiles 5 at version 1, the commits make 2")
    first = [json.loads(line) for line in (log / f"{0:020d}.json").read_text().splitlines()]
    (metadata,) = (action["metaData"] for action in first if "metaData" in action)
    (protocol,) = (action["protocol"] for action in first if "protocol" in action)
    checksum.write_text(json.dumps({"metadata": metadata, "protocol": protocol}))
    assert problems(root) == []
    renamed = {
        **metadata,
        "schemaString": metadata["schemaString"].replace('"name":"id"', '"name":"di"'),
    }
    checksum.write_text(json.dumps({"metadata": renamed, "protocol": protocol}))
    only(root, key(root, checksum), "has another metaData than the commits make")
    checksum.unlink()
    compacted.rename(log / f"{0:020d}.{3:020d}.compacted.json")
    ((where, problem),) = problems(root)
    assert where.endswith(f"{3:020d}.compacted.json")
    assert problem.endswith("which the commits 0 to 3 do not")


def test_vacuumed_versions_are_no_fault(root):
    histories.delta_plain(root)
    table = DeltaTable(root / "users")
    gone = table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert gone
    report = checked(root)
    assert report.healthy
    assert "files of older versions were deleted by a vacuum" in report.namespaces["users"].notes[0]
    live = root / "users" / DeltaTable(root / "users").get_add_actions()["path"][0].as_py()
    live.unlink()
    only(root, key(root, live), "the table refers to this file, which does not exist")


def test_deletion_vectors(root):
    make_delta(root, history_of_deletes(root)[:4])
    last = one(root, "users/**/deletion_vector_*.bin", -1)
    last.write_bytes(last.read_bytes()[:-4])
    cut_off = problems(root)
    assert [where for where, _ in cut_off] == [key(root, last)]
    assert re.search(r"holds deleted rows of .*, and has only \d+ bytes", cut_off[0][1])
    last.unlink()
    assert len([where for where, _ in problems(root) if where == key(root, last)]) == 1


def test_a_deletion_vector_with_other_rows(root):
    make_delta(root, history_of_deletes(root)[:2])
    log = root / "users/_delta_log"

    def change(action):
        if "add" in action:
            action["add"]["deletionVector"]["cardinality"] += 1

    edit_commit(log, 1, change)
    assert problems(root) == []
    ((where, problem),) = problems(root, deep=True)[:1]
    assert where == "users/data/a.parquet"
    assert "holds 3 positions and the table's metadata says 4" in problem


# Iceberg


def test_a_manifest_that_is_gone_and_a_list(root):
    histories.iceberg_plain(root)
    path = one(root, "users/metadata/*-m0.avro")
    path.unlink()
    found = problems(root)
    assert [where for where, _ in found if where == key(root, path)] == [key(root, path)]
    assert re.fullmatch(r"the snapshot \d+ lists it, and does not exist", found[0][1])
    assert checked(root).namespaces["users"].orphans == ()
    lists = one(root, "users/metadata/snap-*.avro")
    lists.unlink()
    named = [problem for where, problem in problems(root) if where == key(root, lists)]
    assert len(named) == 1
    assert named[0].endswith("names it as its manifest list, and does not exist")


def test_what_a_manifest_records_of_files(root):
    histories.iceberg_plain(root)
    listed = sorted((root / "users/metadata").glob("*-m0.avro"), key=lambda p: p.stat().st_mtime_ns)
    path = listed[0]
    saved = path.read_bytes()

    def after(change):
        path.write_bytes(saved)
        edit_avro(path, lambda record: change(record["data_file"]))
        return [problem for _, problem in problems(root)]

    resized = after(lambda f: f.update(file_size_in_bytes=f["file_size_in_bytes"] + 1))
    assert any(re.fullmatch(r"the table records \d+ bytes, the file has \d+", p) for p in resized)
    counted = after(lambda f: f.update(record_count=21))
    assert "the table records 21 rows, the file's footer 20" in counted
    assert "the manifest list counts 20 added rows, the manifest has 21" in counted

    def raise_lower(file):
        for item in file["lower_bounds"]:
            if item["key"] == 1:
                item["value"] = (7).to_bytes(8, "little")

    bounds = after(raise_lower)
    assert "the table records 7 as lower bound of 'id', and a row has 0" in bounds
    path.write_bytes(saved)
    assert problems(root) == []


def test_a_manifest_of_another_size(root):
    histories.iceberg_plain(root)
    path = one(root, "users/metadata/*-m0.avro")
    size = path.stat().st_size
    edit_avro(path, lambda record: None)
    ((where, problem),) = problems(root)
    assert where == key(root, path)
    assert problem.endswith(f"lists it with {size} bytes, and has {path.stat().st_size}")


def test_metadata_that_contradicts_itself(root):
    histories.iceberg_plain(root)
    path = newest_metadata(root / "users")
    saved = path.read_bytes()

    def after(change):
        path.write_bytes(saved)
        edit_metadata(root / "users", change)
        return [problem for where, problem in problems(root) if where == key(root, path)]

    def last(metadata):
        return metadata["snapshots"][-1]

    id_ = last(json.loads(saved))["snapshot-id"]
    assert after(lambda m: last(m).update({"schema-id": 77})) == [
        f"the snapshot {id_} has the schema 77, which is not there"
    ]
    assert after(lambda m: last(m).update({"sequence-number": 1}))[:1] == [
        f"the snapshot {id_} has the sequence number 1, its parent 6"
    ]
    assert after(lambda m: last(m)["summary"].update({"total-records": "5"})) == [
        f"the snapshot {id_} says total-records 5 in its summary, its manifests make 4"
    ]
    assert after(lambda m: last(m)["summary"].update({"total-data-files": "5"})) == [
        f"the snapshot {id_} says total-data-files 5 in its summary, its manifests make 1"
    ]
    assert after(lambda m: m["refs"].update({"old": {"snapshot-id": 5, "type": "tag"}})) == [
        "the tag 'old' names the snapshot 5, which is not there"
    ]
    assert after(lambda m: m.update({"last-column-id": 1})) == [
        "last-column-id is 1, a column has 9"
    ]
    assert after(lambda m: m.update({"last-sequence-number": 1})) == [
        "last-sequence-number is 1, a snapshot has 7"
    ]

    def turn_back(metadata):
        metadata["snapshot-log"][0]["timestamp-ms"] += 10**9

    assert after(turn_back) == ["the snapshot log is not in the order of time"]


def test_metadata_that_is_not_what_it_was(root):
    histories.iceberg_evolved(root)
    path = newest_metadata(root / "users")
    saved = path.read_bytes()
    assert problems(root) == []

    def after(change):
        path.write_bytes(saved)
        edit_metadata(root / "users", change)
        return [problem for where, problem in problems(root) if where == key(root, path)]

    def column(metadata, known, **changes):
        for schema in metadata["schemas"]:
            for item in schema["fields"]:
                if item["name"] == known:
                    item.update(changes)
                    return

    renamed = "the field 1 is named 'di' (before 'id') in the schema 0, and "
    retyped = "the field 'id' is of type string (before int64) in the schema 0, and "
    for without in (False, True):  # manifests say it too
        older = "the metadata file before it says otherwise"
        if without:
            for one_ in (root / "users/metadata").glob("*.metadata.json"):
                if one_ != path:
                    one_.unlink()
            older = "the manifest users/metadata/"
        found = after(lambda m: column(m, "id", name="di"))
        assert found[0].startswith(renamed + older)
        found = after(lambda m: column(m, "id", type="string"))
        assert any(p.startswith(retyped + older) for p in found)


def test_a_snapshot_that_is_lost(root):
    """Who expires one changes nothing else, takes it out of the log, and deletes its list."""
    histories.iceberg_plain(root)
    path = newest_metadata(root / "users")
    saved = json.loads(path.read_bytes())
    id_ = saved["snapshots"][1]["snapshot-id"]

    def lose(metadata):
        del metadata["snapshots"][1]

    def lose_log(metadata):
        lose(metadata)
        metadata["snapshot-log"] = [
            entry for entry in metadata["snapshot-log"] if entry["snapshot-id"] != id_
        ]

    edit_metadata(root / "users", lose)
    assert f"the snapshot log names the snapshot {id_}, which is not there" in [
        problem for where, problem in problems(root) if where == key(root, path)
    ]
    path.write_text(json.dumps(saved))
    edit_metadata(root / "users", lose_log)
    ((where, problem),) = problems(root)
    assert where == key(root, path)
    assert problem.startswith(f"the snapshot {id_} of the metadata file before it is not there")


def test_expired_snapshots_are_no_fault(root):
    histories.iceberg_plain(root)
    table = histories.iceberg_catalog(root).load_table("test.users")
    middle = table.snapshots()[2].snapshot_id
    table.maintenance.expire_snapshots().by_id(middle).commit()
    assert problems(root) == []
    table.refresh().append(people(1_000, 3))
    assert problems(root) == []


def test_metadata_that_cannot_be_read(root):
    histories.iceberg_plain(root)
    path = newest_metadata(root / "users")
    path.write_bytes(path.read_bytes()[:200])
    found = problems(root)
    assert found[0][1].startswith(f"{path.as_uri()} is no Iceberg metadata file")


def test_a_version_hint_that_is_stale(root):
    histories.delta_plain(root)
    migrate_backend(storage=root, to="iceberg", batch_size=3)
    hint = root / "users/metadata/version-hint.text"
    newest = int(hint.read_text())
    hint.write_text("1")
    only(
        root,
        key(root, hint),
        f"says version 1, the newest is {newest}: readers that trust it read old rows",
    )
    hint.write_text("99")
    assert [where for where, _ in problems(root)] == [key(root, hint)]


# Journals, copies, orphans


@pytest.fixture
def journal(root):
    with DB(str(root), backend="delta") as db:
        for n in range(6):
            db.users.create({"name": f"n{n}"})
    with DB(str(root), backend="delta") as db:
        for n in range(6):
            db.users.create({"name": f"m{n}"})
        yield one(root, "_parquedb/users/journal/*.jsonl", -1)


def test_a_torn_journal(root, journal):
    assert problems(root) == []
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-3])  # a crash: that entry was never acknowledged
    assert problems(root) == []
    journal.write_bytes(whole + bytes(9000))  # what a killed writer kept in reserve
    assert problems(root) == []
    head = json.loads(whole.splitlines()[-1][9:])["n"]
    late = encode_entry(head + 2, 0, "", Write({}), head)
    journal.write_bytes(whole + bytes(500) + late)  # a power failure: nor were these
    assert problems(root) == []
    late = encode_entry(head + 2, 0, "", Write({}), head + 1)
    journal.write_bytes(whole + bytes(500) + late)
    ((where, problem),) = problems(root)
    assert where == key(root, journal)
    assert f"is damaged at byte {len(whole)}: entry {head + 1}" in problem
    lines = whole.split(b"\n")
    lines[2] = lines[2][:-2] + b"}}"
    journal.write_bytes(b"\n".join(lines))
    ((where, problem),) = problems(root)
    assert where == key(root, journal)
    assert "is damaged at byte" in problem
    journal.write_bytes(whole)


def test_a_journal_of_several_segments(root, monkeypatch):
    """The empty line with which the older ones end is theirs; anything else behind them is not."""
    monkeypatch.setattr(local_journal, "SEGMENT_BYTES", 500)
    db = DB(str(root))
    for n in range(6):
        db.users.create({"name": f"n{n}"})
    first, *_ = segments = sorted(root.glob("_parquedb/users/journal/*.jsonl"))
    assert len(segments) > 1
    assert first.read_bytes().endswith(b"}\n\n")
    assert problems(root) == []
    with open(first, "ab") as file:
        file.write(b"x")
    ((where, problem),) = problems(root)
    assert (where, "is damaged at byte" in problem) == (key(root, first), True)


def test_an_entry_in_two_segments(root, journal):
    header, *_, line = journal.read_bytes().splitlines(keepends=True)
    number = json.loads(line[9:])["n"]
    told = json.loads(header[9:]) | {"first": number}
    path = journal.with_name(f"{number:020}.jsonl")
    path.write_bytes(encode_line(json.dumps(told).encode()) + line)
    ((where, problem),) = problems(root)
    assert where == key(root, path)
    assert f"begins with entry {number}, and the one before it goes on" in problem


def test_a_journal_behind_its_table(root):
    with DB(str(root), backend="delta") as db:
        for n in range(6):
            db.users.create({"name": f"n{n}"})
    (segment,) = root.glob("_parquedb/users/journal/*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:4]))
    only(
        root,
        "_parquedb/users/journal",
        "it ends with entry 3, and the Delta table 'users' includes it up to entry 6",
    )


@pytest.mark.parametrize("backend", ["native", "iceberg", "delta"])
def test_a_journal_that_is_gone(root, backend):
    with DB(str(root), backend=backend) as db:
        for n in range(6):
            db.users.create({"name": f"n{n}"})
    assert problems(root) == []
    shutil.rmtree(root / "_parquedb/users")
    ((where, problem),) = problems(root)
    assert where == "_parquedb/users/journal"
    assert problem.startswith("it is not there, and the ")
    assert problem.endswith(
        "includes a journal up to entry 6: documents written after that are lost"
    )
    with DB(str(root), backend=backend) as db:  # whoever goes on begins another one
        db.users.create({"name": "x"})
    assert problems(root) == []


@pytest.mark.parametrize("backend", ["native", "iceberg", "delta"])
def test_a_table_whose_newest_version_is_lost(root, backend):
    saved = root.parent / "saved"
    folder = root / ("data" if backend == "native" else "users")
    for n in range(2):
        with DB(str(root), backend=backend) as db:
            db.users.create({"name": f"n{n}"})
        if n == 0:
            shutil.copytree(folder, saved)
    assert problems(root) == []
    shutil.rmtree(folder)
    shutil.copytree(saved, folder)
    ((where, problem),) = problems(root)
    assert where == "users"
    assert problem.startswith("it includes the journal up to entry 1, and was flushed up to entry ")


def test_a_journal_with_a_gap_and_files_that_are_not_there(root, journal):
    with DB(str(root), backend="delta") as db:
        db.users.create_many([{"name": "x" * 50, "n": n} for n in range(20_000)])
        staged = one(root, "_parquedb/users/staged/*.parquet")
        shutil.copytree(root, root.parent / "copy")
        staged = root.parent / "copy" / staged.relative_to(root)
        staged.unlink()
        ((where, problem),) = problems(root.parent / "copy")
    assert where == key(root.parent / "copy", staged)
    assert re.fullmatch(
        r"entry \d+ of the journal refers to this file, which does not exist", problem
    )


def test_staged_files_that_were_flushed_before_another_table_became_the_base(root):
    with DB(str(root), backend="delta") as db:
        db.users.create_many([{"n": n} for n in range(20_000)])
        db.flush()
    migrate_backend(storage=root, to="native", allow_lossy=True)  # which has no mark until flushed
    assert not list(root.glob("_parquedb/users/staged/*.parquet"))
    assert problems(root) == []


def test_copies_that_differ(root):
    histories.delta_plain(root)
    migrate_backend(storage=root, to="iceberg", files="copy")
    path = one(root, "users/**/_iceberg_data/*.parquet", -1)
    rows = pq.read_table(path)
    assert problems(root, deep=True) == []
    twin = rows.set_column(0, "id", pa.array([9] * len(rows), pa.int64()))
    pq.write_table(twin.cast(rows.schema), path)
    found = [problem for where, problem in problems(root, deep=True) if where == "users"]
    assert found
    assert all(re.search("is version .* and they hold different rows$", p) for p in found)


def test_copies_that_lost_what_was_allowed(root):
    (root / "data/users").mkdir(parents=True)
    ticks = pa.array([1_000_000_000_000_000_001, None], pa.timestamp("ns"))
    pq.write_table(pa.table({"id": [1, 2], "at": ticks}), root / "data/users/data.parquet")
    migrate_backend(storage=root, to="iceberg", allow_lossy=True)
    report = checked(root, deep=True)
    assert report.healthy
    assert report.namespaces["users"].notes == (
        "the Iceberg and the native Parquet table are equal but for what the types of one of them "
        "cannot hold",
    )


def test_orphans_are_listed_and_no_fault(root):
    histories.delta_plain(root)
    path = root / "users" / "part-left.parquet"
    pq.write_table(people(0, 3), path)
    (root / "users" / f".{one(root, 'users/part-0*.parquet').name}.crc").write_bytes(b"crc")
    inner = root / "users" / "inner"
    write_deltalake(inner, people(0, 3))
    report = checked(root)
    assert report.healthy
    found = report.namespaces["users"].orphans
    assert [(o.path, o.size_bytes) for o in found] == [(key(root, path), path.stat().st_size)]


def test_a_file_that_another_table_owns_is_no_orphan(root):
    histories.delta_plain(root)
    migrate_backend(storage=root, to="iceberg", warehouse="wh", files="share")
    shutil.rmtree(root / "users/_delta_log")
    write_deltalake(root / "users", people(0, 1))
    report = checked(root, namespaces=["users"])
    assert report.healthy
    assert report.namespaces["users"].orphans == ()


# What someone is about to rely on


def test_a_commit_that_was_not_written_and_an_action_that_nobody_knows(root):
    histories.delta_plain(root)
    log = root / "users" / "_delta_log"
    newest = max(log.glob("*.json"))
    newest.write_text(newest.read_text().replace('"add"', '"adt"'))
    only(root, key(root, newest), "has actions that readers do not know and leave out: 'adt'")
    newest.write_bytes(b"")
    only(
        root,
        key(root, newest),
        "has no actions: it was not written to its end, and what it changed is lost",
    )


def test_a_manifest_of_a_later_commit(root):
    histories.iceberg_plain(root)
    one_list = one(root, "users/metadata/snap-*.avro")
    edit_avro(one_list, lambda record: record.update(sequence_number=99))
    ((path, problem),) = problems(root)
    assert path == key(root, one_list)
    assert "lists a manifest with the sequence number 99" in problem


def test_two_current_snapshots(root):
    histories.iceberg_plain(root)

    def change(metadata):
        metadata["current-snapshot-id"] = metadata["snapshots"][0]["snapshot-id"]

    edit_metadata(root / "users", change)
    ((path, problem),) = problems(root)
    assert path == key(root, newest_metadata(root / "users"))
    assert "readers disagree on the table's rows" in problem
    with pytest.raises(FormatError, match="readers disagree"):
        migrate_backend(storage=root, to="delta")


def test_what_is_missing_or_damaged_is_said_once(root):
    histories.iceberg_plain(root)
    manifest = one(root, "users/metadata/*-m0.avro")
    data = manifest.read_bytes()
    manifest.unlink()
    ((path, _),) = problems(root)
    assert path == key(root, manifest)
    manifest.write_bytes(data.replace(b'"record"', b'"record#', 1))
    ((path, problem),) = problems(root)
    assert path == key(root, manifest)
    assert "its Avro schema cannot be read" in problem
    with pytest.raises(FormatError, match=manifest.name):
        migrate_backend(storage=root, to="delta")
