"""Who may read and write a table: the protocol action and what the metadata enables.

PROTOCOL.md, "Protocol Evolution", "Table Features", "Valid Feature Names in Table Features".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from parquedb.errors import UnsupportedError
from parquedb.formats.delta.features import READER_FEATURES, WRITER_FEATURES
from parquedb.formats.delta.mapping import Mode, mode_of
from parquedb.formats.delta.schema import ParsedSchema
from parquedb.formats.delta.wire import Metadata, Protocol
from parquedb.model.members import digits

BASIC = Protocol(1, 2)
"""The protocol of a new table that needs no feature."""

_LEGACY_WRITER_FEATURES = (
    (2, ("appendOnly", "invariants")),
    (3, ("checkConstraints",)),
    (4, ("changeDataFeed", "generatedColumns")),
    (5, ("columnMapping",)),
    (6, ("identityColumns",)),
)
_WIDER = {
    "byte": ("short", "integer", "long"),
    "short": ("integer", "long"),
    "integer": ("long",),
    "float": ("double",),
}
_ROW_TRACKING = (
    "delta.rowTracking.materializedRowIdColumnName",
    "delta.rowTracking.materializedRowCommitVersionColumnName",
)
_ICEBERG_COMPAT = (
    ("icebergCompatV1", "delta.enableIcebergCompatV1"),
    ("icebergCompatV2", "delta.enableIcebergCompatV2"),
)


def is_true(metadata: Metadata, key: str) -> bool:
    """Whether a boolean table property is set to true."""
    return metadata.configuration.get(key, "").lower() == "true"


def hidden_columns(metadata: Metadata) -> tuple[str, ...]:
    """Return what Delta's writers may put into data files beside the table's columns.

    PROTOCOL.md, "Row Tracking", "Add CDC File".
    """
    names = [metadata.configuration[key] for key in _ROW_TRACKING if key in metadata.configuration]
    if is_true(metadata, "delta.enableChangeDataFeed"):
        names.append("_change_type")
    return tuple(names)


def has_in_commit_timestamps(protocol: Protocol, metadata: Metadata, version: int) -> bool:
    """Whether a version's time is its ``inCommitTimestamp`` (PROTOCOL.md, "In-Commit …")."""
    since = metadata.configuration.get("delta.inCommitTimestampEnablementVersion", "0")
    return (
        "inCommitTimestamp" in (protocol.writer_features or ())
        and is_true(metadata, "delta.enableInCommitTimestamps")
        and version >= (digits(since) or 0)
    )


def find_read_refusal(
    folder: str, protocol: Protocol, parsed: ParsedSchema
) -> UnsupportedError | None:
    """Return why a table in this state cannot be read, or None if it can.

    Deletion vectors are looked for at the files that have them.
    """
    if protocol.reader > 3:
        return UnsupportedError(
            f"the Delta table {folder!r} needs reader version {protocol.reader}; "
            "3 is the newest that is known",
            feature=f"minReaderVersion {protocol.reader}",
        )
    for name in protocol.reader_features or ():
        if name not in READER_FEATURES:
            return _refusal(folder, name, "is not supported")
    for path, own in parsed.metadata.items():
        for change in _type_changes(own):
            if not is_plain_widening(str(change[0]), str(change[1])):
                return _refusal(
                    folder,
                    "typeWidening",
                    f"changed the type of column {'.'.join(path)!r} from {change[0]} to "
                    f"{change[1]}, which other formats cannot follow; rewrite its files first",
                )
    return None


def check_writable(
    folder: str, protocol: Protocol, metadata: Metadata, parsed: ParsedSchema
) -> None:
    """Raise unless commits to a table in this state can honour all that it asks of writers.

    Raises:
        UnsupportedError: Naming the feature.
    """
    refusal = find_read_refusal(folder, protocol, parsed)
    if refusal is not None:
        raise refusal
    if protocol.writer > 7:
        raise UnsupportedError(
            f"the Delta table {folder!r} needs writer version {protocol.writer}; 7 is the newest "
            "that is known",
            feature=f"minWriterVersion {protocol.writer}",
        )
    if (mode := mode_of(protocol, metadata)) is not Mode.NONE:
        raise _refusal(
            folder,
            "columnMapping",
            f"is enabled (mode {mode.value!r}); such a table can be read and migrated, but not "
            "written",
        )
    for name in protocol.writer_features or ():
        if name not in WRITER_FEATURES:
            raise _refusal(folder, name, "cannot be honoured by a writer; it can only be read")
    if any(key.startswith("delta.constraints.") for key in metadata.configuration):
        raise _refusal(folder, "checkConstraints", "has rules that are not checked here")
    for feature, key in _ICEBERG_COMPAT:
        if is_true(metadata, key):
            raise _refusal(folder, feature, "is enabled")
    for path, own in parsed.metadata.items():
        for prefix, feature in (
            ("delta.invariants", "invariants"),
            ("delta.generationExpression", "generatedColumns"),
            ("delta.identity.", "identityColumns"),
        ):
            if any(key.startswith(prefix) for key in own):
                raise _refusal(folder, feature, f"is used by column {'.'.join(path)!r}")


def with_feature(protocol: Protocol, feature: str) -> Protocol:
    """Return a protocol that also allows a feature of readers and writers; nothing is lowered."""
    readers = set(protocol.reader_features or ())
    if protocol.reader == 2:
        readers.add("columnMapping")
    writers = set(protocol.writer_features or ())
    if protocol.writer < 7:
        writers.update(_legacy_features(protocol.writer))
    if feature in readers and protocol.reader == 3:
        return protocol
    return Protocol(3, 7, _ordered(readers | {feature}), _ordered(writers | readers | {feature}))


def supports(protocol: Protocol, feature: str) -> bool:
    """Whether a table's protocol includes a writer feature."""
    if protocol.writer_features is not None:
        return feature in protocol.writer_features
    return feature in _legacy_features(protocol.writer)


def _legacy_features(writer: int) -> list[str]:
    return [name for since, names in _LEGACY_WRITER_FEATURES if writer >= since for name in names]


def _ordered(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: (name != "timestampNtz", name)))


def _type_changes(own: Any) -> list[tuple[object, object]]:
    changes = own.get("delta.typeChanges")
    if not isinstance(changes, list):
        return []
    return [(change.get("fromType"), change.get("toType")) for change in changes]


def is_plain_widening(before: str, after: str) -> bool:
    """Whether a change of type is one that other formats can follow ("Type Widening").

    Args:
        before: The type before, as the schema names it.
        after: The type after.
    """
    if after in _WIDER.get(before, ()):
        return True
    if before.startswith("decimal") and after.startswith("decimal"):
        return _scale(before) == _scale(after)
    return before == after


def _scale(text: str) -> str:
    return text.rstrip(") ").rsplit(",", 1)[-1].strip()


def _refusal(folder: str, feature: str, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"the Delta table {folder!r}: the table feature {feature} {what}", feature=feature
    )
