"""Find out which namespaces a storage holds, and in which formats."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from parquedb.errors import NotFoundError, ParqueDBError
from parquedb.formats.dialects import DIALECTS, NOTHING_OWNED, Owned
from parquedb.formats.native.paths import (
    DATA,
    beside_key,
    find_beside_table,
    is_data_name,
    is_hidden,
    log_of,
    lost_table,
    written_key,
)
from parquedb.formats.native.reader import version_of
from parquedb.log.ports import LogReader
from parquedb.model.format import Format
from parquedb.namespace.journal import open_journal
from parquedb.namespace.places import Places, check_namespace
from parquedb.slotted import dataclass
from parquedb.storage.keys import join
from parquedb.storage.store import Store

_TABLE_FORMATS = (Format.ICEBERG, Format.DELTA)
_MAX_DEPTH = 64
_OWN = "_parquedb"


@dataclass(frozen=True, slots=True)
class Detection:
    """Which formats exist for a namespace.

    Args:
        formats: All found, in the order native, Iceberg, Delta.
        primary: The one to read from; None where nothing was found.
    """

    formats: tuple[Format, ...]
    primary: Format | None


class Namespace:
    """The tables of one namespace, opened once.

    Args:
        store: The storage.
        name: The namespace, checked.
        places: Where its tables are.
    """

    def __init__(self, store: Store, name: str, places: Places) -> None:
        self.store = store
        self.name = check_namespace(name)
        self.places = places
        self._readers: dict[Format, LogReader] = {}
        self._before: dict[Format, LogReader] = {}
        self._written_key = written_key(self.name)

    def folder(self, format_: Format) -> str:
        """Return the key of a format's table."""
        return self.places.folder(format_, self.name)

    def exists(self, format_: Format) -> bool:
        """Whether the namespace has a table of a format; one that is being deleted is none."""
        if self.store.head(self.cleanup_record(format_)) is not None:
            return False
        return DIALECTS[format_].exists(self.store, self.folder(format_), self._owned(format_))

    def cleanup_record(self, format_: Format) -> str:
        """Return the key of the record of a clean-up that has begun."""
        return f"_parquedb/{self.name}/cleanup-{format_.value}.json"

    def reader(self, format_: Format) -> LogReader:
        """Open the table of a format; the same reader until :meth:`refresh`.

        Raises:
            NotFoundError: There is none.
        """
        reader = self._readers.get(format_)
        if reader is None:
            try:
                reader = DIALECTS[format_].open_reader(
                    self.store,
                    self.folder(format_),
                    self._owned(format_),
                    self._before.pop(format_, None),
                )
            except NotFoundError as error:
                raise self.no_data(format_) from error
            self._readers[format_] = reader
        return reader

    def refresh(self) -> None:
        """Forget what was read, so that readers opened from now on see later commits."""
        self._before |= self._readers
        self._readers.clear()

    def formats(self) -> tuple[Format, ...]:
        """Return the formats that exist."""
        return tuple(format_ for format_ in Format if self.exists(format_))

    def detect(self) -> Detection:
        """Return the formats that exist and the one to read from.

        The primary one is the base that the journal records; without a journal, the target of the
        newest completed migration; without one, Iceberg, Delta, native in this order, the target of
        a migration that is not complete after its source.

        Raises:
            FormatError: A table's metadata cannot be read.
        """
        formats = self.formats()
        recorded = read_base(self.store, self.name)
        if recorded in formats:
            return Detection(formats, recorded)
        if len(formats) <= 1:
            return Detection(formats, formats[0] if formats else None)
        completed: dict[Format, int] = {}
        whole = set(formats)
        for format_ in formats:
            lineage = self.reader(format_).lineage()
            if lineage is None:
                continue
            if lineage.completed_at_ms is not None:
                completed[format_] = lineage.completed_at_ms
            elif lineage.origin.format in formats:
                whole.discard(format_)
        if completed:
            return Detection(formats, max(completed, key=lambda f: completed[f]))
        preference = (Format.ICEBERG, Format.DELTA, Format.NATIVE)
        return Detection(formats, next(f for f in preference if f in (whole or formats)))

    def base_format(self) -> Format | None:
        """Return the format of the namespace's base, None where there is nothing yet.

        It is the journal's, even where its table does not exist yet, else :meth:`detect`'s.
        """
        return read_base(self.store, self.name) or self.detect().primary

    def mark(self, format_: Format) -> object:
        """Return a token that is another one once the table of a format may have changed.

        It costs one look into the store. Changes by writers that do not keep Iceberg's version
        hint are not noticed, nor native data that appears in another place than ours.
        """
        if format_ is Format.NATIVE:
            info = self.store.head(self._written_key)
            if info is not None:
                return info.etag
            layout = find_beside_table(self.store, self.name) if self._lies_elsewhere else None
            return None if layout is None else version_of(layout)
        if format_ is Format.ICEBERG:
            from parquedb.formats.iceberg.paths import hint_key  # noqa: PLC0415

            hint = self.store.head(hint_key(self.folder(format_)))
            return None if hint is None else hint.etag
        if format_ not in self._readers and not self.exists(format_):
            return None
        from parquedb.formats.delta.paths import commit_key  # noqa: PLC0415

        folder, latest = self.folder(format_), self.reader(format_).latest()
        if self.store.head(commit_key(folder, latest + 1)) is not None:
            return object()
        info = self.store.head(commit_key(folder, latest))  # another table may have the same number
        return latest, None if info is None else info.etag

    @functools.cached_property
    def _lies_elsewhere(self) -> bool:
        """Whether there was native data in another place than the one we write to."""
        layout = find_beside_table(self.store, self.name)
        return layout is not None and layout.location != written_key(self.name)

    def no_data(self, format_: Format | None = None) -> ParqueDBError:
        """Make the error for a namespace, or one format of it, that has no data."""
        lost = lost_table(self.store, self.name)
        if lost is not None and not any(self.folder_is_shared(f) for f in _TABLE_FORMATS):
            return lost
        iceberg, delta = self.folder(Format.ICEBERG), self.folder(Format.DELTA)
        places = {
            Format.NATIVE: f"{written_key(self.name)!r}, '{self.name}.parquet', Parquet files in "
            f"'{DATA}/{self.name}/' and '{self.name}/'",
            Format.ICEBERG: f"'{iceberg}/metadata/v1.metadata.json'",
            Format.DELTA: f"'{delta}/_delta_log/{0:020d}.json'",
        }
        places = places if format_ is None else {format_: places[format_]}
        kind = "" if format_ is None else f" in {format_.label}"
        if read_base(self.store, self.name) is not None and not self.formats():
            return NotFoundError(
                f"No data found for namespace {self.name!r}{kind} in {self.store.root!r}: its "
                f"documents are in the journal only; run 'parquedb flush {self.name}' first"
            )
        return NotFoundError(
            f"No data found for namespace {self.name!r}{kind} in {self.store.root!r}: looked for "
            f"{' and '.join(places.values())}; {self._hint()}"
        )

    def _hint(self) -> str:
        """Say what somebody may have meant by a name that leads to no data."""
        others = [
            f"--{option} {above or DATA}"
            for option, format_, above in (
                ("warehouse", Format.ICEBERG, self.places.warehouse),
                ("location", Format.DELTA, self.places.location),
            )
            if not above and DIALECTS[format_].exists(self.store, f"{DATA}/{self.name}", None)
        ]
        if others:
            return f"{DATA}/{self.name} is a table: name it so, or pass {' and '.join(others)}"
        return "check --storage, --warehouse, --location and the namespace's name"

    def folder_is_shared(self, format_: Format) -> bool:
        """Whether a table format's table lies in the folder that could be the native one."""
        return self.folder(format_) == self.name and DIALECTS[format_].exists(
            self.store, self.name, NOTHING_OWNED
        )

    def _owned(self, format_: Format) -> Owned:
        """Say what of the native folder belongs to tables of other formats that live in it.

        All of it, unless it is marked as one whose native files were migrated and kept.
        """
        if format_ is not Format.NATIVE:
            return NOTHING_OWNED
        tables = [other for other in _TABLE_FORMATS if self.folder_is_shared(other)]
        if not tables:
            return NOTHING_OWNED
        if self.store.head(beside_key(self.name)) is None:
            return None
        return frozenset().union(*(self.reader(table).referenced() for table in tables))


def read_base(store: Store, namespace: str) -> Format | None:
    """Return the format of the base that a namespace's journal records, None without a journal.

    Raises:
        FormatError: The journal cannot be read.
    """
    if not has_journal(store, namespace):
        return None
    journal = open_journal(store, namespace, base=None)
    try:
        return journal.state().base
    finally:
        journal.close()


def has_journal(store: Store, namespace: str) -> bool:
    """Whether a namespace has a journal, so that it is or was written by document."""
    return bool(store.list_dir(f"_parquedb/{namespace}/journal")[0])


def discover_namespaces(store: Store, places: Places) -> tuple[str, ...]:
    """Return the names of all namespaces, sorted. Only names are listed, no file is opened."""
    found = set(_journaled(store, _OWN))
    prefixes = {place.strip("/") for place in (places.warehouse, places.location)}
    hidden = (p for p in prefixes if any(is_hidden(part) for part in p.split("/") if part))
    for start in ("", *hidden):
        for folder, formats in _table_folders(store, start, 0):
            found.update(n for f in formats if (n := places.namespace(f, folder)) is not None)
    for info in () if root_is_table(store) else store.list_dir("")[0]:
        if info.key.endswith(".parquet") and is_data_name(info.key):
            found.add(info.key.removesuffix(".parquet"))
    return tuple(sorted(name for name in found if not _is_unfinished(store, name)))


def _is_unfinished(store: Store, name: str) -> bool:
    """Whether a folder holds the files of a table of ours that has no metadata yet.

    A migration or a flush that was cut short leaves them in ``{namespace}/data``.
    """
    parent, _, last = name.rpartition("/")
    return last == "data" and bool(parent) and any(store.list_dir(join(_OWN, parent)))


def _journaled(store: Store, folder: str) -> Iterator[str]:
    """Yield the namespaces that have a journal, whether or not they have a table yet."""
    for name in store.list_dir(folder)[1]:
        below = join(folder, name)
        yield from _journaled(store, below)
        if name == "journal" and folder != _OWN and store.list_dir(below)[0]:  # a lock is none
            yield folder.removeprefix(f"{_OWN}/")


def no_namespaces(store: Store) -> NotFoundError:
    """Make the error for a storage in which no namespaces were found."""
    hint = (
        "it is itself a table: name the folder above as the storage and this one as namespace"
        if root_is_table(store)
        else "check --storage"
    )
    return NotFoundError(f"No data found for namespace '*': {store.root!r} holds none; {hint}")


def root_is_table(store: Store) -> bool:
    """Whether the storage root itself is a table, which is a frequent slip."""
    return any(DIALECTS[f].exists(store, "", NOTHING_OWNED) for f in _TABLE_FORMATS) or any(
        _is_partition(name) for name in store.list_dir("")[1]
    )


def _table_folders(
    store: Store, folder: str, depth: int
) -> Iterator[tuple[str, tuple[Format, ...]]]:
    """Yield the folders at or below one that hold a table; a table holds no other table."""
    objects, names = store.list_dir(folder)
    formats = _formats_in(store, folder, [o.key for o in objects], names) if folder else ()
    if formats:
        yield folder, formats
    elif depth < _MAX_DEPTH:
        for name in names:
            if not is_hidden(name) and "=" not in name:
                yield from _table_folders(store, join(folder, name), depth + 1)


def _formats_in(
    store: Store, folder: str, keys: Sequence[str], names: Sequence[str]
) -> tuple[Format, ...]:
    """Return the formats of which a folder may hold a table, or the remains of one."""
    found = [Format.DELTA] if "_delta_log" in names else []
    if "metadata" in names and log_of(store, folder, ("metadata",)) is not None:
        found.append(Format.ICEBERG)
    if found and not (
        folder.startswith(f"{DATA}/")
        and store.head(beside_key(folder.removeprefix(f"{DATA}/"))) is not None
    ):
        return tuple(found)  # its Parquet files are the table's
    has_files = any(is_data_name(key.rpartition("/")[2]) for key in keys)
    if folder != DATA and (has_files or any(_is_partition(name) for name in names)):
        found.append(Format.NATIVE)
    return tuple(found)


def _is_partition(name: str) -> bool:
    return "=" in name and not is_hidden(name)
