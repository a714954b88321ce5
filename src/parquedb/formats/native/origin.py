"""The record of the migration that a native file came from.

A plain Parquet file cannot say where it came from once it is a byte copy, so a small JSON object
``_parquedb/{namespace}/native-origin.json`` does. It is written before the file gets its place,
with the file's size and a digest of its end, and again after, with its version; so there is no
moment at which a crash would leave our file looking like somebody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import orjson

from parquedb.errors import FormatError, NotFoundError
from parquedb.formats.native.paths import origin_key
from parquedb.log.commit import Origin
from parquedb.model.format import Format
from parquedb.slotted import dataclass
from parquedb.storage.store import Store

_TAIL_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class OriginEntry:
    """One file that a migration wrote.

    Args:
        origin: The last version that was carried, and of which table.
        completed_at_ms: When the migration was complete, milliseconds since the epoch, or None.
        size_bytes: The file's length.
        tail: Digest of its last 64 KiB, which hold its footer.
        version: The version that the file became; None while it had no place yet.
    """

    origin: Origin
    completed_at_ms: int | None
    size_bytes: int
    tail: str
    version: int | None


def read_origins(store: Store, namespace: str) -> tuple[OriginEntry, ...]:
    """Return what is recorded, the newest last; nothing if no migration wrote the namespace.

    Raises:
        FormatError: The record is damaged.
    """
    key = origin_key(namespace)
    try:
        data = store.get(key)
    except NotFoundError:
        return ()
    try:
        return tuple(_parse_entry(entry) for entry in orjson.loads(data)["entries"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{key!r} is damaged ({error!r}): it records which migration wrote namespace "
            f"{namespace!r}; restore it, or delete it if the native data may count as new",
            location=key,
        ) from error


def write_origins(store: Store, namespace: str, entries: Sequence[OriginEntry]) -> None:
    """Replace the record; without entries there is none."""
    key = origin_key(namespace)
    if entries:
        content = {"entries": [_encode_entry(entry) for entry in entries]}
        store.replace(key, orjson.dumps(content, option=orjson.OPT_INDENT_2))
    else:
        store.delete(key)


def digest_tail(store: Store, key: str, size_bytes: int) -> str:
    """Return a digest of a file's end."""
    length = min(_TAIL_BYTES, size_bytes)
    return blake2b(store.get_range(key, size_bytes - length, length), digest_size=16).hexdigest()


def _encode_entry(entry: OriginEntry) -> dict[str, object]:
    return {
        "origin": {
            "format": entry.origin.format.value,
            "table_id": entry.origin.table_id,
            "version": entry.origin.version,
        },
        "completed_at_ms": entry.completed_at_ms,
        "file": {"size_bytes": entry.size_bytes, "tail": entry.tail, "version": entry.version},
    }


def _parse_entry(wire: dict[str, dict[str, str | int | None]]) -> OriginEntry:
    origin, file, completed = wire["origin"], wire["file"], wire["completed_at_ms"]
    return OriginEntry(
        Origin(Format(str(origin["format"])), str(origin["table_id"]), _int(origin["version"])),
        None if completed is None else _int(completed),
        _int(file["size_bytes"]),
        str(file["tail"]),
        None if file["version"] is None else _int(file["version"]),
    )


def _int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no integer")
    return value
