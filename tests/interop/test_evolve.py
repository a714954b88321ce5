"""Columns that change, in every format: every version reads right in every reader."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.backends import create_backend, migrate_backend
from tests.support.evolving import COLUMNS, ICEBERG, SOURCES, Evolving, compare, some
from tests.support.rows import assert_same_rows

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
    table.backend.drop_column("users", "name")
    table.changed(columns(table, name=None), lambda row: row.pop("name"))
    table.append([dict(table.rows[-1], id=40)])
    table.backend.drop_column("users", "lines.element.n")
    lines = table.columns.field("lines").type.value_type

    def change(row: dict[str, Any]) -> None:
        for line in row["lines"]:
            line.pop("n")

    kept = pa.list_(pa.struct([child for child in lines if child.name != "n"]))
    table.changed(columns(table, lines=kept), change)


def add_again(table: Evolving) -> None:
    """Add a column of a dropped one's name, with the old type and with another."""
    table.backend.evolve_schema("users", add_column={"name": "name", "type": pa.string()})
    table.changed(columns(table, name=pa.string()), lambda row: row.update(name=None))
    table.append([dict(table.rows[-1], id=50, name="new")])


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
