"""Whether data files are what tables record of them.

Claims come as logs are walked and are checked in batches, footers in parallel, so that memory does
not grow with their statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field, replace
from typing import assert_never

import pyarrow as pa
import pyarrow.parquet as pq

from parquedb.errors import NotFoundError, ParqueDBError
from parquedb.maintain.check_report import Findings
from parquedb.maintain.check_values import fields_in_rows, true_bounds
from parquedb.model.files import DataFile, Deletes, InlineVector, Stats, Value, VectorFile
from parquedb.model.format import Format
from parquedb.model.partition import PartitionSpec, Transform, VoidTransform
from parquedb.model.schema import Schema, walk
from parquedb.model.transforms import source_bounds
from parquedb.model.types import Field
from parquedb.parquet.deletes import deleted_positions
from parquedb.parquet.footer import Footer, footer_of, not_parquet, read_metadata, stats_for
from parquedb.parquet.scan import read_batches
from parquedb.slotted import dataclass
from parquedb.storage.store import LocalPaths, Store

_BATCH = 512
_THREADS = 8
_TRAILER_BYTES = 8
_REWRITE = (
    "readers skip rows or count wrongly by it: write the file anew with the engine of the table "
    "(compaction), or restore the metadata from a backup"
)
_RESTORE_FILE = "restore the file from a backup, or remove it from the table"
_REPLACED = (
    "it was overwritten or cut short: restore the file from a backup, or remove it from the table"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a table says of a data file.

    Args:
        file: The file.
        schema: The table's columns when it was added; None where only the file itself is known.
        spec: Its partition spec; None likewise.
    """

    file: DataFile
    schema: Schema | None = None
    spec: PartitionSpec | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """A footer, or why there is none.

    Args:
        footer: The footer.
        broken: What is wrong with the places of its columns.
        error: Why it cannot be read.
    """

    footer: Footer | None = None
    broken: str | None = None
    error: ParqueDBError | None = None


@dataclass(slots=True)
class FileChecker:
    """Checks the data files of one table.

    Args:
        store: The store.
        sizes: Lengths of the files that were listed, by key.
        findings: Where findings go.
        format: The table's format.
        deep: Whether rows are read.
    """

    store: Store
    sizes: Mapping[str, int]
    findings: Findings
    format: Format
    deep: bool
    known_ids: dict[int, set[tuple[str, ...]]] = field(default_factory=dict)
    _seen: dict[str, set[int]] = field(default_factory=dict)
    _vectors: set[tuple[str, Deletes]] = field(default_factory=set)
    _waiting: list[Claim] = field(default_factory=list)
    _decoded: set[tuple[str, int]] = field(default_factory=set)
    _rows_of: dict[str, int] = field(default_factory=dict)
    _rows_said: dict[str, tuple[int, str]] = field(default_factory=dict)

    def note_schema(self, schema: Schema) -> None:
        """Remember the field ids of one of the table's schemas."""
        for path, item in walk(schema.fields):
            self.known_ids.setdefault(item.id, set()).add(path)

    def add(self, claim: Claim) -> None:
        """Check a claim, now or with the next batch."""
        self.add_deletes(claim.file)
        token = _token(claim)
        seen = self._seen.setdefault(claim.file.path, set())
        if token in seen:
            return
        seen.add(token)
        self._waiting.append(claim)
        if len(self._waiting) >= _BATCH:
            self.finish()

    def finish(self) -> None:
        """Check what is waiting."""
        waiting, self._waiting = self._waiting, []
        present = [claim for claim in waiting if self._is_there(claim.file)]
        keys = list(dict.fromkeys(claim.file.path for claim in present))
        footers = dict(zip(keys, self._read(keys), strict=True))
        for claim in present:
            self._check(claim, footers[claim.file.path])
            self.findings.on_file()

    def close(self) -> None:
        """Check what is waiting, and that rows said to be deleted exist."""
        self.finish()
        for path, (position, deletes) in self._rows_said.items():
            rows = self._rows_of.get(path)
            if rows is not None and position >= rows:
                self.findings.add(
                    deletes,
                    f"deletes row {position} of {path!r}, which has {rows} rows",
                    "it belongs to another file: restore both from one backup",
                )

    def size_of(self, key: str) -> int | None:
        """Return a file's length, None if it does not exist."""
        if key in self.sizes:
            return self.sizes[key]
        info = self.store.head(key)
        return None if info is None else info.size_bytes

    def expect(self, key: str, size_bytes: int | None, what: str) -> bool:
        """Check that a file of metadata is there with the size recorded.

        Args:
            key: The file.
            size_bytes: Its recorded length, None where nothing says.
            what: What it is and who names it, in words.

        Returns:
            Whether it can be read.
        """
        found = self.size_of(key)
        if found is None:
            self.findings.add(
                key, f"{what}, and does not exist", "restore it from a backup, or roll back"
            )
            return False
        if size_bytes is not None and found != size_bytes:
            self.findings.add(key, f"{what} with {size_bytes} bytes, and has {found}", _REPLACED)
        return True

    def _is_there(self, file: DataFile) -> bool:
        found = self.size_of(file.path)
        if found is None:
            self.findings.add(
                file.path, "the table refers to this file, which does not exist", _RESTORE_FILE
            )
            return False
        if found != file.size_bytes:
            self.findings.add(
                file.path,
                f"the table records {file.size_bytes} bytes, the file has {found}",
                _REPLACED,
            )
        return True

    def expect_row(self, path: str, position: int, deletes: str) -> None:
        """Remember that a row of a data file is said to be deleted.

        Args:
            path: The data file.
            position: The row.
            deletes: The file of deletes that says so.
        """
        self._rows_said[path] = max(self._rows_said.get(path, (-1, "")), (position, deletes))

    def add_deletes(self, file: DataFile) -> None:
        """Check the deletes of a data file, each once."""
        for one in file.deletes:
            if (file.path, one) in self._vectors:
                continue
            self._vectors.add((file.path, one))
            match one:
                case VectorFile(path, offset, size, _):
                    found = self.size_of(path)
                    if found is None:
                        self.findings.add(
                            path,
                            f"holds deleted rows of {file.path!r}, and does not exist",
                            "restore it from a backup; without it deleted rows would come back",
                        )
                        continue
                    if offset + size > found:
                        self.findings.add(
                            path,
                            f"holds deleted rows of {file.path!r} at bytes {offset} to "
                            f"{offset + size}, and has only {found} bytes",
                            _REPLACED,
                        )
                        continue
                case InlineVector():
                    pass
                case _:
                    assert_never(one)
            if self.deep or isinstance(one, InlineVector):
                with self.findings.reading(file.path):
                    rows = file.rows if file.rows is not None else 1 << 62
                    deleted_positions(self.store, replace(file, deletes=(one,)), rows)

    def _read(self, keys: Sequence[str]) -> list[_Read]:
        if isinstance(self.store, LocalPaths) or len(keys) < 4:
            return [self._read_one(key) for key in keys]
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(self._read_one, keys))

    def _read_one(self, key: str) -> _Read:
        try:
            size_bytes, metadata = read_metadata(self.store, key)
            return _Read(footer_of(key, size_bytes, metadata), broken_places(metadata, size_bytes))
        except ParqueDBError as error:
            return _Read(error=error)
        except (pa.ArrowException, OSError) as error:
            return _Read(error=not_parquet(key, str(error)))

    def _check(self, claim: Claim, read: _Read) -> None:
        file, footer = claim.file, read.footer
        if footer is None:
            assert read.error is not None
            if self.size_of(file.path) != file.size_bytes:
                return  # that says it all
            if isinstance(read.error, NotFoundError):
                self.findings.add(file.path, "the file vanished meanwhile", _RESTORE_FILE)
            else:
                self.findings.raised(read.error, file.path)
            return
        self._rows_of[file.path] = footer.rows
        if read.broken is not None:
            self.findings.add(file.path, read.broken, _RESTORE_FILE)
            return
        if file.rows is not None and file.rows != footer.rows:
            self.findings.add(
                file.path,
                f"the table records {file.rows} rows, the file's footer {footer.rows}",
                _REWRITE,
            )
        if claim.schema is None or claim.spec is None:
            return
        self._check_ids(claim.schema, footer)
        stats = stats_for(footer, claim.schema)
        self._check_stats(claim, stats)
        self._check_partition(claim, stats, footer)
        if self.deep:
            self._decode(claim, footer)

    def _check_ids(self, schema: Schema, footer: Footer) -> None:
        """Check that a column is not kept from its values by a field id that no schema knows."""
        if not schema.matches_ids or not footer.carried_ids:
            return
        in_file = set(footer.carried_ids.values())
        by_path = dict(walk(schema.fields))
        for path, id_ in footer.carried_ids.items():
            wanted = by_path.get(path)
            if wanted is None or id_ in self.known_ids or wanted.id in in_file:
                continue
            self.findings.add(
                footer.key,
                f"the column {'.'.join(path)!r} has the field id {id_} in the file and "
                f"{wanted.id} in the table, so that it reads as null",
                "write the file anew with the table's field ids",
            )

    def _check_stats(self, claim: Claim, own: Stats) -> None:
        file, schema = claim.file, claim.schema
        told = file.stats
        if told is None or schema is None or claim.spec is None:
            return
        for path, item in fields_in_rows(schema.fields):
            name = ".".join(path)
            if item.id in told.nulls and item.id in own.nulls:
                self._check_nulls(file, name, told.nulls[item.id], own.nulls[item.id])
            bounded = item.id in told.lower or item.id in told.upper
            if bounded and (self.deep or self._is_doubtful(told, own, item)):
                self._check_true_bounds(claim, path, item)

    def _check_nulls(self, file: DataFile, name: str, told: int, own: int) -> None:
        if told == own or (file.deletes and told < own):
            return
        self.findings.add(
            file.path,
            f"the table records {told} nulls in {name!r}, the file's footer {own}",
            _REWRITE,
        )

    def _is_doubtful(self, told: Stats, own: Stats, item: Field) -> bool:
        """Whether recorded bounds do not contain the footer's, which may be wider than the rows."""
        bounds = told.lower.get(item.id), told.upper.get(item.id)
        return _leave((own.lower.get(item.id), own.upper.get(item.id)), bounds)

    def _check_true_bounds(self, claim: Claim, path: tuple[str, ...], item: Field) -> None:
        """Read a column where the footer does not settle whether recorded bounds hold."""
        file, stats = claim.file, claim.file.stats
        assert claim.schema is not None
        assert claim.spec is not None
        assert stats is not None
        bounds = None
        with self.findings.reading(file.path):
            bounds = true_bounds(self.store, file, claim.schema, claim.spec, path)
        if bounds is None:
            return
        low, high = stats.lower.get(item.id), stats.upper.get(item.id)
        for word, told, true, wrong in (
            ("lower", low, bounds[0], low is not None and _above(low, bounds[0])),
            ("upper", high, bounds[1], high is not None and _above(bounds[1], high)),
        ):
            if wrong:
                self.findings.add(
                    file.path,
                    f"the table records {_short(told)} as {word} bound of {'.'.join(path)!r}, and "
                    f"a row has {_short(true)}",
                    _REWRITE,
                )

    def _check_partition(self, claim: Claim, own: Stats, footer: Footer) -> None:
        """Check that a file's rows have its partition values, where its columns tell."""
        assert claim.spec is not None
        assert claim.schema is not None
        known = {item.id: (path, item) for path, item in walk(claim.schema.fields)}
        for item, value in zip(claim.spec.fields, claim.file.partition, strict=False):
            id_ = item.source_id
            if isinstance(item.transform, VoidTransform) or id_ not in known or footer.rows == 0:
                continue
            nulls, (path, column) = own.nulls.get(id_), known[id_]
            said = None
            if value is None:
                if nulls is not None and nulls != footer.rows:
                    said = f"is null, and {footer.rows - nulls} rows have a value"
            elif nulls:
                said = f"is {_short(value)}, and {nulls} rows are null"
            elif not claim.file.deletes:
                said = self._outside(claim, own, path, (column, item.transform, value))
            if said is not None:
                self.findings.add(
                    claim.file.path,
                    f"its partition {item.name!r} {said} in the column {'.'.join(path)!r}",
                    "readers that trust the partition find other rows than those that read the "
                    "column: write the file's rows anew",
                )

    def _outside(
        self,
        claim: Claim,
        own: Stats,
        path: tuple[str, ...],
        part: tuple[Field, Transform, Value],
    ) -> str | None:
        """Say how a column's values leave what a partition value says of them, if they do."""
        column, transform, value = part
        low, high = source_bounds(transform, column.type, value)
        own_low, own_high = own.lower.get(column.id), own.upper.get(column.id)
        if not _leave((own_low, own_high), (low, high)):
            return None
        assert claim.schema is not None
        assert claim.spec is not None
        true = None
        with self.findings.reading(claim.file.path):  # the footer's may have been cut short
            true = true_bounds(self.store, claim.file, claim.schema, claim.spec, path)
        if true is None or not _leave(true, (low, high)):
            return None
        return f"is {_short(value)}, and rows go from {_short(true[0])} to {_short(true[1])}"

    def _decode(self, claim: Claim, footer: Footer) -> None:
        """Read all rows of a file as the table sees them."""
        assert claim.schema is not None
        assert claim.spec is not None
        token = claim.file.path, hash(claim.schema)
        if token in self._decoded:
            return
        self._decoded.add(token)
        with self.findings.reading(claim.file.path):
            plain = replace(claim.file, deletes=())
            batches = read_batches(self.store, plain, claim.schema, claim.spec)
            rows = sum(batch.num_rows for batch in batches)
            if rows != footer.rows:
                self.findings.add(
                    claim.file.path, f"its footer says {footer.rows} rows, and {rows} can be read"
                )


def broken_places(metadata: pq.FileMetaData, size_bytes: int) -> str | None:
    """Say what is wrong with the row counts and places of a file's row groups, None if nothing."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    rows = sum(group.num_rows for group in groups)
    if rows != metadata.num_rows:
        return f"its footer says {metadata.num_rows} rows, its row groups {rows}"
    end = size_bytes - metadata.serialized_size - _TRAILER_BYTES
    for number, group in enumerate(groups):
        for index in range(group.num_columns):
            chunk = group.column(index)
            first = chunk.data_page_offset
            if chunk.has_dictionary_page and chunk.dictionary_page_offset:
                first = min(first, chunk.dictionary_page_offset)
            if group.num_rows and (first < 4 or first + chunk.total_compressed_size > end):
                return (
                    f"its footer places column {chunk.path_in_schema!r} of row group {number} "
                    "outside of the data"
                )
    return None


def _above(one: Value, other: Value) -> bool:
    """Whether a value lies above another; False where they cannot be compared."""
    try:
        return one > other  # type: ignore[operator]
    except TypeError:
        return False


def _leave(
    values: tuple[Value | None, Value | None], bounds: tuple[Value | None, Value | None]
) -> bool:
    """Whether values are certain to lie outside of bounds at either end."""
    (low, high), (least, most) = values, bounds
    return (low is not None and least is not None and _above(least, low)) or (
        high is not None and most is not None and _above(high, most)
    )


def _short(value: Value | None) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _token(claim: Claim) -> int:
    file, stats = claim.file, claim.file.stats
    told: tuple[object, ...] = ()
    if stats is not None:
        told = tuple(tuple(items.items()) for items in (stats.nulls, stats.lower, stats.upper))
    return hash((file.size_bytes, file.rows, file.partition, file.spec_id, told))
