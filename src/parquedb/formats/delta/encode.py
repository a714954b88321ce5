"""From neutral commits to Delta's actions: pure, against a table's known state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import assert_never

from parquedb import __version__
from parquedb.errors import InvalidInputError, StateError, UnsupportedError
from parquedb.formats.delta.late_columns import again, late_columns, with_null_counts
from parquedb.formats.delta.lineage import COMPLETED_APP, origin_app, through_app
from parquedb.formats.delta.operations import encode_metrics, encode_operation
from parquedb.formats.delta.paths import encode_data_path
from parquedb.formats.delta.protocol import (
    BASIC,
    is_true,
    supports,
    with_feature,
)
from parquedb.formats.delta.schema import encode_schema, has_timestamp_ntz, has_variants
from parquedb.formats.delta.table import Columns, Table, check_types, same_columns
from parquedb.formats.delta.vectors import (
    VectorWriter,
    WrittenVector,
    tighten_stats,
    widen_stats,
)
from parquedb.formats.delta.wire import (
    TAG,
    Actions,
    Add,
    Json,
    Metadata,
    Protocol,
    Remove,
    Txn,
    encode_add,
    encode_lines,
    encode_metadata,
    encode_protocol,
    encode_remove,
    encode_txn,
)
from parquedb.log.change import (
    AddFile,
    RemoveFile,
    SetDeletes,
    SetPartitioning,
    SetProperties,
    SetSchema,
)
from parquedb.log.commit import Commit, Operation
from parquedb.model.files import DataFile
from parquedb.model.partition import UNPARTITIONED, PartitionSpec
from parquedb.model.schema import EMPTY, Identity, Path, Schema, walk
from parquedb.slotted import dataclass

KEEP_HISTORY: Mapping[str, str] = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    "delta.enableExpiredLogCleanup": "false",
}
"""Properties of a new table: its history is older than any default retention."""

_ENABLED = "delta.enableDeletionVectors"
ENGINE = f"ParqueDB/{__version__}"


@dataclass(slots=True)
class _Folded:
    """The changes of one commit, folded."""

    schema: Schema
    spec: PartitionSpec
    properties: dict[str, str | None] = field(default_factory=dict)
    added: dict[str, DataFile] = field(default_factory=dict)
    removed: dict[str, DataFile | None] = field(default_factory=dict)
    changed: dict[str, WrittenVector] = field(default_factory=dict)
    vectors: Mapping[str, WrittenVector] = field(default_factory=dict)
    files_follow: bool = False
    own: bool = False

    @property
    def has_vectors(self) -> bool:
        """Whether rows of a file are deleted by a vector."""
        return any(one.vector is not None for one in self.vectors.values())


@dataclass(frozen=True, slots=True)
class Marks:
    """What is recorded with a commit besides its changes.

    Args:
        completed_at_ms: The time to record as the migration's completion; 0 to withdraw it; None
            to leave it.
    """

    completed_at_ms: int | None = None


def encode_commit(
    table: Table,
    commit: Commit,
    marks: Marks,
    new_id: Callable[[], str],
    properties: Mapping[str, str],
    vectors: VectorWriter,
) -> tuple[bytes, int]:
    """Encode a commit as the next version of a table, and apply it to the table.

    Args:
        table: The table; it is changed, also where this fails.
        commit: The commit.
        marks: What to record besides.
        new_id: Makes the id of a new table.
        properties: Properties of a new table.
        vectors: Takes the deletion vectors.

    Returns:
        The commit file's bytes and its time, milliseconds since the epoch.

    Raises:
        UnsupportedError: A change cannot be expressed.
        FormatError: Deletes that the commit refers to are missing or damaged.
    """
    at_ms = max(commit.at_ms, table.at_ms + 1)
    version = table.log.version + 1
    known = None if table.columns is None else table.columns.schema
    folded = _fold(table, commit, vectors.encode(commit, table.log.live, known))
    ids_before = dict(table.path_of_id)
    metadata = _next_metadata(table, folded, at_ms, new_id, properties)
    assert table.columns is not None
    late = late_columns(table.columns.schema, ids_before, known)
    protocol = _next_protocol(table, folded)
    same_rows = commit.operation is Operation.REPLACE
    removes = _encode_removes(table, folded, at_ms, data_change=not same_rows)
    adds = _encode_adds(table, folded, at_ms, late, data_change=not same_rows)
    stay = [key for key in _survivors(table, folded) if key not in folded.changed] if late else ()
    adds += again((table.log.live[key] for key in stay), late)
    _check_feed(table, metadata or table.log.metadata, adds, removes)
    txns = _txns(commit, marks, at_ms)
    schema_changed = metadata is not None and (
        table.log.metadata is None or metadata.schema != table.log.metadata.schema
    )
    info = _commit_info(commit, marks, at_ms, blind=not removes, schema_changed=schema_changed)
    lines: list[Json] = [
        {"commitInfo": {**info, "operationMetrics": encode_metrics(adds, removes)}}
    ]
    if protocol is not None:
        lines.append({"protocol": encode_protocol(protocol)})
    if metadata is not None:
        lines.append({"metaData": encode_metadata(metadata)})
    lines += [{"txn": encode_txn(txn)} for txn in txns]
    lines += [{"remove": encode_remove(remove)} for remove in removes]
    lines += [{"add": encode_add(add)} for add in adds]
    data = encode_lines(lines)
    actions = Actions(None, protocol, metadata, txns, (), adds, removes)
    table.log.apply(version, actions)
    table.at_ms = at_ms
    return data, at_ms


def _fold(table: Table, commit: Commit, vectors: Mapping[str, WrittenVector]) -> _Folded:
    columns = table.columns
    folded = _Folded(
        EMPTY if columns is None else columns.schema,
        UNPARTITIONED if columns is None else columns.spec,
        vectors=vectors,
        own=commit.origin is None,
    )
    live = table.log.live
    if commit.base:
        folded.removed = dict.fromkeys(live)
    for change in commit.changes:
        match change:
            case AddFile(file):
                folded.added[file.path] = file
                folded.removed.pop(file.path, None)
                folded.changed.pop(file.path, None)
            case RemoveFile(file):
                folded.added.pop(file.path, None)
                folded.changed.pop(file.path, None)
                if file.path in live:
                    folded.removed[file.path] = file
            case SetDeletes(path) if path not in folded.added:
                if path not in live or path in folded.removed:
                    raise _not_live(commit, path)
                folded.changed[path] = vectors[path]
            case SetDeletes():
                pass
            case SetSchema(schema):
                folded.schema, folded.files_follow = schema, change.files_follow
            case SetPartitioning(spec):
                folded.spec = spec
            case SetProperties(updates):
                folded.properties.update(updates)
            case _:
                assert_never(change)
    return folded


def _not_live(commit: Commit, path: str) -> StateError:
    return StateError(
        f"version {commit.version} deletes rows of {path!r}, which is not part of the Delta table; "
        "the two tables do not have the same history: migrate into a new table"
    )


def _next_metadata(
    table: Table,
    folded: _Folded,
    at_ms: int,
    new_id: Callable[[], str],
    properties: Mapping[str, str],
) -> Metadata | None:
    """Return the new metadata, None if it stays; compile the table's columns."""
    before, known = table.log.metadata, table.columns
    if known is None or folded.schema != known.schema or folded.spec != known.spec:
        # files of a table that records no ids may have none, so it goes on without them
        with_ids = known is None or known.fitted.identity is Identity.BY_ID
        table.columns = Columns.of(folded.schema, folded.spec, with_ids=with_ids)
        if not folded.files_follow and _survivors(table, folded):
            table.check_ids(folded.schema)
        table.note_ids(folded.schema)
    table.specs[folded.spec.spec_id] = folded.spec
    columns = table.columns
    assert columns is not None
    names = tuple(name for name, _ in columns.partition_columns)
    updates = {k: v for k, v in folded.properties.items() if not k.startswith("delta.")}
    if before is None:
        if not folded.schema.fields:
            raise InvalidInputError(
                f"the first commit to the Delta table {table.log.folder!r} sets no columns; "
                "begin with a commit that makes the whole table"
            )
        configuration = {**KEEP_HISTORY, **properties, **_present(updates)}
        if folded.has_vectors:
            configuration[_ENABLED] = "true"
        return Metadata(
            new_id(), encode_schema(columns.fitted), names, configuration, at_ms
        )  # fmt: skip
    schema_text = before.schema
    if known is not None and not same_columns(columns.fitted, known.fitted):
        schema_text = _evolve(table, known, columns, folded)
    if names != before.partition_columns and (left := _survivors(table, folded)):
        raise UnsupportedError(
            f"the partition columns change from {list(before.partition_columns)} to {list(names)} "
            f"while {len(left)} files with the old ones stay (such as {left[0]!r}); rewrite them "
            "first, or migrate without partitioning",
            feature="partitionEvolution",
        )
    configuration = {
        k: v for k, v in before.configuration.items() if updates.get(k, v) is not None
    } | _present(updates)
    if folded.has_vectors:  # else some readers return deleted rows
        configuration[_ENABLED] = "true"
    after = replace(
        before, schema=schema_text, partition_columns=names, configuration=configuration
    )
    return None if after == before else after


def _evolve(table: Table, known: Columns, columns: Columns, folded: _Folded) -> str:
    if not folded.files_follow:
        check_types(known.fitted, columns.fitted, _survivors(table, folded))
    elif folded.own:  # what the schema says of a column besides goes with its name
        places = {one.id: path for path, one in walk(known.schema.fields)}
        pairs = [(path, places.get(one.id, ())) for path, one in walk(columns.schema.fields)]
        table.keep = {new: table.keep[old] for new, old in pairs if old in table.keep}
    protocol = table.log.protocol
    if protocol is not None and supports(protocol, "typeWidening"):
        check_types(columns.fitted, known.fitted, ["any"])  # equal types only
    return encode_schema(columns.fitted, table.keep)


def _survivors(table: Table, folded: _Folded) -> list[str]:
    return [key for key in table.log.live if key not in folded.removed and key not in folded.added]


def _next_protocol(table: Table, folded: _Folded) -> Protocol | None:
    before = table.log.protocol
    after = BASIC if before is None else before
    if has_timestamp_ntz(folded.schema):
        after = with_feature(after, "timestampNtz")
    if has_variants(folded.schema) and not supports(after, "variantType-preview"):
        after = with_feature(after, "variantType")
    if folded.has_vectors:
        after = with_feature(after, "deletionVectors")
    return None if after == before else after


def _encode_adds(
    table: Table, folded: _Folded, at_ms: int, late: Sequence[Path], *, data_change: bool
) -> list[Add]:
    columns, folder = table.columns, table.log.folder
    assert columns is not None
    encode_stats = columns.encode_stats
    partitioned = bool(columns.partition_columns)
    adds = []
    for key, file in folded.added.items():
        if file.spec_id != columns.spec.spec_id and (
            table.specs.get(file.spec_id, UNPARTITIONED).fields != columns.spec.fields
        ):
            raise UnsupportedError(
                f"{key!r} belongs to an older partitioning of its table, which Delta does not "
                "know; rewrite the file, or migrate without partitioning",
                feature="partitionEvolution",
            )
        vector, stats = folded.vectors[key].vector, encode_stats(file.rows, file.stats)
        adds.append(
            Add(
                encode_data_path(folder, key),
                columns.encode_partition(file.partition) if partitioned else {},
                file.size_bytes,
                at_ms if file.modified_at_ms is None else file.modified_at_ms,
                data_change,
                stats if vector is None else widen_stats(stats, file.rows),
                None,
                vector,
            )
        )
    for key, written in folded.changed.items():
        live, vector = table.log.live[key], written.vector
        recorded = live.stats
        if written.stats is not None:
            recorded = encode_stats(written.rows, written.stats)
        stats = tighten_stats(recorded) if vector is None else widen_stats(recorded, written.rows)
        changed = live._replace(vector=vector, stats=stats, data_change=data_change)
        adds.append(with_null_counts(changed, late))
    return adds


def _encode_removes(
    table: Table, folded: _Folded, at_ms: int, *, data_change: bool
) -> list[Remove]:
    live = table.log.live
    gone = [live[key] for key in folded.removed]
    # a file with another vector is another logical file
    gone += [
        live[key]
        for key in (*folded.added, *folded.changed)
        if key in live and live[key].vector != folded.vectors[key].vector
    ]
    return [
        Remove(one.path, at_ms, data_change, one.partition_values, one.size, one.vector)
        for one in gone
    ]


def _check_feed(
    table: Table, metadata: Metadata | None, adds: list[Add], removes: list[Remove]
) -> None:
    protocol = table.log.protocol
    if protocol is None or metadata is None or not removes or not removes[0].data_change:
        return
    folder = table.log.folder
    if is_true(metadata, "delta.appendOnly") and supports(protocol, "appendOnly"):
        raise UnsupportedError(
            f"the Delta table {folder!r} is append-only (delta.appendOnly): rows cannot be "
            "removed from it",
            feature="appendOnly",
        )
    feed = is_true(metadata, "delta.enableChangeDataFeed")
    if adds and feed and supports(protocol, "changeDataFeed"):
        raise UnsupportedError(
            f"the Delta table {folder!r} has a change data feed, for which a commit that adds and "
            "removes files at once needs change files; switch off delta.enableChangeDataFeed",
            feature="changeDataFeed",
        )


def _txns(commit: Commit, marks: Marks, at_ms: int) -> list[Txn]:
    txns = []
    if commit.origin is not None:
        txns.append(Txn(origin_app(commit.origin), commit.origin.version, at_ms))
    if commit.through is not None:
        app = through_app(commit.through.journal)
        txns.append(Txn(app, commit.through.entry, at_ms))
    if marks.completed_at_ms is not None:
        txns.append(Txn(COMPLETED_APP, marks.completed_at_ms, at_ms))
    return txns


def _commit_info(
    commit: Commit, marks: Marks, at_ms: int, *, blind: bool, schema_changed: bool
) -> Json:
    operation, parameters = encode_operation(commit.operation, schema_changed=schema_changed)
    origin = commit.origin
    info: Json = {
        "inCommitTimestamp": at_ms,
        "timestamp": at_ms,
        "operation": operation,
        "operationParameters": parameters,
        "isBlindAppend": blind,
        "engineInfo": ENGINE,
        "parquedb": {
            "origin": None
            if origin is None
            else {
                "format": origin.format.value,
                "tableId": origin.table_id,
                "version": origin.version,
            },
            "completedAt": marks.completed_at_ms or None,
        },
    }
    if (user := commit.summary.get("userMetadata")) is not None:
        info["userMetadata"] = user
    if commit.tags:
        info["tags"] = {f"{TAG}{name}": "" for name in commit.tags}
    return info


def _present(updates: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in updates.items() if value is not None}
