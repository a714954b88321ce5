"""The live files of an existing table, as a writer continues from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parquedb.formats.iceberg.avro import encode_long
from parquedb.formats.iceberg.entries import (
    NULL,
    SOME,
    Summary,
    column_types,
    encode_decoded,
    encode_reference,
    encode_summaries,
    partition_columns,
    partition_values,
)
from parquedb.formats.iceberg.live import (
    Kind,
    LiveFile,
    LiveManifest,
    LiveTable,
    frame_of,
    list_tail,
)
from parquedb.formats.iceberg.manifest import Entry, ManifestFile, Manifests, Status
from parquedb.formats.iceberg.position_files import PATH_ID
from parquedb.formats.iceberg.rowdeletes import POSITIONS, PUFFIN
from parquedb.formats.iceberg.rowids import RowIds, inherit_row_id
from parquedb.formats.iceberg.wire import TableSnapshot
from parquedb.model.members import digits


def read_live(
    manifests: Manifests, snapshot: TableSnapshot | None, sync: bytes, row_ids: RowIds | None = None
) -> tuple[LiveTable, LiveTable]:
    """Return the manifests of a table's current snapshot; their files are read when needed.

    Args:
        manifests: Reads the table.
        snapshot: Its current snapshot.
        sync: Sync marker of what will be written.
        row_ids: In format version 3, gives ids to rows that have none yet, as those in tables that
            were of version 2 have.

    Returns:
        Those of data files and those of delete files.

    Raises:
        FormatError: The manifest list is missing or damaged.
    """
    live, deletes = LiveTable(sync), LiveTable(sync)
    if snapshot is None:
        return live, deletes
    for listed in manifests.read_list(snapshot):
        manifest = _read_manifest(manifests, listed, sync, row_ids)
        one = deletes if listed.deletes else live
        one.manifests.append(manifest)
        one.files += manifest.count
        one.rows += listed.live_rows if listed.live_rows is not None else _rows(manifest)
    size = snapshot.summary.get("total-files-size", "")
    live.size_bytes = digits(size)
    return live, deletes


def _read_manifest(
    manifests: Manifests, listed: ManifestFile, sync: bytes, row_ids: RowIds | None
) -> LiveManifest:
    table = manifests.table
    spec = table.specs[listed.spec_id]
    kind = Kind(listed.spec_id, partition_columns(spec, column_types(table.schemas)))
    counts = listed.record
    count = listed.live_files
    if count is None or listed.live_rows is None:
        counts = _counted(manifests.entries(listed))
        count = counts["added_files_count"] + counts["existing_files_count"]
    # DuckDB takes a file that an old manifest keeps for damage, because it has no sequence number
    outdated = table.format_version == 1 and counts.get("existing_files_count") != 0
    first = listed.record.get("first_row_id")
    if row_ids is not None and first is None and not listed.deletes:
        names = ("added_rows_count", "existing_rows_count")
        first = row_ids.take(sum(counts.get(name) or 0 for name in names))
    tail = list_tail(2 if row_ids is None else 3, None if listed.deletes else first)
    frame = _frame(sync, listed, _counts(listed, counts), tail)
    load = _loader(manifests, listed, kind, first)
    return LiveManifest(kind, frame, count, load, outdated=outdated)


def _loader(
    manifests: Manifests, listed: ManifestFile, kind: Kind, first_row_id: int | None
) -> Callable[[], dict[str, LiveFile]]:
    """Return what reads a manifest's live files.

    Bytes are encoded anew, because somebody else's schema may have other members.
    """

    def load() -> dict[str, LiveFile]:
        files: dict[str, LiveFile] = {}
        next_id = first_row_id
        for entry in manifests.entries(listed):
            if entry.status != Status.DELETED:
                record = entry.record
                path = _path(manifests, record)
                first, next_id = inherit_row_id(record, next_id)
                files[path] = LiveFile(
                    path=path,
                    rows=record["record_count"],
                    size_bytes=record["file_size_in_bytes"],
                    partition=partition_values(kind.columns, record["partition"]),
                    sequence_number=entry.sequence_number,
                    added_by=NULL
                    if entry.snapshot_id is None
                    else SOME + encode_long(entry.snapshot_id),
                    rest=b"".join(
                        (
                            SOME, encode_long(entry.sequence_number),
                            SOME, encode_long(entry.file_sequence_number),
                            encode_decoded(kind.columns, record),
                        )
                    ),
                    location=record["file_path"],
                    target=_target(record),
                    first_row_id=first,
                    reference=encode_reference(record),
                )  # fmt: skip
        return files

    return load


def _path(manifests: Manifests, record: dict[str, Any]) -> str:
    """Return the key of a file; of a deletion vector, its place in it besides."""
    path = manifests.locations.key(record["file_path"])
    if record["file_format"].upper() != PUFFIN:
        return path
    return f"{path}\0{record.get('content_offset')}"


def _target(record: dict[str, Any]) -> str | None:
    """Return the location of the only data file that a position delete file is about."""
    if record.get("content") != POSITIONS:
        return None
    told: str | None = record.get("referenced_data_file")
    if told is not None:
        return told
    lower = (record.get("lower_bounds") or {}).get(PATH_ID)
    upper = (record.get("upper_bounds") or {}).get(PATH_ID)
    if lower is None or lower != upper:
        return None
    location: str = lower.decode()
    return location


def _counts(listed: ManifestFile, counts: dict[str, Any]) -> tuple[int, ...]:
    return (
        listed.length,
        listed.spec_id,
        int(listed.deletes),
        listed.sequence_number,
        listed.min_sequence_number,
        listed.added_snapshot_id or 0,
        *(
            counts.get(name) or 0
            for name in (
                "added_files_count",
                "existing_files_count",
                "deleted_files_count",
                "added_rows_count",
                "existing_rows_count",
                "deleted_rows_count",
            )
        ),
    )


def _counted(entries: list[Entry]) -> dict[str, int]:
    """Count a manifest's files, where a version 1 list does not."""
    counts: dict[str, int] = {}
    names = {Status.ADDED: "added", Status.EXISTING: "existing", Status.DELETED: "deleted"}
    for name in names.values():
        counts[f"{name}_files_count"] = counts[f"{name}_rows_count"] = 0
    for entry in entries:
        name = names[Status(entry.status)]
        counts[f"{name}_files_count"] += 1
        counts[f"{name}_rows_count"] += entry.record["record_count"]
    return counts


def _frame(sync: bytes, listed: ManifestFile, numbers: tuple[int, ...], tail: bytes) -> bytes:
    wire = listed.record.get("partitions")
    summaries = NULL
    if wire is not None:
        summaries = encode_summaries(
            [
                Summary(
                    item["contains_null"],
                    bool(item.get("contains_nan")),
                    item.get("lower_bound"),
                    item.get("upper_bound"),
                )
                for item in wire
            ]
        )
    return frame_of(sync, listed.location, numbers, summaries, tail)


def _rows(manifest: LiveManifest) -> int:
    return sum(file.rows for file in manifest.files.values())
