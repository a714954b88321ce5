"""The commands for upkeep: ``stats``, ``flush``, ``compact``, ``vacuum``, ``schema show``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from parquedb.cli.database import open_database
from parquedb.cli.options import (
    DryRunOption,
    JsonOption,
    LocationOption,
    NamespaceArgument,
    OptionalNamespaceArgument,
    StorageOption,
    WarehouseOption,
    parse_duration,
)
from parquedb.cli.output import print_json, print_table, size_of

if TYPE_CHECKING:
    from parquedb.db import DB
    from parquedb.maintain.stats import Stats
    from parquedb.namespace.flush import Flushed

_schema = typer.Typer(
    name="schema",
    help="Show how documents are kept in columns.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("stats")(stats)
    app.command("flush")(flush)
    app.command("compact")(compact)
    app.command("vacuum")(vacuum)
    _schema.command("show")(schema_show)
    app.add_typer(_schema)


@_schema.callback()
def _schema_group() -> None:
    """Show how documents are kept in columns."""


def stats(
    namespace: OptionalNamespaceArgument = None,
    storage: StorageOption = None,
    warehouse: WarehouseOption = "",
    location: LocationOption = "",
    as_json: JsonOption = False,
) -> None:
    """Count documents, files and bytes."""
    with open_database(storage, warehouse, location) as db:
        found = db.stats(namespace)
    if as_json:
        print_json({"namespaces": {name: each.to_json() for name, each in found.items()}})
    elif namespace is not None:
        for each in found.values():
            print_table(("", "value"), _stats_rows(each))
    else:
        headings = ("namespace", "format", "documents", "deleted", "files", "bytes", "unflushed")
        rows = [
            (
                name,
                each.format,
                each.documents,
                each.deleted,
                each.files,
                size_of(each.table_bytes),
                each.tail_documents,
            )
            for name, each in found.items()
        ]
        print_table(headings, rows)


def _stats_rows(found: Stats) -> list[tuple[str, object]]:
    each = found.bytes_per_document
    return [
        ("format", found.format),
        ("version", "none" if found.version is None else str(found.version)),
        ("documents", str(found.documents)),
        ("deleted documents", str(found.deleted)),
        ("columns", str(found.columns)),
        ("files", f"{found.files}, {found.row_groups} row groups"),
        ("bytes", size_of(found.table_bytes)),
        ("bytes per document", "none" if each is None else f"{each:.1f}"),
        ("journal", f"{size_of(found.journal_bytes)}, in the table through {found.through}"),
        ("unflushed", f"{found.tail_documents} documents in {found.tail_entries} writes"),
        ("staged", f"{found.staged_files} files, {size_of(found.staged_bytes)}"),
    ]


def flush(
    namespace: OptionalNamespaceArgument = None,
    storage: StorageOption = None,
    warehouse: WarehouseOption = "",
    location: LocationOption = "",
    as_json: JsonOption = False,
) -> None:
    """Move what is in the journal into the tables."""
    with open_database(storage, warehouse, location, writes=True) as db:
        names = _names(db, namespace)
        done = db.flush(namespace)
    _print_flushed(names, done, "nothing to flush", as_json=as_json)


def compact(
    namespace: OptionalNamespaceArgument = None,
    storage: StorageOption = None,
    warehouse: WarehouseOption = "",
    location: LocationOption = "",
    as_json: JsonOption = False,
) -> None:
    """Write the files of tables anew, sorted and few."""
    with open_database(storage, warehouse, location, writes=True) as db:
        names = _names(db, namespace)
        done = db.compact(namespace)
    _print_flushed(names, done, "nothing to compact", as_json=as_json)


def vacuum(
    namespace: OptionalNamespaceArgument = None,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="T", help="Only files that old: 7d, 12h, 90s.")
    ] = "7d",
    nobody_writes: Annotated[
        bool,
        typer.Option("--nobody-writes", help="Promise it, for times below an hour."),
    ] = False,
    dry_run: DryRunOption = False,
    storage: StorageOption = None,
    warehouse: WarehouseOption = "",
    location: LocationOption = "",
    as_json: JsonOption = False,
) -> None:
    """Delete files that killed writes left behind, and what of the journal is in the tables."""
    with open_database(storage, warehouse, location) as db:
        done = db.vacuum(
            namespace,
            older_than_s=parse_duration(older_than),
            dry_run=dry_run,
            nobody_writes=nobody_writes,
        )
    if as_json:
        found = {name: each.to_json() for name, each in done.items()}
        print_json({"success": True, "dry_run": dry_run, "namespaces": found})
        return
    verb = "would delete" if dry_run else "deleted"
    for name, each in done.items():
        typer.echo(
            f"{name}: {verb} {len(each.files)} files, {size_of(each.size_bytes)}"
            + (f", and {each.segments} segments of the journal" if each.segments else "")
        )
        for file in each.files:
            typer.echo(f"  {file.key}")


def schema_show(
    namespace: NamespaceArgument,
    storage: StorageOption = None,
    warehouse: WarehouseOption = "",
    location: LocationOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the columns of a namespace, and how many documents have values outside of them."""
    from parquedb.maintain.describe import describe

    with open_database(storage, warehouse, location) as db:
        found = describe(db.existing(namespace).space)
    if as_json:
        print_json(found.to_json())
        return
    rows = [
        (column.name, column.type, "null" if column.nullable else "required")
        for column in found.columns
    ]
    print_table(("column", "type", "nulls"), rows)
    typer.echo(
        f"{found.format.value}, {found.rows} rows, {found.data_share:.1%} of them with values in "
        f"$data; {found.tail_documents} more documents in the journal"
    )


def _names(db: DB, namespace: str | None) -> tuple[str, ...]:
    return db.collections() if namespace is None else (db.existing(namespace).name,)


def _print_flushed(
    names: tuple[str, ...], done: Mapping[str, Flushed], nothing: str, *, as_json: bool
) -> None:
    if as_json:
        found = {
            name: None
            if name not in done
            else {
                "format": done[name].format,
                "version": done[name].version,
                "through": done[name].through,
                "rows": done[name].rows,
                "files": done[name].files,
                "bytes": done[name].bytes_written,
            }
            for name in names
        }
        print_json({"success": True, "namespaces": found})
        return
    for name in names:
        if name not in done:
            typer.echo(f"{name}: {nothing}")
            continue
        each = done[name]
        typer.echo(
            f"{name}: {each.format.label} version {each.version}: {each.rows} rows in "
            f"{each.files} files, {size_of(each.bytes_written)}"
        )
