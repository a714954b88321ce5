"""The files of a Delta log that repeat what its commits say.

PROTOCOL.md, "Checkpoints", "Last Checkpoint File", "Version Checksum File", "Log Compaction Files".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import orjson
import pyarrow as pa

from parquedb.errors import NotFoundError
from parquedb.formats.delta.paths import (
    Checkpoint,
    Listing,
    last_checkpoint_key,
    log_folder,
    parse_data_path,
)
from parquedb.formats.delta.state import LogState
from parquedb.formats.delta.wire import (
    Actions,
    Add,
    Json,
    Metadata,
    Protocol,
    decode_lines,
    parse_actions,
    parse_commit,
)
from parquedb.maintain.check_report import Findings
from parquedb.slotted import dataclass
from parquedb.storage.keys import join
from parquedb.storage.store import ObjectInfo, Store

_CHECKSUM = re.compile(r"(\d{20})\.crc")
_COMPACTED = re.compile(r"(\d{20})\.(\d{20})\.compacted\.json")
_WHICH = "find out which is right from a backup; delete the file if the commits are"
_DELETE = "delete the file: readers do without it"


@dataclass(frozen=True, slots=True)
class LogFiles:
    """The files of a log besides commits and checkpoints.

    Args:
        checksums: Version checksum files by version.
        compacted: Log compaction files by their last version, with their first.
    """

    checksums: Mapping[int, ObjectInfo]
    compacted: Mapping[int, tuple[tuple[int, ObjectInfo], ...]]

    @classmethod
    def of(cls, infos: Iterable[ObjectInfo]) -> LogFiles:
        """Find them among the files right in the log's folder."""
        checksums: dict[int, ObjectInfo] = {}
        compacted: dict[int, tuple[tuple[int, ObjectInfo], ...]] = {}
        for info in infos:
            name = info.key.rpartition("/")[2]
            if match := _CHECKSUM.fullmatch(name):
                checksums[int(match[1])] = info
            elif match := _COMPACTED.fullmatch(name):
                last = int(match[2])
                compacted[last] = (*compacted.get(last, ()), (int(match[1]), info))
        return cls(checksums, compacted)


def differences(state: LogState, checkpoint: Actions) -> Iterator[str]:
    """Yield how a checkpoint differs from what the commits up to its version make."""
    root, folder = state.root, state.folder
    held = {parse_data_path(root, folder, add.path): add for add in checkpoint.adds}
    if extra := [key for key in held if key not in state.live]:
        yield f"it holds {len(extra)} files that the commits removed, such as {extra[0]!r}"
    if missing := [key for key in state.live if key not in held]:
        yield f"it lacks {len(missing)} files that the commits added, such as {missing[0]!r}"
    for key, add in held.items():
        live = state.live.get(key)
        if live is not None and (what := _differs(live, add)) is not None:
            yield f"it records another {what} of {key!r} than the commits"
            break
    if _needs(checkpoint.protocol) != _needs(state.protocol):
        yield "it has another protocol than the commits"
    if _columns(checkpoint.metadata) != _columns(state.metadata):
        yield "it has another metaData than the commits"
    own = {txn.app_id: txn.version for txn in checkpoint.txns}
    for app, txn in state.txns.items():
        if own.get(app, txn.version) != txn.version:
            yield f"it has version {own[app]} of the application {app!r}, the commits {txn.version}"


def _needs(protocol: Protocol | None) -> object:
    if protocol is None:
        return None
    readers, writers = protocol.reader_features or (), protocol.writer_features or ()
    return protocol.reader, protocol.writer, frozenset(readers), frozenset(writers)


def _columns(metadata: Metadata | None) -> object:
    if metadata is None:
        return None
    return metadata.id, metadata.schema, metadata.partition_columns, dict(metadata.configuration)


def _differs(live: Add, held: Add) -> str | None:
    """Return what two adds of one file differ in, None if in nothing that counts."""
    if live.size != held.size:
        return "size"
    if dict(live.partition_values) != dict(held.partition_values):
        return "partition"
    if (live.vector and live.vector.identity) != (held.vector and held.vector.identity):
        return "deletion vector"
    rows = [None if add.stats is None else _rows(add.stats) for add in (live, held)]
    return "row count" if None not in rows and rows[0] != rows[1] else None


def _rows(stats: str) -> object:
    try:
        return orjson.loads(stats).get("numRecords")
    except (orjson.JSONDecodeError, AttributeError):
        return None


def check_hint(store: Store, folder: str, listing: Listing, findings: Findings) -> None:
    """Check that ``_last_checkpoint`` names a checkpoint that is there."""
    key = last_checkpoint_key(folder)
    try:
        hint = _object(store.get(key))
    except NotFoundError:
        return
    version = None if hint is None else hint.get("version")
    if hint is None or not isinstance(version, int):
        findings.add(key, "the hint at the newest checkpoint cannot be read", _DELETE)
        return
    checkpoint = listing.checkpoints.get(version)
    if checkpoint is None:
        findings.add(
            key, f"names the checkpoint of version {version}, which is not complete", _DELETE
        )
        return
    parts = hint.get("parts")
    if isinstance(parts, int) and len(checkpoint.files) > 1 and parts != len(checkpoint.files):
        findings.add(
            key, f"says {parts} parts, and the checkpoint has {len(checkpoint.files)}", _DELETE
        )


def check_checksum(
    store: Store, info: ObjectInfo, state: LogState, size_bytes: int, findings: Findings
) -> None:
    """Compare a version checksum file with the commits up to its version.

    Args:
        store: The store.
        info: The file.
        state: The table at its version.
        size_bytes: Bytes of the table's files then.
        findings: Where findings go.
    """
    try:
        told = _object(store.get(info.key))
    except NotFoundError:
        return
    if told is None:
        findings.add(info.key, "the version's checksum file cannot be read", _DELETE)
        return
    real = {"numFiles": len(state.live), "tableSizeBytes": size_bytes}
    for name, value in real.items():
        if isinstance(told.get(name), int) and told[name] != value:
            findings.add(
                info.key,
                f"says {name} {told[name]} at version {state.version}, the commits make {value}",
                _WHICH,
            )
    with findings.reading(info.key):
        for name, held, made in _heads(told, info.key, state):
            if held != made:
                findings.add(info.key, f"has another {name} than the commits make", _WHICH)


def _heads(told: Json, location: str, state: LogState) -> Iterator[tuple[str, object, object]]:
    """Yield what a checksum file repeats of the protocol and the metadata, and what is so."""
    kept = {name: told[name] for name in ("protocol", "metadata") if told.get(name) is not None}
    if "metadata" in kept:
        kept["metaData"] = kept.pop("metadata")
    held = parse_actions([kept], location)
    if held.protocol is not None:
        yield "protocol", _needs(held.protocol), _needs(state.protocol)
    if held.metadata is not None:
        yield "metaData", _columns(held.metadata), _columns(state.metadata)


def check_compacted(
    store: Store, info: ObjectInfo, first: int, state: LogState, findings: Findings
) -> None:
    """Compare a log compaction file with the commits up to its last version."""
    with findings.reading(info.key):
        held = parse_commit(store.get(info.key), info.key)
        for add in held.adds:
            live = state.live.get(parse_data_path(state.root, state.folder, add.path))
            if live is None or _differs(live, add) is not None:
                findings.add(
                    info.key,
                    f"adds {add.path!r}, which the commits {first} to {state.version} do not",
                    _DELETE,
                )
                return
        for gone in held.removes:
            path = parse_data_path(state.root, state.folder, gone.path)
            live = state.live.get(path)
            if live is not None and (live.vector and live.vector.identity) == (
                gone.vector and gone.vector.identity
            ):
                findings.add(
                    info.key,
                    f"removes {gone.path!r}, which the commits {first} to {state.version} keep",
                    _DELETE,
                )
                return


def sidecars_of(
    store: Store, folder: str, checkpoint: Checkpoint
) -> Iterator[tuple[str, int | None]]:
    """Yield the keys and recorded sizes of a checkpoint's sidecar files ("Sidecar Files")."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    for info in checkpoint.files:
        data = store.get(info.key)
        found: list[Any] = []
        if info.key.endswith(".json"):
            objects = decode_lines(data, info.key)
            found = [item["sidecar"] for item in objects if item.get("sidecar")]
        else:
            file = pq.ParquetFile(pa.BufferReader(data))
            if "sidecar" in file.schema_arrow.names:
                found = [one for one in file.read(columns=["sidecar"])[0].to_pylist() if one]
        for one in found:
            name = unquote(str(one["path"])).rpartition("/")[2]
            yield join(log_folder(folder), "_sidecars", name), one.get("sizeInBytes")


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
