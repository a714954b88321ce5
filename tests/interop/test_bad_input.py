"""Damaged and hostile input: a clear error, the source untouched, nothing half-written."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from parquedb.backends import (
    cleanup_backend,
    detect_existing_format,
    migrate_backend,
)
from parquedb.errors import (
    FormatError,
    InvalidInputError,
    NotFoundError,
    ParqueDBError,
    StateError,
    UnsupportedError,
)
from tests.interop.test_migration import fingerprints
from tests.support.histories import delta_plain, iceberg_plain, people
from tests.support.targets import assert_delta_has, assert_iceberg_has


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def refused(root, error, match, **options):
    before = fingerprints(root)
    with pytest.raises(error, match=match):
        migrate_backend(storage=root, **options)
    assert fingerprints(root) == before


def log_file(root, version):
    return root / "users" / "_delta_log" / f"{version:020}.json"


def edit_log(root, version, change):
    path = log_file(root, version)
    actions = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(action) + "\n" for action in change(actions)))


def live_file(root):
    return max((root / "users").glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)


def test_a_truncated_data_file(root):
    delta_plain(root)
    path = live_file(root)
    path.write_bytes(path.read_bytes()[:-100])
    refused(root, FormatError, path.name, to="iceberg")


def test_a_data_file_of_right_size_that_is_no_parquet(root):
    delta_plain(root)
    path = live_file(root)
    path.write_bytes(b"x" * path.stat().st_size)
    refused(root, FormatError, path.name, to="iceberg")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1", b"no parquet at all"])
def test_a_native_file_that_is_no_parquet(root, content):
    (root / "users.parquet").write_bytes(content)
    refused(root, FormatError, "users.parquet", to="iceberg")


def test_a_live_data_file_that_is_gone(root):
    delta_plain(root)
    path = live_file(root)
    path.unlink()
    refused(root, FormatError, rf"(?s){path.name}.*missing", to="iceberg")


def test_a_gap_in_a_delta_log(root):
    delta_plain(root)
    log_file(root, 2).unlink()
    refused(root, FormatError, "version 2|0+2.json", to="iceberg")


@pytest.mark.parametrize("garbage", ["{", "[]\n", '{"add":{}}\n', '{"add":{"path":1}}\n'])
def test_garbage_in_a_delta_log(root, garbage):
    delta_plain(root)
    log_file(root, 3).write_text(garbage)
    refused(root, FormatError, "0+3.json", to="iceberg")


@pytest.mark.parametrize("pattern", ["*-m0.avro", "snap-*.avro"])
def test_a_missing_manifest(root, pattern):
    iceberg_plain(root)
    path = min((root / "users" / "metadata").glob(pattern))
    path.unlink()
    refused(root, ParqueDBError, path.name, to="delta")


@pytest.mark.parametrize("pattern", ["*-m0.avro", "snap-*.avro", "*.metadata.json"])
def test_a_corrupt_metadata_file(root, pattern):
    iceberg_plain(root)
    path = max((root / "users" / "metadata").glob(pattern))
    path.write_bytes(b"Obj\x01" + b"garbage" * 20)
    refused(root, FormatError, path.name, to="delta")


@pytest.mark.parametrize(
    "path", ["../../secret.parquet", "/etc/passwd", "file:///etc/passwd", "s3://bucket/x.parquet"]
)
def test_delta_metadata_that_points_outside_the_root(root, path):
    delta_plain(root)

    def outside(actions):
        for action in actions:
            if "add" in action:
                action["add"]["path"] = path
        return actions

    edit_log(root, 6, outside)
    refused(root, ParqueDBError, "outside|not a key", to="iceberg")


def test_iceberg_metadata_that_points_outside_the_root(root, tmp_path):
    iceberg_plain(root)
    moved = tmp_path / "moved"
    root.rename(moved)
    refused(moved, UnsupportedError, "outside", to="delta")


@pytest.mark.parametrize("feature", ["columnMapping", "somethingNew"])
def test_an_unknown_table_feature(root, feature):
    delta_plain(root)

    def enable(actions):
        protocol = {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": [feature],
            "writerFeatures": [feature],
        }
        configuration = {
            "columnMapping": {"delta.columnMapping.mode": "guess"},
        }.get(feature, {})
        for action in actions:
            if "metaData" in action:
                action["metaData"]["configuration"] = configuration
        return [*[a for a in actions if "protocol" not in a], {"protocol": protocol}]

    edit_log(root, 0, enable)
    refused(root, UnsupportedError, feature, to="iceberg")


@pytest.mark.parametrize(
    "vector",
    [
        {"storageType": "i", "pathOrInlineDv": "wi5b=000010000siXQKl0rr91000f55c8Xg"},
        {"storageType": "x", "pathOrInlineDv": "wi5b="},
        {"storageType": "u", "pathOrInlineDv": "wi5b="},
    ],
)
def test_a_damaged_deletion_vector(root, vector):
    delta_plain(root)

    def delete(actions):
        for action in actions:
            if "add" in action:
                action["add"]["deletionVector"] = {**vector, "sizeInBytes": 40, "cardinality": 6}
        return actions

    edit_log(root, 6, delete)
    refused(root, FormatError, "deletion vector", to="iceberg")


@pytest.mark.parametrize("name", ["../users", "/etc", "_parquedb", "a\x00b", ""])
def test_hostile_namespace_names(root, name):
    delta_plain(root)
    refused(root, InvalidInputError, "is not a namespace name", to="iceberg", namespaces=[name])


def test_nothing_there(root):
    with pytest.raises(NotFoundError, match="No data found for namespace"):
        migrate_backend(storage=root, to="iceberg")
    with pytest.raises(NotFoundError, match="No data found for namespace 'users'"):
        migrate_backend(storage=root, to="iceberg", namespaces=["users"])
    assert list(root.iterdir()) == []


def test_a_storage_that_is_itself_a_table(root):
    delta_plain(root)
    with pytest.raises(NotFoundError, match="itself a table"):
        migrate_backend(storage=root / "users", to="iceberg")


def test_a_file_where_the_target_folder_must_be(root):
    pq.write_table(people(0, 3), root / "users.parquet")
    (root / "users").write_text("in the way")
    refused(root, ParqueDBError, "users", to="iceberg")


def test_folder_files_that_disagree(root):
    folder = root / "data" / "users"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"x": [1]}), folder / "a.parquet")
    pq.write_table(pa.table({"x": ["one"]}), folder / "b.parquet")
    refused(root, FormatError, r"(?s)Schema mismatch.*b\.parquet", to="iceberg")


def test_clean_up_is_refused_where_nothing_else_holds_the_data(root):
    delta_plain(root)
    before = fingerprints(root)
    with pytest.raises(StateError, match="run migrate-backend first"):
        cleanup_backend(root, "users", "delta")
    migrate_backend(storage=root, to="iceberg")
    write_deltalake(root / "users", people(1, 1), mode="append")
    with pytest.raises(StateError, match="nothing was deleted"):
        cleanup_backend(root, "users", "delta")
    assert fingerprints(root).keys() > before.keys()


@pytest.mark.parametrize("damage", ["source", "target"])
def test_clean_up_stops_at_metadata_that_cannot_be_read(root, damage):
    delta_plain(root)
    migrate_backend(storage=root, to="iceberg")
    if damage == "source":
        log_file(root, 3).write_text("{")
    else:
        metadata = sorted((root / "users" / "metadata").glob("*.avro"))
        metadata[0].write_bytes(b"garbage")
    before = fingerprints(root)
    with pytest.raises(FormatError):
        cleanup_backend(root, "users", "delta")
    assert fingerprints(root) == before


def test_clean_up_keeps_shared_files(root):
    wanted = delta_plain(root)
    migrate_backend(storage=root, to="iceberg", files="share")
    (root / "users" / "notes.txt").write_text("not ours")
    plan = cleanup_backend(root, "users", "delta")
    assert plan.kept > 0
    assert detect_existing_format(root, "users").formats == ("iceberg",)
    assert_iceberg_has(root / "users", wanted)
    assert (root / "users" / "notes.txt").exists()


def test_clean_up_of_iceberg(root):
    wanted = iceberg_plain(root)
    migrate_backend(storage=root, to="delta")
    cleanup_backend(root, "users", "iceberg")
    assert detect_existing_format(root, "users").formats == ("delta",)
    assert not (root / "users" / "metadata").exists()
    assert_delta_has(root / "users", wanted)


def test_clean_up_can_be_dry(root):
    delta_plain(root)
    migrate_backend(storage=root, to="iceberg")
    before = fingerprints(root)
    assert cleanup_backend(root, "users", "delta", dry_run=True).keys
    assert fingerprints(root) == before
