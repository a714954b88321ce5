"""Reading schemas: of one collection (:func:`parse_schema`) or of a database.

A collection's schema maps field names to notations (:mod:`.notation`), Python types, lists of one
of these, or mappings, which are sub-documents; or it is a model (:mod:`.models`). Names that begin
with ``$`` are options. All that is wrong in a schema is told in one error.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from parquedb.documents.kinds import (
    Always,
    Choice,
    FieldRule,
    Indexed,
    Kind,
    Limited,
    ListOf,
    Record,
    Relation,
    Reverse,
    Text,
)
from parquedb.documents.models import (
    is_annotation,
    is_model,
    is_strict,
    options_of,
    read_annotation,
    read_model,
)
from parquedb.documents.naming import namespace_of, type_of
from parquedb.documents.notation import NotationError, check_default, limit, parse_field
from parquedb.documents.rules import SYSTEM_NAMES, CollectionRules
from parquedb.errors import InvalidInputError

Spec = Mapping[str, Any] | type | None
"""A collection's schema as users write it; None asks nothing."""

_OPTIONS = ("$id", "$type", "$ns", "$name", "$strict", "$options", "$description", "$indexes")
_IGNORED = ("$shred", "$visibility", "$abstract")
_LONG_FORM = {
    "type": "",
    "required": "",
    "nullable": "",
    "default": "",
    "index": "",
    "unique": "",
    "description": "",
    "enum": "",
    "meta": "",
    "min": "at_least",
    "max": "at_most",
    "minLength": "min_length",
    "maxLength": "max_length",
    "pattern": "pattern",
}


def parse_schema(name: str, spec: Spec) -> CollectionRules:
    """Return the rules of one collection.

    Args:
        name: Its type or namespace: ``User``, ``Users`` or ``users``.
        spec: What it asks.

    Raises:
        InvalidInputError: All that is wrong with it.
    """
    problems: list[str] = []
    rules = _parse_collection(name, spec, problems)
    _raise(problems)
    return rules


def parse_database(
    schema: Mapping[str, Spec] | Iterable[type],
) -> tuple[Mapping[str, CollectionRules], Mapping[str, str]]:
    """Return the rules of all collections by namespace, and the namespaces by their names.

    Names are those of the schema and the types.

    Args:
        schema: See :func:`parse_schemas`.

    Raises:
        InvalidInputError: All that is wrong with them.
    """
    rules = parse_schemas(schema)
    names = dict(zip(schema, rules, strict=True)) if isinstance(schema, Mapping) else {}
    return rules, {**{each.type: each.namespace for each in rules.values()}, **names}


def parse_schemas(schema: Mapping[str, Spec] | Iterable[type]) -> dict[str, CollectionRules]:
    """Return the rules of all collections of a database, by namespace.

    Relations are resolved among them: where the other side is declared too, a reverse relation
    must name a relation that exists.

    Args:
        schema: Schemas by type or namespace; or models, named by their class names.

    Raises:
        InvalidInputError: All that is wrong with them.
    """
    problems: list[str] = []
    found: dict[str, CollectionRules] = {}
    for name, spec in _named(schema, problems):
        rules = _parse_collection(name, spec, problems)
        if rules.namespace in found:
            problems.append(
                f"{name}: {found[rules.namespace].type} is in the namespace "
                f"{rules.namespace!r} already; merge them, or give one a '$ns'"
            )
        found[rules.namespace] = rules
    by_type = {rules.type: rules.namespace for rules in found.values()}
    resolved = {ns: _resolve_rules(rules, by_type) for ns, rules in found.items()}
    for rules in resolved.values():
        problems += _dangling(rules, resolved)
    _raise(problems)
    return resolved


def _raise(problems: list[str]) -> None:
    if problems:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise InvalidInputError(f"The schema has {count}: {'; '.join(problems)}.")


def _named(
    schema: Mapping[str, Spec] | Iterable[type], problems: list[str]
) -> list[tuple[str, Spec]]:
    if isinstance(schema, Mapping):
        return list(schema.items())
    if isinstance(schema, str) or not isinstance(schema, Iterable):
        problems.append(f"a schema maps types to their fields, it is no {type(schema).__name__}")
        return []
    models = list(schema)
    problems += [f"{model!r} is no model" for model in models if not is_model(model)]
    return [(model.__name__, model) for model in models if is_model(model)]


def _parse_collection(name: str, spec: Spec, problems: list[str]) -> CollectionRules:
    options: Mapping[str, Any] = {}
    if not isinstance(name, str) or not name:
        problems.append(f"{name!r} is no name of a collection")
        name = "unnamed"
    strict = False
    if isinstance(spec, Mapping):
        options = {key: value for key, value in spec.items() if str(key).startswith("$")}
        strict = _strict(options)
        fields = _parse_fields(spec, name, problems, strict=strict)
    elif isinstance(spec, type) and is_model(spec):
        options = options_of(spec)
        strict = _strict(options) or is_strict(spec)
        fields = read_model(spec, problems, name)
    else:
        fields = ()
        if spec is not None:
            problems.append(
                f"{name}: a schema is a mapping of fields to types, a pydantic model or a "
                f"dataclass, not {spec!r}"
            )
    _check_names(fields, name, problems, top=True)
    _check_unique(fields, name, problems, listed=False)
    return _with_options(name, fields, options, problems, strict=strict)


def _strict(options: Mapping[str, Any]) -> bool:
    more = options.get("$options")
    inside = more.get("strict") if isinstance(more, Mapping) else False
    return bool(options.get("$strict", inside))


def _parse_fields(
    spec: Mapping[str, Any], where: str, problems: list[str], *, strict: bool
) -> tuple[FieldRule, ...]:
    rules = []
    for name, given in spec.items():
        at = f"{where}.{name}"
        if not isinstance(name, str):
            problems.append(f"{at}: a field's name is a string")
        elif not name.startswith("$"):
            try:
                rules.append(_parse_spec(name, given, at, problems, strict=strict))
            except NotationError as error:
                problems.append(f"{at}: {error}")
    return tuple(rules)


def _parse_spec(
    name: str, spec: Any, where: str, problems: list[str], *, strict: bool
) -> FieldRule:
    """Return the rule that one field's specification asks, in whatever form it is."""
    if isinstance(spec, str):
        return parse_field(name, spec)
    if isinstance(spec, Mapping):
        if isinstance(spec.get("type"), str) and spec.keys() <= _LONG_FORM.keys():
            return _parse_long(name, spec)
        return _parse_record(name, spec, where, problems, strict=strict)
    if isinstance(spec, list) and len(spec) == 1:
        inner = _parse_spec(name, spec[0], where, problems, strict=strict)
        return FieldRule(name, ListOf(inner.kind, inner.nullable), indexed=inner.indexed)
    if is_annotation(spec) or type(spec).__name__ in ("NewType", "TypeAliasType"):
        found = read_annotation(spec, problems, where)
        return FieldRule(name, found.kind, nullable=found.nullable, indexed=found.indexed)
    raise NotationError(
        f"{spec!r} is no type; write a string such as 'string!', a Python type, "
        "a mapping for a sub-document, or a list of one of these"
    )


def _parse_record(
    name: str, spec: Mapping[str, Any], where: str, problems: list[str], *, strict: bool
) -> FieldRule:
    known = ("$strict", "$required", "$nullable")
    problems += [
        f"{where}.{key}: unknown option{_near(key, known)}"
        for key in spec
        if isinstance(key, str) and key.startswith("$") and key not in known
    ]
    strict = bool(spec.get("$strict", strict))
    fields = _parse_fields(spec, where, problems, strict=strict)
    _check_names(fields, where, problems, top=False)
    return FieldRule(
        name,
        Record(fields, strict),
        required=bool(spec.get("$required", False)),
        nullable=bool(spec.get("$nullable", False)),
    )


def _parse_long(name: str, spec: Mapping[str, Any]) -> FieldRule:
    """Read ``{"type": "int!", "min": 0, "index": "unique"}``."""
    rule = parse_field(name, spec["type"])
    kind = rule.kind
    if "enum" in spec:
        kind = Choice(tuple(spec["enum"]))
    bounds = {ours: spec[theirs] for theirs, ours in _LONG_FORM.items() if ours and theirs in spec}
    if bounds:
        kind = limit(kind, bounds)
    default = check_default(spec["default"], kind) if "default" in spec else rule.default
    return FieldRule(
        name,
        kind,
        required=bool(spec.get("required", rule.required)),
        nullable=bool(spec.get("nullable", rule.nullable)),
        default=default,
        indexed=_long_index(spec, rule.indexed),
        description=spec.get("description"),
    )


def _long_index(spec: Mapping[str, Any], given: Indexed) -> Indexed:
    index = spec.get("index")
    if spec.get("unique") or index == "unique":
        return Indexed.UNIQUE
    if index in ("fts", "vector"):
        raise NotationError("there are no full-text and no vector indexes; write 'index': True")
    return Indexed.YES if index and given is Indexed.NO else given


def _check_names(
    fields: Iterable[FieldRule], where: str, problems: list[str], *, top: bool
) -> None:
    """Refuse names that no path reaches, that engines take for the same, or that are ours."""
    folded: dict[str, str] = {name.lower(): name for name in SYSTEM_NAMES} if top else {}
    for rule in fields:
        at = f"{where}.{rule.name}"
        clash = folded.get(rule.name.lower())
        if clash in SYSTEM_NAMES and top:
            same = "is" if clash == rule.name else f"differs only by case from {clash!r},"
            problems.append(f"{at}: this {same} a field that the database sets; choose another")
        elif clash is not None:
            problems.append(f"{at}: it differs from {clash!r} only by case; SQL takes them as one")
        folded.setdefault(rule.name.lower(), rule.name)
        if not rule.name or "." in rule.name or not rule.name.isprintable():
            problems.append(f"{at}: a declared name is not empty and has no dots or controls")
        if top and rule.name == "name" and not _is_text(rule.kind):
            problems.append(f"{at}: a document's name is a string; call another value otherwise")
        if isinstance(rule.default, Always) and rule.default.value is None and not rule.nullable:
            problems.append(f"{at}: the default is null, which needs '?'")


def _check_unique(
    fields: Iterable[FieldRule], where: str, problems: list[str], *, listed: bool
) -> None:
    """Refuse unique fields of documents in lists: a document has several of them."""
    for rule in fields:
        at = f"{where}.{rule.name}"
        if listed and rule.indexed is Indexed.UNIQUE:
            problems.append(
                f"{at}: a field inside a list cannot be unique; keep these sub-documents in a "
                "collection of their own"
            )
        kind, inside = rule.kind, listed
        while isinstance(kind, ListOf | Limited):
            inside = inside or isinstance(kind, ListOf)
            kind = kind.element if isinstance(kind, ListOf) else kind.kind
        if isinstance(kind, Record):
            _check_unique(kind.fields, at, problems, listed=inside)


def _is_text(kind: Kind) -> bool:
    while isinstance(kind, Limited):
        kind = kind.kind
    return isinstance(kind, Text) or (
        isinstance(kind, Choice) and all(isinstance(value, str) for value in kind.values)
    )


def _with_options(
    name: str,
    fields: tuple[FieldRule, ...],
    options: Mapping[str, Any],
    problems: list[str],
    *,
    strict: bool,
) -> CollectionRules:
    problems += [
        f"{name}.{key}: unknown option{_near(key, _OPTIONS)}"
        for key in options
        if key not in _OPTIONS and key not in _IGNORED
    ]
    more = options.get("$options", {})
    if not isinstance(more, Mapping):
        problems.append(f"{name}.$options: it is a mapping, not {more!r}")
        more = {}
    fields = _with_indexes(name, fields, options.get("$indexes", ()), problems)
    namespace = str(options.get("$ns") or namespace_of(name))
    given = name if name[:1].isupper() else namespace
    return CollectionRules(
        type=str(options.get("$type") or type_of(given)),
        namespace=namespace,
        fields=fields,
        id_field=_field_option(name, "$id", fields, options, problems),
        name_field=_field_option(name, "$name", fields, options, problems),
        strict=strict,
        description=options.get("$description"),
        options=dict(more),
    )


def _field_option(
    name: str,
    option: str,
    fields: tuple[FieldRule, ...],
    options: Mapping[str, Any],
    problems: list[str],
) -> str | None:
    field = options.get(option)
    if field is None:
        return None
    names = [rule.name for rule in fields]
    if field not in names:
        problems.append(f"{name}.{option}: {field!r} is no declared field{_near(field, names)}")
        return None
    return str(field)


def _with_indexes(
    name: str, fields: tuple[FieldRule, ...], indexes: Any, problems: list[str]
) -> tuple[FieldRule, ...]:
    """Apply ``$indexes: [{"fields": ["email"], "unique": True}]``."""
    wanted: dict[str, Indexed] = {}
    for index in indexes:
        parts = index.get("fields", []) if isinstance(index, Mapping) else []
        names = [part.get("field") if isinstance(part, Mapping) else part for part in parts]
        if len(names) != 1 or names[0] not in {rule.name for rule in fields}:
            problems.append(
                f"{name}.$indexes: {index!r}: an index is on one declared field, "
                "{'fields': ['email'], 'unique': True}"
            )
        else:
            wanted[names[0]] = Indexed.UNIQUE if index.get("unique") else Indexed.YES
    return tuple(
        replace(rule, indexed=wanted[rule.name]) if rule.name in wanted else rule for rule in fields
    )


def _near(given: object, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(given), list(known), n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    listed = ", ".join(known)
    return f"; there are {listed}" if listed else ""


def _resolve_rules(rules: CollectionRules, by_type: Mapping[str, str]) -> CollectionRules:
    fields = tuple(replace(rule, kind=_resolve(rule.kind, by_type)) for rule in rules.fields)
    return replace(rules, fields=fields)


def _resolve(kind: Kind, by_type: Mapping[str, str]) -> Kind:
    """Send relations to the namespaces that the other collections' ``$ns`` name."""
    match kind:
        case Relation() | Reverse():
            return replace(kind, namespace=by_type.get(kind.type, kind.namespace))
        case ListOf():
            return replace(kind, element=_resolve(kind.element, by_type))
        case Limited():
            return replace(kind, kind=_resolve(kind.kind, by_type))
        case Record():
            return replace(
                kind,
                fields=tuple(
                    replace(rule, kind=_resolve(rule.kind, by_type)) for rule in kind.fields
                ),
            )
        case _:
            return kind


def _dangling(rules: CollectionRules, known: Mapping[str, CollectionRules]) -> list[str]:
    """List reverse relations to fields that are not there, or are no relations."""
    problems = []
    for name, kind in rules.reverses().items():
        other = known.get(kind.namespace)
        if other is None or not other.fields:
            continue
        field = other.find(kind.field)
        at = f"{rules.type}.{name}: {kind.type}.{kind.field}"
        if field is None:
            problems.append(f"{at} does not exist{_near(kind.field, other.relations())}")
        elif not isinstance(field.kind, Relation):
            problems.append(f"{at} is no relation; declare it '-> {rules.type}'")
        elif field.kind.namespace != rules.namespace:
            problems.append(f"{at} leads to {field.kind.type}, not to {rules.type}")
    return problems
