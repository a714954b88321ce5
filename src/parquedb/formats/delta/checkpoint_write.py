"""Writing classic checkpoints, column by column.

PROTOCOL.md, "Checkpoints", "V1 Spec", "Checkpoint Schema", "Last Checkpoint File". Tombstones are
all kept: keeping them longer than needed harms nobody.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from parquedb.errors import NotFoundError, StateError, UnsupportedError
from parquedb.formats.delta.paths import (
    checkpoint_key,
    last_checkpoint_key,
    log_folder,
    parse_listing,
)
from parquedb.formats.delta.protocol import is_true
from parquedb.formats.delta.state import LogState, read_state
from parquedb.formats.delta.wire import (
    Vector,
    encode_metadata,
    encode_protocol,
    encode_txn,
    encode_vector,
)
from parquedb.storage.store import Store

_STRINGS = pa.map_(pa.string(), pa.string())
_PROTOCOL = pa.struct(
    [
        ("minReaderVersion", pa.int32()),
        ("minWriterVersion", pa.int32()),
        ("readerFeatures", pa.list_(pa.string())),
        ("writerFeatures", pa.list_(pa.string())),
    ]
)
_METADATA = pa.struct(
    [
        ("id", pa.string()),
        ("name", pa.string()),
        ("description", pa.string()),
        ("format", pa.struct([("provider", pa.string()), ("options", _STRINGS)])),
        ("schemaString", pa.string()),
        ("partitionColumns", pa.list_(pa.string())),
        ("createdTime", pa.int64()),
        ("configuration", _STRINGS),
    ]
)
_TXN = pa.struct([("appId", pa.string()), ("version", pa.int64()), ("lastUpdated", pa.int64())])
_DOMAIN = pa.struct(
    [("domain", pa.string()), ("configuration", pa.string()), ("removed", pa.bool_())]
)
_VECTOR = pa.struct(
    [
        ("storageType", pa.string()),
        ("pathOrInlineDv", pa.string()),
        ("offset", pa.int32()),
        ("sizeInBytes", pa.int32()),
        ("cardinality", pa.int64()),
    ]
)


def can_checkpoint(state: LogState) -> bool:
    """Whether a checkpoint of this table can be written with all that its properties ask for."""
    return state.metadata is not None and not is_true(
        state.metadata, "delta.checkpoint.writeStatsAsStruct"
    )


def write_checkpoint(store: Store, folder: str, version: int | None = None) -> int:
    """Write a checkpoint of a table at a version, and the hint if it is the newest version.

    Args:
        store: The storage.
        folder: Key of the table's folder.
        version: The version; the newest by default.

    Returns:
        Bytes written.

    Raises:
        NotFoundError: There is no such table or version.
        UnsupportedError: The table asks for a kind of checkpoint that is not written here.
    """
    listing = parse_listing(folder, store.list_dir(log_folder(folder))[0])
    if listing is None:
        raise NotFoundError(f"there is no Delta table in '{store.root}/{folder}'")
    wanted = listing.latest if version is None else version
    if not listing.start <= wanted <= listing.latest:
        raise NotFoundError(f"the Delta table {folder!r} has no readable version {wanted}")
    state = read_state(store, folder, listing, wanted)
    if not can_checkpoint(state):
        raise UnsupportedError(
            f"the Delta table {folder!r} wants parsed statistics in its checkpoints; create the "
            "checkpoint with the program that writes the table",
            feature="checkpoint",
        )
    return write_state_checkpoint(store, state, with_hint=wanted == listing.latest)


def write_state_checkpoint(store: Store, state: LogState, *, with_hint: bool = True) -> int:
    """Write a checkpoint of a folded state. Returns the bytes written."""
    data = encode_checkpoint(state)
    store.replace(checkpoint_key(state.folder, state.version), data)
    written = len(data)
    if with_hint:
        hint = orjson.dumps(
            {
                "version": state.version,
                "size": _count(state),
                "sizeInBytes": len(data),
                "numOfAddFiles": len(state.live),
            }
        )
        store.replace(last_checkpoint_key(state.folder), hint)
        written += len(hint)
    return written


def encode_checkpoint(state: LogState) -> bytes:
    """Return a classic V1 checkpoint of a state as a Parquet file.

    Raises:
        StateError: The state has no protocol or metadata.
    """
    if state.protocol is None or state.metadata is None:
        raise StateError(
            f"the Delta table {state.folder!r} has no version yet: nothing to checkpoint"
        )
    metadata = encode_metadata(state.metadata)
    metadata["configuration"] = list(state.metadata.configuration.items())
    metadata["format"] = {"provider": "parquet", "options": []}
    domains = [
        {"domain": d.name, "configuration": d.configuration, "removed": False}
        for d in state.domains.values()
    ]
    columns: dict[str, Any] = {
        "protocol": pa.array([encode_protocol(state.protocol)], _PROTOCOL),
        "metaData": pa.array([metadata], _METADATA),
        "txn": pa.array([encode_txn(txn) for txn in state.txns.values()], _TXN),
        "domainMetadata": pa.array(domains, _DOMAIN),
        "remove": _removes(state),
        "add": _adds(state),
    }
    total = sum(len(array) for array in columns.values())
    placed: dict[str, Any] = {}
    offset = 0
    for name, array in columns.items():
        if len(array) or name in ("add", "remove"):
            after = total - offset - len(array)
            placed[name] = pa.concat_arrays(
                [pa.nulls(offset, array.type), array, pa.nulls(after, array.type)]
            )
        offset += len(array)
    sink = io.BytesIO()
    pq.write_table(pa.table(placed), sink, compression="snappy")
    return sink.getvalue()


def _adds(state: LogState) -> pa.StructArray:
    adds = list(state.live.values())
    assert state.metadata is not None
    as_json = state.metadata.configuration.get("delta.checkpoint.writeStatsAsJson", "true")
    columns: dict[str, Any] = {
        "path": pa.array([add.path for add in adds], pa.string()),
        "partitionValues": _maps([add.partition_values for add in adds]),
        "size": pa.array([add.size for add in adds], pa.int64()),
        "modificationTime": pa.array([add.modified_at_ms for add in adds], pa.int64()),
        "dataChange": pa.array([False] * len(adds), pa.bool_()),
        "tags": _maps([add.tags for add in adds]),
    }
    if as_json.lower() != "false":
        columns["stats"] = pa.array([add.stats for add in adds], pa.string())
    _put_vectors(columns, [add.vector for add in adds])
    return pa.StructArray.from_arrays(list(columns.values()), list(columns))


def _removes(state: LogState) -> pa.StructArray:
    removes = list(state.tombstones.values())
    columns: dict[str, Any] = {
        "path": pa.array([gone.path for gone in removes], pa.string()),
        "deletionTimestamp": pa.array([gone.removed_at_ms for gone in removes], pa.int64()),
        "dataChange": pa.array([False] * len(removes), pa.bool_()),
        "extendedFileMetadata": pa.array(
            [gone.partition_values is not None and gone.size is not None for gone in removes],
            pa.bool_(),
        ),
        "partitionValues": _maps([gone.partition_values for gone in removes]),
        "size": pa.array([gone.size for gone in removes], pa.int64()),
    }
    _put_vectors(columns, [gone.vector for gone in removes])
    return pa.StructArray.from_arrays(list(columns.values()), list(columns))


def _put_vectors(columns: dict[str, Any], vectors: Sequence[Vector | None]) -> None:
    if any(vector is not None for vector in vectors):
        bodies = [None if vector is None else encode_vector(vector) for vector in vectors]
        columns["deletionVector"] = pa.array(bodies, _VECTOR)


def _maps(maps: Sequence[Mapping[str, str | None] | None]) -> Any:
    if any(one is None for one in maps):
        return pa.array([None if one is None else list(one.items()) for one in maps], _STRINGS)
    whole = [one for one in maps if one is not None]
    keys = pa.array(list(chain.from_iterable(whole)), pa.string())
    values = pa.array(list(chain.from_iterable(one.values() for one in whole)), pa.string())
    return pa.MapArray.from_arrays(_offsets(len(one) for one in whole), keys, values)


def _offsets(lengths: Iterable[int]) -> Any:
    offsets = [0]
    for length in lengths:
        offsets.append(offsets[-1] + length)
    return pa.array(offsets, pa.int32())


def _count(state: LogState) -> int:
    others = len(state.txns) + len(state.domains)
    return 2 + others + len(state.tombstones) + len(state.live)
