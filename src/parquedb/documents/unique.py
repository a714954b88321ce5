"""Unique fields: no two documents that are not deleted have the same value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from parquedb.errors import AlreadyExistsError
from parquedb.namespace.entry import Kept, Write
from parquedb.namespace.live import LiveNamespace
from parquedb.query.compare import compare_key
from parquedb.query.filter import And, At, Equals, Exists, In, Not
from parquedb.query.find import Query
from parquedb.query.view import View

Document = dict[str, Any]

_MANY = 1000


class UniqueFields:
    """Checks what is about to be written. Null and missing values are not compared.

    Safe between threads. What is found free stays so only while nobody else can write.

    The files are searched by value; an index of the tail is kept as it grows.

    Args:
        space: The namespace.
        paths: Dotted paths of the unique fields.
    """

    def __init__(self, space: LiveNamespace, paths: Sequence[str]) -> None:
        self._space = space
        self.paths = tuple(paths)
        self._paths = tuple(tuple(path.split(".")) for path in paths)
        self._known: list[dict[Any, str]] = [{} for _ in self._paths]
        self._also: list[dict[Any, list[str]]] = [
            {} for _ in self._paths
        ]  # by writers without the schema
        self._first: object = None
        self._read = 0

    def checked(
        self,
        documents: Mapping[str, Document | None],
        pending: Mapping[str, Document | None] = MappingProxyType({}),
    ) -> Mapping[str, Document | None]:
        """Return documents as they are, if they may be written.

        Args:
            documents: What is about to be written.
            pending: What a transaction is about to write besides; it is checked at its end.

        Raises:
            AlreadyExistsError: A value is taken.
        """
        if not self._paths or not documents:
            return documents
        changed = {**pending, **documents}
        wanted = [_new_values(path, documents, self._taken) for path in self._paths]
        with self._space.lock:  # the index goes with the tail; of others, a transaction may ask too
            files = self._space.files()
            self._index_tail()
            for number, new in enumerate(wanted):
                self._check_tail(number, self._paths[number], new, changed)
        for path, new in zip(self._paths, wanted, strict=True):
            self._check_files(files, path, new, changed)
        return documents

    def _index_tail(self) -> None:
        """Add the tail's entries that came since to the index."""
        entries = self._space.tail.entries
        first = entries[0] if entries else None
        if first is not self._first or self._read > len(entries):
            self._known = [{} for _ in self._paths]
            self._also = [{} for _ in self._paths]
            self._first, self._read = first, 0
        for entry in entries[self._read :]:
            if isinstance(entry.body, Write):
                for id_, document in entry.body.documents.items():
                    for number, path in enumerate(self._paths):
                        value = _value_at(document, path)
                        if value is not None:
                            self._index(number, compare_key(value), id_)
        self._read = len(entries)

    def _index(self, number: int, key: Any, id_: str) -> None:
        """Add a document that got a value; who had it before seldom has it still."""
        before = self._known[number].setdefault(key, id_)
        if before == id_:
            return
        value = _value_at(self._space.tail.get(before), self._paths[number])
        if value is not None and compare_key(value) == key:
            self._also[number].setdefault(key, []).append(before)
        self._known[number][key] = id_

    def _check_tail(
        self,
        number: int,
        path: tuple[str, ...],
        new: Mapping[Any, tuple[str, Any]],
        documents: Mapping[str, Document | None],
    ) -> None:
        known, also = self._known[number], self._also[number]
        for key, (id_, value) in new.items():
            if key not in known:
                continue
            for holder in (known[key], *also.get(key, ())):
                if holder == id_ or holder in documents:
                    continue
                now = _value_at(self._space.tail.get(holder), path)
                if now is not None and compare_key(now) == key:
                    raise self._taken(path, value, holder)

    def _check_files(
        self,
        files: View,
        path: tuple[str, ...],
        new: Mapping[Any, tuple[str, Any]],
        documents: Mapping[str, Document | None],
    ) -> None:
        """Check what is stored; of that, what the tail or the write itself has anew is left out.

        Values are seldom found, so that this costs less than a search without these documents.
        """
        if not files.sources and not files.overlay:
            return
        values = [value for _, value in new.values()]
        for start in range(0, len(values), _MANY):
            part = tuple(values[start : start + _MANY])
            test = Equals(part[0]) if len(part) == 1 else In(part)
            alive = Not(At(("deletedAt",), Exists()))
            query = Query(And((At(path, test), alive)))
            for found in self._space.executor.documents(files, query):
                id_ = found["$id"]
                value = _value_at(found, path)  # a filter finds values inside of lists too
                if id_ in documents or value is None or compare_key(value) not in new:
                    continue
                now = _value_at(self._space.get(id_), path)  # the tail may have it anew
                if now is not None and compare_key(now) in new:
                    raise self._taken(path, now, id_)

    def _taken(self, path: tuple[str, ...], value: object, holder: str) -> AlreadyExistsError:
        return AlreadyExistsError(
            f"{'.'.join(path)!r} is unique in {self._space.name!r}, and {holder!r} has {value!r} "
            "already; choose another value or update that document"
        )


def _new_values(
    path: tuple[str, ...],
    documents: Mapping[str, Document | None],
    taken: Callable[[tuple[str, ...], object, str], AlreadyExistsError],
) -> dict[Any, tuple[str, Any]]:
    """Return the values of a field in documents, by what is compared, with the id of each."""
    new: dict[Any, tuple[str, Any]] = {}
    for id_, document in documents.items():
        value = _value_at(document, path)
        if value is None:
            continue
        key = compare_key(value)
        if key in new:
            raise taken(path, value, new[key][0])
        new[key] = (id_, value)
    return new


class UniqueBatches:
    """Checks documents that are written together, batch by batch, and once more at the end.

    Args:
        space: The namespace.
        paths: Dotted paths of the unique fields.
    """

    def __init__(self, space: LiveNamespace, paths: Sequence[str]) -> None:
        self._space = space
        self._paths = tuple(tuple(path.split(".")) for path in paths)
        # an index of its own: the batches are checked while others write, and change theirs
        self._checked = UniqueFields(space, paths).checked
        self._holders: list[dict[Any, str]] = [{} for _ in self._paths]
        self._values: dict[str, Document | None] = {}
        self._head = space.now().head

    def check(self, documents: Mapping[str, Document | None]) -> None:
        """Make sure that no other document, of this or an earlier batch or stored, has a value.

        Raises:
            AlreadyExistsError: One has.
        """
        self._checked(documents)
        for path, holders in zip(self._paths, self._holders, strict=True):
            for id_, document in documents.items():
                value = _value_at(document, path)
                if value is None:
                    continue
                holder = holders.setdefault(compare_key(value), id_)
                if holder != id_:
                    raise AlreadyExistsError(
                        f"{'.'.join(path)!r} is unique, and both {holder!r} and {id_!r} have "
                        f"{value!r}; change one of them"
                    )
                self._values[id_] = _with_value(self._values.get(id_), path, value)

    def check_again(self) -> None:
        """Make sure that nobody else wrote one of the values since; called while nobody can.

        Raises:
            AlreadyExistsError: Somebody did.
        """
        head = self._space.now().head
        if head != self._head:
            self._checked(self._values)
            self._head = head


def _with_value(document: Document | None, path: tuple[str, ...], value: Any) -> Document:
    """Return a document that has a value besides what it has."""
    whole = document if document is not None else {}
    inner = whole
    for part in path[:-1]:
        inner = inner.setdefault(part, {})
    inner[path[-1]] = value
    return whole


def _value_at(document: Kept, path: tuple[str, ...]) -> Any:
    if not isinstance(document, dict) or "deletedAt" in document:
        return None
    value: Any = document
    for part in path:
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value
