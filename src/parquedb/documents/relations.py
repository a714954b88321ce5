"""Relations between collections: ids that lead to other documents, and the way back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from parquedb.documents.entity import Entity
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

    def check(self, rules: CollectionRules, names: Sequence[str]) -> tuple[str, ...]:
        """Return the relations to load.

        Raises:
            InvalidInputError: A name is no relation of the collection.
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
        return wanted

    def populated(
        self, rules: CollectionRules, documents: Sequence[Document], names: Sequence[str]
    ) -> list[Entity]:
        """Return documents with the related documents in the places of their ids.

        An id that leads nowhere stays an id; in a list too.
        """
        entities = [Entity(document) for document in documents]
        for name in self.check(rules, names):
            relation = rules.relations().get(name)
            if relation is not None:
                self._load_forward(entities, name, relation)
            else:
                self._load_reverse(entities, name, rules.reverses()[name])
        return entities

    def populating(
        self, rules: CollectionRules, documents: Iterable[Document], names: Sequence[str]
    ) -> Iterator[Document]:
        """Yield documents as :meth:`populated` does, some hundreds at a time."""
        rest = iter(documents)
        while chunk := list(itertools.islice(rest, _CHUNK)):
            yield from self.populated(rules, chunk, names)

    def _load_forward(self, entities: Sequence[Entity], name: str, relation: Relation) -> None:
        wanted = {id_ for entity in entities for id_ in _ids_of(entity.get(name))}
        found = self._by_id(relation.namespace, sorted(wanted))
        for entity in entities:
            value = entity.get(name)
            if isinstance(value, list):
                entity[name] = [found.get(id_, id_) for id_ in value]
            elif isinstance(value, str):
                entity[name] = found.get(value, value)

    def _load_reverse(self, entities: Sequence[Entity], name: str, reverse: Reverse) -> None:
        ids = [entity["$id"] for entity in entities]
        listed: dict[str, list[Entity]] = {id_: [] for id_ in ids}
        for other in self._collection(reverse.namespace).find({reverse.field: {"$in": ids}}):
            for id_ in _ids_of(other.get(reverse.field)):
                if id_ in listed:
                    listed[id_].append(other)
        for entity in entities:
            others = listed[entity["$id"]]
            entity[name] = others if reverse.many else next(iter(others), None)

    def _by_id(self, namespace: str, ids: Sequence[str]) -> dict[str, Entity]:
        found: dict[str, Entity] = {}
        collection = self._collection(namespace)
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            found |= {other["$id"]: other for other in collection.find({"$id": {"$in": part}})}
        return found


def _ids_of(value: object) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            yield item
