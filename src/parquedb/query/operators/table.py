"""The operators of expressions by name (MongoDB's manual, "Aggregation Operators")."""

from __future__ import annotations

from typing import Final

from parquedb.query.operators import (
    arithmetic,
    arrays,
    convert,
    dates,
    logic,
    objects,
    strings,
)
from parquedb.query.operators.parser import Operator

OPERATORS: Final[dict[str, Operator]] = {
    **logic.OPERATORS,
    **arithmetic.OPERATORS,
    **strings.OPERATORS,
    **arrays.OPERATORS,
    **objects.OPERATORS,
    **dates.OPERATORS,
    **convert.OPERATORS,
}
