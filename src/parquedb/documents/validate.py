"""Checking documents against their collection's rules.

Rules are compiled once into closures; a document that is as declared is passed through without a
copy. Everything wrong with one document is told in one error.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from parquedb.ambient import SYSTEM
from parquedb.documents.kinds import (
    Always,
    Choice,
    Decimals,
    FieldRule,
    Kind,
    Limited,
    ListOf,
    Made,
    Now,
    Record,
    Relation,
    Reverse,
    Scalar,
    Text,
    Vector,
)
from parquedb.documents.rules import SYSTEM_NAMES, CollectionRules
from parquedb.documents.scalars import (
    EXACT,
    FIT_SCALAR,
    Fit,
    Unfit,
    document_of,
    fit_choice,
    fit_decimals,
    fit_relation,
    fit_text,
    kind_of,
    shown,
    unfit,
)
from parquedb.errors import ValidationError
from parquedb.slotted import dataclass

Document = dict[str, Any]
Problems = list[tuple[tuple[str, ...], str]]

_MISSING: Any = object()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def validate(
    rules: CollectionRules,
    document: Document,
    *,
    creating: bool,
    changed: frozenset[str] | None = None,
    now: datetime | None = None,
    where: str | None = None,
) -> Document:
    """Check a document and return it as declared.

    Values are converted where that loses nothing (see :mod:`.scalars`), and a new document gets
    the defaults of its missing fields. System fields are not looked at.

    Args:
        rules: The collection's rules.
        document: The document; it is not changed.
        creating: Whether it is new, so that defaults apply.
        changed: The top-level fields an update touched; only these are checked. None: all.
        now: The time of the write, for defaults that are ``now``. None: ask the clock.
        where: The document's id, for messages; None for a new one.

    Returns:
        The very same document if nothing was to be done, else a new one.

    Raises:
        ValidationError: All that is wrong, with paths.
    """
    if not rules.fields and not rules.strict:
        return document
    form = rules.compiled.get("new" if creating else "known") or _compile_rules(
        rules, creating=creating
    )
    try:
        fitted: Document = (
            form.fit(document, now) if changed is None else form.fit_only(document, now, changed)
        )
    except Unfit as error:
        given = where or document.get("$id") or f"A new {rules.type}"
        raise ValidationError(
            str(given), tuple((".".join(path), text) for path, text in error.problems)
        ) from None
    return fitted


@dataclass(frozen=True, slots=True)
class _Entry:
    """How one field is treated; tuples of these are unpacked in the loop that must be fast."""

    name: str
    exact: type | None
    fit: Fit
    nullable: bool
    missing: Callable[[datetime | None], Any] | None
    """What to do where the field is missing: nothing, or return a default, or raise Unfit."""


class _Form:
    """The compiled rules of a document or sub-document."""

    __slots__ = ("_entries", "_known", "_strict")

    def __init__(
        self, fields: Iterable[FieldRule], *, strict: bool, creating: bool, known: frozenset[str]
    ) -> None:
        entries = [_compile_field(rule, creating=creating) for rule in fields]
        self._entries = {
            entry.name: (entry.name, entry.exact, entry.fit, entry.nullable, entry.missing)
            for entry in entries
        }
        self._strict = strict
        self._known = known | self._entries.keys()

    def fit(self, document: Mapping[str, Any], now: datetime | None) -> Any:
        """Fit a whole document."""
        return self._fit(document, now, self._entries.values(), document.keys())

    def fit_only(
        self, document: Mapping[str, Any], now: datetime | None, names: frozenset[str]
    ) -> Any:
        """Fit some fields of a document."""
        entries = [self._entries[name] for name in names if name in self._entries]
        return self._fit(document, now, entries, names & document.keys())

    def _fit(
        self,
        document: Mapping[str, Any],
        now: datetime | None,
        entries: Iterable[tuple[str, type | None, Fit, bool, Any]],
        given: Any,
    ) -> Any:
        changes: Document = {}
        problems: Problems = []
        get = document.get
        for name, exact, fit, nullable, missing in entries:
            value = get(name, _MISSING)
            if type(value) is exact:
                continue
            try:
                if value is _MISSING:
                    if missing is not None:
                        changes[name] = missing(now)
                elif value is None:
                    if not nullable:
                        raise unfit("null is not allowed (declare the field with '?' to allow it)")
                else:
                    fitted = fit(value, now)
                    if fitted is not value:
                        changes[name] = fitted
            except Unfit as error:
                problems += [((name, *path), text) for path, text in error.problems]
        if self._strict and not given <= self._known:
            problems += self._unknown(given)
        if problems:
            raise Unfit(problems)
        return {**document, **changes} if changes else document

    def _unknown(self, given: Iterable[Any]) -> Problems:
        found: Problems = []
        for name in given:
            if name not in self._known:
                near = difflib.get_close_matches(str(name), self._entries, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                found.append(((str(name),), f"is not in the schema, which is strict{hint}"))
        return found


def _compile_rules(rules: CollectionRules, *, creating: bool) -> _Form:
    known = SYSTEM_NAMES | {"name"}
    form = _Form(rules.fields, strict=rules.strict, creating=creating, known=known)
    rules.compiled["new" if creating else "known"] = form
    return form


def _compile_field(rule: FieldRule, *, creating: bool) -> _Entry:
    kind = rule.kind
    exact = EXACT.get(kind) if isinstance(kind, Scalar) else None
    if kind == Text():
        exact = str
    fit = fit_of(kind, creating=creating)
    return _Entry(
        rule.name, exact, fit, rule.nullable, _compile_missing(rule, fit, creating=creating)
    )


def _compile_missing(
    rule: FieldRule, fit: Fit, *, creating: bool
) -> Callable[[datetime | None], Any] | None:
    if creating and rule.default is not None:
        match rule.default:
            case Always(value) if isinstance(value, list | dict):
                return lambda _now: copy.deepcopy(value)
            case Always(value):
                return lambda _now: value
            case Now() if rule.kind is Scalar.DATE:
                return lambda now: (now or _clock()).astimezone(UTC).date()
            case Now():
                return lambda now: now or _clock()
            case Made(factory):
                return lambda now: _made(factory, fit, now, nullable=rule.nullable)
    if rule.required:
        return _refuse_missing
    return None


def _refuse_missing(_now: datetime | None) -> Any:
    raise unfit("is missing")


def _made(factory: Callable[[], Any], fit: Fit, now: datetime | None, *, nullable: bool) -> Any:
    value = factory()
    return None if value is None and nullable else fit(value, now)


def _clock() -> datetime:
    return _EPOCH + timedelta(microseconds=SYSTEM.now_us())


def fit_of(kind: Kind, *, creating: bool) -> Fit:
    """Return the compiled fit of a kind.

    Args:
        kind: The kind.
        creating: Whether sub-documents get their defaults.
    """
    match kind:
        case Scalar():
            return FIT_SCALAR[kind]
        case Text():
            return fit_text(kind)
        case Decimals():
            return fit_decimals(kind)
        case Choice():
            return fit_choice(kind)
        case Vector():
            return _fit_vector(kind)
        case ListOf(element, nullable):
            return _fit_list(fit_of(element, creating=creating), _exact(element), nullable=nullable)
        case Record():
            return _fit_record(kind, creating=creating)
        case Relation(many=many):
            one = fit_relation(kind)
            return _fit_ids(one) if many else one
        case Reverse():
            return _fit_reverse(kind)
        case Limited():
            return _fit_limited(kind, fit_of(kind.kind, creating=creating))


def _exact(kind: Kind) -> type | None:
    """Return the type all of whose values are of a kind, None if there is none."""
    if kind == Text():
        return str
    return EXACT.get(kind) if isinstance(kind, Scalar) else None


def _fit_list(element: Fit, exact: type | None = None, *, nullable: bool) -> Fit:
    clean = {exact}

    def fit(value: Any, now: datetime | None) -> Any:
        if type(value) is list and set(map(type, value)) == clean:
            return value
        if type(value) is not list and not isinstance(value, list | tuple):
            raise unfit(f"{shown(value)} is {kind_of(value)}, not a list")
        problems: Problems = []
        fitted: list[Any] = []
        same = type(value) is list
        for index, item in enumerate(value):
            try:
                if item is None:
                    if not nullable:
                        raise unfit("null is not allowed in this list")
                    fitted.append(None)
                    continue
                fitted.append(found := element(item, now))
                same = same and found is item
            except Unfit as error:
                problems += [((str(index), *path), text) for path, text in error.problems]
        if problems:
            raise Unfit(problems)
        return value if same else fitted

    return fit


def _fit_ids(one: Fit) -> Fit:
    several = _fit_list(one, nullable=False)

    def fit(value: Any, now: datetime | None) -> Any:
        return [one(value, now)] if isinstance(value, str | Mapping) else several(value, now)

    return fit


def _fit_vector(kind: Vector) -> Fit:
    floats = _fit_list(FIT_SCALAR[Scalar.FLOAT], float, nullable=False)

    def fit(value: Any, now: datetime | None) -> Any:
        if hasattr(value, "tolist"):  # numpy's and others' arrays
            value = value.tolist()
        fitted = floats(value, now)
        if len(fitted) != kind.length:
            raise unfit(f"has {len(fitted)} numbers, {kind.length} are declared")
        return fitted

    return fit


def _fit_record(kind: Record, *, creating: bool) -> Fit:
    form = _Form(kind.fields, strict=kind.strict, creating=creating, known=frozenset())
    inner = form.fit

    def fit(value: Any, now: datetime | None) -> Any:
        if type(value) is dict:
            return inner(value, now)
        document = document_of(value)
        if document is not None:
            return inner(document, now)
        raise unfit(f"{shown(value)} is {kind_of(value)}, not a sub-document")

    return fit


def _fit_reverse(kind: Reverse) -> Fit:
    def fit(_value: Any, _now: datetime | None) -> Any:
        raise unfit(f"is a reverse relation and not stored; set {kind.type}.{kind.field} instead")

    return fit


def _fit_limited(kind: Limited, inner: Fit) -> Fit:
    tests = list(_tests(kind))

    def fit(value: Any, now: datetime | None) -> Any:
        found = inner(value, now)
        for passes, message in tests:
            if not _passes(passes, found):
                raise unfit(f"{shown(found)} {message}")
        return found

    return fit


def _passes(test: Callable[[Any], bool], value: Any) -> bool:
    """Return whether a value passes; a time without a zone is not comparable with one that has."""
    try:
        return test(value)
    except TypeError:
        zoned = value.replace(tzinfo=UTC if value.tzinfo is None else None)
        return test(zoned)


def _tests(kind: Limited) -> Iterator[tuple[Callable[[Any], bool], str]]:
    """Yield each bound as a test, and what is said of a value that fails it."""
    least, above, most, below = kind.at_least, kind.above, kind.at_most, kind.below
    if least is not None:
        yield lambda value: bool(value >= least), f"is less than {least}"
    if above is not None:
        yield lambda value: bool(value > above), f"is not more than {above}"
    if most is not None:
        yield lambda value: bool(value <= most), f"is more than {most}"
    if below is not None:
        yield lambda value: bool(value < below), f"is not less than {below}"
    shortest, longest = kind.min_length, kind.max_length
    if shortest is not None:
        yield lambda value: len(value) >= shortest, f"is shorter than {shortest}"
    if longest is not None:
        yield lambda value: len(value) <= longest, f"is longer than {longest}"
    if kind.pattern is not None:
        from parquedb.query.regex import compile_regex  # noqa: PLC0415  (few schemas need it)

        yield compile_regex(kind.pattern), f"does not match {kind.pattern!r}"
