"""Which namespaces a storage holds, and what is no namespace although it looks like one."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from parquedb.backends import (
    backend_status,
    check_backend,
    detect_existing_format,
    discover_namespaces,
    migrate_backend,
)
from parquedb.errors import FormatError, NotFoundError
from tests.support.tables import make_iceberg


def put(folder, name="x.parquet", ids=(1, 2)):
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": list(ids)}), folder / name)


def put_delta(folder):
    """Write a Delta table of one row, and a file of one that was removed."""
    write_deltalake(folder, pa.table({"id": [1]}))
    write_deltalake(folder, pa.table({"id": [2]}), mode="overwrite")


def test_names_by_their_places(tmp_path):
    put(tmp_path / "data" / "a")
    put(tmp_path / "data" / "deep" / "er" / "b")
    put(tmp_path / "c")
    put(tmp_path, "d.parquet")
    put_delta(tmp_path / "lake" / "e")
    put(tmp_path / "/".join("0123456789abcdef"))
    put(tmp_path / "_hidden")
    put(tmp_path / "h" / ".hidden")
    names = ("0/1/2/3/4/5/6/7/8/9/a/b/c/d/e/f", "a", "c", "d", "deep/er/b", "lake/e")
    assert discover_namespaces(tmp_path) == names
    assert discover_namespaces(tmp_path, location="lake") == (*names[:-1], "e")
    assert discover_namespaces(tmp_path, warehouse="lake") == names


@pytest.mark.parametrize("to", ["iceberg", "native"])
def test_a_delta_table_below_data_is_no_folder_of_files(tmp_path, to):
    put_delta(tmp_path / "data" / "users")
    put(tmp_path / "data" / "others")
    assert discover_namespaces(tmp_path) == ("data/users", "others")
    assert detect_existing_format(tmp_path, "data/users").formats == ("delta",)
    with pytest.raises(NotFoundError, match=r"data/users is a table: .* --location data"):
        migrate_backend(storage=tmp_path, to=to, namespaces=["users"])
    report = migrate_backend(storage=tmp_path, to=to, namespaces=["data/users"], allow_lossy=True)
    assert report.namespaces["data/users"].rows == 1
    assert "users" in discover_namespaces(tmp_path, location="data")
    assert detect_existing_format(tmp_path, "users", location="data").formats == ("delta",)


def test_native_files_below_data_stay_when_the_target_is_there_too(tmp_path):
    put(tmp_path / "data" / "users", ids=[1, 2, 3])
    migrate_backend(storage=tmp_path, to="delta", location="data")
    assert discover_namespaces(tmp_path, location="data") == ("users",)
    found = detect_existing_format(tmp_path, "users", location="data")
    assert found.formats == ("native", "delta")
    again = migrate_backend(storage=tmp_path, to="delta", from_="native", location="data")
    assert again.namespaces["users"].action == "skipped"


def test_an_iceberg_table_below_data(tmp_path):
    make_iceberg(tmp_path / "data")
    assert discover_namespaces(tmp_path) == ("data/users",)
    assert backend_status(tmp_path).namespaces["data/users"].error is None


@pytest.mark.parametrize("folder", ["users", "data/users"])
def test_a_delta_table_whose_log_is_lost_is_no_folder_of_files(tmp_path, folder):
    """Its files hold removed rows too: never success with them."""
    put_delta(tmp_path / folder)
    put(tmp_path / "data" / "others")
    for file in (tmp_path / folder / "_delta_log").iterdir():
        file.unlink()
    (name,) = set(discover_namespaces(tmp_path)) - {"others"}
    status = backend_status(tmp_path)
    assert "has no commits" in status.namespaces[name].error
    assert status.namespaces["others"].rows == 2
    assert not check_backend(tmp_path).healthy
    with pytest.raises(FormatError, match="has no commits"):
        migrate_backend(storage=tmp_path, to="iceberg", namespaces=[name])
    report = migrate_backend(storage=tmp_path, to="iceberg", dry_run=True)
    assert report.namespaces[name].action == "failed"


def test_an_iceberg_table_whose_metadata_is_lost(tmp_path):
    make_iceberg(tmp_path)
    for file in (tmp_path / "users" / "metadata").glob("*.json"):
        file.unlink()
    assert discover_namespaces(tmp_path) == ("users",)
    assert "has no metadata file" in backend_status(tmp_path).namespaces["users"].error
    assert not check_backend(tmp_path).healthy
    with pytest.raises(FormatError, match="has no metadata file"):
        migrate_backend(storage=tmp_path, to="delta")


def test_links_in_a_circle(tmp_path):
    put(tmp_path / "data" / "a")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "data" / "a" / "up").symlink_to(tmp_path / "data")
    assert discover_namespaces(tmp_path) == ("a",)


def test_a_link_to_nothing_and_a_pipe(tmp_path):
    folder = tmp_path / "data" / "a"
    put(folder)
    os.mkfifo(folder / "pipe.parquet")
    assert backend_status(tmp_path).namespaces["a"].rows == 2
    (folder / "y.parquet").symlink_to(tmp_path / "not mounted")
    with pytest.raises(NotFoundError, match=r"y\.parquet' does not exist"):
        migrate_backend(storage=tmp_path, to="iceberg")


@pytest.mark.parametrize("kind", ["delta", "hive"])
def test_a_storage_that_is_itself_a_table(tmp_path, kind):
    if kind == "delta":
        put_delta(tmp_path)
    else:
        put(tmp_path / "k=1")
    assert discover_namespaces(tmp_path) == ()
    for call in (check_backend, lambda where: migrate_backend(storage=where, to="iceberg")):
        with pytest.raises(NotFoundError, match="it is itself a table"):
            call(tmp_path)
