"""Iceberg tables whose files have no field ids: what their name mapping says is what they hold."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.types import LongType, StringType

from parquedb.backends import create_backend, migrate_backend
from parquedb.errors import FormatError
from tests.golden.compare import native_rows, with_note
from tests.support.histories import iceberg_table, known_iceberg
from tests.support.rows import assert_same_rows
from tests.support.targets import assert_delta_has, metadata_file

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("age", pa.int64()),
        ("address", pa.struct([("city", pa.string()), ("zip", pa.int64())])),
    ]
)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def add_file(root, table, number):
    """Add a file that another program wrote, without field ids."""
    path = root / "users" / "data" / f"other-{number}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "id": number,
            "name": f"n{number}",
            "age": 10 * number,
            "address": {"city": f"c{number}", "zip": number},
        }
    ]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    table.add_files([path.as_uri()])


def evolved(root):
    """Files without ids, then a rename, a drop and a name that comes again."""
    table = iceberg_table(root, SCHEMA)
    add_file(root, table, 1)
    add_file(root, table, 2)
    with table.update_schema() as update:
        update.rename_column("name", "title")
        update.rename_column("address.city", "town")
        update.delete_column("age")
    table.append(row(table, 3))
    with table.update_schema() as update:
        update.add_column("extra", StringType())
        update.add_column(("address", "extra"), LongType())
    table.append(row(table, 4))
    add_file_renamed(root, table)
    return table


def row(table, number):
    schema = table.schema().as_arrow()
    values = {
        "id": number,
        "title": f"t{number}",
        "extra": "e",
        "address": {"town": "x", "zip": 5, "extra": 6},
    }
    known = {name: values[name] for name in schema.names}
    known["address"] = {
        part.name: values["address"][part.name] for part in schema.field("address").type
    }
    return pa.Table.from_pylist([known], schema)


def add_file_renamed(root, table):
    """Add a file that has the new names, and no ids either."""
    path = root / "users" / "data" / "new-names.parquet"
    made = pa.table({"id": [9], "title": ["t9"], "address": [{"town": "Bern", "zip": 3000}]})
    pq.write_table(made, path)
    table.add_files([path.as_uri()])


def test_every_version_is_what_pyiceberg_reads(root):
    table = evolved(root)
    known = known_iceberg(table)
    assert {"id": 1, "title": "n1", "address": {"town": "c1", "zip": 1, "extra": None},
            "extra": None} in known[-1].rows  # fmt: skip
    ours = create_backend(type="iceberg", storage=root)
    for one in known:
        with_note(f"at {one.version}", ours.to_arrow("users", version=one.version), one.rows)
    migrate_backend(storage=root, to="delta", verify="content")
    assert_delta_has(root / "users", known)
    migrate_backend(storage=root, from_="iceberg", to="native", allow_lossy=True, verify="content")
    for name, rows in native_rows(root / "data" / "users" / "data.parquet"):
        with_note(name, rows, known[-1].rows)


def test_a_name_that_comes_again_does_not_show_old_values(root):
    """pyiceberg gives the name to the new column; the mapping here is as it should be."""
    table = iceberg_table(root, SCHEMA)
    add_file(root, table, 1)
    with table.update_schema() as update:
        update.delete_column("age")
        update.delete_column("address.zip")
    with table.update_schema() as update:
        update.add_column("age", LongType())
        update.add_column(("address", "zip"), LongType())
    mapping = [
        {"field-id": 1, "names": ["id"]},
        {"field-id": 2, "names": ["name"]},
        {"field-id": 3, "names": ["age"]},
        {"names": ["not a column of the table"]},
        {
            "field-id": 4,
            "names": ["address"],
            "fields": [{"field-id": 5, "names": ["city"]}, {"field-id": 6, "names": ["zip"]}],
        },
    ]
    with table.transaction() as transaction:
        transaction.set_properties({"schema.name-mapping.default": json.dumps(mapping)})
    new = {"id": 2, "name": "n2", "address": {"city": "c2", "zip": 77}, "age": 88}
    table.append(pa.Table.from_pylist([new], table.schema().as_arrow()))
    wanted = [{"id": 1, "name": "n1", "address": {"city": "c1", "zip": None}, "age": None}, new]
    ours = create_backend(type="iceberg", storage=root)
    assert_same_rows(ours.to_arrow("users"), wanted)
    known = known_iceberg(table)
    known[-1].rows[:] = wanted
    known[0].rows[:] = [{"id": 1, "name": "n1", "address": {"city": "c1", "zip": 1}, "age": 10}]
    migrate_backend(storage=root, to="delta", verify="content")
    assert_delta_has(root / "users", known)


@pytest.mark.parametrize("text", ["[", "{}", '[{"field-id": "x", "names": []}]', '[{"names": 5}]'])
def test_a_mapping_that_is_damaged(root, text):
    table = iceberg_table(root, SCHEMA)
    add_file(root, table, 1)
    migrate_backend(storage=root, to="delta")
    migrate_backend(storage=root, from_="delta", to="iceberg", warehouse="copy")
    path = metadata_file(root / "copy" / "users")
    metadata = json.loads(path.read_bytes())
    metadata["properties"]["schema.name-mapping.default"] = text
    path.write_text(json.dumps(metadata))
    with pytest.raises(FormatError, match=r"schema\.name-mapping\.default"):
        create_backend(type="iceberg", storage=root, warehouse="copy").to_arrow("users")
