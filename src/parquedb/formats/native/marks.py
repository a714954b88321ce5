"""What a native file says of itself in its footer's key-value metadata.

``parquedb.through`` = ``{journal id}:{entry}``: how much of the journal its rows include.
"""

from __future__ import annotations

from collections.abc import Mapping

from parquedb.log.commit import Through
from parquedb.model.members import digits

_THROUGH = "parquedb.through"


def encode_through(through: Through) -> dict[str, str]:
    """Return the key-value metadata that says how much of the journal is included."""
    return {_THROUGH: f"{through.journal}:{through.entry}"}


def parse_through(key_values: Mapping[str, str]) -> Through | None:
    """Return how much of the journal is included, None where nothing readable says so."""
    journal, _, entry = key_values.get(_THROUGH, "").rpartition(":")
    number = digits(entry)
    return Through(journal, number) if journal and number is not None else None
