"""What a schema asks of a collection's documents.

The kinds of fields are in :mod:`.kinds`, which a collection without a schema does not need.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

from parquedb.slotted import dataclass

if TYPE_CHECKING:
    from parquedb.documents.kinds import FieldRule, Relation, Reverse
    from parquedb.model.types import Type

SYSTEM_NAMES = frozenset(
    {
        "$id",
        "$type",
        "createdAt",
        "updatedAt",
        "deletedAt",
        "createdBy",
        "updatedBy",
        "deletedBy",
        "version",
    }
)
"""Fields that the database itself sets (``name`` is the user's)."""


@dataclass(frozen=True, slots=True)
class CollectionRules:
    """What is asked of a collection's documents.

    Args:
        type: The documents' type, ``User``.
        namespace: Where they are, ``users``.
        fields: The declared fields.
        id_field: The field whose value is the local part of a new document's id, or None.
        name_field: The field whose value is the document's ``name``, or None.
        strict: Whether undeclared fields are an error.
        description: A comment, or None.
        options: The schema's ``$options``, for whoever knows them.
    """

    type: str
    namespace: str
    fields: tuple[FieldRule, ...] = ()
    id_field: str | None = None
    name_field: str | None = None
    strict: bool = False
    description: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    compiled: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What :mod:`.validate` made of these rules, once it was asked."""

    @property
    def is_free(self) -> bool:
        """Whether nothing is asked of a document, and nothing made of its fields."""
        return not (self.fields or self.strict or self.id_field or self.name_field)

    def find(self, name: str) -> FieldRule | None:
        """Return the rule of a top-level field, or None."""
        return next((rule for rule in self.fields if rule.name == name), None)

    def walk(self) -> Iterator[tuple[tuple[str, ...], FieldRule]]:
        """Yield every rule with its path, those inside sub-documents and lists of them too."""
        if self.fields:
            from parquedb.documents.kinds import walk_fields  # noqa: PLC0415

            yield from walk_fields(self.fields)

    def column_types(self) -> Mapping[str, Type]:
        """Return the types of the declared fields' columns.

        Left out are fields without a type of their own (``json``, ``uuid``, ``decimal`` without
        digits), reverse relations, and ``name``, which has a column in every collection.
        """
        if not self.fields:
            return {}
        from parquedb.documents.kinds import column_type  # noqa: PLC0415

        types = {rule.name: column_type(rule.kind) for rule in self.fields if rule.name != "name"}
        return {name: type_ for name, type_ in types.items() if type_ is not None}

    def indexed_paths(self, *, unique_only: bool = False) -> tuple[str, ...]:
        """Return the dotted paths of indexed fields (unique ones are indexed too)."""
        if not self.fields:
            return ()
        from parquedb.documents.kinds import Indexed  # noqa: PLC0415

        wanted = {Indexed.UNIQUE} if unique_only else {Indexed.UNIQUE, Indexed.YES}
        return tuple(".".join(path) for path, rule in self.walk() if rule.indexed in wanted)

    def relations(self) -> Mapping[str, Relation]:
        """Return the relations among the top-level fields."""
        from parquedb.documents.kinds import Relation  # noqa: PLC0415

        return {rule.name: rule.kind for rule in self.fields if isinstance(rule.kind, Relation)}

    def reverses(self) -> Mapping[str, Reverse]:
        """Return the reverse relations among the top-level fields."""
        from parquedb.documents.kinds import Reverse  # noqa: PLC0415

        return {rule.name: rule.kind for rule in self.fields if isinstance(rule.kind, Reverse)}
