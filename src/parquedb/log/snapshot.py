"""A snapshot: the whole table at one version."""

from __future__ import annotations

from collections.abc import Mapping

from parquedb.model.files import DataFile
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import Schema
from parquedb.slotted import dataclass


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A table at one version; never changes.

    Args:
        version: The version.
        at_ms: Its timestamp, milliseconds since the epoch.
        schema: The columns as of that version.
        spec: How files written at that version are partitioned.
        specs: Every spec that a live file may refer to, by id.
        files: Live files by key.
        properties: User properties.
    """

    version: int
    at_ms: int
    schema: Schema
    spec: PartitionSpec
    specs: Mapping[int, PartitionSpec]
    files: Mapping[str, DataFile]
    properties: Mapping[str, str]

    @property
    def rows(self) -> int | None:
        """Live rows by the metadata, or None where a file's count is unknown."""
        total = 0
        for file in self.files.values():
            rows = file.live_rows
            if rows is None:
                return None
            total += rows
        return total

    @property
    def size_bytes(self) -> int:
        """Bytes of all live files."""
        return sum(file.size_bytes for file in self.files.values())
