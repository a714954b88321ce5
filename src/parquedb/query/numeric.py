"""Numbers of different types together, and sums that do not depend on their order.

Ints stay exact whatever their size, floats win over ints and decimals over floats. Decimals are
calculated to 34 digits, as Decimal128 is.
"""

from __future__ import annotations

import math
import sys
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, Final

DECIMAL: Final = Context(prec=34, Emax=6144, Emin=-6143, traps=[])
"""How decimals are calculated: never an error, at worst NaN or infinity."""
_SUMS: Final = Context(prec=100, Emax=10_000, Emin=-10_000, traps=[])
"""How decimals are added up: with digits to spare, so that the order makes no difference."""
_KEPT: Final = 512
"""How many floats of a sum are kept before they are put together."""
_EXACT: Final = 1 << 53


def as_float(value: Any) -> float:
    """Return a number as the nearest float, an infinity if there is none."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def as_decimal(value: Any) -> Decimal:
    """Return a number as a decimal, a float as the shortest one that reads back as it."""
    if value.__class__ is Decimal:
        return value
    return Decimal(repr(value)) if value.__class__ is float else Decimal(value)


class Total:
    """A sum of numbers; what is not a number is left out.

    Ints are added exactly, floats so that the sum is the nearest float to the exact one.
    """

    __slots__ = ("_decimal", "_floats", "_whole", "count")

    def __init__(self) -> None:
        self.count = 0
        self._whole = 0
        self._floats: list[float] | None = None
        self._decimal: Decimal | None = None

    def add(self, value: Any) -> None:
        """Add a value."""
        kind = value.__class__
        if kind is int:
            self._whole += value
        elif kind is float:
            floats = self._floats
            if floats is None:
                self._floats = [value]
            else:
                floats.append(value)
                if len(floats) >= _KEPT:
                    self._floats = _compressed(floats)
        elif kind is Decimal:
            self._decimal = _SUMS.add(self._decimal or Decimal(0), value)
        else:
            return
        self.count += 1

    def add_many(self, sum_: int | Decimal | Fraction, count: int) -> None:
        """Add values of one type by their sum.

        Args:
            sum_: Their exact sum; a fraction if they are floats, with a power of 2 below.
            count: How many they are, at least one.
        """
        if isinstance(sum_, Decimal):
            self._decimal = _SUMS.add(self._decimal or Decimal(0), sum_)
        elif isinstance(sum_, Fraction):
            self._add_floats(_floats_of(sum_))
        else:
            self._whole += sum_
        self.count += count

    def result(self) -> int | float | Decimal:
        """Return the sum; 0 of nothing."""
        if self._decimal is not None:
            return _SUMS.add(self._decimal, self._others())
        return self._whole if self._floats is None else self._float()

    def mean(self) -> float | Decimal | None:
        """Return the mean; None of nothing."""
        if not self.count:
            return None
        if self._decimal is not None:
            return DECIMAL.divide(_SUMS.add(self._decimal, self._others()), Decimal(self.count))
        if self._floats is not None:
            return self._float() / self.count
        try:
            return self._whole / self.count
        except OverflowError:
            return as_float(self._whole // self.count)

    def _others(self) -> Decimal:
        return _SUMS.add(
            Decimal(0) if self._floats is None else as_decimal(_sum(self._floats)),
            Decimal(self._whole),
        )

    def _float(self) -> float:
        floats = self._floats or []
        if abs(self._whole) <= _EXACT:
            return _sum([*floats, float(self._whole)])
        if not all(map(math.isfinite, floats)):
            return _sum(floats)
        return as_float(sum(map(Fraction, floats), Fraction(self._whole)))

    def _add_floats(self, values: list[float]) -> None:
        if self._floats is None:
            self._floats = values
            return
        self._floats += values
        if len(self._floats) >= _KEPT:
            self._floats = _compressed(self._floats)


def _sum(floats: list[float]) -> float:
    """Return the float nearest to a sum."""
    try:
        return math.fsum(floats) + 0.0  # no -0.0
    except ValueError:  # both infinities
        return math.nan
    except OverflowError:  # maybe only on the way
        infinite = [value for value in floats if not math.isfinite(value)]
        return _sum(infinite) if infinite else as_float(sum(map(Fraction, floats)))


def _compressed(floats: list[float]) -> list[float]:
    """Return few floats with the same exact sum."""
    finite = [value for value in floats if math.isfinite(value)]
    others = list({repr(value): value for value in floats if not math.isfinite(value)}.values())
    try:
        parts: list[float] = []
        while rest := math.fsum([*finite, *(-part for part in parts)]):
            parts.append(rest)
    except OverflowError:
        parts = _floats_of(sum(map(Fraction, finite), Fraction(0)))
    return [*parts, *others]


def _floats_of(exact: Fraction) -> list[float]:
    """Return floats with an exact sum."""
    parts: list[float] = []
    while exact:
        near = as_float(exact)
        if math.isinf(near):
            near = math.copysign(sys.float_info.max, near)
        if not near:
            break
        parts.append(near)
        exact -= Fraction(near)
    return parts
