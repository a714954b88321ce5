"""The ``column=value`` folders that Delta's writers make, and that some readers believe.

PROTOCOL.md leaves paths free, but Polars takes partition values from them: without such folders it
reads null, with Iceberg's spelling of null (``kind=null``) the text ``null``, and it fails where
the column's name is percent-encoded, as Iceberg's writers do it, or cannot be a folder's. Of an
unpartitioned table no reader does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from urllib.parse import quote

from parquedb.errors import InvalidInputError, UnsupportedError
from parquedb.formats.delta.values import encode_partition_value
from parquedb.model.files import DataFile, Value
from parquedb.model.partition import IdentityTransform, PartitionSpec
from parquedb.model.schema import Schema, walk
from parquedb.model.types import DecimalType, Type
from parquedb.slotted import dataclass

_NULL = "__HIVE_DEFAULT_PARTITION__"
_IN_A_FOLDER = re.compile(r"[^\x00-\x1f\x7f/\\=#?]+")
"""Names of columns that a folder's name can begin with, as they are."""
_LONGEST = 240
"""Bytes of a folder's name, at most: file systems allow 255."""


@dataclass(frozen=True, slots=True)
class PartitionFolders:
    """Says in which folders Delta's writers would put a file.

    Args:
        specs: The source's partition specs by id.
        types: Types of its columns by field id.
        names: Names of its columns by field id.
        columns: Field ids of Delta's partition columns; none for an unpartitioned table, whose
            files may lie anywhere; None for those that the files are partitioned by.
        namings: All names that the columns had, each version's once.
    """

    specs: Mapping[int, PartitionSpec] = field(default_factory=dict)
    types: Mapping[int, Type] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    columns: tuple[int, ...] | None = None
    namings: tuple[Mapping[int, str], ...] = ()

    @classmethod
    def of(
        cls,
        schemas: Iterable[Schema],
        specs: Iterable[PartitionSpec],
        columns: tuple[int, ...] | None = None,
    ) -> PartitionFolders:
        """Gather what is needed of all versions, the newest last."""
        types: dict[int, Type] = {}
        names: dict[int, str] = {}
        by_id = {spec.spec_id: spec for spec in specs}
        sources = {item.source_id for spec in by_id.values() for item in spec.fields}
        namings: list[Mapping[int, str]] = []
        for schema in schemas:
            types.update({item.id: item.type for _, item in walk(schema.fields)})
            names.update({item.id: item.name for item in schema.fields})
            naming = {item.id: item.name for item in schema.fields if item.id in sources}
            if naming not in namings:
                namings.append(naming)
        return cls(by_id, types, names, columns, tuple(namings))

    @property
    def anywhere(self) -> bool:
        """Whether files may lie in any folder."""
        return self.columns == ()

    def values(self, file: DataFile) -> dict[int, Value | None]:
        """Return the values of a file's identity partitions by field id."""
        spec = self.specs.get(file.spec_id)
        if not file.partition or spec is None:
            return {}
        return {
            item.source_id: value
            for item, value in zip(spec.fields, file.partition, strict=True)
            if isinstance(item.transform, IdentityTransform)
        }

    def folders(self, file: DataFile) -> tuple[str, ...]:
        """Return the names of the folders, outermost first; none for an unpartitioned file."""
        values = self.values(file)
        wanted = values if self.columns is None else self.columns
        names = []
        for id_ in wanted:
            name = None if id_ not in values else self.folder(id_, values[id_])
            if name is None:
                return ()  # the planner leaves such a table unpartitioned
            names.append(name)
        return tuple(names)

    def folder(self, id_: int, value: Value | None) -> str | None:
        """Return the folder of a value, None where some reader of Delta takes it for another.

        An empty text is null by the protocol; delta-rs cannot read negative fractions.
        """
        name, type_ = self.names.get(id_), self.types.get(id_)
        if name is None or type_ is None or not self.can_name(id_):
            return None
        try:
            text = encode_partition_value(name, type_, value)
        except (UnsupportedError, InvalidInputError):
            return None
        if text == _NULL or (isinstance(type_, DecimalType) and "-" in (text or "")):
            return None
        told = _NULL if text is None else quote(text, safe="")
        folder = f"{name}={told}"
        return folder if len(folder.encode("utf-8", "surrogatepass")) <= _LONGEST else None

    def can_name(self, id_: int) -> bool:
        """Whether folders can have the name of a column in theirs."""
        return _IN_A_FOLDER.fullmatch(self.names.get(id_, "")) is not None

    def told_by(self, file: DataFile) -> bool:
        """Whether a file already lies in a folder where it may lie."""
        if self.anywhere:
            return True
        found = tuple(name for name in file.path.split("/")[:-1] if "=" in name)
        return found == self.folders(file)
