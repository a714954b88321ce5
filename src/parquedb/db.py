"""A database: collections of documents in one storage."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from parquedb.ambient import SYSTEM, Ambient
from parquedb.documents.collection import Collection
from parquedb.documents.flusher import Flusher
from parquedb.documents.ids import Ulids
from parquedb.documents.naming import namespace_of, type_of
from parquedb.documents.relations import Relations
from parquedb.documents.rules import CollectionRules
from parquedb.documents.transaction import Transaction, Transactions
from parquedb.errors import InvalidInputError, StateError
from parquedb.model.format import Format
from parquedb.namespace.backend import parse_backend
from parquedb.namespace.live import LiveNamespace
from parquedb.namespace.options import LiveOptions
from parquedb.namespace.places import check_namespace, is_inside_another
from parquedb.namespace.tables import discover_namespaces
from parquedb.query.blocks import DEFAULT_BUDGET_BYTES, Blocks
from parquedb.query.duck import Duck
from parquedb.storage.open import open_store
from parquedb.storage.store import Store

if TYPE_CHECKING:
    import pyarrow

    from parquedb.documents.exchange.exports import Exported, ExportOptions
    from parquedb.documents.exchange.imports import Imported, ImportOptions
    from parquedb.documents.past import DatabaseSnapshot
    from parquedb.maintain.stats import Stats
    from parquedb.maintain.vacuum import Vacuumed
    from parquedb.namespace.flush import Flushed

Storage = str | os.PathLike[str] | Store
Durability = Literal["fsync", "os"]


class DB:
    """A database in a folder, or in memory. Safe between threads and processes.

    ``db.Users``, ``db["users"]`` and ``db.collection("users")`` are the same collection.

    Args:
        storage: A folder, ``memory://name``, or a store.
        schema: For each collection what its documents are, see docs/schemas.md. Collections that
            are not in it take any document.
        backend: ``"native"``, ``"iceberg"``, ``"delta"``, or a mapping: ``type``, ``warehouse`` and
            ``location`` (prefixes of Iceberg and Delta tables), ``migrate_from`` (``"auto"``, or a
            format whose tables are migrated), ``format_version`` (of new Iceberg tables).
        durability: ``"fsync"``: a write returns once it is on the disk. ``"os"``: once the system
            has it; a power failure can lose the last ones.
        flush_bytes: The journal is flushed into the table once it is larger.
        flush_interval: Seconds between flushes in the background; none by default.
        cache_bytes: Memory for decoded rows.
        ambient: Clock, identities, randomness.

    Raises:
        InvalidInputError: An argument is not acceptable.
        StorageError: The folder is a file.
    """

    def __init__(
        self,
        storage: Storage = ".",
        *,
        schema: Mapping[str, Any] | None = None,
        backend: str | Mapping[str, Any] | None = None,
        durability: Durability = "fsync",
        flush_bytes: int = 64 << 20,
        flush_interval: float | None = None,
        cache_bytes: int = DEFAULT_BUDGET_BYTES,
        ambient: Ambient = SYSTEM,
    ) -> None:
        if durability not in ("fsync", "os"):
            raise InvalidInputError(f"durability is 'fsync' or 'os', not {durability!r}")
        _check_numbers(flush_bytes=flush_bytes, cache_bytes=cache_bytes)
        if flush_interval is not None:
            _check_numbers(flush_interval=flush_interval)
        self._backend = parse_backend(backend)
        self._rules: Mapping[str, CollectionRules] = {}
        self._named_rules: Mapping[str, str] = {}
        if schema:
            from parquedb.documents.schema import parse_database  # noqa: PLC0415  (large)

            self._rules, self._named_rules = parse_database(schema)
        self.store = open_store(storage)
        self._ambient = ambient
        self._options = LiveOptions(
            format=self._backend.format or Format.NATIVE,
            format_version=self._backend.format_version,
            is_durable=durability == "fsync",
            flush_bytes=flush_bytes,
        )
        self._blocks = Blocks(self.store, cache_bytes)
        self._duck = Duck()
        self._ulids = Ulids(ambient)
        self._transactions = Transactions()
        self._relations = Relations(self.collection)
        self._lock = threading.RLock()
        self._collections: dict[str, Collection] = {}
        self._closed = False
        self._flusher = Flusher(
            lambda: [collection.space for collection in self._opened()], flush_interval
        )

    def __repr__(self) -> str:
        return f"DB({self.store.root!r})"

    def __enter__(self) -> DB:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __getattr__(self, name: str) -> Collection:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.collection(name)

    def __getitem__(self, name: str) -> Collection:
        return self.collection(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._namespace(name) in self.collections()

    def collection(self, name: str) -> Collection:
        """Return a collection; it need not exist yet.

        Args:
            name: ``users``, or a type's name such as ``User`` or ``Users``.

        Raises:
            InvalidInputError: The name cannot be a namespace's.
            StateError: Its table is of another format than ``backend`` asks for.
        """
        self._check_open()
        known = self._collections.get(name) if isinstance(name, str) else None
        if known is not None:
            return known
        with self._lock:
            namespace = self._namespace(name)
            if namespace not in self._collections:
                if is_inside_another(namespace) and namespace not in self.collections():
                    raise InvalidInputError(
                        f"{namespace!r} cannot be a new collection: it would be kept in a folder "
                        f"that another collection's files have; choose another name"
                    )
                self._collections[namespace] = self._open(namespace)
            self._collections[name] = self._collections[namespace]
            return self._collections[name]

    def collections(self) -> tuple[str, ...]:
        """Return the names of the collections that exist, sorted."""
        self._check_open()
        return tuple(sorted(set(discover_namespaces(self.store, self._backend.places))))

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Begin a transaction over one collection, for a ``with`` block.

        What is written in the block becomes visible at its end, all at once. If the block raises,
        or somebody else changed a document that it had read to change it, nothing is written.

        Raises:
            ConflictError: At the end: somebody else changed such a document.
        """
        self._check_open()
        return self._transactions.begin()

    def sql(self, query: str, params: object = None) -> pyarrow.Table:
        """Run SQL over collections by their names, each as it is now, the tail included.

        Deleted documents are left out. Tables are those of the collection's columns; what has no
        column is JSON in ``"$data"``.

        Args:
            query: DuckDB's SQL.
            params: Values for its placeholders, a list or a mapping.

        Raises:
            InvalidInputError: The query is not valid.
        """
        from parquedb.query.statement import named_in, run_sql  # noqa: PLC0415

        names = named_in(query, self.collections())
        spaces = {name: self.collection(name).space for name in names}
        return run_sql(self._duck, spaces, query, params)

    def flush(self, name: str | None = None) -> dict[str, Flushed]:
        """Move what is in the journal into the tables.

        Args:
            name: A collection; all by default.

        Returns:
            What was done, by collection.
        """
        from parquedb.namespace.flush import flush  # noqa: PLC0415  (a get does without)

        names = self._named(name)
        done = {each: flush(self.collection(each).space) for each in names}
        return {each: flushed for each, flushed in done.items() if flushed is not None}

    def compact(self, name: str | None = None) -> dict[str, Flushed]:
        """Write the files of tables anew, sorted and few.

        Args:
            name: A collection; all by default. Tables without ``$id`` hold no documents, and are
                left as they are.

        Returns:
            What was done, by collection.

        Raises:
            UnsupportedError: The table that is named holds no documents.
        """
        from parquedb.namespace.base import check_documents, holds_documents  # noqa: PLC0415
        from parquedb.namespace.flush import flush  # noqa: PLC0415

        done: dict[str, Flushed | None] = {}
        for each in self._named(name):
            space = self.collection(each).space
            if name is not None:
                check_documents(each, space.base)
            if holds_documents(space.base):
                done[each] = flush(space, rewrite=True)
        return {each: flushed for each, flushed in done.items() if flushed is not None}

    def stats(self, name: str | None = None) -> dict[str, Stats]:
        """Count documents, files and bytes.

        Args:
            name: A collection; all by default.

        Returns:
            What was found, by collection.

        Raises:
            NotFoundError: There is no such collection.
        """
        from parquedb.maintain.stats import read_stats  # noqa: PLC0415

        return {each: read_stats(self.existing(each).space) for each in self._kept(name)}

    def vacuum(
        self,
        name: str | None = None,
        *,
        older_than_s: float = 7 * 86_400,
        dry_run: bool = False,
        nobody_writes: bool = False,
    ) -> dict[str, Vacuumed]:
        """Delete files that killed writes left behind, and parts of the journal that are flushed.

        A file that any readable version or the journal refers to stays.

        Args:
            name: A collection; all by default.
            older_than_s: Seconds that a file must have been there.
            dry_run: Only say what would be deleted.
            nobody_writes: Your promise that no other process writes or migrates now; less than
                an hour is refused without it.

        Returns:
            What was deleted, by collection.

        Raises:
            NotFoundError: There is no such collection.
            FormatError: Some metadata cannot be read; nothing was deleted of that collection.
        """
        from parquedb.maintain.vacuum import vacuum  # noqa: PLC0415

        return {
            each: vacuum(
                self.existing(each).space,
                older_than_s=older_than_s,
                dry_run=dry_run,
                nobody_writes=nobody_writes,
            )
            for each in self._kept(name)
        }

    def as_of(self, moment: int | str | datetime) -> DatabaseSnapshot:
        """Return the database as it was, for reading only.

        Args:
            moment: A time, or a version, which each collection has its own of.

        Raises:
            InvalidInputError: It is neither.
        """
        return self._past(moment)

    def snapshot(self, version: int | str | datetime | None = None) -> DatabaseSnapshot:
        """Return the database as it is now, for reading only, or as :meth:`as_of` does.

        No later write changes it. All collections are as they are at one moment, unless others
        write so fast that there is none between two writes: then one after the other.
        """
        return self._past(version)

    def import_file(
        self,
        name: str,
        file: str | os.PathLike[str] | BinaryIO,
        options: ImportOptions | None = None,
    ) -> Imported:
        """Create the documents of a file, all or none.

        Args:
            name: The collection.
            file: A JSON, NDJSON, CSV or Parquet file, by its path or open for reading bytes.
            options: How it is read.

        Raises:
            InvalidInputError: The file, or a document in it, is not acceptable; the message names
                the line. Nothing was written.
            AlreadyExistsError: An id is taken; nothing was written.
        """
        from parquedb.documents.exchange.imports import ImportOptions, import_file  # noqa: PLC0415

        if self._transactions.current is not None:
            raise StateError("a file is imported as a whole: end the transaction first")
        collection = self.collection(name)
        done = import_file(collection, file, options or ImportOptions())
        self._flusher.after_write(collection.space)
        return done

    def export_file(
        self,
        name: str,
        file: str | os.PathLike[str] | BinaryIO,
        options: ExportOptions | None = None,
    ) -> Exported:
        """Write the documents of a collection to a file that :meth:`import_file` reads.

        Args:
            name: The collection.
            file: Where to, a path or a file open for writing bytes.
            options: How it is written.

        Raises:
            NotFoundError: There is no such collection.
            AlreadyExistsError: The file exists and shall not be replaced.
        """
        from parquedb.documents.exchange.exports import ExportOptions, export_file  # noqa: PLC0415

        return export_file(self.existing(name), file, options or ExportOptions())

    def existing(self, name: str) -> Collection:
        """Return a collection that exists.

        Raises:
            NotFoundError: There is none.
        """
        collection = self.collection(name)
        space = collection.space
        if space.base.version is None and space.journal.id is None:
            raise space.tables.no_data()
        return collection

    def close(self, *, flush: bool = True) -> None:
        """Flush what is worth it and let go of everything. Closing twice is no error.

        A tail that is small beside a large table stays in the journal, where it is as safe.

        Args:
            flush: Whether to flush at all; not for a process that only reads.
        """
        with self._lock:
            if self._closed:
                return
            self._flusher.close()
            from parquedb.namespace.flush import flush_at_close  # noqa: PLC0415

            try:
                for collection in self._opened() if flush else ():
                    flush_at_close(collection.space)
            finally:
                self._closed = True
                for collection in self._opened():
                    collection.space.close()
                self._blocks.close()
                self._duck.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StateError(f"the database {self.store.root!r} was closed; open it again")

    def _opened(self) -> list[Collection]:
        return list({id(each): each for each in list(self._collections.values())}.values())

    def _past(self, moment: int | str | datetime | None) -> DatabaseSnapshot:
        self._check_open()
        from parquedb.documents.past import DatabaseSnapshot  # noqa: PLC0415
        from parquedb.query.statement import run_sql  # noqa: PLC0415

        sql = functools.partial(run_sql, self._duck)
        now_us = self._ambient.now_us()
        return DatabaseSnapshot(self.collection, self.collections, sql, moment, now_us)

    def _kept(self, name: str | None) -> tuple[str, ...]:
        return self.collections() if name is None else (self._namespace(name),)

    def _named(self, name: str | None) -> tuple[str, ...]:
        return self._all() if name is None else (self._namespace(name),)

    def _all(self) -> tuple[str, ...]:
        return tuple(sorted({*self.collections(), *(each.name for each in self._opened())}))

    def _namespace(self, name: str) -> str:
        if not isinstance(name, str):
            raise InvalidInputError(f"a collection's name is a string, not {name!r}")
        if name in self._rules:
            return name
        if name in self._named_rules:
            return self._named_rules[name]
        return check_namespace(namespace_of(name))

    def _open(self, namespace: str) -> Collection:
        rules = self._rules.get(namespace) or CollectionRules(type_of(namespace), namespace)
        options = replace(
            self._options,
            declared=rules.column_types(),
            indexed=tuple(path for path in rules.indexed_paths() if "." not in path),
        )
        if self._backend.format is not None:
            self._migrate(namespace, self._backend.format)
        space = LiveNamespace(
            self.store,
            namespace,
            self._backend.places,
            self._blocks,
            self._duck,
            options,
            ambient=self._ambient,
        )
        return Collection(
            space,
            rules,
            self._ulids,
            self._relations,
            self._transactions,
            self._flusher.after_write,
        )

    def _migrate(self, namespace: str, wanted: Format) -> None:
        """Bring a namespace to the format that is asked for."""
        from parquedb.namespace.tables import Namespace  # noqa: PLC0415

        found = Namespace(self.store, namespace, self._backend.places).base_format()
        if found is None or found is wanted:
            return
        if self._backend.migrate_from not in ("auto", found.value):
            raise StateError(
                f"namespace {namespace!r} is kept as {found.label}, not {wanted.label}: open the "
                'database with backend={"type": "' + wanted.value + '", "migrate_from": "auto"}, '
                f"or run: parquedb migrate-backend --to={wanted.value} --namespaces={namespace}"
            )
        from parquedb.migrate.options import MigrationOptions  # noqa: PLC0415
        from parquedb.migrate.run import run_migration  # noqa: PLC0415

        given = self._backend
        options = MigrationOptions(wanted, found, given.places, ambient=self._ambient)
        options = replace(options, format_version=given.format_version)
        run_migration(self.store, [namespace], options).raise_for_errors()


def _check_numbers(**given: object) -> None:
    for name, value in given.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            unit = "bytes" if name.endswith("_bytes") else "seconds"
            raise InvalidInputError(f"{name} is a number of {unit} above 0, not {value!r}")
