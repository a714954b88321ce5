"""What a change of columns may do to a collection of documents, and what native files allow."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Field, Schema, write_deltalake
from deltalake.schema import PrimitiveType

from parquedb.backends import Backend, create_backend, migrate_backend
from parquedb.catalog import FilesystemCatalog
from parquedb.db import DB
from parquedb.documents import bulk
from parquedb.errors import (
    InvalidInputError,
    NotFoundError,
    StateError,
    UnsupportedError,
)
from parquedb.rows.typescript import COLUMNS
from parquedb.storage.faults import Fault, FaultKind, SimulatedCrashError, inject
from parquedb.storage.local import LocalStore
from tests.support.databases import BACKENDS, fields_of, moment
from tests.support.mapped import Col, MappedTable

DAY = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(params=BACKENDS)
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[DB, Backend]]:
    """A collection with flushed documents, some of them with fields outside of columns."""
    db = DB(str(tmp_path), backend=request.param)
    db.users.create_many(
        [{"$id": f"u{i}", "n": i, "tags": ["a"], "address": {"city": "x"}} for i in range(5)]
    )
    db.users.create({"$id": "odd", "n": "many", "age": None})
    db.flush()
    yield db, create_backend(type=request.param, storage=str(tmp_path))
    db.close()


def documents(db: DB) -> dict[str, dict[str, Any]]:
    return {each.id: fields_of(each) for each in db.users.find()}


class TestCollections:
    def test_columns_are_added_under_a_tail_and_no_write_is_lost(
        self, live: tuple[DB, Backend]
    ) -> None:
        db, backend = live
        db.users.create({"$id": "tail", "n": 7, "score": 1})
        before, between = documents(db), moment()
        added = [
            {"name": "score", "type": "float"},
            {"name": "born", "type": "date"},
            {"name": "price", "type": "decimal(9,2)"},
            {"name": "address.zip", "type": "int"},
            {"name": "labels", "type": "string[]"},
        ]
        backend.evolve_schema("users", add_column=added)
        assert documents(db) == before
        db.users.update("tail", {"$set": {"price": Decimal("1.50"), "born": DAY.date()}})
        db.users.create({"$id": "new", "score": 0.5, "address": {"city": "y", "zip": 3}})
        known = documents(db)
        if backend.type != "native":  # which keeps one state
            past = db.as_of(between)
            assert {each.id: fields_of(each) for each in past.users.find()} == before
        written = moment()
        db.flush()
        assert documents(db) == known
        assert set(known) == set(before) | {"users/new"}
        assert backend.snapshot("users").schema.find("score") is not None
        assert [each.id for each in db.users.find({"score": {"$gte": 1}})] == ["users/tail"]
        if backend.type != "native":
            past = db.as_of(written)
            assert {each.id: fields_of(each) for each in past.users.find()} == known

    def test_staged_writes_stay_too(
        self, live: tuple[DB, Backend], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        db, backend = live
        monkeypatch.setattr(bulk, "STAGED_FROM", 3)
        db.users.create_many([{"$id": f"s{i}", "n": i, "extra": i} for i in range(4)])
        before = documents(db)
        backend.evolve_schema("users", add_column={"name": "extra", "type": "int"})
        assert documents(db) == before
        db.flush()
        assert documents(db) == before

    def test_fields_are_not_renamed_or_dropped_behind_the_documents(
        self, live: tuple[DB, Backend]
    ) -> None:
        db, backend = live
        with pytest.raises(UnsupportedError, match=r'\{"\$rename": \{"n": "number"\}\}'):
            backend.rename_column("users", "n", "number")
        with pytest.raises(UnsupportedError, match=r'\{"\$unset": \{"n": ""\}\}'):
            backend.drop_column("users", "n")
        db.users.update_many({}, {"$rename": {"n": "number"}})
        assert all("number" in each for each in documents(db).values())

    @pytest.mark.parametrize("name", ["$id", "version", "$data", "updatedAt"])
    def test_system_columns_stay(self, live: tuple[DB, Backend], name: str) -> None:
        _, backend = live
        for change in (
            lambda: backend.rename_column("users", name, "other"),
            lambda: backend.drop_column("users", name),
            lambda: backend.widen_column("users", name, "int64"),
            lambda: backend.evolve_schema("users", make_optional=name),
            lambda: backend.evolve_schema("users", add_column={"name": name, "type": "int"}),
        ):
            with pytest.raises(InvalidInputError, match="documents need"):
                change()

    def test_columns_that_documents_cannot_fill_are_refused(self, live: tuple[DB, Backend]) -> None:
        _, backend = live
        for type_ in ("int32", pa.uuid(), pa.map_(pa.string(), pa.int64()), pa.timestamp("us")):
            with pytest.raises(UnsupportedError, match="documents have no values of type"):
                backend.evolve_schema("users", add_column={"name": "x", "type": type_})
        with pytest.raises(InvalidInputError, match="cannot be the column of a field"):
            backend.evolve_schema("users", add_column={"name": "$x", "type": "int"})

    def test_a_collection_is_changed_where_it_is_kept(self, tmp_path: Path) -> None:
        with DB(str(tmp_path), backend="iceberg") as db:
            db.users.create({"n": 1})
        migrate_backend(storage=tmp_path, to="delta", namespaces=["users"])
        left = create_backend(type="iceberg", storage=tmp_path)
        with pytest.raises(StateError, match="is kept in Delta, not in Iceberg"):
            left.evolve_schema("users", add_column={"name": "x", "type": "int"})

    def test_a_column_that_others_drop_does_not_come_back_in_a_new_one(
        self, tmp_path: Path
    ) -> None:
        """The next column's id is none that a dropped one had."""
        with DB(str(tmp_path), backend="iceberg") as db:
            db.users.create({"$id": "a", "old": 1})
            db.flush()
            with (
                FilesystemCatalog("lake", warehouse=str(tmp_path))
                .load_table("users")
                .update_schema() as update
            ):
                update.delete_column("old")
            db.users.create({"$id": "b", "new": 2})
            db.flush()
            assert "new" not in db.users["a"]
            assert db.users["b"].new == 2


class TestNative:
    def test_several_files_are_not_replaced_at_once(self, tmp_path: Path) -> None:
        folder = tmp_path / "data" / "logs"
        folder.mkdir(parents=True)
        for number in range(2):
            pq.write_table(pa.table({"a": [number]}), folder / f"part-{number}.parquet")
        backend = create_backend(type="native", storage=tmp_path)
        with pytest.raises(UnsupportedError, match=r"2 files below 'data/logs'.*migrate it"):
            backend.rename_column("logs", "a", "b")
        assert backend.to_arrow("logs").column_names == ["a"]

    def test_hive_folders_are_not_either(self, tmp_path: Path) -> None:
        folder = tmp_path / "data" / "logs" / "k=1"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"a": [1]}), folder / "x.parquet")
        backend = create_backend(type="native", storage=tmp_path)
        with pytest.raises(UnsupportedError, match="partitioned folders"):
            backend.rename_column("logs", "k", "b")

    def test_one_file_of_any_name_is_replaced_in_its_place(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"a": [1]}), tmp_path / "logs.parquet")
        before = (tmp_path / "logs.parquet").stat().st_ino
        backend = create_backend(type="native", storage=tmp_path)
        backend.rename_column("logs", "a", "b")
        assert pq.read_table(tmp_path / "logs.parquet").to_pydict() == {"b": [1]}
        assert (tmp_path / "logs.parquet").stat().st_ino != before
        assert [p.name for p in tmp_path.rglob("*.parquet")] == ["logs.parquet"]

    def test_there_is_no_place_for_comments(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"a": [1]}), tmp_path / "logs.parquet")
        backend = create_backend(type="native", storage=tmp_path)
        with pytest.raises(UnsupportedError, match="no comments"):
            backend.evolve_schema("logs", set_doc={"a": "x"})

    def test_the_file_of_the_typescript_parquedb_is_migrated_first(self, tmp_path: Path) -> None:
        path = tmp_path / "data" / "users" / "data.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({name: ["{}"] for name in COLUMNS}), path)
        backend = create_backend(type="native", storage=tmp_path)
        with pytest.raises(StateError, match="migrate it first"):
            backend.evolve_schema("users", add_column={"name": "x", "type": "int"})


@pytest.mark.parametrize("backend", BACKENDS)
class TestInput:
    @pytest.fixture
    def table(self, backend: str, tmp_path: Path) -> Backend:
        path = tmp_path / "data" / "t" / "data.parquet"
        path.parent.mkdir(parents=True)
        rows = {"a": pa.array([1], pa.int32()), "b": ["x"]}
        pq.write_table(pa.table(rows), path)
        if backend != "native":
            migrate_backend(storage=tmp_path, to=backend, namespaces=["t"], delete_source=True)
        return create_backend(type=backend, storage=tmp_path)

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ({"name": "c"}, "needs a name and a type"),
            ({"name": "c", "type": "int", "after": "a"}, "has no 'after'"),
            ({"name": "c", "type": "int", "nullable": False}, "cannot be required"),
            ({"name": "c", "type": "int!"}, "cannot be required"),
            ({"name": "c", "type": pa.field("c", pa.int64(), nullable=False)}, "be required"),
            ({"name": "c", "type": "int = 3"}, "asks for more than a type"),
            ({"name": "c", "type": "string#"}, "asks for more than a type"),
            ({"name": "c", "type": "uuid"}, "no column of their own"),
            ({"name": "c", "type": "integr"}, "did you mean 'integer'"),
            ({"name": "a", "type": "int"}, "is a column 'a' already"),
            ({"name": "A", "type": "int"}, "differs in case only"),
            ({"name": "b.c", "type": "int"}, "'b' is string, no struct"),
            ({"name": "x.c", "type": "int"}, "no column 'x'"),
            ({"name": "", "type": "int"}, "cannot be a column's name"),
            ({"name": 3, "type": "int"}, "are strings"),
            ({"name": "c", "type": pa.struct([("", pa.int32())])}, "cannot be a column's name"),
            ({"name": "c", "type": pa.struct([("x", pa.int32()), ("X", pa.int32())])}, "in case"),
        ],
        ids=str,
    )
    def test_columns_that_cannot_be_added(
        self, table: Backend, spec: dict[str, Any], message: str
    ) -> None:
        before = table.history("t")
        with pytest.raises(InvalidInputError, match=message):
            table.evolve_schema("t", add_column=spec)
        assert table.history("t") == before

    def test_other_changes_that_cannot_be_done(self, table: Backend) -> None:
        before = table.history("t")
        with pytest.raises(InvalidInputError, match="did you mean 'a'"):
            table.rename_column("t", "aa", "c")
        with pytest.raises(InvalidInputError, match="is a column 'b' already"):
            table.rename_column("t", "a", "b")
        with pytest.raises(InvalidInputError, match="widened to int64"):
            table.widen_column("t", "a", "string")
        with pytest.raises(InvalidInputError, match="widened to int64"):
            table.widen_column("t", "a", "int16")
        with pytest.raises(InvalidInputError, match="add a column of the new type"):
            table.widen_column("t", "b", "binary")
        with pytest.raises(InvalidInputError, match="asked for nothing"):
            table.evolve_schema("t")
        table.drop_column("t", "a")
        with pytest.raises(InvalidInputError, match="only column"):
            table.drop_column("t", "b")
        with pytest.raises(NotFoundError, match="No data found"):
            table.drop_column("nothing", "a")
        assert len(table.history("t")) == len(before) + (table.type != "native")

    def test_what_is_no_text_is_refused(self, table: Backend) -> None:
        nothing: Any = None
        for change in (
            lambda: table.drop_column("t", nothing),
            lambda: table.rename_column("t", "a", nothing),
            lambda: table.rename_column("t", nothing, "c"),
            lambda: table.evolve_schema("t", reorder=[nothing]),
            lambda: table.evolve_schema("t", make_optional=nothing),
        ):
            with pytest.raises(InvalidInputError, match=r"named by strings|asked for nothing"):
                change()
        if table.type != "native":
            wrong: Any = 3
            for comment in (wrong, "\ud800"):
                with pytest.raises(InvalidInputError, match="no text"):
                    table.evolve_schema("t", set_doc={"a": comment})
            wrong = ["a"]
            with pytest.raises(InvalidInputError, match="mapping of columns"):
                table.evolve_schema("t", set_doc=wrong)

    def test_names_that_engines_use_are_refused(self, table: Backend) -> None:
        if table.type == "native":
            table.evolve_schema("t", add_column={"name": "_file", "type": "int"})
            return
        taken = "_pos" if table.type == "iceberg" else "_commit_version"
        with pytest.raises(InvalidInputError, match="is a metadata column"):
            table.evolve_schema("t", add_column={"name": taken, "type": "int"})
        with pytest.raises(InvalidInputError, match="is a metadata column"):
            table.rename_column("t", "a", taken)

    def test_a_struct_with_required_fields_is_added_as_null(self, table: Backend) -> None:
        """And the files without it are written again, by a change and by a migration."""
        inner = pa.struct([pa.field("x", pa.int32(), nullable=False)])
        table.evolve_schema("t", add_column={"name": "c", "type": inner})
        table.widen_column("t", "a", "int64")
        assert table.to_arrow("t").to_pylist() == [{"a": 1, "b": "x", "c": None}]

    def test_what_is_so_already_is_no_version(self, table: Backend) -> None:
        before = table.history("t")
        assert not table.widen_column("t", "a", "int32").changed
        assert not table.evolve_schema("t", make_optional=["a"], reorder=["a"]).changed
        assert table.history("t") == before

    def test_types_that_the_format_does_not_have(self, table: Backend) -> None:
        if table.type == "native":
            table.evolve_schema("t", add_column={"name": "c", "type": pa.uint8()})
            table.widen_column("t", "c", pa.uint16())
            assert table.to_arrow("t").schema.field("c").type == pa.uint16()
            return
        with pytest.raises(UnsupportedError, match="has no type timestamp"):
            table.evolve_schema("t", add_column={"name": "c", "type": pa.timestamp("ns")})

    def test_a_name_with_a_dot(self, table: Backend) -> None:
        table.rename_column("t", "a", "x.y")
        assert table.snapshot("t").schema.names[0] == "x.y"
        table.widen_column("t", "x.y", "int64")
        table.rename_column("t", "x.y", "a")
        assert table.to_arrow("t").to_pylist() == [{"a": 1, "b": "x"}]


def test_names_that_delta_does_not_allow(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path / "t"), pa.table({"a": [1]}))
    backend = create_backend(type="delta", storage=tmp_path)
    for name in ("x y", "a,b", "a=b"):
        with pytest.raises(InvalidInputError, match="cannot be a column of a Delta table"):
            backend.rename_column("t", "a", name)
        inner = pa.struct([(name, pa.int32())])
        with pytest.raises(InvalidInputError, match="cannot be a column of a Delta table"):
            backend.evolve_schema("t", add_column={"name": "c", "type": inner})


@pytest.mark.parametrize("backend", BACKENDS)
def test_changes_at_the_same_time_are_all_made(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "data" / "t" / "data.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"a": pa.array([1, 2], pa.int32()), "b": ["x", "y"]}), path)
    if backend != "native":
        migrate_backend(storage=tmp_path, to=backend, namespaces=["t"], delete_source=True)

    def change(number: int) -> None:
        table = create_backend(type=backend, storage=tmp_path)
        if number == 0:
            table.rename_column("t", "a", "z")
        elif number == 1:
            table.widen_column("t", "c0", "int64")
        else:
            table.evolve_schema("t", add_column={"name": f"c{number}", "type": "int32"})

    table = create_backend(type=backend, storage=tmp_path)
    table.evolve_schema("t", add_column={"name": "c0", "type": "int32"})
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(change, range(8)))
    schema = table.to_arrow("t").schema
    assert set(schema.names) == {"z", "b", "c0", *(f"c{number}" for number in range(2, 8))}
    assert schema.field("c0").type == pa.int64()
    assert table.to_arrow("t").select(["z", "b"]).to_pydict() == {"z": [1, 2], "b": ["x", "y"]}
    assert len(table.history("t")) == (1 if backend == "native" else 10)


def test_copies_of_a_process_that_died_are_vacuumed(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path / "t"), pa.table({"a": [1]}))
    faulty = inject(LocalStore(tmp_path), Fault(1, FaultKind.CRASH_BEFORE))
    with pytest.raises(SimulatedCrashError):
        create_backend(type="delta", storage=faulty).rename_column("t", "a", "b")
    (left,) = (tmp_path / "t" / "data").glob("*.parquet")
    with DB(str(tmp_path)) as db:
        removed = db.vacuum("t", older_than_s=0, nobody_writes=True)["t"]
    assert [file.key for file in removed.files] == [f"t/data/{left.name}"]
    assert create_backend(type="delta", storage=tmp_path).to_arrow("t").to_pydict() == {"a": [1]}


def test_what_delta_says_of_a_column_goes_with_its_name(tmp_path: Path) -> None:
    """Such as Spark's CHAR and VARCHAR; a new column of the old name has none of it."""
    kept = {"__CHAR_VARCHAR_TYPE_STRING": "varchar(5)"}
    fields = [
        Field("v", PrimitiveType("string"), metadata=kept),
        Field("n", PrimitiveType("integer")),
    ]
    DeltaTable.create(
        str(tmp_path / "t"),
        Schema(fields),
        configuration={"delta.dataSkippingStatsColumns": "n"},
    )
    table = create_backend(type="delta", storage=tmp_path)
    table.rename_column("t", "v", "w")
    table.evolve_schema("t", add_column={"name": "v", "type": "string"})
    found = {f.name: f.metadata for f in DeltaTable(tmp_path / "t").schema().fields}
    assert found == {"w": kept, "n": {}, "v": {}}
    with pytest.raises(InvalidInputError, match=r"delta\.dataSkippingStatsColumns names 'n'"):
        table.drop_column("t", "n")
    table.widen_column("t", "n", "int64")


def test_what_delta_tables_ask_of_their_writers_is_not_passed_over(tmp_path: Path) -> None:
    """A refused change leaves nothing behind."""
    mapped = MappedTable(tmp_path / "mapped", (Col("a", "long", 1, "col-1"),))
    mapped.add({"a": 1})
    write_deltalake(
        str(tmp_path / "log"),
        pa.table({"a": pa.array([1], pa.int32())}),
        configuration={"delta.appendOnly": "true", "delta.enableChangeDataFeed": "true"},
    )
    write_deltalake(str(tmp_path / "checked"), pa.table({"a": [1]}))
    DeltaTable(tmp_path / "checked").alter.add_constraint({"positive": "a > 0"})
    before = sorted(tmp_path.rglob("*"))
    table = create_backend(type="delta", storage=tmp_path)
    with pytest.raises(UnsupportedError, match="columnMapping is enabled"):
        table.rename_column("mapped", "a", "b")
    with pytest.raises(UnsupportedError, match="checkConstraints"):
        table.rename_column("checked", "a", "b")
    assert sorted(tmp_path.rglob("*")) == before
    # copies change no rows, which is all that these two ask for
    table.rename_column("log", "a", "b")
    table.widen_column("log", "b", "int64")
    assert table.to_arrow("log").to_pydict() == {"b": [1]}
    feed = DeltaTable(tmp_path / "log").load_cdf(starting_version=1).read_all()
    assert feed.num_rows == 0
