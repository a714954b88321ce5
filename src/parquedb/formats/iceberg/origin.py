"""What our own migrations record in a table.

In a snapshot's summary: ``parquedb.origin`` = ``{format}:{table id}:{version}``, the version of
the other table that the snapshot carries. In the table's properties:
``parquedb.migration.completed-at-ms``.
"""

from __future__ import annotations

from collections.abc import Mapping

from parquedb.log.commit import Operation, Origin, Through
from parquedb.model.format import Format
from parquedb.model.members import digits

ORIGIN = "parquedb.origin"
THROUGH = "parquedb.through"
"""In a summary: ``{journal id}:{entry}``, how much of the namespace's journal is included.

In the table's properties too: they outlive snapshots that are expired."""

LIVE_RECORDS = "parquedb.live-records"
"""In a summary: rows that are not deleted, where the snapshot has delete files."""

COMPLETED = "parquedb.migration.completed-at-ms"
FIELD_IDS = "parquedb.field-ids"
"""``source``: the table has the field ids of the table that it was migrated from."""

SOURCE_IDS = "parquedb.source-field-ids"
"""Otherwise: the table's field ids by those of that table, as a JSON object."""

_OWN = "parquedb."
_SETTINGS = (
    _OWN, "write.", "read.", "commit.", "history.", "schema.name-mapping.", "gc.", "format-version",
    "compatibility.", "engine.", "encryption.",
)  # fmt: skip
_OPERATIONS: Mapping[str, Operation] = {
    "append": Operation.APPEND,
    "overwrite": Operation.OVERWRITE,
    "delete": Operation.DELETE,
    "replace": Operation.REPLACE,
}


def encode_origin(origin: Origin) -> str:
    """Encode an origin as a summary's text."""
    return f"{origin.format.value}:{origin.table_id}:{origin.version}"


def parse_origin(summary: Mapping[str, str]) -> Origin | None:
    """Return the origin that a summary records, None if there is none that can be read."""
    text = summary.get(ORIGIN)
    if text is None:
        return None
    name, _, rest = text.partition(":")
    table_id, _, version = rest.rpartition(":")
    number = digits(version.removeprefix("-"))
    if name not in Format.__members__.values() or number is None:
        return None
    return Origin(Format(name), table_id, -number if version[:1] == "-" else number)


def encode_through(through: Through) -> str:
    """Encode how much of the journal is included as a summary's text."""
    return f"{through.journal}:{through.entry}"


def parse_through(text: str | None) -> Through | None:
    """Return how much of the journal is included, None where nothing readable says so."""
    journal, _, entry = (text or "").rpartition(":")
    number = digits(entry)
    return Through(journal, number) if journal and number is not None else None


def completed_at_ms(properties: Mapping[str, str]) -> int | None:
    """Return when the table's migration was complete, None while it is not."""
    text = properties.get(COMPLETED, "")
    return digits(text)


def user_properties(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the properties that are the user's and not settings of Iceberg or our own."""
    return {key: value for key, value in properties.items() if not key.startswith(_SETTINGS)}


def user_summary(summary: Mapping[str, str]) -> dict[str, str]:
    """Return a summary without its operation and our own records."""
    return {
        key: value
        for key, value in summary.items()
        if key != "operation" and not key.startswith(_OWN)
    }


def operation_named(summary: Mapping[str, str]) -> Operation | None:
    """Return the operation that a summary names, None if it is none of the specification's."""
    return _OPERATIONS.get(summary.get("operation", ""))
