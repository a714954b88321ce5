"""A collection: the documents of one namespace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from parquedb.documents.bulk import bulk_images, create_documents
from parquedb.documents.entity import Entity
from parquedb.documents.found import Found, Sources
from parquedb.documents.ids import Ulids
from parquedb.documents.image import (
    changed_image,
    deleted_image,
    entity_of,
    instant,
    new_image,
    replaced_image,
    restored_image,
)
from parquedb.documents.reading import Reading
from parquedb.documents.relations import Relations
from parquedb.documents.rules import CollectionRules
from parquedb.documents.transaction import Transactions
from parquedb.documents.unique import UniqueFields
from parquedb.documents.update import Update, apply_update, parse_update
from parquedb.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
)
from parquedb.namespace.entry import Write
from parquedb.namespace.layout import held_ids
from parquedb.namespace.live import LiveNamespace
from parquedb.query.filter import And, At, Equals, Filter
from parquedb.query.parse import parse_filter
from parquedb.rows.values import check_document, plain

Document = dict[str, Any]
Spec = Mapping[str, Any]


class Collection:
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
        self._space = space
        self._rules = rules
        self._ulids = ulids
        self._relations = relations
        self._transactions = transactions
        self._on_write = on_write
        self._reading = Reading(space, transactions)
        self._unique = UniqueFields(space, rules.indexed_paths(unique_only=True))

    def __repr__(self) -> str:
        return f"<Collection {self.name!r}>"

    @property
    def name(self) -> str:
        """The namespace's name."""
        return self._space.name

    @property
    def space(self) -> LiveNamespace:
        """The namespace below."""
        return self._space

    @property
    def rules(self) -> CollectionRules:
        """What the schema asks of the documents."""
        return self._rules

    # ------------------------------------------------------------------------------ writing

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
        image = new_image(self._rules, data, self._ulids, self._now(), actor)
        is_new = "$id" not in data and self._rules.id_field is None
        self._put({image["$id"]: image}, fresh=() if is_new else (image["$id"],))
        return entity_of(image)

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
        images = bulk_images(self._rules, items, self._ulids, self._now(), actor)
        if self._transactions.current is not None:
            return self._put_all(list(images))
        ids = create_documents(
            self._space,
            images,
            self._put_all,
            self._check_all_absent,
            self._check_batch if self._unique.paths else None,
        )
        self._after_write()
        return ids

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
        parsed = self._parse_update(update)
        return self._change(
            id, expected_version, lambda before, now: self._updated(before, parsed, now, actor)
        )

    def update_many(self, filter: Spec, update: Spec, *, actor: str | None = None) -> int:  # noqa: A002
        """Change all documents that match a filter, all or none.

        Returns:
            How many were changed.
        """
        parsed = self._parse_update(update)
        return self._change_many(
            filter, lambda before, now: self._updated(before, parsed, now, actor)
        )

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
        return self._change(
            id,
            expected_version,
            lambda before, now: replaced_image(self._rules, before, data, now, actor),
        )

    def upsert(self, filter: Spec, update: Spec, *, actor: str | None = None) -> Entity:  # noqa: A002
        """Change the first document that matches a filter, or create one.

        A new document has the fields that the filter asks to be equal to something, changed by
        the update, whose ``$setOnInsert`` counts only then.

        Returns:
            The document as it is now.
        """
        condition = parse_filter(filter)
        parsed = self._parse_update(update)

        def build() -> Mapping[str, Document | None]:
            now = self._now()
            found = self._reading.first_for_write(condition)
            if found is not None:
                return {found["$id"]: self._updated(found, parsed, now, actor)}
            seed = _equalities(condition)
            given: Document = {key: seed.pop(key) for key in ("$id", "$type") if key in seed}
            given |= apply_update(parsed, seed, now=now, inserting=True)
            image = new_image(self._rules, given, self._ulids, now, actor)
            self._check_absent(image["$id"])
            return {image["$id"]: image}

        written = self._write(build)
        image = next(iter(written.values()))
        assert image is not None  # nothing was removed
        return entity_of(image)

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
        key = self._key(id)

        def build() -> Mapping[str, Document | None]:
            before = self._reading.for_write(key)
            if before is None or ("deletedAt" in before and not hard):
                return {}
            _check_version(before, expected_version)
            return {key: None if hard else deleted_image(before, self._now(), actor)}

        return bool(self._write(build))

    def delete_many(self, filter: Spec, *, hard: bool = False, actor: str | None = None) -> int:  # noqa: A002
        """Delete all documents that match a filter, all or none.

        Returns:
            How many were deleted.
        """
        return self._change_many(
            filter, lambda before, now: None if hard else deleted_image(before, now, actor)
        )

    def restore(self, id: str, *, actor: str | None = None) -> Entity:  # noqa: A002
        """Bring a deleted document back.

        Raises:
            NotFoundError: There is no such document, or it was removed for good.
        """
        key = self._key(id)

        def build() -> Mapping[str, Document | None]:
            before = self._reading.for_write(key)
            if before is None:
                self._not_found(key)
            if "deletedAt" not in before:
                return {}
            return {key: restored_image(before, self._now(), actor)}

        self._write(build)
        found = self.get(key)
        if found is None:
            self._not_found(key)
        return found

    # ------------------------------------------------------------------------------ reading

    def get(
        self,
        id: str,  # noqa: A002
        *,
        populate: Sequence[str] = (),
        include_deleted: bool = False,
        as_of: int | str | datetime | None = None,
    ) -> Entity | None:
        """Return a document, None if there is none.

        Args:
            id: Its id, with or without the namespace.
            populate: Names of relations to load.
            include_deleted: Whether a deleted document counts.
            as_of: A version or time to look at instead of now.
        """
        found = self._reading.get(self._key(id), as_of)
        if found is None or ("deletedAt" in found and not include_deleted):
            return None
        entity = entity_of(found)
        return self._relations.populated(self._rules, [entity], populate)[0] if populate else entity

    def __getitem__(self, id: str) -> Entity:  # noqa: A002
        found = self.get(id)
        if found is None:
            self._not_found(self._key(id))
        return found

    def __contains__(self, id: object) -> bool:  # noqa: A002
        return isinstance(id, str) and self.get(id) is not None

    def __len__(self) -> int:
        return self.count()

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Entity]:
        return iter(self.find())

    def find(
        self,
        filter: Spec | None = None,  # noqa: A002
        *,
        sort: Any = None,
        limit: int | None = None,
        skip: int = 0,
        project: Any = None,
        populate: Sequence[str] = (),
        include_deleted: bool = False,
        as_of: int | str | datetime | None = None,
        after: str | None = None,
    ) -> Found:
        """Find documents.

        Args:
            filter: MongoDB's filter language; all documents without one.
            sort: ``"age"``, ``"-age"``, ``["-age", "name"]``, ``{"age": -1}``; the order of
                ``$id``, which is that of creation, without one.
            limit: How many at most.
            skip: How many to leave out at the beginning.
            project: Fields to return, ``["name"]``, or ``{"secret": 0}``.
            populate: Names of relations to load.
            include_deleted: Whether deleted documents count.
            as_of: A version or time to look at instead of now.
            after: The id of the last document of the page before.

        Returns:
            What was found, read as it is asked for.

        Raises:
            InvalidInputError: The filter, the order or the projection is not acceptable.
        """
        query, projection = self._reading.parse(
            filter or {}, sort, limit, skip, project, after, include_deleted=include_deleted
        )
        populate = self._relations.check(self._rules, populate)

        def documents() -> Iterator[Document]:
            found = self._reading.documents(query, as_of)
            if populate:
                found = self._relations.populating(self._rules, found, populate)
            return found if projection is None else map(projection, found)

        return Found(
            Sources(
                documents,
                lambda: self._reading.table(query, project, as_of),
                lambda: self._reading.explain(query, as_of),
            )
        )

    def find_one(
        self,
        filter: Spec | None = None,  # noqa: A002
        *,
        sort: Any = None,
        project: Any = None,
        populate: Sequence[str] = (),
        include_deleted: bool = False,
        as_of: int | str | datetime | None = None,
    ) -> Entity | None:
        """Return the first document that matches, None if none does (see :meth:`find`)."""
        return self.find(
            filter,
            sort=sort,
            limit=1,
            project=project,
            populate=populate,
            include_deleted=include_deleted,
            as_of=as_of,
        ).first()

    def count(
        self,
        filter: Spec | None = None,  # noqa: A002
        *,
        include_deleted: bool = False,
        as_of: int | str | datetime | None = None,
    ) -> int:
        """Return how many documents match."""
        query, _ = self._reading.parse(filter or {}, include_deleted=include_deleted)
        return self._reading.count(query.filter, as_of)

    def exists(self, filter: Spec | str, *, include_deleted: bool = False) -> bool:  # noqa: A002
        """Whether a document matches a filter, or has an id."""
        if isinstance(filter, str):
            return self.get(filter, include_deleted=include_deleted) is not None
        return self.find(filter, limit=1, include_deleted=include_deleted).first() is not None

    def distinct(
        self,
        field: str,
        filter: Spec | None = None,  # noqa: A002
        *,
        include_deleted: bool = False,
        as_of: int | str | datetime | None = None,
    ) -> list[Any]:
        """Return the different values of a field in MongoDB's order, those inside lists each."""
        query, _ = self._reading.parse(filter or {}, include_deleted=include_deleted)
        return self._reading.distinct(field, query, as_of)

    def aggregate(
        self,
        pipeline: Sequence[Spec],
        *,
        include_deleted: bool = False,
        as_of: int | str | datetime | None = None,
    ) -> list[Document]:
        """Run an aggregation pipeline.

        Args:
            pipeline: ``$match``, ``$group``, ``$sort``, ``$project``, ``$limit``, ``$skip``,
                ``$unwind``, ``$count`` and others, see docs/queries.md.
            include_deleted: Whether deleted documents count.
            as_of: A version or time to look at instead of now.
        """
        return self._reading.aggregate(pipeline, as_of, include_deleted=include_deleted)

    # ------------------------------------------------------------------------------ below

    def _after_write(self) -> None:
        self._on_write(self._space)

    def _now(self) -> datetime:
        return instant(self._space.ambient.now_us())

    def _key(self, id_: str) -> str:
        if not isinstance(id_, str):
            raise InvalidInputError(f"an id is a string such as '{self.name}/01J…', not {id_!r}")
        return id_ if id_.startswith(f"{self.name}/") else f"{self.name}/{id_}"

    def _not_found(self, key: str) -> NoReturn:
        raise NotFoundError(f"there is no document {key!r} in {self._space.store.root!r}")

    def _parse_update(self, update: Spec) -> Update:
        return parse_update(update)

    def _updated(
        self, before: Document, update: Update, now: datetime, actor: str | None
    ) -> Document:
        after = apply_update(update, before, now=now)
        return changed_image(self._rules, before, after, now, actor)

    def _put(self, images: Mapping[str, Document], *, fresh: Sequence[str]) -> None:
        """Write new documents; some of their ids must be free."""

        def build() -> Mapping[str, Document | None]:
            for key in fresh:
                self._check_absent(key)
            return images

        self._write(build)

    def _put_all(self, images: Sequence[Document]) -> list[str]:
        for image in images:
            check_document(image, image["$id"])
        by_id = by_distinct_id([plain(image) for image in images])

        def build() -> Mapping[str, Document | None]:
            self._check_all_absent(sorted(by_id))
            return by_id

        self._write(build)
        return list(by_id)

    def check_unique(
        self, documents: Mapping[str, Document | None]
    ) -> Mapping[str, Document | None]:
        """Return documents as they are, if their unique fields are free."""
        return self._unique.checked(documents)

    def _check_batch(self, images: list[Document]) -> None:
        self._unique.checked({image["$id"]: image for image in images})

    def _check_all_absent(self, ids: Sequence[str]) -> None:
        """Make sure that sorted ids are free."""
        view = self._reading.view()
        taken = next((id_ for id_ in ids if view.overlay.get(id_) is not None), None)
        for source in view.sources if taken is None else ():
            held = held_ids(self._space.blocks, source, ids)
            taken = min((id_ for id_ in held if id_ not in view.overlay), default=None)
            if taken is not None:
                break
        if taken is not None:
            self._check_absent(taken)

    def _check_absent(self, key: str) -> None:
        before = self._reading.for_write(key)
        if before is not None:
            deleted = "deletedAt" in before
            hint = "restore it, or delete it with hard=True" if deleted else "update or replace it"
            raise AlreadyExistsError(
                f"there is a document {key!r}{' that is deleted' if deleted else ''}; {hint}"
            )

    def _change(self, id_: str, expected_version: int | None, change: Any) -> Entity:
        key = self._key(id_)

        def build() -> Mapping[str, Document | None]:
            before = self._reading.for_write(key)
            if before is None:
                self._not_found(key)
            if "deletedAt" in before:
                raise NotFoundError(f"the document {key!r} is deleted; restore it first")
            _check_version(before, expected_version)
            return {key: change(before, self._now())}

        image = self._write(build)[key]
        assert image is not None  # changed, not removed
        return entity_of(image)

    def _change_many(self, spec: Spec, change: Any) -> int:
        query, _ = self._reading.parse(spec)

        def build() -> Mapping[str, Document | None]:
            now = self._now()
            found = self._reading.documents_for_write(query)
            return {before["$id"]: change(before, now) for before in found}

        return len(self._write(build))

    def _write(self, build: Any) -> Mapping[str, Document | None]:
        """Write what ``build`` makes of the newest state; keep it for later in a transaction."""
        transaction = self._transactions.joined(self)
        if transaction is not None:
            return transaction.write(lambda: self._unique.checked(build()))
        written: Mapping[str, Document | None] = {}

        def write() -> Write:
            nonlocal written
            written = self._unique.checked(build())
            return Write(written)

        self._space.write(write)
        self._after_write()
        return written


def by_distinct_id(images: Iterable[Document]) -> dict[str, Document]:
    """Return images by id.

    Raises:
        AlreadyExistsError: Two have the same.
    """
    by_id: dict[str, Document] = {}
    for image in images:
        if image["$id"] in by_id:
            raise AlreadyExistsError(f"two of the documents have the id {image['$id']!r}")
        by_id[image["$id"]] = image
    return by_id


def _check_version(before: Document, expected: int | None) -> None:
    found = before.get("version")
    if expected is not None and found != expected:
        raise ConflictError(
            f"{before['$id']!r} has version {found}, not {expected}: somebody else changed it; "
            "read it again and decide"
        )


def _equalities(condition: Filter) -> Document:
    """Return the fields that a filter asks to be equal to something (MongoDB's upsert)."""
    merged: Document = {}
    if isinstance(condition, At) and isinstance(condition.test, Equals):
        value = condition.test.value
        for name in reversed(condition.path[1:]):
            value = {name: value}
        merged[condition.path[0]] = value
    elif isinstance(condition, And):
        for part in condition.parts:
            merged |= _equalities(part)
    return merged
