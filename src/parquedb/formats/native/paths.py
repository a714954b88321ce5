"""Where native data lies, and which files are no part of it.

A namespace ``users`` is one of

- ``data/users/data.parquet`` or ``users/data.parquet``: one file,
- ``users.parquet``: one file,
- ``data/users/`` or ``users/``: a folder with Parquet files in it or in hive folders (``k=v``)
  below it. Any other folder below it is another namespace or another format's.

Names that begin with ``_`` or ``.`` are never data.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import StrEnum

from parquedb.errors import FormatError, StateError
from parquedb.slotted import dataclass
from parquedb.storage.keys import check_key, join
from parquedb.storage.store import ObjectInfo, Store

DATA = "data"
DATA_FILE = "data.parquet"
SUFFIXES = (".parquet", ".parq", ".pq")
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_SHOWN = 20


class LayoutKind(StrEnum):
    """How a namespace's files lie."""

    FILE = "file"
    """One file of a fixed name."""
    FOLDER = "folder"
    """A folder of files, hive-partitioned or not."""


@dataclass(frozen=True, slots=True)
class NativeFile:
    """A data file.

    Args:
        info: Its key, size and modification time.
        partition: For each partition column the text of its folder, decoded, None for null.
    """

    info: ObjectInfo
    partition: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """The native data of a namespace.

    Args:
        kind: Whether it is a file or a folder.
        location: Key of the file or folder.
        files: Its files by key; at least one.
        partition_columns: Names of the hive partition columns, outermost first.
        others: Files of a folder that are not named as Parquet files are, hidden ones left out.
        folders: Folders below it that are no partitions, hidden ones left out.
    """

    kind: LayoutKind
    location: str
    files: tuple[NativeFile, ...]
    partition_columns: tuple[str, ...] = ()
    others: tuple[ObjectInfo, ...] = ()
    folders: tuple[str, ...] = ()


def written_key(namespace: str) -> str:
    """Return the key of the file that we write."""
    return f"{DATA}/{namespace}/{DATA_FILE}"


def origin_key(namespace: str) -> str:
    """Return the key of the record of a migration into native (see :mod:`.origin`)."""
    return f"_parquedb/{namespace}/native-origin.json"


def beside_key(namespace: str) -> str:
    """Return the key of the mark that ``{namespace}/`` holds native files beside a table's."""
    return f"_parquedb/{namespace}/native-beside.json"


def staged_key(namespace: str, name: str) -> str:
    """Return the key under which a file is written before it gets its place."""
    return f"_parquedb/{namespace}/staged/{name}.parquet"


def is_data_name(name: str) -> bool:
    """Whether a file of this name counts as data."""
    return name.lower().endswith(SUFFIXES) and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether files and folders of this name are never data."""
    return name.startswith(("_", "."))


def find_layout(
    store: Store, namespace: str, *, owned: frozenset[str] | None = frozenset()
) -> Layout | None:
    """Find a namespace's native data by listing names; no file is opened.

    Args:
        store: The store.
        namespace: The namespace.
        owned: Keys that an Iceberg or Delta table refers to; they are not native. None if the
            folder ``{namespace}/`` as a whole belongs to such a table.

    Returns:
        The layout, or None if there is no native data.

    Raises:
        StateError: There is more than one layout, so that it is not clear which one is meant.
        FormatError: The hive folders do not have the same columns everywhere, or the files are
            those of an Iceberg or Delta table whose log is lost.
    """
    own_folder = owned is not None and not _is_table_data(store, namespace)
    return _find(store, namespace, owned or frozenset(), own_folder=own_folder)


def find_beside_table(store: Store, namespace: str) -> Layout | None:
    """Find native data where another format's table may have the folder ``{namespace}/``.

    If it does, Parquet files there count as that table's, without looking into its metadata.

    Raises:
        StateError: As :func:`find_layout`.
        FormatError: As :func:`find_layout`.
    """
    own_folder = not (_holds_table(store, namespace) or _is_table_data(store, namespace))
    return _find(store, namespace, frozenset(), own_folder=own_folder)


def _find(
    store: Store, namespace: str, owned: frozenset[str], *, own_folder: bool
) -> Layout | None:
    check_key(namespace)
    if any("=" in part or is_hidden(part) for part in namespace.split("/")):
        return None
    tables = _tables_in(store, namespace, owned)
    candidates = [_single_file(store, f"{namespace}.parquet", owned)]
    if f"{DATA}/{namespace}" not in tables:
        candidates.insert(0, _folder_layout(store, f"{DATA}/{namespace}", owned))
    if own_folder:
        candidates.append(_folder_layout(store, namespace, owned))
    found = [layout for layout in candidates if layout is not None]
    own = any(layout.location == namespace for layout in found)
    if own and namespace in tables and (lost := lost_table(store, namespace)) is not None:
        raise lost
    if len(found) > 1:
        places = " and ".join(repr(layout.location) for layout in found)
        raise StateError(
            f"namespace {namespace!r} has native data in {len(found)} places: {places}; "
            "keep one and move the others away"
        )
    return found[0] if found else None


def _single_file(store: Store, key: str, owned: frozenset[str]) -> Layout | None:
    info = None if key in owned else store.head(key)
    return None if info is None else Layout(LayoutKind.FILE, key, (NativeFile(info),))


def _tables_in(store: Store, namespace: str, owned: frozenset[str]) -> Collection[str]:
    """Return which of a namespace's folders another format has, or had until its log was lost.

    None if they are marked as folders whose native files stay beside a table's.
    """
    folders = [f"{DATA}/{namespace}", *([] if owned else [namespace])]
    found = [folder for folder in folders if _holds_table(store, folder)]
    return () if found and store.head(beside_key(namespace)) is not None else found


def _is_table_data(store: Store, namespace: str) -> bool:
    """Whether a folder is the ``data`` folder of an Iceberg or Delta table."""
    above, _, name = namespace.rpartition("/")
    return name == DATA and bool(above) and _holds_table(store, above)


def _holds_table(store: Store, folder: str) -> bool:
    """Whether a folder holds an Iceberg or Delta table, or what is left of one."""
    return log_of(store, folder, store.list_dir(folder)[1]) is not None


def log_of(store: Store, folder: str, names: Collection[str]) -> str | None:
    """Return the folder of an Iceberg or Delta table's metadata, also where files of it are lost.

    Args:
        store: The store.
        folder: The folder that may be a table's.
        names: The names of the folders in it.
    """
    if "_delta_log" in names:
        return f"{folder}/_delta_log"
    if "metadata" in names:
        keys = [info.key for info in store.list_dir(f"{folder}/metadata")[0]]
        if any(key.endswith((".metadata.json", ".avro", "version-hint.text")) for key in keys):
            return f"{folder}/metadata"
    return None


def lost_table(store: Store, folder: str) -> FormatError | None:
    """Return the error for a folder in which a table was, None if there are no traces of one."""
    log = log_of(store, folder, store.list_dir(folder)[1])
    if log is None:
        return None
    option, what = (
        ("--location", "commits")
        if log.endswith("_delta_log")
        else ("--warehouse", "metadata file")
    )
    return FormatError(
        f"{log!r} is of a table that cannot be opened: it has no {what}, or {option} names another "
        "place; its Parquet files alone also hold rows that it had removed. Restore the "
        f"{what} from a backup, or move {log!r} away if all rows in the files shall count",
        location=log,
    )


def _folder_layout(store: Store, folder: str, owned: frozenset[str]) -> Layout | None:
    plain: list[str] = []
    listed = sorted(_walk(store, folder, owned, (), plain), key=lambda item: item[0].key)
    found = [item for item in listed if is_data_name(_name(item[0]))]
    if not found:
        return None
    single = f"{folder}/{DATA_FILE}"
    others = [info.key for info, _ in found if info.key != single]
    if len(others) < len(found):
        if others:
            raise StateError(
                f"{single!r} is a whole table of its own, but {len(others)} other Parquet files "
                f"lie beside it: {_list(others)}; move it or them away"
            )
        return Layout(LayoutKind.FILE, single, (NativeFile(found[0][0]),))
    columns = _columns(folder, found)
    files = tuple(NativeFile(info, tuple(v for _, v in parts)) for info, parts in found)
    unnamed = tuple(info for info, _ in listed if not is_data_name(_name(info)))
    return Layout(LayoutKind.FOLDER, folder, files, columns, unnamed, tuple(plain))


def _name(info: ObjectInfo) -> str:
    return info.key.rpartition("/")[2]


_Parts = tuple[tuple[str, str | None], ...]
"""Names and values of the hive folders above a file, outermost first."""


def _walk(
    store: Store, folder: str, owned: frozenset[str], above: _Parts, plain: list[str]
) -> Iterator[tuple[ObjectInfo, _Parts]]:
    objects, folders = store.list_dir(folder)
    for info in objects:
        if info.key not in owned and not is_hidden(_name(info)):
            yield info, above
    for name in folders:
        column, equals, text = name.partition("=")
        if not equals or name.startswith("."):
            if not is_hidden(name):
                plain.append(join(folder, name))
            continue
        below = join(folder, name)
        if is_hidden(name) or not column:
            raise FormatError(
                f"{below!r} looks like a partition folder, but names that begin with '_' or have "
                "no column are not data; rename the folder and its column, or move it away",
                location=below,
            )
        from urllib.parse import unquote  # noqa: PLC0415  (a get does without)

        value = None if text == HIVE_NULL else unquote(text)
        yield from _walk(store, below, owned, (*above, (unquote(column), value)), plain)


def _columns(folder: str, found: Iterable[tuple[ObjectInfo, _Parts]]) -> tuple[str, ...]:
    """Return the partition columns, which must be the same for all files."""
    by_columns: dict[tuple[str, ...], str] = {}
    for info, parts in found:
        by_columns.setdefault(tuple(name for name, _ in parts), info.key)
    if len(by_columns) > 1:
        problems = tuple(
            f"{key!r} is partitioned by {', '.join(columns) or 'nothing'}"
            for columns, key in by_columns.items()
        )
        raise FormatError(
            f"{folder!r} mixes partition columns: {'; '.join(problems[:_SHOWN])}; "
            "move the files so that all have the same partition folders",
            location=folder,
            problems=problems,
        )
    (columns,) = by_columns
    if len(set(columns)) < len(columns):
        raise FormatError(
            f"{folder!r} is partitioned by the same column twice: {'/'.join(columns)}; "
            "rename one level of folders",
            location=folder,
        )
    return columns


def _list(keys: Sequence[str]) -> str:
    shown = ", ".join(map(repr, keys[:3]))
    return shown if len(keys) <= 3 else f"{shown}, …"
