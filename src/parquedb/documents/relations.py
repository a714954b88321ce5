"""Relations between collections: ids that lead to other documents, and the way back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from parquedb.documents.entity import Entity
from parquedb.documents.reading import AsOf, parse_as_of
from parquedb.documents.rules import CollectionRules
from parquedb.errors import InvalidInputError

if TYPE_CHECKING:
    from parquedb.documents.kinds import Relation, Reverse
    from parquedb.documents.searching import Searching

Document = dict[str, Any]

_CHUNK = 500


class Relations:
    """Loads related documents.

    Args:
        collection: Returns the collection of a namespace.
    """

    def __init__(self, collection: Callable[[str], Searching]) -> None:
        self._collection = collection

    def check(
        self, rules: CollectionRules, names: Sequence[str], as_of: AsOf = None
    ) -> tuple[str, ...]:
        """Return the relations to load.

        Raises:
            InvalidInputError: A name is no relation of the collection, or ``as_of`` is a version,
                which says nothing about other collections.
        """
        if not isinstance(names, Iterable):
            raise InvalidInputError(f"populate takes names of relations, not {names!r}")
        wanted = (names,) if isinstance(names, str) else tuple(names)
        known = [*rules.relations(), *rules.reverses()]
        for name in wanted:
            if name not in known:
                import difflib  # noqa: PLC0415  (a get does without)

                near = difflib.get_close_matches(str(name), known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                has = ", ".join(map(repr, known)) or "none"
                raise InvalidInputError(
                    f"{name!r} is no relation of {rules.namespace!r}, whose relations are {has}"
                    f"{hint}"
                )
        if wanted and as_of is not None and parse_as_of(as_of)[0] is not None:
            raise InvalidInputError(
                f"populate cannot look at version {as_of!r}: a version is one collection's; give "
                "as_of a time"
            )
        return wanted

    def populated(
        self,
        rules: CollectionRules,
        documents: Sequence[Document],
        names: Sequence[str],
        as_of: AsOf = None,
    ) -> list[Entity]:
        """Return documents with the related documents in the places of their ids.

        An id that leads nowhere stays an id; in a list too.

        Args:
            rules: What is related.
            documents: The documents.
            names: The relations to load.
            as_of: The time at which to look at related documents instead of now.

        Raises:
            InvalidInputError: As :meth:`check`.
        """
        entities = [Entity(document) for document in documents]
        for name in self.check(rules, names, as_of):
            relation = rules.relations().get(name)
            if relation is not None:
                self._load_forward(entities, name, relation, as_of)
            else:
                self._load_reverse(entities, name, rules.reverses()[name], as_of)
        return entities

    def populating(
        self,
        rules: CollectionRules,
        documents: Iterable[Document],
        names: Sequence[str],
        as_of: AsOf = None,
    ) -> Iterator[Document]:
        """Yield documents as :meth:`populated` does, some hundreds at a time."""
        rest = iter(documents)
        while chunk := list(itertools.islice(rest, _CHUNK)):
            yield from self.populated(rules, chunk, names, as_of)

    def _load_forward(
        self, entities: Sequence[Entity], name: str, relation: Relation, as_of: AsOf
    ) -> None:
        wanted = {id_ for entity in entities for id_ in _ids_of(entity.get(name))}
        found = self._by_id(relation.namespace, sorted(wanted), as_of)
        for entity in entities:
            value = entity.get(name)
            if isinstance(value, list):
                entity[name] = [found.get(id_, id_) for id_ in value]
            elif isinstance(value, str):
                entity[name] = found.get(value, value)

    def _load_reverse(
        self, entities: Sequence[Entity], name: str, reverse: Reverse, as_of: AsOf
    ) -> None:
        ids = [entity["$id"] for entity in entities]
        listed: dict[str, list[Entity]] = {id_: [] for id_ in ids}
        others_of = self._collection(reverse.namespace)
        for other in others_of.find({reverse.field: {"$in": ids}}, as_of=as_of):
            for id_ in _ids_of(other.get(reverse.field)):
                if id_ in listed:
                    listed[id_].append(other)
        for entity in entities:
            others = listed[entity["$id"]]
            entity[name] = others if reverse.many else next(iter(others), None)

    def _by_id(self, namespace: str, ids: Sequence[str], as_of: AsOf) -> dict[str, Entity]:
        found: dict[str, Entity] = {}
        collection = self._collection(namespace)
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            others = collection.find({"$id": {"$in": part}}, as_of=as_of)
            found |= {other["$id"]: other for other in others}
        return found


def _ids_of(value: object) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            yield item
