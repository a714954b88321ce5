"""The half of a collection that only reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from parquedb.documents.entity import Entity
from parquedb.documents.reading import Reading
from parquedb.documents.relations import Relations
from parquedb.documents.rules import CollectionRules
from parquedb.errors import InvalidInputError

if TYPE_CHECKING:
    from parquedb.documents.found import Found
    from parquedb.namespace.past import ReadableNamespace

Document = dict[str, Any]
Spec = Mapping[str, Any]
AsOf = int | str | datetime | None


class Searching:
    """Reads the documents of one namespace.

    Args:
        space: The namespace.
        rules: What the schema asks of the documents.
        reading: How it is read.
        relations: How other collections are reached.
    """

    def __init__(
        self,
        space: ReadableNamespace,
        rules: CollectionRules,
        reading: Reading,
        relations: Relations,
    ) -> None:
        self._space = space
        self._rules = rules
        self._reading = reading
        self._relations = relations

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    @property
    def name(self) -> str:
        """The namespace's name."""
        return self._space.name

    @property
    def rules(self) -> CollectionRules:
        """What the schema asks of the documents."""
        return self._rules

    def get(
        self,
        id: str,  # noqa: A002
        *,
        populate: Sequence[str] = (),
        include_deleted: bool = False,
        as_of: AsOf = None,
    ) -> Entity | None:
        """Return a document, None if there is none.

        Args:
            id: Its id, with or without the namespace.
            populate: Names of relations to load.
            include_deleted: Whether a deleted document counts.
            as_of: A version or time to look at instead of now.
        """
        if populate:
            populate = self._relations.check(self._rules, populate, as_of)
        found = self._reading.get(self._reading.key(id), as_of)
        if found is None or ("deletedAt" in found and not include_deleted):
            return None
        entity = Entity(found)
        if not populate:
            return entity
        return self._relations.populated(self._rules, [entity], populate, as_of)[0]

    def __getitem__(self, id: str) -> Entity:  # noqa: A002
        found = self.get(id)
        if found is None:
            raise self._reading.not_found(self._reading.key(id))
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
        as_of: AsOf = None,
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
            {} if filter is None else filter,
            sort,
            limit,
            skip,
            project,
            after,
            include_deleted=include_deleted,
        )
        populate = self._relations.check(self._rules, populate, as_of)

        def documents() -> Iterator[Document]:
            found = self._reading.documents(query, as_of)
            if populate:
                found = self._relations.populating(self._rules, found, populate, as_of)
            return found if projection is None else map(projection, found)

        from parquedb.documents.found import Found, Sources  # noqa: PLC0415  (a get does without)

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
        as_of: AsOf = None,
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
        as_of: AsOf = None,
    ) -> int:
        """Return how many documents match."""
        query, _ = self._reading.parse(
            {} if filter is None else filter, include_deleted=include_deleted
        )
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
        as_of: AsOf = None,
    ) -> list[Any]:
        """Return the different values of a field in MongoDB's order, those inside lists each."""
        if not isinstance(field, str) or not field:
            raise InvalidInputError(f"distinct: a field's name is a string, not {field!r}")
        query, _ = self._reading.parse(
            {} if filter is None else filter, include_deleted=include_deleted
        )
        return self._reading.distinct(field, query, as_of)

    def aggregate(
        self,
        pipeline: Sequence[Spec],
        *,
        include_deleted: bool = False,
        as_of: AsOf = None,
    ) -> list[Document]:
        """Run an aggregation pipeline.

        Args:
            pipeline: ``$match``, ``$group``, ``$sort``, ``$project``, ``$limit``, ``$skip``,
                ``$unwind``, ``$count`` and others, see docs/queries.md.
            include_deleted: Whether deleted documents count.
            as_of: A version or time to look at instead of now.
        """
        return self._reading.aggregate(pipeline, as_of, include_deleted=include_deleted)
