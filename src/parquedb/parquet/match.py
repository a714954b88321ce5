"""Which fields of a data file are which of a table's columns, by what its footer says."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence

from parquedb.model.schema import Path, Schema
from parquedb.model.types import Field, ListType, MapType, StructType
from parquedb.slotted import dataclass

_FIRST_STRANGER = 1 << 30
_STRANGERS = 1 << 29


def stranger_id(path: str) -> int:
    """Return a field id for a column of a file that is no column of its table.

    It is beyond those that tables give out, and the same for the same path.
    """
    return _FIRST_STRANGER + zlib.crc32(path.encode("utf-8", "surrogatepass")) % _STRANGERS


@dataclass(frozen=True, slots=True)
class _Matcher:
    carried_ids: Mapping[Path, int]
    aliases: Mapping[int, tuple[str, ...]]
    by_id: bool

    def pairs(
        self, offered: Sequence[Field], wanted: Sequence[Field], above: Path
    ) -> Iterator[tuple[Field, Field]]:
        for field in wanted:
            own = self._find(field, offered, above)
            if own is not None:
                yield from self._with_insides(own, field, (*above, own.name))

    def _find(self, wanted: Field, offered: Sequence[Field], above: Path) -> Field | None:
        if self.by_id:
            found = (f for f in offered if self.carried_ids.get((*above, f.name)) == wanted.id)
        else:
            names = self.aliases.get(wanted.id, (wanted.name,))
            found = (f for f in offered if f.name in names)
        return next(found, None)

    def _with_insides(self, own: Field, wanted: Field, path: Path) -> Iterator[tuple[Field, Field]]:
        yield own, wanted
        match own.type, wanted.type:
            case StructType(offered), StructType(fields):
                yield from self.pairs(offered, fields, path)
            case ListType(offered), ListType(element):
                yield from self._with_insides(offered, element, (*path, offered.name))
            case MapType(key, value), MapType(wanted_key, wanted_value):
                yield from self._with_insides(key, wanted_key, (*path, key.name))
                yield from self._with_insides(value, wanted_value, (*path, value.name))
            case _:
                pass


def match_fields(
    offered: Sequence[Field], carried_ids: Mapping[Path, int], schema: Schema
) -> Iterator[tuple[Field, Field]]:
    """Yield each field of a file with the table's column that it is, nested ones after theirs.

    The rule is that of :func:`~parquedb.parquet.scan.read_batches`. The insides of lists and maps
    are each other's whatever they are called.

    Args:
        offered: The file's top-level fields.
        carried_ids: The ids that the file carries, by path.
        schema: The table's columns.
    """
    by_id = schema.matches_ids and any(len(path) == 1 for path in carried_ids)
    matcher = _Matcher(carried_ids, dict(schema.aliases), by_id)
    yield from matcher.pairs(offered, schema.fields, ())
