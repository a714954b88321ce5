import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb import DB, backends
from parquedb.errors import InvalidInputError
from parquedb.model.format import Format
from parquedb.namespace.places import Places, check_namespace


@pytest.mark.parametrize("name", ["users", "sales/orders", "a.b", "Ärger", "with space", "x-1_2"])
def test_good_names(name):
    assert check_namespace(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc",
        "../up",
        "a/../b",
        "a//b",
        ".",
        "_parquedb",
        ".git",
        "a/_b",
        "a\\b",
        "a\nb",
        " a",
        "a=1",
        "data",
        "metadata",
        "a\x00b",
        "users/",
    ],
)
def test_bad_names_say_what_is_wrong(name):
    with pytest.raises(InvalidInputError, match="is not a namespace name"):
        check_namespace(name)


@pytest.mark.parametrize("name", [None, 0, True, b"users", [], ["users"]])
def test_what_is_no_name_at_all_is_told_everywhere(tmp_path, name):
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"$id": ["users/a"]}), tmp_path / "data/users.parquet")
    backend = backends.create_backend(type="native", storage=tmp_path)
    for call in (
        lambda: check_namespace(name),
        lambda: backends.detect_existing_format(tmp_path, name),
        lambda: backends.verify_backend(tmp_path, name, against="iceberg"),
        lambda: backends.check_backend(tmp_path, [name]),
        lambda: backends.migrate_backend(storage=tmp_path, to="iceberg", namespaces=[name]),
        lambda: backends.backend_status(tmp_path, [name]),
        lambda: backends.cleanup_backend(tmp_path, name, "iceberg"),
        lambda: backend.rename_column(name, "a", "b"),
        lambda: backend.history(name),
    ):
        with pytest.raises(InvalidInputError, match="is not a namespace name: it is no text"):
            call()
    with DB(tmp_path) as db, pytest.raises(InvalidInputError, match="collection's name is a str"):
        db.collection(name)


@pytest.mark.parametrize("names", [None, 0, b"users"])
def test_what_is_no_list_of_names_is_told(tmp_path, names):
    for call in (
        lambda: backends.check_backend(tmp_path, names),
        lambda: backends.migrate_backend(storage=tmp_path, to="iceberg", namespaces=names),
        lambda: backends.backend_status(tmp_path, names),
    ):
        with pytest.raises(InvalidInputError, match="it is a list of names, such as"):
            call()


def test_prefixes():
    places = Places(warehouse="/wh/", location="lake/delta")
    assert places.folder(Format.ICEBERG, "users") == "wh/users"
    assert places.folder(Format.DELTA, "users") == "lake/delta/users"
    assert places.folder(Format.NATIVE, "users") == "users"
