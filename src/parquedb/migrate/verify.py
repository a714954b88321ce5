"""Compare a target with its source, version by version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from parquedb.errors import NotFoundError, VerificationError
from parquedb.formats.contents import Digests, WalkedContent
from parquedb.formats.dialects import DIALECTS
from parquedb.log.pairs import common_versions
from parquedb.log.ports import LogReader, Version
from parquedb.log.snapshot import Snapshot
from parquedb.migrate.carry import SourceVersion
from parquedb.migrate.fit import fit_schema
from parquedb.migrate.typescript import ENTITIES, STORED, is_entities, rows_of
from parquedb.model.format import Format
from parquedb.model.schema import Identity, Schema
from parquedb.storage.store import Store


def pair_versions(
    source: LogReader, versions: Sequence[SourceVersion], target: LogReader
) -> list[tuple[SourceVersion, Version]]:
    """Find the target's version of each of the source's.

    Raises:
        VerificationError: One has none.
    """
    carried: dict[int, list[Version]] = {}
    for version in target.history():
        if version.origin is not None and version.origin.table_id == source.table_id:
            carried.setdefault(version.origin.version, []).append(version)
    pairs = []
    for wanted in reversed(versions):  # a metadata change repeats its version: newest first
        found = carried.get(wanted.version)
        if not found:
            raise VerificationError(
                f"Verification failed: version {wanted.version} of the {source.format.label} table "
                f"is not in the {target.format.label} table's history; the source was kept; run "
                "the migration again"
            )
        pairs.append((wanted, found.pop()))
    return pairs[::-1]


def verify_counts(source: LogReader, versions: Sequence[SourceVersion], target: LogReader) -> None:
    """Compare row counts and timestamps of every version, by metadata.

    Args:
        source: The source.
        versions: The versions to compare.
        target: The target, opened after the transfer.

    Raises:
        VerificationError: A version is missing or differs; all differences are listed.
    """
    if target.format is Format.NATIVE:
        _compare_latest(versions[-1], target)
        return
    problems = []
    for wanted, found in pair_versions(source, versions, target):
        if wanted.rows is not None and found.rows is not None and wanted.rows != found.rows:
            problems.append(
                f"version {wanted.version} has {wanted.rows} rows, its copy {found.version} has "
                f"{found.rows}"
            )
        if found.at_ms < wanted.at_ms:
            problems.append(f"version {found.version} is older than its source {wanted.version}")
    _raise(problems)


def verify_merged(target: LogReader, wanted: SourceVersion) -> None:
    """Compare the row count after a merge with the number of keys that the merge found.

    Raises:
        VerificationError: They differ.
    """
    found = target.snapshot().rows
    if found != wanted.rows:
        _raise([f"the merge found {wanted.rows} keys, the target has {found} rows"])


def verify_content(
    store: Store,
    source: LogReader,
    versions: Sequence[SourceVersion],
    target: LogReader,
    on_version: Callable[[int], None],
) -> None:
    """Compare an order-independent digest of all rows of every version.

    Each side is read through its own reader, files and schema; every data file is decoded. The
    columns of a Delta table's files go by name, as other programs read them.

    Args:
        store: The store.
        source: The source.
        versions: The versions to compare.
        target: The target, opened after the transfer.
        on_version: Called with the number of versions compared so far.

    Raises:
        VerificationError: A version is missing or differs; all differences are listed.
    """
    rows = rows_of(source)
    fit_type = DIALECTS[target.format].fit_type_of(target.format_version)
    problems = []
    if target.format is Format.NATIVE:
        pairs = [(versions[-1], target.history()[-1])]
    else:
        pairs = pair_versions(source, versions, target)
    with Digests(store) as digests:
        there, here = (WalkedContent(side.walk(), digests) for side in (source, target))
        for done, (wanted, found) in enumerate(pairs, 1):
            theirs = there.to(wanted.version).snapshot
            last = done == len(pairs) and wanted.version == source.latest()
            repeated = done > 1 and pairs[done - 2][0].version == wanted.version
            if last and (repeated or theirs.at_ms != wanted.at_ms):
                theirs = there.to(None).snapshot  # a metadata change without a version of its own
            ours = here.to(found.version).snapshot
            fitted = fit_schema(theirs.schema, fit_type)
            schema = fitted.schema if fitted.lost else None
            if rows is not STORED:
                schema = ours.schema  # what is decoded goes into whichever columns there are
            seen = _as_others_read(target, ours)
            if there.digest(schema, rows.read) != here.digest(seen):
                problems.append(
                    f"version {wanted.version} and its copy {found.version} differ in rows"
                )
            on_version(done)
    _raise(problems)


def compare_tables(
    store: Store, left: LogReader, right: LogReader, *, content: bool
) -> Mapping[str, object]:
    """Compare two tables at every version they have in common, and at their newest.

    Returns:
        ``{"equal": bool, "versions": n, "differences": [...]}``.

    Raises:
        NotFoundError: Neither was migrated from the other.
    """
    pairs = common_versions(left, right)
    if not pairs:
        raise NotFoundError(
            f"the {left.format.label} and the {right.format.label} table have no version in "
            "common: neither was migrated from the other"
        )
    differences: list[str] = []
    with Digests(store) as digests:
        sides = (_Side(left, digests), _Side(right, digests))
        for place, (ours, theirs) in enumerate(pairs):
            if content:
                before = pairs[place - 1] if place else None
                # a metadata change without a version of its own repeats one
                one = None if before and before[0].version == ours.version else ours.version
                two = None if before and before[1].version == theirs.version else theirs.version
                equal = _same_rows(sides, (one, two))
            else:
                equal = ours.rows == theirs.rows
            if not equal:
                differences.append(
                    f"{left.format} version {ours.version} and {right.format} version "
                    f"{theirs.version} differ in {'rows' if content else 'row count'}"
                )
    for reader, newest in ((left, pairs[-1][0]), (right, pairs[-1][1])):
        if reader.latest() != newest.version:
            differences.append(
                f"{reader.format} has newer versions than {newest.version}, the newest that both "
                "have"
            )
    return {"equal": not differences, "versions": len(pairs), "differences": differences}


class _Side:
    """One of two tables that are compared.

    Args:
        reader: The table.
        digests: Digests files.
    """

    def __init__(self, reader: LogReader, digests: Digests) -> None:
        self.reader = reader
        self.content = WalkedContent(reader.walk(), digests)


def _same_rows(sides: tuple[_Side, _Side], versions: tuple[int | None, int | None]) -> bool:
    """Whether two tables, each at a version, hold the same rows."""
    left, right = sides
    ours, theirs = left.content.to(versions[0]).snapshot, right.content.to(versions[1]).snapshot
    if is_entities(right.reader):
        left, right, ours, theirs = right, left, theirs, ours
    if is_entities(left.reader):
        stored = left.content.digest(theirs.schema, ENTITIES.read)
    else:
        stored = left.content.digest(_as_others_read(left.reader, ours))
    return stored == right.content.digest(_as_others_read(right.reader, theirs))


def _as_others_read(reader: LogReader, snapshot: Snapshot) -> Schema:
    """Return a snapshot's columns as other programs look for them in its files.

    Our own reader believes field ids also in files of a Delta table without column mapping; others
    go by name there.
    """
    schema = snapshot.schema
    if reader.format is Format.DELTA and not schema.aliases:
        return replace(schema, identity=Identity.BY_NAME)
    return schema


def _compare_latest(wanted: SourceVersion, target: LogReader) -> None:
    found = target.snapshot().rows
    if wanted.rows is not None and found != wanted.rows:
        _raise([f"version {wanted.version} has {wanted.rows} rows, native has {found}"])


def _raise(problems: Sequence[str]) -> None:
    if problems:
        raise VerificationError(
            f"Verification failed: {'; '.join(problems[:20])}"
            + (f" and {len(problems) - 20} more" if len(problems) > 20 else "")
            + "; the source was kept"
        )
