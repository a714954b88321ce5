"""Give the columns of a Parquet file the names and field ids of a table's schema.

Readers of Delta match columns by name alone. So in a file for them, each column must have the name
that the table has for it, and a column that the table does not have (any more) a name that nothing
asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from parquedb.errors import FormatError
from parquedb.model.schema import Schema, children
from parquedb.model.types import Field, ListType, MapType, StructType, VariantType
from parquedb.parquet.elements import Element, as_variant, without_ids, without_variants
from parquedb.parquet.match import stranger_id
from parquedb.slotted import dataclass

DROPPED = "__dropped_"
"""Begins the name of a column that its table does not have (any more)."""
_TUPLE = "_tuple"
_ANY = b"\0"
"""The shape of an element of which nothing is said."""


def has_names_of(root: Element, schema: Schema) -> bool:
    """Whether a file's columns, matched by name alone, are those that they are for the schema.

    Names that differ in case only are the same for some readers.

    Args:
        root: The file's columns.
        schema: The table's columns, matched as a scan does it.
    """
    labels = _Labels.of(root, schema, {}, renaming=True)
    return labels.fits(root.children, schema.fields)


def has_insides_of(root: Element, schema: Schema) -> bool:
    """Whether the structs inside a file's lists and maps have exactly the fields of a schema.

    delta-rs's scan, and what it does by it, takes these fields in their order where they are
    others, as long as there are as many: it then returns wrong values without a word.

    Args:
        root: The file's columns.
        schema: The table's columns, matched as a scan does it.
    """
    labels = _Labels.of(root, schema, {}, renaming=True)
    return labels.is_whole(root.children, schema.fields, inside=False)


def columns_of(schema: Schema) -> Element:
    """Return the columns of a file that is written with a schema, without their types."""
    return Element("schema", None, _ANY, tuple(map(_element_of, schema.fields)))


def _element_of(field: Field) -> Element:
    own = Element(field.name, field.id, _ANY)
    match field.type:
        case StructType(fields):
            return replace(own, children=tuple(map(_element_of, fields)))
        case ListType(element):
            repeated = Element("list", None, _ANY, (_element_of(element),))
            return replace(own, children=(repeated,))
        case MapType(key, value):
            entries = Element("key_value", None, _ANY, (_element_of(key), _element_of(value)))
            return replace(own, children=(entries,))
        case _:
            return own


def with_names_of(root: Element, schema: Schema, ids: Mapping[int, int] | None = None) -> Element:
    """Return a file's columns with the names and field ids of a schema.

    None is annotated as a variant any more: Spark 4.0 reads no row of a Delta table's file in which
    one is.

    Args:
        root: The file's columns.
        schema: The table's columns, matched as a scan does it.
        ids: The field ids to write by those of the schema, where they differ.

    Raises:
        FormatError: Two columns of the file are the same one of the schema.
    """
    labels = _Labels.of(root, schema, ids or {}, renaming=True)
    return without_variants(replace(root, children=labels.apply(root.children, schema.fields)))


def with_ids_like(root: Element, like: Element) -> Element:
    """Return columns with the ids of others in the same places, where they are laid out alike."""
    if len(root.children) != len(like.children):
        return replace(root, id=like.id)
    pairs = zip(root.children, like.children, strict=True)
    return replace(root, id=like.id, children=tuple(with_ids_like(*pair) for pair in pairs))


def with_ids_of(root: Element, schema: Schema, ids: Mapping[int, int] | None = None) -> Element:
    """Return a file's columns under their names with the field ids that a schema has for these.

    Columns that the schema does not have get ids that nothing asks for: some readers do not
    believe the ids of a file in which not every column has one. Variants are annotated as such, and
    their two parts have no ids.

    Args:
        root: The file's columns.
        schema: The table's columns, matched as a scan does it.
        ids: The field ids to write by those of the schema, where they differ.

    Raises:
        FormatError: Two columns of the file are the same one of the schema.
    """
    labels = _Labels.of(root, schema, ids or {}, renaming=False)
    return replace(root, id=None, children=labels.apply(root.children, schema.fields))


def with_variants_of(root: Element, schema: Schema) -> Element:
    """Return the columns of a file that was written with a schema, with its variants annotated."""
    pairs = zip(root.children, schema.fields, strict=True)
    return replace(root, children=tuple(_with_variants(*pair) for pair in pairs))


def _with_variants(element: Element, field: Field) -> Element:
    if isinstance(field.type, VariantType):
        return as_variant(element)
    inside = element.children
    if inside and not isinstance(field.type, StructType):  # the repeated level of a list or map
        inside = inside[0].children
    pairs = zip(inside, children(field.type), strict=True)
    done = tuple(_with_variants(*pair) for pair in pairs)
    if done == inside:
        return element
    if isinstance(field.type, StructType):
        return replace(element, children=done)
    return replace(element, children=(replace(element.children[0], children=done),))


@dataclass(frozen=True, slots=True)
class _Labels:
    """How columns are matched, and what becomes of them.

    Args:
        aliases: Names in files without ids, by field id.
        ids: The ids to write, by field id.
        by_id: Whether columns are matched by id.
        renaming: Whether names change; else only ids do.
    """

    aliases: Mapping[int, tuple[str, ...]]
    ids: Mapping[int, int]
    by_id: bool
    renaming: bool

    @classmethod
    def of(
        cls, root: Element, schema: Schema, ids: Mapping[int, int], *, renaming: bool
    ) -> _Labels:
        by_id = schema.matches_ids and any(child.id is not None for child in root.children)
        return cls(dict(schema.aliases), ids, by_id, renaming)

    def fits(self, offered: tuple[Element, ...], fields: tuple[Field, ...]) -> bool:
        """Whether elements have the right names already."""
        known = {field.name.lower() for field in fields}
        found = self._match(offered, fields)
        for element in offered:
            field = found.get(id(element))
            if field is None:
                if element.name.lower() in known:
                    return False
            elif element.name != field.name or not self._fits_inside(element, field):
                return False
        return True

    def is_whole(
        self, offered: tuple[Element, ...], fields: tuple[Field, ...], *, inside: bool
    ) -> bool:
        """Whether structs inside lists and maps have exactly the fields that they should have."""
        found = self._match(offered, fields)
        if inside and not len(found) == len(offered) == len(fields):
            return False
        pairs = ((element, found[id(element)]) for element in offered if id(element) in found)
        return all(self._is_whole_inside(*pair, inside=inside) for pair in pairs)

    def _is_whole_inside(self, element: Element, field: Field, *, inside: bool) -> bool:
        match field.type:
            case StructType(fields):
                return self.is_whole(element.children, fields, inside=inside)
            case ListType(element=inner):
                for _ in range(_element_depth(element)):
                    element = element.children[0]
                return self._is_whole_inside(element, inner, inside=True)
            case MapType(key, value) if _has_entries(element):
                one, two = element.children[0].children
                return self._is_whole_inside(one, key, inside=True) and self._is_whole_inside(
                    two, value, inside=True
                )
            case _:
                return True

    def apply(self, offered: tuple[Element, ...], fields: tuple[Field, ...]) -> tuple[Element, ...]:
        """Return elements with new labels."""
        found = self._match(offered, fields)
        taken = {field.name.lower() for field in fields}
        done = []
        for element in offered:
            field = found.get(id(element))
            if field is not None:
                name = field.name if self.renaming else element.name
                done.append(self._labelled(element, field, name))
            elif self.renaming:
                unknown = element if self.by_id else without_ids(element)
                done.append(replace(unknown, name=_free_name(element, taken)))
                taken.add(done[-1].name.lower())
            else:
                done.append(_stranger(element, element.name))
        return tuple(done)

    def _match(self, offered: tuple[Element, ...], fields: tuple[Field, ...]) -> dict[int, Field]:
        """Return the fields that elements are, by the elements' identity in memory."""
        found: dict[int, Field] = {}
        for field in fields:
            if self.by_id:
                matches = [one for one in offered if one.id == field.id]
            else:
                names = self.aliases.get(field.id, (field.name,))
                matches = [one for one in offered if one.name in names]
            if len(matches) > 1:
                raise FormatError(
                    f"{len(matches)} columns of a file are {field.name!r}; rewrite the file with "
                    "distinct columns"
                )
            for one in matches:
                found[id(one)] = field
        return found

    def _labelled(self, element: Element, field: Field, name: str) -> Element:
        """Give an element its name and id, and the elements inside it their labels."""
        own = replace(element, id=self.ids.get(field.id, field.id), name=name)
        match field.type:
            case StructType(fields):
                return replace(own, children=self.apply(own.children, fields))
            case ListType(element=inner):
                return self._with_element(own, inner, element.name)
            case MapType(key, value) if _has_entries(own):
                entries = own.children[0]
                one, two = entries.children
                labelled = (
                    self._labelled(one, key, one.name),
                    self._labelled(two, value, two.name),
                )
                return replace(own, children=(replace(entries, children=labelled),))
            case VariantType() if not self.renaming and own.children:
                return as_variant(own)
            case _:
                return own

    def _with_element(self, own: Element, inner: Field, before: str) -> Element:
        """Label the inside of a list that was called otherwise before."""
        depth = _element_depth(replace(own, name=before))
        if depth == 0:
            inside = self._labelled(own, inner, own.name)
            return replace(inside, id=own.id)  # one element in the file for two fields
        repeated = own.children[0]
        if depth == 1:  # a rule for reading old files goes by the list's name
            is_tuple = repeated.name == f"{before}{_TUPLE}"
            name = f"{own.name}{_TUPLE}" if is_tuple else repeated.name
            return replace(own, children=(self._labelled(repeated, inner, name),))
        name = "list" if repeated.name == f"{own.name}{_TUPLE}" else repeated.name
        element = repeated.children[0]
        wrapped = (self._labelled(element, inner, element.name),)
        return replace(own, children=(replace(repeated, name=name, children=wrapped),))

    def _fits_inside(self, element: Element, field: Field) -> bool:
        match field.type:
            case StructType(fields):
                return self.fits(element.children, fields)
            case ListType(element=inner):
                for _ in range(_element_depth(element)):
                    element = element.children[0]
                return self._fits_inside(element, inner)
            case MapType(key, value) if _has_entries(element):
                pair = element.children[0].children
                return self._fits_inside(pair[0], key) and self._fits_inside(pair[1], value)
            case _:
                return True


def _stranger(element: Element, path: str) -> Element:
    """Return a column that the table does not have, with ids that no column of it has."""
    children = tuple(_stranger(child, f"{path}.{child.name}") for child in element.children)
    number = None if element.is_repeated else stranger_id(path)
    return replace(element, id=number, children=children)


def _free_name(element: Element, taken: set[str]) -> str:
    """Return a name for a column that the table does not have, which nothing asks for."""
    name = element.name
    if not name.startswith(DROPPED):
        name = f"{DROPPED}{name}" if element.id is None else f"{DROPPED}{element.id}_{name}"
    while name.lower() in taken:
        name += "_"
    return name


def _has_entries(element: Element) -> bool:
    return len(element.children) == 1 and len(element.children[0].children) == 2


def _element_depth(element: Element) -> int:
    """Return how far below a list its element lies, by the rules for older ways to write lists.

    https://github.com/apache/parquet-format/blob/master/LogicalTypes.md#backward-compatibility-rules
    """
    if element.is_repeated or not element.children:
        return 0  # an unannotated repeated field is its own element
    repeated = element.children[0]
    legacy = (
        len(repeated.children) != 1
        or repeated.name == "array"
        or repeated.name == f"{element.name}{_TUPLE}"
    )
    return 1 if legacy else 2
