"""Boolean SQL texts that stay simple enough for DuckDB to push into a Parquet scan.

Every text here counts NULL as FALSE, as WHERE and a lambda of ``list_filter`` do. That keeps a
comparison as bare as ``"age" = 42``, which zone maps and bloom filters understand; what is negated
is negated by :func:`negate`, which knows that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace
from enum import Enum

from parquedb.slotted import dataclass


class Kind(Enum):
    """How a predicate is put together."""

    LEAF = ""
    AND = " AND "
    OR = " OR "


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a predicate says that looks at one number only, for those who have it without SQL.

    Args:
        column: SQL of the number.
        sign: ``<``, ``<=``, ``>``, ``>=`` or ``=``; nothing where it only must not be null.
        values: What it is compared with, in the column's own unit; one of several with ``=``.
        negated: Whether the contrary is said, which is true of null.
    """

    column: str
    sign: str = ""
    values: tuple[int | float, ...] = ()
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Sql:
    """A predicate.

    Args:
        text: What it says.
        negated: What says the contrary, where that is simpler than ``(…) IS NOT TRUE``. NULL must
            not come out of it where it does not mean FALSE.
        comparison: The same, where it is a comparison of a number.
        kind: How it is put together.
        parts: Of what.
    """

    text: str
    negated: str | None = None
    comparison: Comparison | None = field(default=None, repr=False, compare=False)
    kind: Kind = field(default=Kind.LEAF, repr=False)
    parts: tuple[Sql, ...] = field(default=(), repr=False, compare=False)

    @property
    def operand(self) -> str:
        """The text as it may stand beside AND."""
        return f"({self.text})" if self.kind is Kind.OR else self.text


TRUE = Sql("TRUE", "FALSE")
FALSE = Sql("FALSE", "TRUE")


def conjunction(parts: Iterable[Sql]) -> Sql:
    """Return that all hold."""
    return _join(Kind.AND, parts, TRUE, FALSE)


def disjunction(parts: Iterable[Sql]) -> Sql:
    """Return that at least one holds."""
    return _join(Kind.OR, parts, FALSE, TRUE)


def negate(sql: Sql) -> Sql:
    """Return that it does not hold, NULL being FALSE."""
    if sql == TRUE:
        return FALSE
    if sql == FALSE:
        return TRUE
    match sql.kind:
        case Kind.AND:
            return disjunction(map(negate, sql.parts))
        case Kind.OR:
            return conjunction(map(negate, sql.parts))
        case Kind.LEAF:
            known = sql.comparison
            contrary = None if known is None else replace(known, negated=not known.negated)
            return Sql(sql.negated or f"({sql.text}) IS NOT TRUE", sql.text, contrary)


def _join(kind: Kind, parts: Iterable[Sql], neutral: Sql, final: Sql) -> Sql:
    flat: dict[str, Sql] = {}
    for part in parts:
        if part == final:
            return final
        if part.kind is kind:
            flat.update((inner.text, inner) for inner in part.parts)
        elif part != neutral:
            flat[part.text] = part
    if not flat:
        return neutral
    if len(flat) == 1:
        return next(iter(flat.values()))
    members = tuple(flat.values())
    if kind is Kind.AND:
        return Sql(" AND ".join(part.operand for part in members), None, None, kind, members)
    texts = (f"({p.text})" if p.kind is Kind.AND else p.text for p in members)
    return Sql(" OR ".join(texts), None, None, kind, members)


@dataclass(frozen=True, slots=True)
class Truth:
    """What SQL can tell of a predicate: surely true, and possibly true.

    Args:
        sure: Implies the predicate.
        possible: Is implied by it. Equal to ``sure`` where SQL can tell exactly.
    """

    sure: Sql
    possible: Sql

    @property
    def exact(self) -> bool:
        """Whether SQL tells exactly."""
        return self.sure == self.possible


def exactly(sql: Sql) -> Truth:
    """Return what SQL says exactly."""
    return Truth(sql, sql)


def at_most(sql: Sql) -> Truth:
    """Return what SQL can only bound from above."""
    return Truth(FALSE, sql)


ALWAYS = exactly(TRUE)
NEVER = exactly(FALSE)


_MOST_PARTS = 1000
"""DuckDB needs quadratic time, and recursion over an Arrow table, for longer chains."""


def all_of(parts: Iterable[Truth]) -> Truth:
    """Return that all hold."""
    known = list(parts)
    sure = conjunction(part.sure for part in known)
    exact = all(part.exact for part in known)
    possible = sure if exact else conjunction(part.possible for part in known)
    if max(len(sure.parts), len(possible.parts)) > _MOST_PARTS:
        return at_most(conjunction(possible.parts[:_MOST_PARTS] or (possible,)))
    return exactly(sure) if exact else Truth(sure, possible)


def any_of(parts: Iterable[Truth]) -> Truth:
    """Return that at least one holds."""
    known = list(parts)
    sure = disjunction(part.sure for part in known)
    exact = all(part.exact for part in known)
    possible = sure if exact else disjunction(part.possible for part in known)
    if max(len(sure.parts), len(possible.parts)) > _MOST_PARTS:
        return at_most(TRUE)
    return exactly(sure) if exact else Truth(sure, possible)


def opposite(truth: Truth) -> Truth:
    """Return that it does not hold."""
    if truth.exact:
        return exactly(negate(truth.sure))
    return Truth(negate(truth.possible), negate(truth.sure))
