"""Read native Parquet as a neutral log of exactly one version."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from parquedb.errors import FormatError, NotFoundError, StateError
from parquedb.formats.native.hive import guess_type, parse_partitions
from parquedb.formats.native.marks import parse_through
from parquedb.formats.native.merge import MergedSchema, add_fields, merge_schemas, rekey_stats
from parquedb.formats.native.paths import Layout, find_layout, origin_key, written_key
from parquedb.formats.native.untidy import (
    Wrong,
    check_columns,
    check_folders,
    check_names,
    check_partitions,
)
from parquedb.log.ports import Lineage, Version
from parquedb.log.snapshot import Snapshot
from parquedb.log.walk import SnapshotWalk, Walk
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.model.partition import UNPARTITIONED, PartitionField, PartitionSpec
from parquedb.model.schema import Schema
from parquedb.model.types import Field
from parquedb.parquet.footer import Footer, try_footers, unreadable
from parquedb.slotted import dataclass
from parquedb.storage.store import ObjectInfo, Store

if TYPE_CHECKING:
    from parquedb.formats.native.origin import OriginEntry
    from parquedb.log.change import Change
    from parquedb.log.commit import Commit, Through

try:
    from _blake2 import blake2b  # hashlib's, which loads OpenSSL with it
except ImportError:
    from hashlib import blake2b

_VERSION_BITS = 53
"""JSON numbers are exact up to here in every reader."""


@dataclass(frozen=True, slots=True)
class _Table:
    """What the footers say."""

    schema: Schema
    spec: PartitionSpec
    files: tuple[DataFile, ...]
    conflicting_ids: tuple[str, ...]


class NativeReader:
    """A native namespace as a :class:`~parquedb.log.ports.LogReader`.

    Args:
        store: The store.
        namespace: The namespace.
        owned: Keys that an Iceberg or Delta table in the same folder refers to; None if that
            folder as a whole belongs to the table.
        before: A reader of the namespace from earlier. Footers that it has read of files that are
            the same by their store's etag are not read again.

    Raises:
        NotFoundError: There is no native data.
        StateError: There is more than one layout.
        FormatError: Hive folders are mixed.
    """

    def __init__(
        self,
        store: Store,
        namespace: str,
        *,
        owned: frozenset[str] | None = frozenset(),
        before: NativeReader | None = None,
    ) -> None:
        layout = find_layout(store, namespace, owned=owned)
        if layout is None:
            raise NotFoundError(
                f"No data found for namespace {namespace!r} in {store.root!r}: looked for "
                f"'{written_key(namespace)}', '{namespace}.parquet' and Parquet files in "
                f"'data/{namespace}/' and '{namespace}/'; check the storage and the name"
            )
        self._store = store
        self._namespace = namespace
        self._layout = layout
        self._owned = owned or frozenset()
        self._version = version_of(layout)
        self._at_ms = max(file.info.modified_at_us for file in layout.files) // 1000
        self._known = {} if before is None else before.known_footers()

    @property
    def format(self) -> Format:
        """Native."""
        return Format.NATIVE

    @property
    def format_version(self) -> int | None:
        """None: there is one form."""
        return None

    @property
    def table_id(self) -> str:
        """``native:`` and the namespace."""
        return f"native:{self._namespace}"

    @property
    def layout(self) -> Layout:
        """Where the files lie."""
        return self._layout

    @property
    def conflicting_ids(self) -> tuple[str, ...]:
        """Keys of files whose own field ids are not the ids of the table's schema.

        Iceberg readers resolve columns by a file's ids where it has any, so that these files
        must be written again before an Iceberg table may refer to them.
        """
        return self._table.conflicting_ids

    @functools.cached_property
    def footers(self) -> tuple[Footer, ...]:
        """The files' footers, in the order of the layout."""
        footers, errors = self._tried
        if errors:
            raise unreadable(errors, len(self._layout.files))
        return tuple(footers)

    @functools.cached_property
    def _tried(self) -> tuple[list[Footer], list[FormatError]]:
        """The footers that can be read, and what is wrong with the other files."""
        infos = [file.info for file in self._layout.files]
        new = [info.key for info in infos if info not in self._known]
        read, errors = try_footers(self._store, new)
        by_key = {footer.key: footer for footer in read}
        found = [self._known.get(info) or by_key.get(info.key) for info in infos]
        self._known = {}
        return [footer for footer in found if footer is not None], errors

    def known_footers(self) -> dict[ObjectInfo, Footer]:
        """Return the footers that were read, by what the store said of their files before."""
        if "_tried" not in self.__dict__:
            return self._known
        by_key = {footer.key: footer for footer in self._tried[0]}
        return {
            file.info: footer
            for file in self._layout.files
            if (footer := by_key.get(file.info.key)) is not None
            and file.info.size_bytes == footer.size_bytes
        }

    def latest(self) -> int:
        """Return the one version, a number made from the files' names, sizes and times."""
        return self._version

    def history(self) -> Sequence[Version]:
        """Return the one version."""
        rows = sum(file.rows or 0 for file in self._table.files)
        commit = self._commit()
        return (
            Version(self._version, self._at_ms, commit.operation.value, rows, commit.origin),
        )  # fmt: skip

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Return the table; ``version`` can only be the latest."""
        self._check_version(version)
        table = self._table
        return Snapshot(
            self._version,
            self._at_ms,
            table.schema,
            table.spec,
            {table.spec.spec_id: table.spec},
            {file.path: file for file in table.files},
            {},
        )

    def walk(self) -> Walk:
        """Return what goes from version to version."""
        return SnapshotWalk(self)

    def version_at(self, at_ms: int) -> int:
        """Return the version if no file was modified after ``at_ms``."""
        if at_ms < self._at_ms:
            raise NotFoundError(
                f"namespace {self._namespace!r} had no version at {at_ms} ms since the epoch: its "
                f"files were modified at {self._at_ms}, and native Parquet keeps no history"
            )
        return self._version

    def current_since_ms(self) -> int:
        """Return when a file was modified last."""
        return self._at_ms

    def commits(self, after: int | None = None) -> Iterator[Commit]:
        """Yield the one commit, or nothing after it."""
        self._check_version(after)
        if after is None:
            yield self._commit()

    def has_promotions(self) -> bool:
        """Return False: a schema's types are those of its files, or wider in every reader."""
        return False

    def unshown(self) -> Sequence[str]:
        """Return nothing: the log is all that there is."""
        return ()

    def tags(self) -> Mapping[int, tuple[str, ...]]:
        """Return nothing: native Parquet has no names for versions."""
        return {}

    def lineage(self) -> Lineage | None:
        """Return the migration that wrote the file, if one did.

        If the file has been changed since, the version it has now is ``foreign``.
        """
        if self._layout.location != written_key(self._namespace):
            return None
        from parquedb.formats.native.origin import read_origins  # noqa: PLC0415  (a get does without)

        entries = read_origins(self._store, self._namespace)
        for entry in reversed(entries):
            if self._is_written_by(entry):
                return Lineage(entry.origin, self._version, entry.completed_at_ms)
        for entry in reversed(entries):
            if entry.version is not None:
                return Lineage(entry.origin, entry.version, entry.completed_at_ms, (self._version,))
        return None

    def through(self, version: int | None = None) -> Through | None:
        """Return what the file's footer says, if it is the one file that flushes write."""
        self._check_version(version)
        if self._layout.location != written_key(self._namespace):
            return None
        return parse_through(self.footers[0].key_values) if len(self.footers) == 1 else None

    def referenced(self) -> frozenset[str]:
        """Return the keys of the data files and of the record of their origin."""
        keys = {file.info.key for file in self._layout.files}
        origin = origin_key(self._namespace)
        is_ours = self._layout.location == written_key(self._namespace)
        if is_ours and self._store.head(origin) is not None:
            keys.add(origin)
        return frozenset(keys)

    def _is_written_by(self, entry: OriginEntry) -> bool:
        if entry.version is not None:
            return entry.version == self._version
        from parquedb.formats.native.origin import digest_tail  # noqa: PLC0415

        info = self._layout.files[0].info
        return entry.size_bytes == info.size_bytes and entry.tail == digest_tail(
            self._store, info.key, info.size_bytes
        )

    def _check_version(self, version: int | None) -> None:
        if version not in (None, self._version):
            raise NotFoundError(
                f"namespace {self._namespace!r} has no version {version}: native Parquet has only "
                f"the present one, {self._version}"
            )

    def _commit(self) -> Commit:
        from parquedb.log.change import AddFile, SetPartitioning, SetSchema  # noqa: PLC0415
        from parquedb.log.commit import Commit, Operation  # noqa: PLC0415

        table = self._table
        lineage = self.lineage()
        changes: tuple[Change, ...] = (
            SetSchema(table.schema),
            SetPartitioning(table.spec),
            *(AddFile(file) for file in table.files),
        )
        return Commit(
            self._version,
            self._at_ms,
            Operation.CREATE,
            changes,
            base=True,
            origin=None if lineage is None or lineage.foreign else lineage.origin,
            through=self.through(),
        )

    @functools.cached_property
    def _table(self) -> _Table:
        """Read the footers, and say everything that is wrong at once."""
        footers, errors = self._tried
        wrong = Wrong(self._layout.location)
        if errors:
            wrong.found.append(unreadable(errors, len(self._layout.files)))
        else:
            self._check_unchanged(footers)
        with wrong.gathered():
            check_names(self._store, self._layout)
        with wrong.gathered():
            check_folders(self._store, self._layout, self._owned)
        with wrong.gathered():
            check_columns(footers)
        merged = table = None
        if footers:
            with wrong.gathered():
                merged = merge_schemas(self._namespace, _with_columns(footers))
        if merged is not None and not errors:
            with wrong.gathered():
                table = self._placed(merged, footers)
        wrong.raise_all()
        assert table is not None
        return table

    def _placed(self, merged: MergedSchema, footers: Sequence[Footer]) -> _Table:
        """Return the table, with the partition values that the folders say."""
        schema, spec = _partitioned(merged.schema, self._layout)
        by_id = {field.id: field for field in schema.fields}
        types = [by_id[field.source_id].type for field in spec.fields]
        partitions = parse_partitions(self._layout, types)
        files = tuple(
            DataFile(
                file.info.key,
                file.info.size_bytes,
                footer.rows,
                partition,
                spec.spec_id,
                rekey_stats(footer.stats, footer.schema, schema),
                file.info.modified_at_us // 1000,
                fingerprint=file.info.etag,
            )
            for file, footer, partition in zip(self._layout.files, footers, partitions, strict=True)
        )
        check_partitions(self._store, self._layout, footers, files, spec)
        if any(footer.schema.fields for footer in footers):  # readers refuse files without columns
            kept = zip(files, footers, strict=True)
            files = tuple(file for file, footer in kept if footer.schema.fields)
        return _Table(schema, spec, files, merged.conflicting_ids)

    def _check_unchanged(self, footers: Sequence[Footer]) -> None:
        for file, footer in zip(self._layout.files, footers, strict=True):
            if file.info.size_bytes != footer.size_bytes:
                raise StateError(
                    f"{file.info.key!r} was overwritten while namespace {self._namespace!r} was "
                    "read; run the same command again once nobody writes to it"
                )


def version_of(layout: Layout) -> int:
    """Return the version of native data: a number that is the same if and only if nothing changed.

    It is made from the files' names below their folder, sizes and modification times.
    """
    digest = blake2b(digest_size=8)
    for file in layout.files:
        info = file.info
        name = info.key.removeprefix(layout.location)
        digest.update(f"{name}\0{info.size_bytes}\0{info.modified_at_us}\n".encode())
    return int.from_bytes(digest.digest(), "big") >> (64 - _VERSION_BITS)


def _with_columns(footers: Sequence[Footer]) -> Sequence[Footer]:
    """Return the footers of files that have columns; all where none has."""
    return [footer for footer in footers if footer.schema.fields] or footers


def _partitioned(schema: Schema, layout: Layout) -> tuple[Schema, PartitionSpec]:
    """Add the partition columns that the files do not hold."""
    if not layout.partition_columns:
        return schema, UNPARTITIONED
    new = [
        Field(0, name, guess_type(file.partition[index] for file in layout.files))
        for index, name in enumerate(layout.partition_columns)
        if schema.find(name) is None
    ]
    schema = add_fields(schema, new)
    ids = {field.name: field.id for field in schema.fields}
    return schema, PartitionSpec(
        fields=tuple(PartitionField(ids[name], name) for name in layout.partition_columns)
    )
