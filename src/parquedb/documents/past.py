"""Collections and databases as they were: everything that reads, nothing that writes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from parquedb.documents.image import instant
from parquedb.documents.reading import Reading, parse_as_of
from parquedb.documents.relations import Relations
from parquedb.documents.rules import CollectionRules
from parquedb.documents.searching import AsOf, Searching
from parquedb.documents.transaction import Transactions
from parquedb.errors import ParqueDBError, StateError
from parquedb.namespace.live import LiveNamespace
from parquedb.namespace.past import PastNamespace

if TYPE_CHECKING:
    import pyarrow

    from parquedb.documents.collection import Collection


_ATTEMPTS = 20


def _refusing(verb: str) -> Callable[..., NoReturn]:
    """Return a method that says that a snapshot is read only."""

    def refuse(self: object, *_: Any, **__: Any) -> NoReturn:
        """Refuse: this is a snapshot.

        Raises:
            StateError: Always.
        """
        raise StateError(
            f"{self!r} is a snapshot, which is only read: {verb}() needs the database as it is now"
        )

    refuse.__name__ = verb
    return refuse


class CollectionSnapshot(Searching):
    """A collection as it was. It reads like a collection; nothing can be written.

    Args:
        live: The namespace.
        rules: What the schema asks of the documents.
        relations: How other collections are reached.
        as_of: A version or a time; None as it is now.

    Raises:
        NotFoundError: There is no such version, or none at that time any more.
        InvalidInputError: ``as_of`` is neither a version nor a time.
    """

    def __init__(
        self,
        live: LiveNamespace,
        rules: CollectionRules,
        relations: Relations,
        as_of: AsOf = None,
    ) -> None:
        version, at_us = (None, None) if as_of is None else parse_as_of(as_of)
        past = PastNamespace(live, version=version, at_us=at_us)
        super().__init__(past, rules, Reading(past, Transactions()), relations)
        self.as_of = as_of
        self.space = past

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} as of {_shown(self.as_of)}>"

    create = _refusing("create")
    create_many = _refusing("create_many")
    update = _refusing("update")
    update_many = _refusing("update_many")
    replace = _refusing("replace")
    upsert = _refusing("upsert")
    delete = _refusing("delete")
    delete_many = _refusing("delete_many")
    restore = _refusing("restore")


class DatabaseSnapshot:
    """A database as it was. Its collections read like collections; nothing can be written.

    Args:
        collection: Returns a collection as it is now.
        names: Returns the names of all collections.
        sql: Runs SQL over namespaces.
        as_of: A version, of every collection its own, or a time. None is now: all collections are
            taken, and again if one was written meanwhile.
        now_us: The time, microseconds since the epoch.
    """

    def __init__(
        self,
        collection: Callable[[str], Collection],
        names: Callable[[], tuple[str, ...]],
        sql: Callable[[Mapping[str, PastNamespace], str, object], pyarrow.Table],
        as_of: AsOf,
        now_us: int,
    ) -> None:
        if as_of is not None:
            parse_as_of(as_of)
        self.as_of = as_of
        self._live = collection
        self._names = names
        self._sql = sql
        self._relations = Relations(self.collection)
        self._lock = threading.Lock()
        self._taken: dict[str, CollectionSnapshot] = {}
        self._moment = as_of
        if as_of is None:
            for _ in range(_ATTEMPTS):
                if self._take_all():
                    break
            self._moment = instant(now_us)  # what comes into being later was not there yet

    def __repr__(self) -> str:
        return f"<{type(self).__name__} as of {_shown(self.as_of)}>"

    def __getattr__(self, name: str) -> CollectionSnapshot:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.collection(name)

    def __getitem__(self, name: str) -> CollectionSnapshot:
        return self.collection(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._live(name).name in self._names()

    def collection(self, name: str) -> CollectionSnapshot:
        """Return a collection as it was.

        Raises:
            NotFoundError: It has no such version, or had none at that time.
        """
        live = self._live(name)
        with self._lock:
            if live.name not in self._taken:
                self._taken[live.name] = CollectionSnapshot(
                    live.space, live.rules, self._relations, self._moment
                )
            return self._taken[live.name]

    def _take_all(self) -> bool:
        """Take all collections; say whether nobody wrote to any of them meanwhile."""
        self._taken.clear()
        every = self._names()
        for name in every:
            with contextlib.suppress(ParqueDBError):  # raised when it is asked for
                self.collection(name)
        return (
            all(taken.space.is_newest() for taken in self._taken.values())
            and self._names() == every
        )

    def collections(self) -> tuple[str, ...]:
        """Return the names of the collections that exist now, sorted."""
        return self._names()

    def sql(self, query: str, params: object = None) -> pyarrow.Table:
        """Run SQL over collections by their names, each as it was.

        Args:
            query: DuckDB's SQL.
            params: Values for its placeholders, a list or a mapping.

        Raises:
            InvalidInputError: The query is not valid.
            NotFoundError: A collection has no such version, or had none at that time.
        """
        from parquedb.query.statement import named_in  # noqa: PLC0415  (as in a database)

        names = named_in(query, self._names())
        return self._sql({name: self.collection(name).space for name in names}, query, params)

    transaction = _refusing("transaction")
    flush = _refusing("flush")
    compact = _refusing("compact")
    vacuum = _refusing("vacuum")
    import_file = _refusing("import_file")


def _shown(as_of: AsOf) -> str:
    if as_of is None:
        return "its opening"
    return f"version {as_of}" if isinstance(as_of, int) else str(as_of)
