"""From what a user gives to the stored image of a document, and back to what a user gets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

from parquedb.documents.ids import Ulids, check_document_id
from parquedb.documents.rules import SYSTEM_NAMES, CollectionRules
from parquedb.documents.scalars import document_of, shown
from parquedb.documents.validate import validate
from parquedb.errors import InvalidInputError
from parquedb.rows.values import check_document, checked_copy, plain

Document = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOT_YET = _EPOCH
"""Stands for the time of a write until the write has one."""
_GIVEN = frozenset({"$id", "$type", "$name"})
_KEPT = SYSTEM_NAMES - _GIVEN
GIVEN_NAMES = SYSTEM_NAMES | _GIVEN
"""Names of fields that mean something when a document is created."""
_SMALL_BYTES = 65_536
_MAX_LETTERS = 1024
"""How long names of types, documents and people may be that are given beside the fields."""
_NAMES = ("name", "title", "label")


def instant(at_us: int) -> datetime:
    """Return a time, microseconds since the epoch, as a datetime in UTC."""
    return _EPOCH + timedelta(0, 0, at_us)


def actor_of(actor: object) -> str | None:
    """Return who is to be recorded, as plain text; None where nobody is.

    Raises:
        InvalidInputError: It is neither a string nor None.
    """
    if actor is None:
        return None
    if not _is_short_text(actor):
        raise InvalidInputError(f"actor is a short string that says who writes, not {shown(actor)}")
    return str.__str__(actor)


def _is_short_text(value: object) -> TypeGuard[str]:
    """Whether this is text of the length that names have."""
    if not isinstance(value, str) or len(value) > _MAX_LETTERS:
        return False
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def as_mapping(rules: CollectionRules, data: Any) -> Mapping[str, Any]:
    """Return what a user gave as a document: a mapping, or an instance of a model.

    Raises:
        InvalidInputError: It is neither.
    """
    if type(data) is dict or isinstance(data, Mapping):
        return data
    made = document_of(data)
    if made is None:
        raise InvalidInputError(
            f"A document of {rules.namespace!r} is a mapping of field names to values, not "
            f"{type(data).__name__}"
        )
    return made


def new_image(
    rules: CollectionRules,
    data: Mapping[str, Any],
    ulids: Ulids,
    now: datetime,
    actor: str | None,
    *,
    checked: bool = True,
) -> Document:
    """Return the stored image of a new document.

    Args:
        rules: The collection's rules.
        data: What the user gave; it is not changed, nor kept.
        ulids: Where an id comes from where the user gives none.
        now: The time of the write.
        actor: Who writes.
        checked: Whether values are checked and copied, if no schema asks for it; else whoever
            makes rows of the image checks them.

    Raises:
        InvalidInputError: A value, a name or the id is not acceptable; all problems are named.
    """
    if checked and type(data) is dict and rules.is_free and GIVEN_NAMES.isdisjoint(data):
        # most documents, and nothing to ask of them: the way below takes twice as long
        key, type_ = f"{rules.namespace}/{ulids.new()}", rules.type
        fields, _ = checked_copy(data, key)
    else:
        key, type_, fields = _asked(rules, data, ulids, now, checked=checked)
    image: Document = {"$id": key, "$type": type_}
    name = _name(rules, data, fields)
    if name is not None:
        image["name"] = name
    image["createdAt"] = image["updatedAt"] = now
    if (by := actor_of(actor)) is not None:
        image["createdBy"] = image["updatedBy"] = by
    image["version"] = 1
    image.update(fields)
    return image


def _asked(
    rules: CollectionRules, data: Mapping[str, Any], ulids: Ulids, now: datetime, *, checked: bool
) -> tuple[str, str, Document]:
    """Return the id, the type and the user's own fields of a new document, as the rules have it."""
    data = as_mapping(rules, data)
    fields = _fields(rules, data)
    type_ = _type(rules, data)
    if not (checked or rules.fields or rules.strict):
        return _id(rules, data, fields, ulids), type_, fields
    fields = validate(rules, _with_name(rules, data, fields), creating=True, now=now)
    key = _id(rules, data, fields, ulids)
    return key, type_, checked_copy(fields, key)[0]


def changed_image(
    rules: CollectionRules,
    before: Document,
    after: Document,
    may_differ: frozenset[str],
    now: datetime,
    actor: str | None,
) -> Document:
    """Return the stored image of a document that an update changed.

    Args:
        rules: The collection's rules.
        before: The image before; it is not changed.
        after: The document as the update left it, with the system fields of ``before``.
        may_differ: The top-level fields that the update may have changed, of the user's own.
        now: The time of the write.
        actor: Who writes.
    """
    where = before["$id"]
    touched = frozenset([key for key in may_differ if not _is_same(before, after, key)])
    fitted = validate(rules, after, creating=False, changed=touched, now=now, where=where)
    new, size_bytes = checked_copy({key: fitted[key] for key in touched if key in fitted}, where)
    if size_bytes > _SMALL_BYTES:  # the limit is that of the whole
        check_document({key: fitted[key] for key in fitted if key not in SYSTEM_NAMES}, where)
    image = {**fitted, **new}
    image["updatedAt"] = max(now, before.get("updatedAt") or now)
    image["version"] = before.get("version", 0) + 1
    by = actor_of(actor)
    if by is not None:
        image["updatedBy"] = by
    name = _renamed(rules, before, image, touched)
    if name is not None:
        image["name"] = name
    return _ordered(image) if by is not None or name is not None or "name" in touched else image


def replaced_image(
    rules: CollectionRules,
    before: Document,
    data: Mapping[str, Any],
    now: datetime,
    actor: str | None,
) -> Document:
    """Return the stored image of a document whose fields are all given anew.

    System fields in ``data`` (of an entity that was read before) are left out; ``$id`` must be
    the same.
    """
    data = as_mapping(rules, data)
    given = data.get("$id")
    if given is not None and check_document_id(rules.namespace, given) != before["$id"]:
        raise InvalidInputError(
            f"{before['$id']!r} cannot become {given!r}: a document keeps its id; create another"
        )
    fields = {key: data[key] for key in data if key not in SYSTEM_NAMES | {"$name"}}
    fields = validate(rules, fields, creating=True, now=now, where=before["$id"])
    fields, _ = checked_copy(fields, before["$id"])
    image = {key: before[key] for key in before if key in SYSTEM_NAMES}
    image["updatedAt"] = max(now, before.get("updatedAt") or now)
    if (by := actor_of(actor)) is not None:
        image["updatedBy"] = by
    image["version"] = before.get("version", 0) + 1
    name = _name(rules, data, fields)
    if name is not None:
        fields["name"] = name
    return _ordered(image | fields)


def deleted_image(before: Document, now: datetime, actor: str | None) -> Document:
    """Return the image of a document that is deleted but kept."""
    image = dict(before)
    image["updatedAt"] = image["deletedAt"] = max(now, before.get("updatedAt") or now)
    if (by := actor_of(actor)) is not None:
        image["updatedBy"] = image["deletedBy"] = by
    image["version"] = before.get("version", 0) + 1
    return _ordered(image)


def restored_image(before: Document, now: datetime, actor: str | None) -> Document:
    """Return the image of a deleted document that is back."""
    image = {key: before[key] for key in before if key not in ("deletedAt", "deletedBy")}
    image["updatedAt"] = max(now, before.get("updatedAt") or now)
    if (by := actor_of(actor)) is not None:
        image["updatedBy"] = by
    image["version"] = before.get("version", 0) + 1
    return image


def _fields(rules: CollectionRules, data: Mapping[str, Any]) -> Document:
    """Return the user's own fields; they are not to be changed."""
    if not _KEPT.isdisjoint(data):
        names = ", ".join(map(repr, sorted(_KEPT.intersection(data))))
        raise InvalidInputError(
            f"A document of {rules.namespace!r} cannot be given {names}: ParqueDB keeps it itself; "
            "choose another name for a field of your own"
        )
    if type(data) is dict and _GIVEN.isdisjoint(data):
        return data
    return {key: value for key, value in data.items() if key not in _GIVEN}


def _id(
    rules: CollectionRules, data: Mapping[str, Any], fields: Mapping[str, Any], ulids: Ulids
) -> str:
    given = data.get("$id")
    if given is None and rules.id_field is not None:
        given = fields.get(rules.id_field)
        if given is None:
            raise InvalidInputError(
                f"A document of {rules.namespace!r} needs {rules.id_field!r}: its id is made of it"
            )
        if not isinstance(given, str):
            given = str(plain(given))
    if given is None:
        return f"{rules.namespace}/{ulids.new()}"
    return check_document_id(rules.namespace, given)


def _type(rules: CollectionRules, data: Mapping[str, Any]) -> str:
    given = data.get("$type", rules.type)
    if not given or not _is_short_text(given):
        raise InvalidInputError(f"'$type' is the name of a type, not {shown(given)}")
    return str.__str__(given)


def _with_name(rules: CollectionRules, data: Mapping[str, Any], fields: Document) -> Document:
    """Return fields with the ``name`` that ``$name`` gives, where the schema asks for one."""
    given = data.get("$name")
    if given is None or "name" in fields or rules.find("name") is None:
        return fields
    return {"name": given, **fields}


def _name(rules: CollectionRules, data: Mapping[str, Any], fields: Mapping[str, Any]) -> str | None:
    """Return the name that a document gets; None where it has a ``name`` of its own, or none."""
    if "$name" in data:
        if not _is_short_text(data["$name"]):
            raise InvalidInputError(f"'$name' is a short string, not {shown(data['$name'])}")
        return str.__str__(data["$name"])
    if "name" in fields:
        return None
    for key in (rules.name_field, *_NAMES):
        found = fields.get(key) if key is not None else None
        if isinstance(found, str):
            return found
    return None


def _renamed(
    rules: CollectionRules, before: Document, fields: Document, touched: frozenset[str]
) -> str | None:
    """Return the new name of a document that is named after a field that was changed."""
    if "name" in touched:
        return None
    for key in (rules.name_field, *_NAMES[1:]):
        if key in touched and before.get("name") == before.get(key):
            found = fields.get(key)
            return found if isinstance(found, str) else None
    return None


def _is_same(before: Document, after: Document, key: str) -> bool:
    return key in before and key in after and before[key] is after[key]


def _ordered(image: Document) -> Document:
    """Put the system fields first."""
    ordered = {key: image[key] for key in _ORDER if key in image}
    return {**ordered, **image}


_ORDER = (
    "$id",
    "$type",
    "name",
    "createdAt",
    "updatedAt",
    "deletedAt",
    "createdBy",
    "updatedBy",
    "deletedBy",
    "version",
)
