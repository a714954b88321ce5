"""Delete what killed writes left behind.

A file goes only if it lies in one of the namespace's own folders, under a name that only we give,
has been there for long, and nothing refers to it: no readable version of any table of the
namespace and no entry of its journal. Metadata that cannot be read stops everything beforehand.
Folders of metadata, logs and journals are never looked into, and Parquet files in a native folder
are data whatever their names are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

from parquedb.errors import FormatError, InvalidInputError, NotFoundError, StateError
from parquedb.formats.dialects import DIALECTS, NOTHING_OWNED
from parquedb.formats.native.origin import read_origins
from parquedb.model.format import Format
from parquedb.namespace.entry import Write
from parquedb.namespace.flush import flush_lock
from parquedb.namespace.live import LiveNamespace
from parquedb.namespace.segments import Segments
from parquedb.namespace.wire import parse_entry
from parquedb.slotted import dataclass
from parquedb.storage.store import Leftovers, LocalPaths, ObjectInfo, Store

DEFAULT_AGE_S = 7 * 86_400
"""Seconds that a file must have been there, unless the caller says otherwise."""
SAFE_AGE_S = 3_600
"""Below this a file may belong to a write that is under way."""

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_FLUSHED = re.compile(rf"(merged-)?{_UUID}\.parquet")
_DELETES = re.compile(rf"{_UUID}-\d+-deletes\.(parquet|puffin)")
"""Which rows of a data file are deleted, in an Iceberg table."""
_CARRIED = re.compile(r".+-[0-9a-f]{12}\.[A-Za-z]+")
"""A copy that a migration made: with a digest at the end of its name."""
_FOREIGN = re.compile(rf".+-{_UUID}\.[A-Za-z]+")
"""What ends like this was named by another program."""
_TABLE = re.compile(r"(.*?)/(?:_delta_log/|metadata/[^/]*\.metadata\.json)")
_TABLE_FORMATS = (Format.ICEBERG, Format.DELTA)


@dataclass(frozen=True, slots=True)
class Removed:
    """A file that was deleted.

    Args:
        key: Its key.
        size_bytes: Its length.
    """

    key: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """What a vacuum did, or would do.

    Args:
        name: The namespace.
        files: The files that were deleted, by key.
        segments: How many segments of the journal were deleted, because the table holds what they
            say; 0 for a dry run.
        dry_run: Whether nothing was deleted.
    """

    name: str
    files: tuple[Removed, ...]
    segments: int
    dry_run: bool

    @property
    def size_bytes(self) -> int:
        """Bytes of the files."""
        return sum(file.size_bytes for file in self.files)

    def to_json(self) -> dict[str, object]:
        """Return the documented JSON shape."""
        return {
            "files": [file.key for file in self.files],
            "bytes": self.size_bytes,
            "segments": self.segments,
        }


def vacuum(
    space: LiveNamespace,
    *,
    older_than_s: float = DEFAULT_AGE_S,
    dry_run: bool = False,
    nobody_writes: bool = False,
) -> Vacuumed:
    """Delete files of a namespace that nothing refers to.

    Args:
        space: The namespace.
        older_than_s: Seconds that a file must have been there.
        dry_run: Only say what would be deleted.
        nobody_writes: The caller's promise that no other process writes to the namespace or
            migrates it now; less than an hour is refused without it.

    Returns:
        What was deleted.

    Raises:
        InvalidInputError: ``older_than_s`` is no time, or too short.
        FormatError: Some metadata cannot be read; nothing was deleted.
        UnsupportedError: Some table has a feature that is not understood; nothing was deleted.
        StateError: A clean-up is under way; nothing was deleted.
    """
    _check_age(older_than_s, nobody_writes=nobody_writes)
    with nullcontext() if dry_run else flush_lock(space.store, space.name):
        space.invalidate()
        space.refresh()
        _check_tables(space)
        referenced = _referenced(space)
        before_us = space.ambient.now_us() - int(older_than_s * 1_000_000)
        found = [info for info in _candidates(space) if info.key not in referenced]
        old = [info for info in found if _is_old(space.store, info, before_us)]
        real = _real_paths(space.store, referenced) if old else frozenset()
        dead = [info for info in old if not _is_real(space.store, info.key, real)]
        segments = 0
        if not dry_run:
            dead = _delete(space, dead)
            segments = space.journal.collect(space.floor)
    removed = sorted((Removed(info.key, info.size_bytes) for info in dead), key=lambda r: r.key)
    return Vacuumed(space.name, tuple(removed), segments, dry_run)


def _delete(space: LiveNamespace, dead: Sequence[ObjectInfo]) -> list[ObjectInfo]:
    """Delete files and return which were.

    A staged file is what its writer makes it: that looks whether it is there, and refers to it
    then, while nobody else writes. So it is deleted while nobody writes, if nobody refers to it.
    """
    folder = f"_parquedb/{space.name}/staged"
    staged, gone = list[ObjectInfo](), list[ObjectInfo]()
    for info in dead:
        (staged if _parent(info.key) == folder else gone).append(info)
    for info in gone:
        space.store.delete(info.key)

    def delete_staged() -> None:
        referenced = frozenset(_staged(space))
        for info in staged:
            if info.key not in referenced:
                space.store.delete(info.key)
                gone.append(info)

    if staged:
        space.journal.exclusively(delete_staged)
    return gone


def _check_age(older_than_s: float, *, nobody_writes: bool) -> None:
    if isinstance(older_than_s, bool) or not isinstance(older_than_s, int | float):
        raise InvalidInputError(f"older_than_s is a number of seconds, not {older_than_s!r}")
    if not 0 <= older_than_s < float("inf"):
        raise InvalidInputError(f"older_than_s is a number of seconds from 0, not {older_than_s!r}")
    if older_than_s < SAFE_AGE_S and not nobody_writes:
        raise InvalidInputError(
            f"files that are younger than {SAFE_AGE_S} s may belong to a write that is under way: "
            f"to delete them from {older_than_s:g} s on, promise with nobody_writes=True "
            "(--nobody-writes) that no other process writes or migrates now"
        )


def _check_tables(space: LiveNamespace) -> None:
    """Make sure that every table of the namespace is known as one.

    Raises:
        StateError: One is being deleted.
        FormatError: One has lost its metadata.
    """
    store, tables = space.store, space.tables
    for format_ in Format:
        record = tables.cleanup_record(format_)
        if store.head(record) is not None:
            raise StateError(
                f"a clean-up of {format_.label} in namespace {space.name!r} was cut short "
                f"({record!r}): finish it with cleanup-backend first; nothing was deleted"
            )
    for format_ in _TABLE_FORMATS:
        folder = tables.folder(format_)
        if not tables.exists(format_) and (trace := _trace(store, folder, format_)):
            raise FormatError(
                f"{trace!r} belongs to a table of namespace {space.name!r} whose metadata is gone; "
                f"restore it, or move {folder!r} away; nothing was deleted",
                location=trace,
            )


def _trace(store: Store, folder: str, format_: Format) -> str | None:
    """Return a file that only a table of a format can have left."""
    if format_ is Format.DELTA:
        left = store.list_dir(f"{folder}/_delta_log")[0]
    else:
        ends = (".avro", ".metadata.json", "version-hint.text")
        left = [i for i in store.list_dir(f"{folder}/metadata")[0] if i.key.endswith(ends)]
    return left[0].key if left else None


def _referenced(space: LiveNamespace) -> frozenset[str]:
    """Return the keys of all files that a table or the journal refers to.

    Raises:
        FormatError: Some cannot be told.
    """
    found: set[str] = set()
    for format_ in space.tables.formats():
        reader = space.tables.reader(format_)
        named = reader.referenced()
        unknown = sorted(set(reader.snapshot().files) - named)
        if unknown:
            raise FormatError(
                f"the {format_.label} table of namespace {space.name!r} reads {unknown[0]!r} "
                "without naming it among its files; nothing was deleted",
                location=unknown[0],
            )
        found |= named
    read_origins(space.store, space.name)  # what cannot be read may have named something
    return frozenset(found).union(_staged(space))


def _staged(space: LiveNamespace) -> Iterator[str]:
    """Yield the files that entries of the journal refer to, those in the table already too."""
    segments = Segments(space.store, space.name)
    for first in segments.firsts():
        try:
            segment = segments.read(first, space.journal.id)
        except NotFoundError:  # collected since: the table holds its entries
            continue
        if segment.bad:
            raise segments.damaged(first, segment.end, segment.last + 1)
        for number, payload in enumerate(segment.payloads, first):
            if b'"staged"' in payload:
                body = parse_entry(payload, number, segments.location(first)).body
                if isinstance(body, Write):
                    yield from (staged.path for staged in body.staged)


def _candidates(space: LiveNamespace) -> Iterator[ObjectInfo]:
    """Yield the files that are ours by place and name."""
    store, name = space.store, space.name
    staged, native = f"_parquedb/{name}/staged", f"data/{name}"
    yield from (i for i in store.list_dir(staged)[0] if i.key.endswith(".parquet"))
    for folder in _data_folders(space):
        infos = list(store.list(folder))
        tables = tuple({f"{m[1]}/" for i in infos if (m := _TABLE.match(i.key))})
        for info in infos:
            if _is_ours(info.key) and not (tables and info.key.startswith(tables)):
                yield info
        if isinstance(store, Leftovers):
            yield from (i for i in store.list_leftovers(folder) if not i.key.startswith(tables))
    if isinstance(store, Leftovers):
        for folder in (staged, native):
            yield from (i for i in store.list_leftovers(folder) if _parent(i.key) == folder)


def _data_folders(space: LiveNamespace) -> Sequence[str]:
    """Return the folders in which tables keep files, except those of a migration's target."""
    store, tables = space.store, space.tables
    migration = space.journal.state().migration
    busy = None if migration is None else tables.folder(migration.target)
    found: set[str] = set()
    for format_ in _TABLE_FORMATS:
        folder = tables.folder(format_)
        if folder == busy:
            continue
        found.add(f"{folder}/_{format_.value}_data")
        # without a table, the folder may be the native one of a namespace called `…/data`
        if DIALECTS[format_].exists(store, folder, NOTHING_OWNED):
            found.add(f"{folder}/data")
    return sorted(found)


def _is_ours(key: str) -> bool:
    name = key.rpartition("/")[2]
    if _FLUSHED.fullmatch(name) or _DELETES.fullmatch(name):
        return True
    return _CARRIED.fullmatch(name) is not None and _FOREIGN.fullmatch(name) is None


def _is_old(store: Store, info: ObjectInfo, before_us: int) -> bool:
    """Whether a file was there before a time; a link to another folder is none of ours."""
    if isinstance(store, Leftovers):
        touched = store.touched_at_us(info.key)
        return touched is not None and touched <= before_us
    return info.modified_at_us <= before_us


def _real_paths(store: Store, keys: frozenset[str]) -> frozenset[str]:
    """Return where files really are: metadata may name them through links."""
    if not isinstance(store, LocalPaths):
        return keys
    return frozenset(os.path.realpath(store.local_path(key)) for key in keys)


def _is_real(store: Store, key: str, paths: frozenset[str]) -> bool:
    path = store.local_path(key) if isinstance(store, LocalPaths) else key
    return path in paths


def _parent(key: str) -> str:
    return key.rpartition("/")[0]
