import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import parquedb
from parquedb import errors

HEAVY = ("pyarrow", "duckdb", "numpy", "orjson", "typer", "parquedb.db")


def loaded_after(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_the_package_alone_imports_nothing_that_costs():
    assert loaded_after("import parquedb").isdisjoint(HEAVY)


def test_an_error_is_imported_without_the_database():
    assert loaded_after("from parquedb import ConflictError").isdisjoint(HEAVY)


def test_a_get_imports_next_to_nothing_that_pyarrow_does_without(tmp_path):
    with parquedb.DB(tmp_path) as db:
        id_ = db.users.create({"name": "Ada", "tags": ["a"], "born": {"year": 1815}}).id
        db.flush()
    get = f"from parquedb import DB\nassert DB({str(tmp_path)!r}).users[{id_!r}].name == 'Ada'"
    more = loaded_after(get) - loaded_after("import pyarrow._parquet")
    others = {name.partition(".")[0] for name in more} - {"parquedb", "numpy"}
    assert {name for name in others if not name.startswith("_")} <= {
        "base64", "binascii", "bisect", "copy", "dataclasses", "difflib", "fcntl", "json", "orjson",
        "unicodedata", "zlib",
    }  # fmt: skip
    assert more.isdisjoint({"_hashlib", "_ssl", "pyarrow.parquet", "pyarrow.compute"})
    assert len({name for name in more if name.startswith("parquedb")}) <= 100


def test_a_sorted_page_of_numbers_needs_neither_duckdb_nor_arrows_functions(tmp_path):
    with parquedb.DB(tmp_path) as db:
        db.users.create_many({"n": number * 7 % 100} for number in range(100))
        db.flush()
    page = f"list(DB({str(tmp_path)!r}).users.find({{'n': {{'$gt': 5}}}}, sort='-n', limit=3))"
    code = f"from parquedb import DB\nassert [each.n for each in {page}] == [99, 98, 97]"
    assert loaded_after(code).isdisjoint({"duckdb", "pyarrow.compute", "pyarrow.parquet"})


def test_the_database_is_exported():
    from parquedb.db import DB
    from parquedb.documents.collection import Collection
    from parquedb.documents.entity import Entity

    assert parquedb.DB is DB
    assert parquedb.Collection is Collection
    assert parquedb.Entity is Entity


def test_every_error_is_exported():
    found = {
        name
        for name, each in vars(errors).items()
        if inspect.isclass(each) and issubclass(each, errors.ParqueDBError)
    }
    assert found <= set(parquedb.__all__)
    assert all(getattr(parquedb, name) is getattr(errors, name) for name in found)


def test_every_export_can_be_had_and_is_listed():
    assert all(hasattr(parquedb, name) for name in parquedb.__all__)
    assert set(parquedb.__all__) <= set(dir(parquedb))


def test_the_stub_for_type_checkers_has_the_same_names():
    stub = Path(parquedb.__file__).with_suffix(".pyi").read_text("utf-8")
    imported = set(re.findall(r"^from \S+ import (\w+) as \1$", stub, re.MULTILINE))
    assert imported | {"__version__"} == set(parquedb.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'parquedb' has no attribute 'Db'"):
        _ = parquedb.Db
