"""What in a folder of Parquet files would go wrong without a word, found before it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field, replace

import pyarrow as pa

from parquedb.errors import FormatError
from parquedb.formats.native.paths import DATA, DATA_FILE, Layout, is_data_name, is_hidden
from parquedb.model.files import DataFile, Value
from parquedb.model.partition import UNPARTITIONED, PartitionSpec
from parquedb.parquet.arrow import constant
from parquedb.parquet.footer import Footer
from parquedb.parquet.scan import read_batches
from parquedb.slotted import dataclass
from parquedb.storage.keys import join
from parquedb.storage.store import Store

_MAGIC = b"PAR1"
_SHOWN = 20
_WHOLE_TEXT = 16
"""Bounds of texts up to this length are not cut by any writer."""


@dataclass(slots=True)
class Wrong:
    """Collects what is wrong with a namespace's files, so that it is said at once.

    Args:
        location: The file or folder.
        found: What was found.
    """

    location: str
    found: list[FormatError] = field(default_factory=list)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Keep an error that is raised in a ``with`` block."""
        try:
            yield
        except FormatError as error:
            self.found.append(error)

    def raise_all(self) -> None:
        """Raise what was found, if anything.

        Raises:
            FormatError: Something was.
        """
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            errors = sorted(self.found, key=lambda error: not str(error).startswith("Migration"))
            raise FormatError(
                "\n".join(map(str, errors)),
                location=self.location,
                problems=[problem for e in errors for problem in e.problems or (str(e),)],
                parts=errors,
            )


def check_names(store: Store, layout: Layout) -> None:
    """Check that the files that are left out for their names are no Parquet files.

    Raises:
        FormatError: Some are; all are listed.
    """
    problems = [
        repr(info.key)
        for info in layout.others
        if info.size_bytes >= 3 * len(_MAGIC)
        and store.get_range(info.key, 0, len(_MAGIC)) == _MAGIC
    ]
    if problems:
        raise _refusal(
            layout.location,
            f"{len(problems)} files in {layout.location!r} are Parquet files and not named as "
            f"such, so that their rows would be left out: {_list(problems)}; give them names that "
            "end with .parquet, or move them away",
            problems,
        )


def check_folders(store: Store, layout: Layout, owned: frozenset[str]) -> None:
    """Check that no Parquet files lie in folders below that are neither partitions nor tables.

    Args:
        store: The store.
        layout: The namespace's files.
        owned: Keys that other formats' tables refer to.

    Raises:
        FormatError: Some do; all are listed.
    """
    problems: list[str] = []
    for folder in layout.folders:
        if folder != f"{layout.location}/{DATA}":  # where tables of other formats keep their files
            problems += [repr(key) for key in _strays(store, folder) if key not in owned]
    if problems:
        raise _refusal(
            layout.location,
            f"{len(problems)} Parquet files lie in folders below {layout.location!r} that are no "
            f"partition folders, so that their rows would be left out: {_list(problems)}; move "
            "the files up, or name the folders column=value, or move them away",
            problems,
        )


def _strays(store: Store, folder: str) -> Iterator[str]:
    """Yield the Parquet files at or below a folder that are not those of a table of its own."""
    objects, folders = store.list_dir(folder)
    keys = [info.key for info in objects]
    if "_delta_log" in folders or "metadata" in folders or f"{folder}/{DATA_FILE}" in keys:
        return
    yield from (key for key in keys if is_data_name(key.rpartition("/")[2]))
    for name in folders:
        if not is_hidden(name):
            yield from _strays(store, join(folder, name))


def check_columns(footers: Sequence[Footer]) -> None:
    """Check that files without columns have no rows: such files are left out.

    Raises:
        FormatError: Some have; all are listed.
    """
    problems = [
        f"{footer.key!r} has {footer.rows} rows and no columns"
        for footer in footers
        if not footer.schema.fields and footer.rows
    ]
    if problems:
        raise _refusal(
            footers[0].key,
            f"{_list(problems)}; move the files away, or write them with a column",
            problems,
        )


def check_partitions(
    store: Store,
    layout: Layout,
    footers: Sequence[Footer],
    files: Sequence[DataFile],
    spec: PartitionSpec,
) -> None:
    """Check that files that hold a partition column have the value of their folder in it.

    Readers disagree on which of the two counts. Where a footer's statistics do not settle it, that
    one column is read.

    Raises:
        FormatError: Some hold others; all are listed.
    """
    columns = [(index, item.source_id, item.name) for index, item in enumerate(spec.fields)]
    problems: list[str] = []
    for footer, file in zip(footers, files, strict=True):
        own = set(footer.schema.names)
        for index, id_, name in columns:
            if name not in own:
                continue
            value = file.partition[index]
            held = _held(file, id_, value)
            if held is None and not _is_settled(file, id_, value):
                held = _read_held(store, footer, file, name, value)
            if held is not None:
                problems.append(f"{file.path!r} holds {held} in the column {name!r}")
    if problems:
        raise _refusal(
            layout.location,
            f"{len(problems)} times a file holds another value of a partition column than its "
            f"folder is named for: {_list(problems)}; remove the column from the files or "
            "rename the folders",
            problems,
        )


def _held(file: DataFile, id_: int, value: Value | None) -> str | None:
    """Return what a file holds in a column besides a value, None where nothing is known."""
    if file.stats is None or not file.rows:
        return None
    lower, upper = file.stats.lower.get(id_), file.stats.upper.get(id_)
    nulls = file.stats.nulls.get(id_)
    if value is None:
        if lower is not None or (nulls is not None and nulls < file.rows):
            return "values"
        return None
    if nulls:
        return "nulls"
    if lower is None or upper is None:
        return None
    exact = not isinstance(value, str | bytes) or len(value) <= _WHOLE_TEXT
    other = (lower, upper) != (value, value) if exact else not _between(lower, value, upper)
    return f"{lower!r} to {upper!r}" if other else None


def _is_settled(file: DataFile, id_: int, value: Value | None) -> bool:
    """Whether statistics that contradict nothing prove that a column holds one value only."""
    if not file.rows:
        return True
    if file.stats is None:
        return False
    nulls = file.stats.nulls.get(id_)
    if value is None:
        return nulls == file.rows
    bounds = file.stats.lower.get(id_), file.stats.upper.get(id_)
    return nulls == 0 and bounds == (value, value)


def _read_held(
    store: Store, footer: Footer, file: DataFile, name: str, value: Value | None
) -> str | None:
    """Return what a file holds in a column besides a value by reading it, None if nothing."""
    own = next(field for field in footer.schema.fields if field.name == name)
    alone = replace(footer.schema, fields=(own,))
    bare = replace(file, partition=(), spec_id=UNPARTITIONED.spec_id)
    for batch in read_batches(store, bare, alone, UNPARTITIONED):
        try:
            wanted = constant(value, own.type, batch.num_rows)
        except (pa.ArrowException, OverflowError):  # it does not fit the file's narrower type
            return "others"
        if not batch.column(0).equals(wanted):
            return "others"
    return None


def _between(lower: Value, value: Value, upper: Value) -> bool:
    return bool(lower <= value <= upper)  # type: ignore[operator]


def _list(problems: Sequence[str]) -> str:
    shown = "; ".join(problems[:_SHOWN])
    return shown if len(problems) <= _SHOWN else f"{shown} and {len(problems) - _SHOWN} more"


def _refusal(location: str, message: str, problems: Sequence[str]) -> FormatError:
    return FormatError(message, location=location, problems=tuple(problems))
