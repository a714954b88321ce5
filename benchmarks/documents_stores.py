"""The embedded stores of documents that are measured: LanceDB, Mongita, TinyDB.

They are in the dependency group ``bench``; what is not installed is left out of the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.documents_data import Document
from benchmarks.documents_systems import System, UnavailableError, arrow_tables


class LanceDB(System):
    """A table of LanceDB, of typed columns."""

    title = "LanceDB"
    writes = 40
    durabilities = (False,)

    def open(self) -> None:
        """Open the table, if there is one."""
        lancedb = _imported("lancedb")
        self.db = lancedb.connect(self.folder)
        self.table: Any = None
        if (self.folder / "users.lance").exists():
            self.table = self.db.open_table("users")

    def create(self, id_: str, document: Document) -> None:
        """Add a row."""
        rows = arrow_tables([(id_, document)])
        if self.table is None:
            self.create_many([(id_, document)])
        else:
            self.table.add(next(rows))

    def create_many(self, pairs: Iterable[tuple[str, Document]]) -> None:
        """Add rows as a stream of Arrow batches."""
        tables = arrow_tables(pairs)
        first = next(tables)

        def batches() -> Iterable[Any]:
            yield from first.to_batches()
            for table in tables:
                yield from table.to_batches()

        self.table = self.db.create_table("users", batches(), schema=first.schema)

    def get(self, id_: str) -> Document:
        """Search by id; there is no key."""
        return self._found(f"id = '{id_}'")[0]

    def scalar(self, age: int) -> list[Document]:
        """Search a column."""
        return self._found(f"age = {age}")

    def nested(self, city: str) -> list[Document]:
        """Search a field of a struct."""
        return self._found(f"address.city = '{city}'")

    def element(self, tag: str) -> list[Document]:
        """Search lists."""
        return self._found(f"array_has(tags, '{tag}')")

    def page(self, above: float) -> list[Document]:
        """Sort by a column."""
        from lancedb.query import ColumnOrdering

        query = self.table.search().where(f"score > {above}").limit(10)
        ordered = query.order_by([ColumnOrdering(column_name="score", ascending=True)])
        found: list[Document] = ordered.to_arrow().to_pylist()
        return found

    def count(self, age: int) -> int:
        """Count rows."""
        found: int = self.table.count_rows(f"age >= {age}")
        return found

    def update(self, id_: str, age: int) -> None:
        """Set a column."""
        self.table.update(where=f"id = '{id_}'", values={"age": age})

    def _found(self, condition: str) -> list[Document]:
        found: list[Document] = self.table.search().where(condition).to_arrow().to_pylist()
        return found


class Mongita(System):
    """MongoDB's interface over files of BSON."""

    title = "Mongita"
    limit = 100_000
    writes = 20
    durabilities = (False,)

    def open(self) -> None:
        """Open the folder."""
        _imported("mongita")
        from mongita import MongitaClientDisk

        self.users = MongitaClientDisk(host=str(self.folder))["bench"]["users"]

    def create(self, id_: str, document: Document) -> None:
        """Insert a document."""
        self.users.insert_one({"_id": id_, **document})

    def create_many(self, pairs: Iterable[tuple[str, Document]]) -> None:
        """Insert documents."""
        self.users.insert_many([{"_id": id_, **document} for id_, document in pairs])

    def get(self, id_: str) -> Document:
        """Find by id."""
        found: Document = self.users.find_one({"_id": id_})
        return found

    def scalar(self, age: int) -> list[Document]:
        """Search by an int."""
        return list(self.users.find({"age": age}))

    def nested(self, city: str) -> list[Document]:
        """Search by a field of a dict."""
        return list(self.users.find({"address.city": city}))

    def element(self, tag: str) -> list[Document]:  # noqa: ARG002
        """It has no such search."""
        raise UnavailableError

    def page(self, above: float) -> list[Document]:
        """Sort by a field."""
        return list(self.users.find({"score": {"$gt": above}}).sort("score", 1).limit(10))

    def count(self, age: int) -> int:
        """Count documents."""
        found: int = self.users.count_documents({"age": {"$gte": age}})
        return found

    def update(self, id_: str, age: int) -> None:
        """Set a field."""
        self.users.update_one({"_id": id_}, {"$set": {"age": age}})


class TinyDB(System):
    """One file of JSON that is read and written whole."""

    title = "TinyDB"
    limit = 10_000
    writes = 10
    durabilities = (True,)  # it calls fsync

    def open(self) -> None:
        """Open the file."""
        tinydb = _imported("tinydb")
        self.where = tinydb.where
        self.db = tinydb.TinyDB(self.folder / "users.json")

    def create(self, id_: str, document: Document) -> None:
        """Insert a document."""
        self.db.insert(_plain(id_, document))

    def create_many(self, pairs: Iterable[tuple[str, Document]]) -> None:
        """Insert documents."""
        self.db.insert_multiple(_plain(id_, document) for id_, document in pairs)

    def get(self, id_: str) -> Document:
        """Search by id."""
        found: Document = self.db.get(self.where("id") == id_)
        return found

    def scalar(self, age: int) -> list[Document]:
        """Search by an int."""
        return list(self.db.search(self.where("age") == age))

    def nested(self, city: str) -> list[Document]:
        """Search by a field of a dict."""
        return list(self.db.search(self.where("address").city == city))

    def element(self, tag: str) -> list[Document]:
        """Search lists."""
        return list(self.db.search(self.where("tags").any([tag])))

    def page(self, above: float) -> list[Document]:
        """Sort what a search finds."""
        found = self.db.search(self.where("score") > above)
        return sorted(found, key=lambda document: document["score"])[:10]

    def count(self, age: int) -> int:
        """Count what a search finds."""
        return int(self.db.count(self.where("age") >= age))

    def update(self, id_: str, age: int) -> None:
        """Set a field."""
        self.db.update({"age": age}, self.where("id") == id_)

    def close(self) -> None:
        """Close the file."""
        self.db.close()


def _imported(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnavailableError(f"{name} is not installed") from error


def _plain(id_: str, document: Document) -> Document:
    return {"id": id_, **document, "seenAt": document["seenAt"].isoformat()}
