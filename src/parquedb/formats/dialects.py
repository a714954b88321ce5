"""The three dialects, side by side: how to open a namespace's table in each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from parquedb.model.format import Format
from parquedb.slotted import dataclass

if TYPE_CHECKING:
    from parquedb.ambient import Ambient
    from parquedb.log.feature import Feature, TypeFit
    from parquedb.log.ports import LogReader, LogWriter
    from parquedb.model.types import Type
    from parquedb.storage.store import Store

Owned = frozenset[str] | None
"""Keys in a native folder that other formats' tables refer to; None if all of it is theirs."""

NOTHING_OWNED: Owned = frozenset()


@dataclass(frozen=True, slots=True)
class Features:
    """What a format can hold.

    Args:
        fit_type: How a type is stored in a new table.
        features: Its features.
        versions: How a type is stored by the format versions that new tables can have; empty where
            there is no choice.
    """

    fit_type: Callable[[Type], TypeFit]
    features: tuple[Feature, ...]
    versions: Mapping[int, Callable[[Type], TypeFit]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one format's tables are found, read and written.

    Args:
        exists: Whether a folder holds a table: ``(store, folder, owned)``. ``owned`` are the keys
            that other formats' tables in the same folder reference; only native asks.
        open_reader: Open the table in a folder: ``(store, folder, owned, before)``. ``before`` is a
            reader of the same table from earlier, or None; what did not change since is not read
            again.
        open_writer: Make a writer for a folder: ``(store, folder, ambient, version, before)``.
            ``version`` is the format version of a new table, None for the usual one; ``before`` is
            a reader of the table from earlier, or None, as for readers.
        read_features: Return what it can hold.
    """

    exists: Callable[[Store, str, Owned], bool]
    open_reader: Callable[[Store, str, Owned, LogReader | None], LogReader]
    open_writer: Callable[[Store, str, Ambient, int | None, LogReader | None], LogWriter]
    read_features: Callable[[], Features]

    @property
    def fit_type(self) -> Callable[[Type], TypeFit]:
        """How a type is stored in a new table of this format."""
        return self.read_features().fit_type

    @property
    def versions(self) -> Collection[int]:
        """The format versions that new tables can have; empty where there is no choice."""
        return self.read_features().versions

    def fit_type_of(self, version: int | None) -> Callable[[Type], TypeFit]:
        """Return how a new table of a format version, None for the usual one, stores a type."""
        found = self.read_features()
        return found.fit_type if version is None else found.versions[version]

    @property
    def features(self) -> tuple[Feature, ...]:
        """The format's features."""
        return self.read_features().features


def _native() -> Dialect:
    from parquedb.formats.native.paths import find_layout  # noqa: PLC0415
    from parquedb.formats.native.reader import NativeReader  # noqa: PLC0415

    def features() -> Features:
        from parquedb.formats.native.features import FEATURES, fit_type  # noqa: PLC0415

        return Features(fit_type, FEATURES)

    def open_reader(store: Store, folder: str, owned: Owned, before: LogReader | None) -> LogReader:
        known = before if isinstance(before, NativeReader) else None
        return NativeReader(store, folder, owned=owned, before=known)

    def open_writer(
        store: Store, folder: str, ambient: Ambient, _: int | None, __: LogReader | None
    ) -> LogWriter:
        from parquedb.formats.native.writer import NativeWriter  # noqa: PLC0415

        return NativeWriter(store, folder, ambient=ambient)

    return Dialect(
        lambda store, folder, owned: find_layout(store, folder, owned=owned) is not None,
        open_reader,
        open_writer,
        features,
    )


def _iceberg() -> Dialect:
    from parquedb.formats.iceberg.paths import exists  # noqa: PLC0415

    def open_reader(
        store: Store,
        folder: str,
        _: Owned,
        __: LogReader | None,
    ) -> LogReader:
        from parquedb.formats.iceberg.reader import IcebergReader  # noqa: PLC0415

        return IcebergReader(store, folder)

    def open_writer(
        store: Store, folder: str, ambient: Ambient, version: int | None, _: LogReader | None
    ) -> LogWriter:
        from parquedb.formats.iceberg.writer import IcebergWriter  # noqa: PLC0415

        return IcebergWriter(store, folder, ambient=ambient, format_version=version or 2)

    def features() -> Features:
        from functools import partial  # noqa: PLC0415

        from parquedb.formats.iceberg.features import FEATURES, fit_type  # noqa: PLC0415

        versions = {version: partial(fit_type, version=version) for version in (2, 3)}
        return Features(fit_type, FEATURES, versions)

    return Dialect(
        lambda store, folder, _: exists(store, folder), open_reader, open_writer, features
    )


def _delta() -> Dialect:
    from parquedb.formats.delta.paths import exists  # noqa: PLC0415

    def open_reader(
        store: Store,
        folder: str,
        _: Owned,
        before: LogReader | None,
    ) -> LogReader:
        from parquedb.formats.delta.reader import DeltaReader  # noqa: PLC0415

        known = before if isinstance(before, DeltaReader) else None
        return DeltaReader(store, folder, before=known)

    def open_writer(
        store: Store, folder: str, ambient: Ambient, _: int | None, before: LogReader | None
    ) -> LogWriter:
        from parquedb.formats.delta.reader import DeltaReader  # noqa: PLC0415
        from parquedb.formats.delta.writer import DeltaWriter  # noqa: PLC0415

        known = before if isinstance(before, DeltaReader) else None
        return DeltaWriter(store, folder, ambient=ambient, before=known)

    def features() -> Features:
        from parquedb.formats.delta.features import FEATURES, fit_type  # noqa: PLC0415

        return Features(fit_type, FEATURES)

    return Dialect(
        lambda store, folder, _: exists(store, folder), open_reader, open_writer, features
    )


class _Dialects(Mapping[Format, Dialect]):
    """The dialects, each imported when it is first asked for: most programs need one."""

    _OPENERS: Mapping[Format, Callable[[], Dialect]] = {
        Format.NATIVE: _native,
        Format.ICEBERG: _iceberg,
        Format.DELTA: _delta,
    }

    def __init__(self) -> None:
        self._opened: dict[Format, Dialect] = {}

    def __getitem__(self, format_: Format) -> Dialect:
        if format_ not in self._opened:
            self._opened[format_] = self._OPENERS[format_]()
        return self._opened[format_]

    def __iter__(self) -> Iterator[Format]:
        return iter(self._OPENERS)

    def __len__(self) -> int:
        return len(self._OPENERS)


DIALECTS: Mapping[Format, Dialect] = _Dialects()


def check_format_version(format_: Format | None, version: object) -> None:
    """Raise unless new tables of a format can have a format version; None is the usual one.

    Raises:
        InvalidInputError: They cannot.
    """
    if version is None:
        return
    from parquedb.errors import InvalidInputError  # noqa: PLC0415

    if format_ is None or not DIALECTS[format_].versions:
        label = "a backend without a type" if format_ is None else format_.label
        raise InvalidInputError(
            f"format_version is {version!r}, and {label} has no choice of it; leave it out, or "
            "ask for iceberg"
        )
    versions = DIALECTS[format_].versions
    if type(version) is not int or version not in versions:
        known = " or ".join(map(str, versions))
        raise InvalidInputError(
            f"format_version is {version!r}; new {format_.label} tables are of version {known}"
        )
