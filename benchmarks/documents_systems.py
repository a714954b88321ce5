"""The databases that are measured, each behind the same few verbs.

All keep the documents of :mod:`.documents_data` under the ids that they are given. What a verb
returns is made of Python values: documents are dicts. SQL has its literals in it where bound
parameters are slower (DuckDB's first one imports pandas).
"""

from __future__ import annotations

import itertools
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.documents_data import Document

BATCH = 65_536


class UnavailableError(Exception):
    """The database is not installed, or cannot do what is asked for."""


class System(ABC):
    """A database in a folder.

    Args:
        folder: The folder; it exists.
        durable: Whether a write is on the disk when it returns.
    """

    title: ClassVar[str]
    """What the table calls it."""
    limit: ClassVar[int] = 1_000_000
    """More documents take too long."""
    writes: ClassVar[int | None] = None
    """How many single writes are measured, where the usual number takes too long."""
    durabilities: ClassVar[tuple[bool, ...]] = (False, True)
    """What it can promise of a single write: that the system has it, that the disk has it."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self.folder = folder
        self.durable = durable

    @abstractmethod
    def open(self) -> None:
        """Open it, making what is needed."""

    @abstractmethod
    def create(self, id_: str, document: Document) -> None:
        """Create one document."""

    @abstractmethod
    def create_many(self, pairs: Iterable[tuple[str, Document]]) -> None:
        """Create documents."""

    @abstractmethod
    def get(self, id_: str) -> Document:
        """Return a document by its id."""

    @abstractmethod
    def scalar(self, age: int) -> list[Document]:
        """Return the documents of an age, 1 %."""

    @abstractmethod
    def nested(self, city: str) -> list[Document]:
        """Return the documents of a city, 1 %."""

    @abstractmethod
    def element(self, tag: str) -> list[Document]:
        """Return the documents with a tag, 1 %."""

    @abstractmethod
    def page(self, above: float) -> list[Document]:
        """Return the 10 documents with the lowest scores above one."""

    @abstractmethod
    def count(self, age: int) -> int:
        """Count the documents of an age or more."""

    @abstractmethod
    def update(self, id_: str, age: int) -> None:
        """Change the age of a document."""

    def update_many(self, ids: list[str], age: int) -> None:
        """Change documents as it is done fastest; :meth:`settle` follows."""
        raise UnavailableError(f"{len(ids)} updates to {age} at once are not measured")

    def settle(self) -> None:
        """Bring writes to where they stay: the table's files."""
        return

    def close(self) -> None:
        """Close it."""
        return

    def size_bytes(self) -> int:
        """Return what its files take."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


class ParqueDB(System):
    """Documents of a collection."""

    title = "ParqueDB"

    def open(self) -> None:
        """Open the database."""
        from parquedb import DB

        self.db = DB(self.folder, durability="fsync" if self.durable else "os")
        self.users = self.db.users

    def create(self, id_: str, document: Document) -> None:  # noqa: ARG002  (it makes one)
        """Create one document, with an id of its own."""
        self.users.create(document)

    def create_many(self, pairs: Iterable[tuple[str, Document]]) -> None:
        """Create documents, with ids of their own."""
        self.ids = self.users.create_many(document for _, document in pairs)

    def get(self, id_: str) -> Document:
        """Return a document."""
        return self.users[id_]

    def scalar(self, age: int) -> list[Document]:
        """Return by an int."""
        return list(self.users.find({"age": age}))

    def nested(self, city: str) -> list[Document]:
        """Return by a field of a dict."""
        return list(self.users.find({"address.city": city}))

    def element(self, tag: str) -> list[Document]:
        """Return by an element of a list."""
        return list(self.users.find({"tags": tag}))

    def page(self, above: float) -> list[Document]:
        """Return the first ones of a range."""
        return list(self.users.find({"score": {"$gt": above}}, sort="score", limit=10))

    def count(self, age: int) -> int:
        """Count a range."""
        return self.users.count({"age": {"$gte": age}})

    def update(self, id_: str, age: int) -> None:
        """Set a field."""
        self.users.update(id_, {"$set": {"age": age}})

    def update_many(self, ids: list[str], age: int) -> None:
        """Set a field of many."""
        for id_ in ids:
            self.update(id_, age)

    def settle(self) -> None:
        """Flush."""
        self.db.flush()

    def close(self) -> None:
        """Close the database."""
        self.db.close()


class SQLite(System):
    """JSON text in a table, in WAL mode."""

    title = "SQLite, JSON"
    _TABLE = "CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY, data TEXT)"
    _SOME = "SELECT id, data FROM users WHERE "

    def open(self) -> None:
        """Open the file."""
        self.db = sqlite3.connect(self.folder / "users.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute(f"PRAGMA synchronous = {'FULL' if self.durable else 'NORMAL'}")
        self.db.execute(self._TABLE)

    def create(self, id_: str, document: Document) -> None:
        """Insert a row."""
        self.db.execute("INSERT INTO users VALUES (?, ?)", (id_, _json(document)))

    def create_many(self, pairs: Iterable[tuple[str, Document]]) -> None:
        """Insert rows in one transaction."""
        rows = ((id_, _json(document)) for id_, document in pairs)
        self.db.execute("BEGIN")
        self.db.executemany("INSERT INTO users VALUES (?, ?)", rows)
        self.db.execute("COMMIT")

    def get(self, id_: str) -> Document:
        """Select by key."""
        row = self.db.execute("SELECT data FROM users WHERE id = ?", (id_,)).fetchone()
        return _parsed(id_, row[0])

    def scalar(self, age: int) -> list[Document]:
        """Search by json_extract."""
        return self._found(f"{self._SOME} json_extract(data, '$.age') = ?", age)

    def nested(self, city: str) -> list[Document]:
        """Search by json_extract."""
        return self._found(f"{self._SOME} json_extract(data, '$.address.city') = ?", city)

    def element(self, tag: str) -> list[Document]:
        """Search by json_each."""
        inner = "SELECT 1 FROM json_each(data, '$.tags') WHERE value = ?"
        return self._found(f"{self._SOME} EXISTS ({inner})", tag)

    def page(self, above: float) -> list[Document]:
        """Sort by json_extract."""
        score = "json_extract(data, '$.score')"
        return self._found(f"{self._SOME} {score} > ? ORDER BY {score} LIMIT 10", above)

    def count(self, age: int) -> int:
        """Count by json_extract."""
        sql = "SELECT count(*) FROM users WHERE json_extract(data, '$.age') >= ?"
        found: int = self.db.execute(sql, (age,)).fetchone()[0]
        return found

    def update(self, id_: str, age: int) -> None:
        """Change the text by json_set."""
        sql = "UPDATE users SET data = json_set(data, '$.age', ?) WHERE id = ?"
        self.db.execute(sql, (age, id_))

    def update_many(self, ids: list[str], age: int) -> None:
        """Change rows in one transaction."""
        self.db.execute("BEGIN")
        for id_ in ids:
            self.update(id_, age)
        self.db.execute("COMMIT")

    def settle(self) -> None:
        """Move the WAL into the file."""
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def _found(self, sql: str, value: object) -> list[Document]:
        return [_parsed(id_, data) for id_, data in self.db.execute(sql, (value,))]


class DuckDB(System):
    """A typed table of its own, on disk."""

    title = "DuckDB, typed table"
    writes = 300
    durabilities = (True,)  # every commit is
    _ADDRESS = "STRUCT(street VARCHAR, city VARCHAR, country VARCHAR)"
    _TABLE = (
        "CREATE TABLE IF NOT EXISTS users (id VARCHAR PRIMARY KEY, name VARCHAR, email VARCHAR, "
        f"age BIGINT, score DOUBLE, tags VARCHAR[], address {_ADDRESS}, seenAt TIMESTAMP)"
    )  # without zone: Python values of the other kind need pytz

    def open(self) -> None:
        """Open the file."""
        import duckdb

        self.db = duckdb.connect(self.folder / "users.duckdb")
        self.db.execute(self._TABLE)

    def create(self, id_: str, document: Document) -> None:
        """Insert a row."""
        values = ", ".join(map(_literal, (id_, *document.values())))
        self.db.execute(f"INSERT INTO users VALUES ({values})")

    def create_many(self, pairs: Iterable[tuple[str, Document]]) -> None:
        """Insert Arrow tables in one transaction."""
        self.db.execute("BEGIN")
        for table in arrow_tables(pairs):
            self.db.register("batch", table)
            self.db.execute("INSERT INTO users SELECT * FROM batch")
        self.db.execute("COMMIT")

    def get(self, id_: str) -> Document:
        """Select by key."""
        return self._found(f"id = {_literal(id_)}")[0]

    def scalar(self, age: int) -> list[Document]:
        """Search a column."""
        return self._found(f"age = {age}")

    def nested(self, city: str) -> list[Document]:
        """Search a field of a struct."""
        return self._found(f"address.city = {_literal(city)}")

    def element(self, tag: str) -> list[Document]:
        """Search lists."""
        return self._found(f"list_contains(tags, {_literal(tag)})")

    def page(self, above: float) -> list[Document]:
        """Sort by a column."""
        return self._found(f"score > {above} ORDER BY score LIMIT 10")

    def count(self, age: int) -> int:
        """Count by a column."""
        row = self.db.execute(f"SELECT count(*) FROM users WHERE age >= {age}").fetchone()
        assert row is not None  # a count has one
        return int(row[0])

    def update(self, id_: str, age: int) -> None:
        """Set a column."""
        self.db.execute(f"UPDATE users SET age = {age} WHERE id = {_literal(id_)}")

    def update_many(self, ids: list[str], age: int) -> None:
        """Set a column in one statement."""
        listed = ", ".join(map(_literal, ids))
        self.db.execute(f"UPDATE users SET age = {age} WHERE id IN ({listed})")

    def settle(self) -> None:
        """Move the WAL into the file."""
        self.db.execute("CHECKPOINT")

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def _found(self, condition: str) -> list[Document]:
        cursor = self.db.execute(f"SELECT * FROM users WHERE {condition}")
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def arrow_tables(pairs: Iterable[tuple[str, Document]]) -> Iterator[Any]:
    """Yield documents as Arrow tables of their natural types, ids first."""
    import pyarrow as pa

    address = pa.struct([(name, pa.string()) for name in ("street", "city", "country")])
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("name", pa.string()),
            ("email", pa.string()),
            ("age", pa.int64()),
            ("score", pa.float64()),
            ("tags", pa.list_(pa.string())),
            ("address", address),
            ("seenAt", pa.timestamp("us")),
        ]
    )
    rest = iter(pairs)
    while chunk := list(itertools.islice(rest, BATCH)):
        columns = [pa.array([id_ for id_, _ in chunk])]
        for field in list(schema)[1:]:
            values = [document[field.name] for _, document in chunk]
            if field.name == "seenAt":
                values = [value.replace(tzinfo=None) for value in values]
            columns.append(pa.array(values, field.type))
        yield pa.Table.from_arrays(columns, schema=schema)


def _literal(value: Any) -> str:
    """Return a value as SQL text."""
    match value:
        case str():
            return "'" + value.replace("'", "''") + "'"
        case list():
            return f"[{', '.join(map(_literal, value))}]"
        case dict():
            return f"{{{', '.join(f'{key}: {_literal(item)}' for key, item in value.items())}}}"
        case int() | float():
            return repr(value)
        case _:
            return f"TIMESTAMP '{value.replace(tzinfo=None).isoformat()}'"


def _json(document: Document) -> str:
    import orjson

    return orjson.dumps(document).decode()


def _parsed(id_: str, text: str) -> Document:
    import orjson

    found: Document = orjson.loads(text)
    found["id"] = id_
    return found
