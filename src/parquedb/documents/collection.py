"""A collection: the documents of one namespace."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from parquedb.documents.entity import Entity
from parquedb.documents.ids import Ulids
from parquedb.documents.reading import Reading
from parquedb.documents.relations import Relations
from parquedb.documents.rules import CollectionRules
from parquedb.documents.searching import AsOf, Searching
from parquedb.documents.transaction import Transactions
from parquedb.namespace.live import LiveNamespace

if TYPE_CHECKING:
    from parquedb.documents.past import CollectionSnapshot
    from parquedb.documents.writing import Writing
    from parquedb.namespace.history import SnapshotInfo

Document = dict[str, Any]
Spec = Mapping[str, Any]


class Collection(Searching):
    """The documents of one namespace: created, found, changed and deleted.

    Args:
        space: The namespace.
        rules: What the schema asks of the documents.
        ulids: Where ids come from.
        relations: How other collections are reached.
        transactions: The transactions of the database.
        on_write: Called after each write.
    """

    def __init__(
        self,
        space: LiveNamespace,
        rules: CollectionRules,
        ulids: Ulids,
        relations: Relations,
        transactions: Transactions,
        on_write: Callable[[LiveNamespace], None],
    ) -> None:
        super().__init__(space, rules, Reading(space, transactions), relations)
        self._live = space
        self._ulids = ulids
        self._transactions = transactions
        self._on_write = on_write

    @property
    def space(self) -> LiveNamespace:
        """The namespace below."""
        return self._live

    def list_snapshots(self) -> list[SnapshotInfo]:
        """Return the versions that ``as_of`` can name, oldest first.

        What only the journal holds is the last line, with the version None.
        """
        from parquedb.namespace.history import list_snapshots  # noqa: PLC0415  (rarely needed)

        return list_snapshots(self._live)

    def snapshot(self, version: AsOf = None) -> CollectionSnapshot:
        """Return the collection as it was, for reading only; no later write changes it.

        Args:
            version: A version or a time; as it is now by default.

        Raises:
            NotFoundError: There is no such version, or none at that time any more.
        """
        from parquedb.documents.past import CollectionSnapshot  # noqa: PLC0415

        return CollectionSnapshot(self._live, self._rules, self._relations, version)

    @functools.cached_property
    def _writing(self) -> Writing:
        """What writes; imported with the first write, because a get does without."""
        from parquedb.documents.writing import Writing  # noqa: PLC0415

        return Writing(
            self._live, self._rules, self._reading, self._ulids, self._transactions, self._on_write
        )

    def create(self, data: Spec, *, actor: str | None = None) -> Entity:
        """Create a document.

        Args:
            data: Its fields; ``$id`` and ``$type`` may be among them.
            actor: Who creates it, kept as ``createdBy``.

        Returns:
            The document with its id and audit fields.

        Raises:
            InvalidInputError: A field is not acceptable; all that is wrong is listed.
            AlreadyExistsError: There is a document of that id, or with that unique value.
            StorageError: It could not be written.
        """
        return self._writing.create(data, actor=actor)

    def create_many(self, items: Iterable[Spec], *, actor: str | None = None) -> list[str]:
        """Create documents, all or none.

        They are taken from the iterable as they are written, so that it may be a generator of
        millions: large numbers go to a Parquet file at once instead of the journal.

        Args:
            items: Their fields.
            actor: Who creates them.

        Returns:
            Their ids, in the order of ``items``.

        Raises:
            InvalidInputError: A document is not acceptable; nothing was written.
            AlreadyExistsError: There is a document of such an id; nothing was written.
        """
        return self._writing.create_many(items, actor=actor)

    def update(
        self,
        id: str,  # noqa: A002  (the field's name)
        update: Spec,
        *,
        actor: str | None = None,
        expected_version: int | None = None,
    ) -> Entity:
        """Change a document by update operators.

        Args:
            id: Its id.
            update: Such as ``{"$set": {"age": 31}, "$push": {"tags": "new"}}``.
            actor: Who changes it, kept as ``updatedBy``.
            expected_version: The version that it must have.

        Returns:
            The document as it is now.

        Raises:
            NotFoundError: There is no such document, or it is deleted.
            ConflictError: It has another version.
            InvalidInputError: The update is not acceptable.
        """
        return self._writing.update(id, update, actor=actor, expected_version=expected_version)

    def update_many(self, filter: Spec, update: Spec, *, actor: str | None = None) -> int:  # noqa: A002
        """Change all documents that match a filter, all or none.

        Returns:
            How many were changed.
        """
        return self._writing.update_many(filter, update, actor=actor)

    def replace(
        self,
        id: str,  # noqa: A002
        data: Spec,
        *,
        actor: str | None = None,
        expected_version: int | None = None,
    ) -> Entity:
        """Give a document new fields instead of all its old ones.

        System fields in ``data``, as of an entity that was read before, are left out.

        Returns:
            The document as it is now.

        Raises:
            NotFoundError: There is no such document, or it is deleted.
            ConflictError: It has another version.
        """
        return self._writing.replace(id, data, actor=actor, expected_version=expected_version)

    def upsert(self, filter: Spec, update: Spec, *, actor: str | None = None) -> Entity:  # noqa: A002
        """Change the first document that matches a filter, or create one.

        A new document has the fields that the filter asks to be equal to something, changed by
        the update, whose ``$setOnInsert`` counts only then.

        Returns:
            The document as it is now.
        """
        return self._writing.upsert(filter, update, actor=actor)

    def delete(
        self,
        id: str,  # noqa: A002
        *,
        hard: bool = False,
        actor: str | None = None,
        expected_version: int | None = None,
    ) -> bool:
        """Delete a document. It is kept, marked as deleted, unless ``hard``.

        Returns:
            Whether there was one to delete.

        Raises:
            ConflictError: It has another version.
        """
        return self._writing.delete(id, hard=hard, actor=actor, expected_version=expected_version)

    def delete_many(self, filter: Spec, *, hard: bool = False, actor: str | None = None) -> int:  # noqa: A002
        """Delete all documents that match a filter, all or none.

        Returns:
            How many were deleted.
        """
        return self._writing.delete_many(filter, hard=hard, actor=actor)

    def restore(self, id: str, *, actor: str | None = None) -> Entity:  # noqa: A002
        """Bring a deleted document back.

        Raises:
            NotFoundError: There is no such document, or it was removed for good.
        """
        return self._writing.restore(id, actor=actor)
