"""What a dialect can read, write and carry: one record per table feature and per type.

The planner's refusals and the support matrix of the documentation both come from these records;
there is no second list.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from parquedb.model.format import Format
from parquedb.model.types import Type
from parquedb.slotted import dataclass


class Fate(StrEnum):
    """What becomes of a feature on the way into another format."""

    CARRIED = "carried"
    FOOTER = "footer copy"
    """Data files get copies with another footer; no page is touched."""
    REWRITTEN = "rewritten"
    LOST = "lost"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature of one table format.

    Args:
        name: The specification's name for it (``deletionVectors``).
        format: The format.
        section: Section of the specification.
        enabled_if: How a table shows that it uses the feature, in words.
        read: Whether tables that use it can be read.
        write: Whether tables that use it can be written.
        towards: What becomes of it in each other format.
        note: One sentence for the matrix, or "".
    """

    name: str
    format: Format
    section: str
    enabled_if: str
    read: bool
    write: bool
    towards: Mapping[Format, Fate]
    note: str = ""


@dataclass(frozen=True, slots=True)
class TypeFit:
    """How a format stores values of a type.

    Args:
        becomes: The type that the column has there; None where there is no equivalent, so that
            the table is refused.
        rewrite: Whether files that hold the original type must be decoded and encoded again.
        lost: What is lost in one phrase, where something is; allowed only by ``allow_lossy``.
        footer: Which files get a copy with another footer, in words; None if none does.
    """

    becomes: Type | None
    rewrite: bool = False
    lost: str | None = None
    footer: str | None = None
