"""Fold commits into snapshots."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from dataclasses import replace as with_changes
from typing import assert_never

from parquedb.errors import FormatError
from parquedb.log.change import (
    AddFile,
    Change,
    RemoveFile,
    SetDeletes,
    SetPartitioning,
    SetProperties,
    SetSchema,
)
from parquedb.log.commit import Commit
from parquedb.log.snapshot import Snapshot
from parquedb.model.files import DataFile
from parquedb.model.partition import UNPARTITIONED, PartitionSpec
from parquedb.model.schema import EMPTY, Schema
from parquedb.slotted import dataclass


@dataclass(slots=True)
class TableState:
    """A table while commits are applied to it: O(changes) a commit, no copies.

    Use :meth:`snapshot` to keep what it is at one version.
    """

    version: int = -1
    at_ms: int = 0
    schema: Schema = EMPTY
    spec: PartitionSpec = UNPARTITIONED
    specs: dict[int, PartitionSpec] = field(default_factory=lambda: {0: UNPARTITIONED})
    files: dict[str, DataFile] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, snapshot: Snapshot) -> TableState:
        """Begin where a snapshot is."""
        return cls(
            snapshot.version,
            snapshot.at_ms,
            snapshot.schema,
            snapshot.spec,
            dict(snapshot.specs),
            dict(snapshot.files),
            dict(snapshot.properties),
        )

    def apply(self, commit: Commit) -> None:
        """Apply one commit.

        Raises:
            FormatError: It removes a file, or sets deletes of one, that is not live.
        """
        self.begin(commit)
        for change in commit.changes:
            self.apply_change(commit, change)

    def begin(self, commit: Commit) -> None:
        """Take on a commit's version and time; a base commit starts from nothing."""
        if commit.base:
            self.files.clear()
        self.version, self.at_ms = commit.version, commit.at_ms

    def snapshot(self) -> Snapshot:
        """Return the table as it is now. O(live files)."""
        return Snapshot(
            self.version,
            self.at_ms,
            self.schema,
            self.spec,
            dict(self.specs),
            dict(self.files),
            dict(self.properties),
        )

    def apply_change(self, commit: Commit, change: Change) -> None:
        """Apply one change of a commit that was begun.

        Raises:
            FormatError: It removes a file, or sets deletes of one, that is not live.
        """
        match change:
            case AddFile(file):
                self.files[file.path] = file
            case RemoveFile(file):
                if self.files.pop(file.path, None) is None:
                    raise _not_live(commit, file.path)
            case SetDeletes(path, deletes):
                live = self.files.get(path)
                if live is None:
                    raise _not_live(commit, path)
                self.files[path] = with_changes(live, deletes=deletes)
            case SetSchema(schema):
                self.schema = schema
            case SetPartitioning(spec, current):
                self.spec = spec if current else self.spec
                self.specs[spec.spec_id] = spec
            case SetProperties(updates):
                for key, value in updates.items():
                    if value is None:
                        self.properties.pop(key, None)
                    else:
                        self.properties[key] = value
            case _:
                assert_never(change)


def replay(commits: Iterable[Commit], start: Snapshot | None = None) -> Snapshot:
    """Return the snapshot after all commits, beginning with ``start`` or an empty table."""
    state = TableState() if start is None else TableState.of(start)
    for commit in commits:
        state.apply(commit)
    return state.snapshot()


def _not_live(commit: Commit, path: str) -> FormatError:
    return FormatError(
        f"version {commit.version} changes the file {path!r}, which is not part of the table at "
        "that version; the log is damaged or incomplete",
        location=path,
    )
