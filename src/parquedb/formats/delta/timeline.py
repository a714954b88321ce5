"""A table's versions in time: when each was made, and what its metadata was.

The time of a version, milliseconds since the epoch, is by this rule, the same on every run:

1. ``inCommitTimestamp``, where the table has that feature enabled at that version;
2. the log file's modification time, for versions that Spark wrote, whose own ``DESCRIBE HISTORY``
   and ``AS OF`` go by it; not if it is more than a minute off the recorded time: then the log was
   copied;
3. ``commitInfo.timestamp``, the time that the writer recorded;
4. the log file's modification time, where the writer recorded none;
5. and at least one millisecond after the version before, so that times increase strictly.

A checkpoint without its commit counts with its own modification time, but before the next version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import field, replace

from parquedb.errors import FormatError, UnsupportedError
from parquedb.formats.delta.mapping import MappedIds, Mode, mode_of
from parquedb.formats.delta.paths import Listing, commit_key, parse_data_path
from parquedb.formats.delta.protocol import (
    find_read_refusal,
    has_in_commit_timestamps,
    hidden_columns,
)
from parquedb.formats.delta.schema import FieldMetadata, IdBook, ParsedSchema, parse_schema
from parquedb.formats.delta.stats import StatsParser, compile_stats_parser
from parquedb.formats.delta.values import compile_partition_parser
from parquedb.formats.delta.vectors import parse_deletes
from parquedb.formats.delta.wire import Actions, Add, CommitInfo, Metadata, Protocol, parse_head
from parquedb.model.files import DataFile, Value
from parquedb.model.partition import PartitionField, PartitionSpec
from parquedb.model.schema import NO_COLUMN, Path, Schema
from parquedb.slotted import dataclass
from parquedb.storage.store import Store

_COPIED_MS = 60_000
_SPARK = ("Apache-Spark", "Databricks-Runtime")

PartitionParser = Callable[[Mapping[str, str | None]], tuple[Value | None, ...]]


@dataclass(frozen=True, slots=True)
class Era:
    """The table's metadata and protocol over a run of versions.

    Args:
        protocol: Its protocol.
        metadata: Its metadata as recorded.
        schema: Its columns, with ids.
        field_metadata: What the schema records of fields besides.
        spec: Its partitioning.
        specs: All partitionings so far, by their partition columns.
        refusal: Why tables in this state cannot be read, if they cannot.
        parse_stats: Parser of its files' statistics.
        parse_partition: Parser of its files' partition values.
    """

    protocol: Protocol
    metadata: Metadata
    schema: Schema
    field_metadata: Mapping[Path, FieldMetadata]
    spec: PartitionSpec
    specs: Mapping[frozenset[str], tuple[PartitionSpec, PartitionParser]]
    refusal: UnsupportedError | None
    parse_stats: StatsParser
    parse_partition: PartitionParser

    @property
    def properties(self) -> dict[str, str]:
        """The user's properties: those that are not Delta's own."""
        return {
            key: value
            for key, value in self.metadata.configuration.items()
            if not key.startswith("delta.")
        }

    def check_readable(self) -> None:
        """Raise the refusal, if there is one."""
        if self.refusal is not None:
            raise UnsupportedError(str(self.refusal), feature=self.refusal.feature)


@dataclass(frozen=True, slots=True)
class Moment:
    """One version.

    Args:
        version: Its number.
        at_ms: Its time.
        info: Its ``commitInfo``.
        era: The metadata in force.
    """

    version: int
    at_ms: int
    info: CommitInfo
    era: Era


@dataclass(slots=True)
class _Eras:
    """Makes the eras of one log, in order."""

    store_root: str
    folder: str
    read_ahead: Callable[[], Iterable[tuple[Protocol, Metadata]]]
    ids: IdBook = field(default_factory=IdBook)
    mapped: MappedIds | None = None
    looked_ahead: bool = False
    specs: dict[frozenset[str], tuple[PartitionSpec, PartitionParser]] = field(default_factory=dict)

    def make(self, protocol: Protocol, metadata: Metadata, location: str) -> Era:
        refusal: UnsupportedError | None = None
        try:
            parsed = parse_schema(metadata.schema, location)
            schema = self._with_ids(protocol, metadata, parsed)
            refusal = find_read_refusal(self.folder, protocol, parsed)
        except UnsupportedError as error:
            parsed, refusal = ParsedSchema(Schema(()), {}), error
            schema = parsed.schema
        spec = PartitionSpec()
        parse: PartitionParser = _no_partition
        if refusal is None:
            try:
                spec, parse = self._spec(metadata.partition_columns, schema, location)
            except UnsupportedError as error:
                refusal = error
        return Era(
            protocol,
            metadata,
            schema,
            parsed.metadata,
            spec,
            dict(self.specs),
            refusal,
            compile_stats_parser(schema, location),
            parse,
        )

    def _with_ids(self, protocol: Protocol, metadata: Metadata, parsed: ParsedSchema) -> Schema:
        """Return the columns with their ids: those of column mapping, where it is ever used."""
        mode = mode_of(protocol, metadata)
        if not self.looked_ahead:
            self.looked_ahead = True
            self._note(protocol, metadata)
            with suppress(FormatError):  # no version after a damaged one can be read
                for later in self.read_ahead():
                    self._note(*later)
        if self.mapped is None:
            schema = self.ids.assign(parsed.schema)
        else:
            schema = self.mapped.assign(parsed, mode)
        strangers = hidden_columns(metadata)
        if not strangers:
            return schema
        return replace(schema, aliases=(*schema.aliases, (NO_COLUMN, strangers)))

    def _note(self, protocol: Protocol, metadata: Metadata) -> None:
        """Note the ids of column mapping; what is wrong with them is told at their own version."""
        with suppress(UnsupportedError, FormatError):
            mode = mode_of(protocol, metadata)
            if mode is not Mode.NONE:
                if self.mapped is None:
                    self.mapped = MappedIds(self.folder)
                self.mapped.note(parse_schema(metadata.schema, self.folder), mode)

    def _spec(
        self, columns: tuple[str, ...], schema: Schema, location: str
    ) -> tuple[PartitionSpec, PartitionParser]:
        fields, parsers = [], []
        for name in columns:
            column = schema.find(name)
            if column is None:
                raise FormatError(
                    f"{location!r}: the partition column {name!r} is not in the schema; restore "
                    "the log from a backup",
                    location=location,
                    section="Change Metadata",
                )
            fields.append(PartitionField(column.id, name))
            recorded = next(iter(schema.aliases_of(column.id)), name)
            parsers.append((recorded, compile_partition_parser(name, column.type, location)))

        def parse(values: Mapping[str, str | None]) -> tuple[Value | None, ...]:
            return tuple([convert(values[name]) for name, convert in parsers])

        key = frozenset(name for name, _ in parsers)
        known = self.specs.get(key)
        spec_id = len(self.specs) if known is None else known[0].spec_id
        sources = [item.source_id for item in fields]
        if known is not None and [item.source_id for item in known[0].fields] != sources:
            spec_id = max(spec.spec_id for spec, _ in self.specs.values()) + 1
        spec = PartitionSpec(spec_id, tuple(fields))
        self.specs[key] = spec, parse
        return spec, parse


class Timeline:
    """The versions of a log from its oldest readable one, read as far as they are asked for.

    Args:
        store: Where the log is.
        folder: The table's folder.
        listing: What the log folder holds.
        read_base: Reads the checkpoint with which the log begins, where it begins with one.
        before: What was read of the log earlier: what did not change since is not read again.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        listing: Listing,
        read_base: Callable[[], Actions],
        before: Timeline | None = None,
    ) -> None:
        self._store = store
        self._folder = folder
        self._listing = listing
        self._read_base = read_base
        self._eras = _Eras(store.root, folder, self._read_ahead)
        self._moments: list[Moment] = []
        self._heads: dict[int, Actions] = {}
        if before is not None:
            self._take_over(before)

    def _take_over(self, before: Timeline) -> None:
        """Take over what is still so.

        Versions are, if nothing after them changes the metadata: what columns are called later may
        say which ids they had from the beginning on. Heads of commits are in any case.
        """
        known, listed = before._listing, self._listing.commits
        stays = known.start == self._listing.start and (
            not known.has_base
            or known.checkpoints[known.start] == self._listing.checkpoints.get(known.start)
        )
        for version, info in known.commits.items():
            if listed.get(version) != info:
                stays = False
            elif version in before._heads:
                self._heads[version] = before._heads[version]
        if not stays or before.next_version <= known.latest:
            return
        for version in range(known.latest + 1, self._listing.latest + 1):
            head = self._read_head(version)
            if head.protocol is not None or head.metadata is not None:
                return
        self._eras, self._moments = before._eras, before._moments.copy()

    @property
    def next_version(self) -> int:
        """The first version that was not yet read."""
        return self._listing.start + len(self._moments)

    def at(self, version: int) -> Moment:
        """Return a version between the oldest readable and the newest."""
        while self.next_version <= version:
            self._read_next()
        return self._moments[version - self._listing.start]

    def all(self) -> list[Moment]:
        """Return all versions, oldest first."""
        self.at(self._listing.latest)
        return self._moments

    def extend(self, actions: Actions) -> Moment:
        """Append the next version, whose commit was read already."""
        version = self.next_version
        location = commit_key(self._folder, version)
        before = self._moments[-1].era if self._moments else None
        protocol = actions.protocol or (None if before is None else before.protocol)
        metadata = actions.metadata or (None if before is None else before.metadata)
        if protocol is None or metadata is None:
            raise FormatError(
                f"{location!r}: the first version has no protocol or no metaData action; "
                "restore the file from a backup",
                location=location,
                section="Actions",
            )
        if before is not None and actions.protocol is None and actions.metadata is None:
            era = before
        else:
            era = self._eras.make(protocol, metadata, location)
        return self._append(version, actions.info, era)

    def _read_next(self) -> None:
        version = self.next_version
        key = commit_key(self._folder, version)
        head = self._read_head(version) if version in self._listing.commits else Actions()
        if self._moments or not self._listing.has_base:
            self.extend(head)
            return
        base = self._read_base()
        assert base.protocol is not None
        assert base.metadata is not None
        era = self._eras.make(base.protocol, base.metadata, key)
        self._append(version, head.info, era)

    def _read_head(self, version: int) -> Actions:
        if version not in self._heads:
            key = commit_key(self._folder, version)
            self._heads[version] = parse_head(self._store.get(key), key)
        return self._heads[version]

    def _read_ahead(self) -> Iterator[tuple[Protocol, Metadata]]:
        """Yield the states of the table at all later versions that change its metadata."""
        protocol: Protocol | None = None
        metadata: Metadata | None = None
        if self._listing.has_base:
            base = self._read_base()
            protocol, metadata = base.protocol, base.metadata
        for version in sorted(self._listing.commits):
            if version < self._listing.start:
                continue
            head = self._read_head(version)
            if head.protocol is None and head.metadata is None:
                continue
            protocol, metadata = head.protocol or protocol, head.metadata or metadata
            if protocol is not None and metadata is not None:
                yield protocol, metadata

    def _append(self, version: int, info: CommitInfo | None, era: Era) -> Moment:
        info = info or CommitInfo()
        at_ms = self._time(version, info, era)
        if self._moments:
            at_ms = max(at_ms, self._moments[-1].at_ms + 1)
        moment = Moment(version, at_ms, info, era)
        self._moments.append(moment)
        return moment

    def _time(self, version: int, info: CommitInfo, era: Era) -> int:
        if info.in_commit_at_ms is not None and has_in_commit_timestamps(
            era.protocol, era.metadata, version
        ):
            return info.in_commit_at_ms
        file = self._listing.commits.get(version)
        if file is not None and info.at_ms is not None and _by_spark(info):
            modified_at_ms = file.modified_at_us // 1000
            if abs(modified_at_ms - info.at_ms) <= _COPIED_MS:
                return modified_at_ms
        if info.at_ms is not None:
            return info.at_ms
        if file is None:
            return self._time_of_base(version, era)
        return file.modified_at_us // 1000

    def _time_of_base(self, version: int, era: Era) -> int:
        at_ms = self._listing.checkpoints[version].files[0].modified_at_us // 1000
        if version + 1 not in self._listing.commits:
            return at_ms
        key = commit_key(self._folder, version + 1)
        following = parse_head(self._store.get(key), key).info or CommitInfo()
        return min(at_ms, self._time(version + 1, following, era) - 1)


def build_file(root: str, folder: str, era: Era, add: Add) -> DataFile:
    """Return the neutral value of an ``add``.

    Raises:
        FormatError: Statistics or partition values do not follow the specification.
        UnsupportedError: It or its deletion vector lies outside the storage root.
    """
    path = parse_data_path(root, folder, add.path)
    deletes = () if add.vector is None else parse_deletes(root, folder, add.vector)
    spec = era.spec
    partition: tuple[Value | None, ...] = ()
    if spec.fields or add.partition_values:
        try:
            partition = era.parse_partition(add.partition_values)
        except KeyError:
            spec, partition = _older_partition(folder, era, add)
        if not spec.fields and frozenset(add.partition_values) in era.specs:
            spec, partition = _older_partition(folder, era, add)  # not re-keyed since
    rows, stats = (None, None) if add.stats is None else era.parse_stats(add.stats)
    if rows is not None and add.vector is not None and add.vector.rows > rows:
        raise FormatError(
            f"{path!r} has {rows} rows and a deletion vector of {add.vector.rows}; restore the "
            "log from a backup",
            location=path,
            section="Deletion Vectors",
        )
    return DataFile(
        path, add.size, rows, partition, spec.spec_id, stats, add.modified_at_ms, deletes
    )


def _older_partition(
    folder: str, era: Era, add: Add
) -> tuple[PartitionSpec, tuple[Value | None, ...]]:
    found = era.specs.get(frozenset(add.partition_values))
    if found is None:
        wanted = ", ".join(era.metadata.partition_columns)
        raise FormatError(
            f"the Delta table {folder!r}: {add.path!r} has no partition value for every one of "
            f"the columns {wanted}; rewrite the table or restore it from a backup",
            location=add.path,
            section="Add File and Remove File",
        )
    spec, parse = found
    return spec, parse(add.partition_values)


def _no_partition(_: Mapping[str, str | None]) -> tuple[Value | None, ...]:
    return ()


def _by_spark(info: CommitInfo) -> bool:
    return info.engine is not None and info.engine.startswith(_SPARK)
