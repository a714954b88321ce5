"""Whether the tables of a namespace hold the same rows at the versions they have in common."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from parquedb.errors import ParqueDBError
from parquedb.log.change import AddFile, RemoveFile, SetDeletes
from parquedb.log.commit import Commit
from parquedb.log.pairs import common_versions
from parquedb.log.ports import LogReader, Version
from parquedb.log.replay import TableState
from parquedb.log.snapshot import Snapshot
from parquedb.maintain.check_report import Findings
from parquedb.model.files import DataFile, Deletes, VectorFile
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import Path, Schema, children, map_fields, walk
from parquedb.model.types import Field
from parquedb.parquet.digest import ContentDigest, Digester, digest_file
from parquedb.rows.typescript import is_typescript_layout
from parquedb.storage.store import Store

_AGAIN = (
    "find out which of them is right; then run migrate-backend --force from that one, or restore "
    "the other from a backup"
)


def replay_versions(reader: LogReader, findings: Findings, folder: str) -> None:
    """Follow a table's versions by its commits, and compare their row counts with its history.

    Args:
        reader: The table.
        findings: Where findings go.
        folder: The table's folder.
    """
    known = len(findings.found)
    with findings.reading(folder, again=True):
        told = {version.version: version.rows for version in reader.history()}
        state, live = TableState(), _LiveRows()
        for commit in reader.commits():
            live.apply(commit, state)
            rows, real = told.get(commit.version), live.rows
            if rows is None or real is None or len(findings.found) > known:
                continue
            if real != rows:
                findings.add(
                    folder,
                    f"version {commit.version} has {rows} rows by the table's history and {real} "
                    "by its files",
                    "restore the table's metadata from a backup",
                )


@dataclass(slots=True)
class _LiveRows:
    """How many rows a table has while commits are applied to it: O(changes) a commit."""

    known: int = 0
    unknown: int = 0

    @property
    def rows(self) -> int | None:
        """The rows, None where the metadata of a file does not say."""
        return None if self.unknown else self.known

    def apply(self, commit: Commit, state: TableState) -> None:
        """Apply a commit to a state and follow its rows."""
        if commit.base:
            self.known = self.unknown = 0
        state.begin(commit)
        for change in commit.changes:
            path = None
            match change:
                case AddFile(file) | RemoveFile(file):
                    path = file.path
                case SetDeletes():
                    path = change.path
                case _:
                    pass
            if path is not None:
                self._count(state.files.get(path), -1)
            state.apply_change(commit, change)
            if path is not None:
                self._count(state.files.get(path), 1)

    def _count(self, file: DataFile | None, sign: int) -> None:
        if file is None:
            return
        rows = file.live_rows
        self.unknown += sign * (rows is None)
        self.known += sign * (rows or 0)


@dataclass(slots=True)
class AgreementCheck:
    """Compares tables with each other.

    Args:
        store: The store.
        findings: Where findings go.
        deep: Whether all rows are compared, and not their number alone.
        digester: Digests rows.
        compared: At how many common versions tables were compared.
    """

    store: Store
    findings: Findings
    deep: bool
    digester: Digester
    compared: int = 0
    _digests: dict[tuple[str, tuple[Deletes, ...], Schema, PartitionSpec], ContentDigest] = field(
        default_factory=dict
    )
    _exist: dict[str, bool] = field(default_factory=dict)

    def compare(self, left: LogReader, right: LogReader, folder: str) -> None:
        """Compare two tables at every version that both have.

        Args:
            left: One table.
            right: The other.
            folder: What findings are about.
        """
        with self.findings.reading(folder, again=True):
            pairs = common_versions(left, right)
            for place, (ours, theirs) in enumerate(pairs):
                before = pairs[place - 1] if place else None
                self._compare((left, ours), (right, theirs), before, folder)

    def _compare(
        self,
        left: tuple[LogReader, Version],
        right: tuple[LogReader, Version],
        before: tuple[Version, Version] | None,
        folder: str,
    ) -> None:
        (one, ours), (other, theirs) = left, right
        self.compared += 1
        what = None
        if ours.rows is not None and theirs.rows is not None and ours.rows != theirs.rows:
            what = f"has {ours.rows} rows and {theirs.rows} there"
        elif self.deep:
            # a metadata change without a version of its own repeats one
            first = None if before and before[0].version == ours.version else ours.version
            second = None if before and before[1].version == theirs.version else theirs.version
            what = self._content(one, first, other, second)
        if what is not None:
            self.findings.add(
                folder,
                f"version {ours.version} of the {one.format.label} table is version "
                f"{theirs.version} of the {other.format.label} table, and {what}",
                _AGAIN,
            )

    def _content(
        self, left: LogReader, one: int | None, right: LogReader, other: int | None
    ) -> str | None:
        try:
            ours, theirs = left.snapshot(one), right.snapshot(other)
            if self._lacks_files(ours) or self._lacks_files(theirs):
                return None  # vacuumed, or a finding of the table's own check
            if is_typescript_layout(ours.schema) or is_typescript_layout(theirs.schema):
                return None
            same = self._digest(ours) == self._digest(theirs)
            if not same and (self._like(ours, theirs) or self._like(theirs, ours)):
                self.findings.note(
                    f"the {left.format.label} and the {right.format.label} table are equal but for "
                    "what the types of one of them cannot hold"
                )
                same = True
        except ParqueDBError as error:
            return f"they cannot be compared: {error}"
        return None if same else "they hold different rows"

    def _lacks_files(self, snapshot: Snapshot) -> bool:
        """Whether files of a version do not exist any more."""
        keys = set(snapshot.files)
        for file in snapshot.files.values():
            keys |= {one.path for one in file.deletes if isinstance(one, VectorFile)}
        for key in keys - self._exist.keys():
            self._exist[key] = self.store.head(key) is not None
        return not all(self._exist[key] for key in keys)

    def _like(self, one: Snapshot, other: Snapshot) -> bool:
        """Whether a table equals another one that has narrower types: an allowed loss."""
        types = {path: item.type for path, item in walk(other.schema.fields)}

        def narrowed(path: Path, item: Field) -> Field:
            type_ = types.get(path, item.type)
            return item if children(item.type) or children(type_) else replace(item, type=type_)

        fields = map_fields(one.schema.fields, narrowed)
        if fields == one.schema.fields:
            return False
        return self._digest(one, replace(one.schema, fields=fields)) == self._digest(other)

    def _digest(self, snapshot: Snapshot, schema: Schema | None = None) -> ContentDigest:
        total, seen = ContentDigest(), snapshot.schema if schema is None else schema
        for file in snapshot.files.values():
            spec = snapshot.specs[file.spec_id]
            key = file.path, file.deletes, seen, spec
            if key not in self._digests:
                plain = replace(file, stats=None)
                self._digests[key] = digest_file(self.store, plain, seen, spec, self.digester)
            total += self._digests[key]
        return total
