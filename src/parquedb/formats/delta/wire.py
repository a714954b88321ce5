"""The actions of a Delta log as JSON lines, and as values.

PROTOCOL.md, "Actions". One JSON object a line; unknown actions and fields are tolerated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from parquedb.errors import FormatError
from parquedb.model.members import (
    count,
    items,
    numbers,
    optional_count,
    optional_text,
    optional_texts,
    optional_whole,
    text,
    texts,
    whole,
)
from parquedb.slotted import dataclass

Json = dict[str, Any]
"""A decoded JSON object; it does not leave the modules that encode and decode."""

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Add(NamedTuple):
    """A logical file added, as recorded (a tuple, because there are many).

    Args:
        path: Percent-encoded, as recorded.
        partition_values: By partition column, serialized.
        size: Bytes.
        modified_at_ms: ``modificationTime``.
        data_change: Whether rows change.
        stats: Statistics as a JSON string.
        tags: Free-form facts.
        vector: The deletion vector's descriptor, or None.
    """

    path: str
    partition_values: Mapping[str, str | None]
    size: int
    modified_at_ms: int
    data_change: bool = True
    stats: str | None = None
    tags: Mapping[str, str | None] | None = None
    vector: Vector | None = None


class Remove(NamedTuple):
    """A logical file removed, as recorded.

    Args:
        path: Percent-encoded, as recorded.
        removed_at_ms: ``deletionTimestamp``.
        data_change: Whether rows change.
        partition_values: By partition column, where recorded.
        size: Bytes, where recorded.
        vector: The deletion vector's descriptor, or None.
    """

    path: str
    removed_at_ms: int | None
    data_change: bool = True
    partition_values: Mapping[str, str | None] | None = None
    size: int | None = None
    vector: Vector | None = None


class Vector(NamedTuple):
    """A deletion vector's descriptor (PROTOCOL.md, "Deletion Vector Descriptor Schema")."""

    storage: str
    path_or_inline: str
    rows: int
    offset: int | None = None
    size: int = 0

    @property
    def identity(self) -> str:
        """Its ``uniqueId`` (PROTOCOL.md, "Derived Fields")."""
        at = "" if self.offset is None else f"@{self.offset}"
        return f"{self.storage}{self.path_or_inline}{at}"


def identity_of(vector: Vector | None) -> str | None:
    """Return what tells a logical file from others of its path; None without a vector."""
    return None if vector is None else vector.identity


@dataclass(frozen=True, slots=True)
class Protocol:
    """Who may read and write the table (PROTOCOL.md, "Protocol Evolution")."""

    reader: int
    writer: int
    reader_features: tuple[str, ...] | None = None
    writer_features: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Metadata:
    """The table's ``metaData`` (PROTOCOL.md, "Change Metadata")."""

    id: str
    schema: str
    partition_columns: tuple[str, ...] = ()
    configuration: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    created_at_ms: int | None = None
    name: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Txn:
    """How far an application has come (PROTOCOL.md, "Transaction Identifiers")."""

    app_id: str
    version: int
    last_updated_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Domain:
    """A named metadata domain (PROTOCOL.md, "Domain Metadata")."""

    name: str
    configuration: str
    removed: bool


@dataclass(frozen=True, slots=True)
class OriginMark:
    """``commitInfo.parquedb.origin``: the version of another table that was carried."""

    format: str
    table_id: str
    version: int


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """What of ``commitInfo`` is used (PROTOCOL.md, "Commit Provenance Information")."""

    operation: str | None = None
    at_ms: int | None = None
    in_commit_at_ms: int | None = None
    mode: str | None = None
    user_metadata: str | None = None
    origin: OriginMark | None = None
    engine: str | None = None
    tags: tuple[str, ...] = ()
    metrics: tuple[tuple[str, int], ...] = ()
    """How many files and rows its writer counted (``operationMetrics``, by the writer's names)."""


@dataclass(frozen=True, slots=True)
class Actions:
    """All actions of one commit or checkpoint that mean something to a table.

    ``others`` are the names of those that no version of the protocol knows.
    """

    info: CommitInfo | None = None
    protocol: Protocol | None = None
    metadata: Metadata | None = None
    txns: Sequence[Txn] = ()
    domains: Sequence[Domain] = ()
    adds: Sequence[Add] = ()
    removes: Sequence[Remove] = ()
    cdc_paths: Sequence[str] = ()
    others: Sequence[str] = ()


TAG = "parquedb.tag."
"""Begins the keys of ``commitInfo.tags`` that are names of the version."""


def decode_lines(data: bytes, location: str) -> list[Json]:
    """Decode a file of JSON lines.

    Raises:
        FormatError: A line is no JSON object.
    """
    objects: list[Json] = []
    for number, line in enumerate(data.splitlines() if b"\r" in data else data.split(b"\n"), 1):
        if not line or line.isspace():
            continue
        objects.append(_decode_line(line, location, number))
    return objects


def parse_commit(data: bytes, location: str) -> Actions:
    """Parse a commit file.

    Raises:
        FormatError: A line is no JSON object or an action lacks a required field.
    """
    return parse_actions(decode_lines(data, location), location)


def parse_head(data: bytes, location: str) -> Actions:
    """Parse only ``commitInfo``, ``protocol``, ``metaData`` and ``txn`` of a commit file.

    Much cheaper than :func:`parse_commit` where a commit has many files.
    """
    objects = []
    seen: set[int] = set()
    for word in (b'"commitInfo"', b'"protocol"', b'"metaData"', b'"txn"'):
        at = data.find(word)
        while at >= 0:
            start = data.rfind(b"\n", 0, at) + 1
            end = data.find(b"\n", at)
            end = len(data) if end < 0 else end
            if start not in seen:
                seen.add(start)
                number = data.count(b"\n", 0, start) + 1
                objects.append(_decode_line(data[start:end], location, number))
            at = data.find(word, end)
    heads = [
        {key: value for key, value in item.items() if key not in ("add", "remove", "cdc")}
        for item in objects
    ]
    return parse_actions(heads, location)


def parse_actions(  # noqa: C901  (one branch a kind)
    objects: Iterable[Json], location: str
) -> Actions:
    """Sort decoded actions by kind.

    Raises:
        FormatError: An action lacks a required field or has one of a wrong type.
    """
    info: CommitInfo | None = None
    protocol: Protocol | None = None
    metadata: Metadata | None = None
    txns: list[Txn] = []
    domains: list[Domain] = []
    adds: list[Add] = []
    removes: list[Remove] = []
    cdc_paths: list[str] = []
    others: list[str] = []
    kind = "action"
    try:
        for item in objects:
            for kind, body in item.items():
                if body is None:
                    continue
                if kind == "add":
                    adds.append(_parse_add(body))
                elif kind == "remove":
                    removes.append(_parse_remove(body))
                elif kind == "commitInfo":
                    info = _parse_info(body)
                elif kind == "protocol":
                    protocol = parse_protocol(body)
                elif kind == "metaData":
                    metadata = parse_metadata(body)
                elif kind == "txn":
                    txns.append(_parse_txn(body))
                elif kind == "domainMetadata":
                    domains.append(
                        Domain(
                            text(body["domain"]),
                            optional_text(body.get("configuration")) or "",
                            bool(body.get("removed", False)),
                        )
                    )
                elif kind == "cdc":
                    cdc_paths.append(text(body["path"]))
                elif kind not in ("sidecar", "checkpointMetadata"):
                    others.append(kind)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FormatError(
            f"{location!r}: the action {kind!r} does not follow the Delta protocol "
            f"({type(error).__name__}: {error}); restore the file from a backup",
            location=location,
            section="Actions",
        ) from error
    return Actions(info, protocol, metadata, txns, domains, adds, removes, cdc_paths, others)


def parse_protocol(body: Json) -> Protocol:
    """Parse a ``protocol`` action."""
    readers, writers = body.get("readerFeatures"), body.get("writerFeatures")
    return Protocol(
        count(body["minReaderVersion"]),
        count(body["minWriterVersion"]),
        None if readers is None else tuple(text(name) for name in readers),
        None if writers is None else tuple(text(name) for name in writers),
    )


def parse_metadata(body: Json) -> Metadata:
    """Parse a ``metaData`` action."""
    if body["format"]["provider"] != "parquet":
        raise ValueError(f"format.provider is {body['format']['provider']!r}, not 'parquet'")
    return Metadata(
        text(body["id"]),
        text(body["schemaString"]),
        tuple(text(name) for name in items(body["partitionColumns"])),
        texts(body.get("configuration")),
        optional_whole(body.get("createdTime")),
        optional_text(body.get("name")),
        optional_text(body.get("description")),
    )


def parse_vector(body: Json | None) -> Vector | None:
    """Parse a ``deletionVector`` descriptor."""
    if body is None:
        return None
    return Vector(
        text(body["storageType"]),
        text(body["pathOrInlineDv"]),
        count(body["cardinality"]),
        optional_count(body.get("offset")),
        count(body["sizeInBytes"]),
    )


def encode_vector(vector: Vector) -> Json:
    """Return a ``deletionVector`` descriptor."""
    body: Json = {"storageType": vector.storage, "pathOrInlineDv": vector.path_or_inline}
    if vector.offset is not None:
        body["offset"] = vector.offset
    return body | {"sizeInBytes": vector.size, "cardinality": vector.rows}


def encode_protocol(protocol: Protocol) -> Json:
    """Return the body of a ``protocol`` action."""
    body: Json = {"minReaderVersion": protocol.reader, "minWriterVersion": protocol.writer}
    if protocol.reader_features is not None:
        body["readerFeatures"] = list(protocol.reader_features)
    if protocol.writer_features is not None:
        body["writerFeatures"] = list(protocol.writer_features)
    return body


def encode_metadata(metadata: Metadata) -> Json:
    """Return the body of a ``metaData`` action."""
    body: Json = {"id": metadata.id}
    if metadata.name is not None:
        body["name"] = metadata.name
    if metadata.description is not None:
        body["description"] = metadata.description
    return body | {
        "format": {"provider": "parquet", "options": {}},
        "schemaString": metadata.schema,
        "partitionColumns": list(metadata.partition_columns),
        "configuration": dict(metadata.configuration),
        "createdTime": metadata.created_at_ms,
    }


def encode_txn(txn: Txn) -> Json:
    """Return the body of a ``txn`` action."""
    return {"appId": txn.app_id, "version": txn.version, "lastUpdated": txn.last_updated_ms}


def encode_add(add: Add) -> Json:
    """Return the body of an ``add`` action."""
    body: Json = {
        "path": add.path,
        "partitionValues": dict(add.partition_values),
        "size": add.size,
        "modificationTime": add.modified_at_ms,
        "dataChange": add.data_change,
        "stats": add.stats,
    }
    return body if add.vector is None else body | {"deletionVector": encode_vector(add.vector)}


def encode_remove(remove: Remove) -> Json:
    """Return the body of a ``remove`` action."""
    body: Json = {
        "path": remove.path,
        "deletionTimestamp": remove.removed_at_ms,
        "dataChange": remove.data_change,
        "extendedFileMetadata": True,
        "partitionValues": dict(remove.partition_values or {}),
        "size": remove.size,
    }
    if remove.vector is None:
        return body
    return body | {"deletionVector": encode_vector(remove.vector)}


def encode_lines(actions: Iterable[Json]) -> bytes:
    """Encode actions as JSON lines."""
    return b"".join([orjson.dumps(action) + b"\n" for action in actions])


def _decode_line(line: bytes, location: str, number: int) -> Json:
    try:
        item = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise FormatError(
            f"{location!r}, line {number}: no valid JSON ({error}); restore the file from a backup",
            location=location,
            section="Delta Log Entries",
        ) from error
    if type(item) is not dict:
        raise FormatError(
            f"{location!r}, line {number}: an action is a JSON object, this is not; restore the "
            "file from a backup",
            location=location,
            section="Delta Log Entries",
        )
    return item


def _parse_add(body: Json) -> Add:
    get = body.get
    vector, stats = get("deletionVector"), get("stats")
    path, size, at_ms = body["path"], body["size"], body["modificationTime"]
    if not (type(path) is str and type(size) is int and size >= 0 and type(at_ms) is int):
        raise TypeError("path, size or modificationTime is of another kind")
    if stats is not None and type(stats) is not str:
        raise TypeError("stats is no text")
    values = body["partitionValues"]
    return Add(
        path,
        optional_texts(values) if values else _NOTHING,
        size,
        at_ms,
        body["dataChange"],
        stats,
        get("tags"),
        None if vector is None else parse_vector(vector),
    )


def _parse_remove(body: Json) -> Remove:
    get = body.get
    vector = get("deletionVector")
    values = get("partitionValues")
    return Remove(
        text(body["path"]),
        optional_whole(get("deletionTimestamp")),
        get("dataChange", True),
        optional_texts(values) if values else values,
        optional_whole(get("size")),
        None if vector is None else parse_vector(vector),
    )


def _parse_txn(body: Json) -> Txn:
    return Txn(text(body["appId"]), whole(body["version"]), optional_whole(body.get("lastUpdated")))


def _parse_info(body: Json) -> CommitInfo:
    parameters = body.get("operationParameters")
    mode = parameters.get("mode") if isinstance(parameters, dict) else None
    user = body.get("userMetadata")
    ours = body.get("parquedb")
    mark = ours.get("origin") if isinstance(ours, dict) else None
    operation, at, in_commit = (
        body.get(name) for name in ("operation", "timestamp", "inCommitTimestamp")
    )
    return CommitInfo(
        operation if isinstance(operation, str) else None,
        at if type(at) is int else None,
        in_commit if type(in_commit) is int else None,
        mode if isinstance(mode, str) else None,
        user if isinstance(user, str) else None,
        None if mark is None else _parse_mark(mark),
        engine=engine if isinstance(engine := body.get("engineInfo"), str) else None,
        tags=_parse_tags(body.get("tags")),
        metrics=numbers(body.get("operationMetrics")),
    )


def _parse_tags(body: object) -> tuple[str, ...]:
    """Return the names of the version among the free-form tags of its commit."""
    if not isinstance(body, dict):
        return ()
    return tuple(str(key).removeprefix(TAG) for key in body if str(key).startswith(TAG))


def _parse_mark(mark: Json) -> OriginMark:
    return OriginMark(text(mark["format"]), text(mark["tableId"]), whole(mark["version"]))
