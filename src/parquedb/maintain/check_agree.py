"""Whether the tables of a namespace hold the same rows at the versions they have in common."""

from __future__ import annotations

from dataclasses import field, replace

from parquedb.errors import ParqueDBError
from parquedb.formats.contents import Digests, WalkedContent
from parquedb.log.change import AddFile, RemoveFile, SetDeletes
from parquedb.log.commit import Commit
from parquedb.log.pairs import common_versions
from parquedb.log.ports import LogReader, Version
from parquedb.log.replay import TableState
from parquedb.log.snapshot import Snapshot
from parquedb.maintain.check_report import Findings
from parquedb.model.files import DataFile, VectorFile
from parquedb.model.schema import Path, children, map_fields, walk
from parquedb.model.types import Field
from parquedb.rows.typescript import is_typescript_layout
from parquedb.slotted import dataclass
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
        digests: Digests rows.
        compared: At how many common versions tables were compared.
    """

    store: Store
    findings: Findings
    deep: bool
    digests: Digests
    compared: int = 0
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
            sides = _Side(left, self), _Side(right, self)
            for place, (ours, theirs) in enumerate(pairs):
                before = pairs[place - 1] if place else None
                self._compare(sides, (ours, theirs), before, folder)

    def _compare(
        self,
        sides: tuple[_Side, _Side],
        versions: tuple[Version, Version],
        before: tuple[Version, Version] | None,
        folder: str,
    ) -> None:
        (one, other), (ours, theirs) = sides, versions
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
                f"version {ours.version} of the {one.label} table is version "
                f"{theirs.version} of the {other.label} table, and {what}",
                _AGAIN,
            )

    def _content(self, left: _Side, one: int | None, right: _Side, other: int | None) -> str | None:
        try:
            ours, theirs = left.to(one), right.to(other)
            if left.lacking or right.lacking:
                return None  # vacuumed, or a finding of the table's own check
            if is_typescript_layout(ours.schema) or is_typescript_layout(theirs.schema):
                return None
            same = left.content.digest() == right.content.digest()
            if not same and (self._like(ours, theirs) or self._like(theirs, ours)):
                self.findings.note(
                    f"the {left.label} and the {right.label} table are equal but for what the "
                    "types of one of them cannot hold"
                )
                same = True
        except ParqueDBError as error:
            return f"they cannot be compared: {error}"
        return None if same else "they hold different rows"

    def exists(self, key: str) -> bool:
        """Whether a file exists."""
        if key not in self._exist:
            self._exist[key] = self.store.head(key) is not None
        return self._exist[key]

    def _like(self, one: Snapshot, other: Snapshot) -> bool:
        """Whether a table equals another one that has narrower types: an allowed loss."""
        types = {path: item.type for path, item in walk(other.schema.fields)}

        def narrowed(path: Path, item: Field) -> Field:
            type_ = types.get(path, item.type)
            return item if children(item.type) or children(type_) else replace(item, type=type_)

        fields = map_fields(one.schema.fields, narrowed)
        if fields == one.schema.fields:
            return False
        narrow = replace(one.schema, fields=fields)
        return self.digests.of(one, narrow) == self.digests.of(other)


class _Side:
    """One of two tables that are compared, as it is walked.

    Args:
        reader: The table.
        check: Knows which files exist, and digests them.
    """

    def __init__(self, reader: LogReader, check: AgreementCheck) -> None:
        self.label = reader.format.label
        self.content = WalkedContent(reader.walk(), check.digests)
        self.lacking: set[str] = set()
        self._check = check

    def to(self, version: int | None) -> Snapshot:
        """Go to a version, and find out which of its files do not exist any more."""
        step = self.content.to(version)
        files, touched = step.snapshot.files, step.touched
        if touched is None:
            self.lacking.clear()
            touched = files.keys()
        for key in touched:
            self.lacking.discard(key)
            if key in files:
                vectors = [d.path for d in files[key].deletes if isinstance(d, VectorFile)]
                if not all(map(self._check.exists, (key, *vectors))):
                    self.lacking.add(key)
        return step.snapshot
