"""Column mapping: tables whose files call the columns otherwise than their schema.

PROTOCOL.md, "Column Mapping". Every struct field has an id and a physical name, under which data
files, statistics and partition values know it; its name in the schema may change. Here the physical
names become aliases (:class:`~parquedb.model.schema.Schema`), and the ids are the columns'
identities.

A physical path never belongs to another column later, so ids are a function of it. That gives one
identity to a column over a whole log, also where mapping is switched on in mid-history: the
versions before have the ids that come later. What has no recorded id (insides of lists and maps
without ``delta.columnMapping.nested.ids``, columns that were gone when mapping was switched on)
gets one that is computed from its physical path, so that every run finds the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import field, replace
from enum import StrEnum
from typing import Any, TypeGuard

from parquedb.errors import FormatError, UnsupportedError
from parquedb.formats.delta.schema import FieldMetadata, ParsedSchema
from parquedb.formats.delta.wire import Metadata, Protocol
from parquedb.model.schema import Identity, Path, Schema
from parquedb.model.types import Field, ListType, MapType, StructType, Type
from parquedb.slotted import dataclass

_ID = "delta.columnMapping.id"
_PHYSICAL = "delta.columnMapping.physicalName"
_NESTED_IDS = "delta.columnMapping.nested.ids"
_MODE = "delta.columnMapping.mode"
_SECTION = "Column Mapping"
_FIRST_OWN_ID = 1 << 29
"""Below are the ids that Delta's writers give out, one after another."""


class Mode(StrEnum):
    """How a table's columns are matched with those of its files (``delta.columnMapping.mode``)."""

    NONE = "none"
    NAME = "name"
    ID = "id"


def mode_of(protocol: Protocol, metadata: Metadata) -> Mode:
    """Return the mode of a table; the property counts only where the protocol allows it.

    Raises:
        UnsupportedError: The mode is not known.
    """
    features = protocol.reader_features or ()
    allowed = protocol.reader == 2 or (protocol.reader > 2 and "columnMapping" in features)
    text = metadata.configuration.get(_MODE, "none").lower()
    if not allowed:
        return Mode.NONE
    try:
        return Mode(text)
    except ValueError:
        raise UnsupportedError(
            f"the table feature columnMapping has the mode {text!r}, which is not known; "
            "'name' and 'id' are",
            feature="columnMapping",
        ) from None


@dataclass(slots=True)
class MappedIds:
    """The ids of a log's columns by their physical paths.

    Args:
        location: The log, for messages.
        known: The ids given out so far.
        owners: The first physical path of each recorded id. ``RESTORE`` turns back the counter of
            ids, so that one may be given out again.
    """

    location: str
    known: dict[Path, int] = field(default_factory=dict)
    owners: dict[int, Path] = field(default_factory=dict)

    def assign(self, parsed: ParsedSchema, mode: Mode) -> Schema:
        """Return a parsed schema with ids and physical names.

        Args:
            parsed: The schema.
            mode: The mode of its version; ``NONE`` for one before mapping was switched on, whose
                columns' names are the physical ones.

        Raises:
            FormatError: A field lacks an id or a physical name, or two have the same.
            UnsupportedError: A physical name has got another id since.
        """
        naming = _Naming(self, parsed.metadata, mode, computing=True)
        fields = naming.fields(parsed.schema.fields, (), ())
        return replace(
            parsed.schema,
            fields=fields,
            identity=Identity.BY_ID,
            aliases=tuple(naming.aliases),
            file_ids=mode is Mode.ID,
        )

    def note(self, parsed: ParsedSchema, mode: Mode) -> None:
        """Note the ids that a schema records, so that its columns have had them all along.

        Raises:
            FormatError: See :meth:`assign`.
            UnsupportedError: Likewise.
        """
        naming = _Naming(self, parsed.metadata, mode, computing=False)
        naming.fields(parsed.schema.fields, (), ())

    def computed(self, path: Path) -> int:
        """Return the id of a physical path for which none is recorded."""
        if path not in self.known:
            taken = set(self.known.values())
            digest = zlib.crc32("\0".join(path).encode("utf-8", "surrogatepass"))
            number = _FIRST_OWN_ID + digest % _FIRST_OWN_ID
            while number in taken:
                number += 1
            self.known[path] = number
        return self.known[path]


@dataclass(slots=True)
class _Naming:
    """Gives the fields of one schema their ids; 0 where none is recorded and none computed."""

    ids: MappedIds
    metadata: Mapping[Path, FieldMetadata]
    mode: Mode
    computing: bool
    aliases: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    used: dict[int, Path] = field(default_factory=dict)

    def fields(self, fields: tuple[Field, ...], above: Path, files: Path) -> tuple[Field, ...]:
        """Return the fields of a struct; ``files`` is its physical path."""
        named = []
        physical: set[str] = set()
        for one in fields:
            path = (*above, one.name)
            own = self.metadata.get(path, {})
            name = one.name if self.mode is Mode.NONE else self._physical(own, path)
            if name in physical:
                raise self._broken(path, f"shares the physical name {name!r} with another")
            physical.add(name)
            below = (*files, name)
            number = self._recorded(own, path, below)
            self._use(number, path)
            self.aliases.append((number, (name,)))
            nested = own.get(_NESTED_IDS)
            inner = self.type(one.type, path, below, (nested if _is_map(nested) else {}, name))
            named.append(replace(one, id=number, type=inner))
        return tuple(named)

    def type(self, type_: Type, path: Path, files: Path, nested: tuple[Any, str]) -> Type:
        """Return a type with ids; ``nested`` are recorded ids of its insides and their prefix."""
        match type_:
            case StructType(fields):
                return StructType(self.fields(fields, path, files))
            case ListType(element):
                return ListType(self._inside(element, path, files, nested))
            case MapType(key, value):
                return MapType(
                    self._inside(key, path, files, nested),
                    self._inside(value, path, files, nested),
                )
            case _:
                return type_

    def _inside(self, one: Field, above: Path, files: Path, nested: tuple[Any, str]) -> Field:
        recorded, prefix = nested
        prefix = f"{prefix}.{one.name}"
        path, below = (*above, one.name), (*files, one.name)
        told = recorded.get(prefix)
        number = self._note(below, told, path) if _is_id(told) else self._computed(below)
        self._use(number, path)
        return replace(one, id=number, type=self.type(one.type, path, below, (recorded, prefix)))

    def _computed(self, files: Path) -> int:
        return self.ids.computed(files) if self.computing else 0

    def _physical(self, own: FieldMetadata, path: Path) -> str:
        name = own.get(_PHYSICAL)
        if not isinstance(name, str) or not name:
            raise self._broken(path, f"has no {_PHYSICAL}")
        return name

    def _recorded(self, own: FieldMetadata, path: Path, files: Path) -> int:
        if self.mode is Mode.NONE:
            return self._computed(files)
        number = own.get(_ID)
        if not _is_id(number):
            raise self._broken(path, f"has no {_ID}")
        self._use(number, path)
        return self._note(files, number, path)

    def _note(self, files: Path, number: int, path: Path) -> int:
        owner = self.ids.owners.setdefault(number, files)
        if owner != files:
            return self._given_twice(files, number, path)
        if self.ids.known.setdefault(files, number) != number:
            raise UnsupportedError(
                f"{self.ids.location!r}: the table feature columnMapping: column "
                f"{'.'.join(path)!r} has the id {number}, and files with the same physical name "
                f"{'.'.join(files)!r} had {self.ids.known[files]}, as after mapping was switched "
                "off and on again; migrate with only the latest version",
                feature="columnMapping",
            )
        return number

    def _given_twice(self, files: Path, number: int, path: Path) -> int:
        """Return the id of a column whose recorded id another column had, as after a restore."""
        if self.mode is Mode.ID:
            raise UnsupportedError(
                f"{self.ids.location!r}: the table feature columnMapping: column "
                f"{'.'.join(path)!r} has the id {number} that another column had before, and files "
                "are matched by id; migrate with only the latest version",
                feature="columnMapping",
            )
        return self.ids.computed(files)

    def _use(self, number: int, path: Path) -> None:
        other = self.used.setdefault(number, path)
        if other != path and number:
            raise self._broken(path, f"has the id {number} of column {'.'.join(other)!r}")

    def _broken(self, path: Path, what: str) -> FormatError:
        return FormatError(
            f"{self.ids.location!r}: column {'.'.join(path)!r} {what}, which the column mapping "
            f"of the table needs; restore the log from a backup",
            location=self.ids.location,
            section=_SECTION,
        )


def _is_id(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < _FIRST_OWN_ID * 4


def _is_map(value: object) -> bool:
    return isinstance(value, dict)
