"""The ``column=value`` folders that Delta's writers make, and that some readers believe.

PROTOCOL.md leaves paths free, but Polars takes partition values from them: without such folders it
reads null, with Iceberg's spelling of null (``kind=null``) the text ``null``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote

from parquedb.errors import InvalidInputError, UnsupportedError
from parquedb.formats.delta.values import encode_partition_value
from parquedb.model.files import DataFile
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import Schema, walk
from parquedb.model.types import Type

_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class PartitionFolders:
    """Says in which folders Delta's writers would put a file.

    Args:
        specs: The source's partition specs by id.
        types: Types of its columns by field id.
    """

    specs: dict[int, PartitionSpec] = field(default_factory=dict)
    types: dict[int, Type] = field(default_factory=dict)

    @classmethod
    def of(cls, schemas: Iterable[Schema], specs: Iterable[PartitionSpec]) -> PartitionFolders:
        """Gather what is needed of all versions."""
        types = {item.id: item.type for schema in schemas for _, item in walk(schema.fields)}
        return cls({spec.spec_id: spec for spec in specs}, types)

    def folders(self, file: DataFile) -> tuple[str, ...]:
        """Return the names of the folders, outermost first; none for an unpartitioned file."""
        spec = self.specs.get(file.spec_id)
        if not file.partition or spec is None:
            return ()
        names = []
        for item, value in zip(spec.fields, file.partition, strict=True):
            try:
                text = encode_partition_value(item.name, self.types[item.source_id], value)
            except (UnsupportedError, InvalidInputError):
                return ()  # the Delta writer refuses such a value by name
            told = _NULL if text is None else quote(text, safe="")
            names.append(f"{quote(item.name, safe='')}={told}")
        return tuple(names)

    def told_by(self, file: DataFile) -> bool:
        """Whether a file already lies in these folders."""
        found = tuple(name for name in file.path.split("/")[:-1] if "=" in name)
        return found == self.folders(file)
