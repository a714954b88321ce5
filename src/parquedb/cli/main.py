"""The command ``parquedb``.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused with nothing changed. The commands import
what they need when they run, so that ``--help`` and wrong usage answer at once.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import Annotated

import typer

from parquedb import __version__
from parquedb.cli import check, documents, upkeep
from parquedb.cli.options import (
    DryRunOption,
    FormatName,
    JsonOption,
    LocationOption,
    NamespaceArgument,
    NamespacesOption,
    StorageOption,
    WarehouseOption,
    name_option,
    number_option,
)
from parquedb.cli.output import (
    iso_time,
    print_error,
    print_json,
    print_table,
    shown_progress,
    size_of,
)
from parquedb.cli.settings import find_storage
from parquedb.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    LossyError,
    ParqueDBError,
    StateError,
    UnsupportedError,
)

DONE, FAILED, USAGE, REFUSED = 0, 1, 2, 3

app = typer.Typer(
    name="parquedb",
    help="Documents and tables on Parquet that move between native Parquet, Iceberg and Delta.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class SourceName(StrEnum):
    """The formats, or whichever there is."""

    AUTO = "auto"
    NATIVE = "native"
    ICEBERG = "iceberg"
    DELTA = "delta"


class HistoryName(StrEnum):
    """How much history is carried."""

    FULL = "full"
    LATEST = "latest"


class VerifyName(StrEnum):
    """How the result is compared."""

    COUNT = "count"
    CONTENT = "content"
    NONE = "none"


class FilesName(StrEnum):
    """How data files come into the target."""

    AUTO = "auto"
    SHARE = "share"
    LINK = "link"
    COPY = "copy"
    REWRITE = "rewrite"


def _print_version(value: bool) -> None:  # noqa: FBT001  (typer's callback)
    if value:
        typer.echo(f"parquedb {__version__}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Documents and tables on Parquet that move between native Parquet, Iceberg and Delta."""


@app.command("backend-status")
def backend_status(
    storage: StorageOption = None,
    namespaces: NamespacesOption = None,
    warehouse: WarehouseOption = "",
    location: LocationOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what the storage holds: formats, versions, rows."""
    from parquedb import backends
    from parquedb.migrate.report import counted

    status = backends.backend_status(
        find_storage(storage), _split(namespaces), warehouse=warehouse, location=location
    )
    if as_json:
        print_json(status.to_json())
    else:
        rows = [
            (
                name,
                found.detection.primary,
                ", ".join(f"{f} ({counted(n, 'version')})" for f, n in found.versions.items()),
                found.rows,
            )
            for name, found in status.namespaces.items()
        ]
        if rows:
            print_table(("namespace", "primary", "formats", "rows"), rows)
        else:
            typer.echo(f"there are no namespaces in {find_storage(storage)!r}")
        for name, found in status.namespaces.items():
            for note in found.notes:
                typer.echo(f"{name}: {note}")
    errors = [f"{n}: {s.error}" for n, s in status.namespaces.items() if s.error is not None]
    for error in errors:
        print_error(error)
    raise typer.Exit(FAILED if errors else DONE)


@app.command("migrate-backend")
def migrate_backend(
    to: Annotated[FormatName, name_option("--to", FormatName, "Format to migrate to.")],
    from_: Annotated[
        SourceName, name_option("--from", SourceName, "Format to migrate from.")
    ] = SourceName.AUTO,
    namespaces: NamespacesOption = None,
    storage: StorageOption = None,
    warehouse: WarehouseOption = "",
    location: LocationOption = "",
    dry_run: DryRunOption = False,
    delete_source: Annotated[
        bool,
        typer.Option("--delete-source/--keep-source", help="Delete the source once verified."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace other data in the target by a new version.")
    ] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="Combine with other data in the target by key.")
    ] = False,
    key: Annotated[
        str | None, typer.Option("--key", metavar="COLUMN", help="Key to merge by. [default: $id]")
    ] = None,
    history: Annotated[
        HistoryName, name_option("--history", HistoryName, "How much history to carry.")
    ] = HistoryName.FULL,
    verify: Annotated[
        VerifyName, name_option("--verify", VerifyName, "How to compare the result.")
    ] = VerifyName.COUNT,
    allow_lossy: Annotated[
        bool, typer.Option("--allow-lossy", help="Accept the losses that a dry run lists.")
    ] = False,
    files: Annotated[
        FilesName, name_option("--files", FilesName, "How data files come into the target.")
    ] = FilesName.AUTO,
    format_version: Annotated[
        int | None,
        number_option("--format-version", 2, "Of new Iceberg tables. [default: 2]", "2|3"),
    ] = None,
    batch_size: Annotated[
        int, number_option("--batch-size", 1, "Versions per metadata commit.")
    ] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Migrate namespaces to another format, with their whole history."""
    from parquedb.migrate.options import (
        Files,
        History,
        MigrationOptions,
        OnConflict,
        Verify,
    )
    from parquedb.migrate.run import run_migration
    from parquedb.model.format import Format
    from parquedb.namespace.places import Places
    from parquedb.storage import open_store

    if force and merge:
        raise InvalidInputError("--force and --merge exclude each other")
    with shown_progress(quiet=as_json or dry_run) as show:
        on_conflict = OnConflict.FORCE if force else OnConflict.ERROR
        names = _split(namespaces)
        report = run_migration(
            open_store(find_storage(storage)),
            None if names == "*" else list(names),
            MigrationOptions(
                target=Format(to.value),
                source=None if from_ is SourceName.AUTO else Format(from_.value),
                places=Places(warehouse, location),
                batch_size=batch_size,
                delete_source=delete_source,
                dry_run=dry_run,
                on_conflict=OnConflict.MERGE if merge else on_conflict,
                history=History(history.value),
                verify=Verify(verify.value),
                allow_lossy=allow_lossy,
                files=Files(files.value),
                key=key,
                format_version=format_version,
                on_progress=show,
            ),
        )
    if as_json:
        print_json(report.to_json())
    else:
        _print_report(report)
    for name, found in report.namespaces.items():
        if found.error is not None:
            print_error(f"{name}: {found.reason}")
    actions = {found.action.value for found in report.namespaces.values()}
    raise typer.Exit(FAILED if "failed" in actions else REFUSED if "refused" in actions else DONE)


def _print_report(report: object) -> None:
    from parquedb.migrate.report import MigrationReport, counted

    assert isinstance(report, MigrationReport)
    for name, found in report.namespaces.items():
        would = "would be " if report.dry_run and found.action.value == "migrated" else ""
        typer.echo(f"{name}: {would}{found.action.value}: {found.reason}")
        if found.action.value == "migrated":
            files = ", ".join(f"{n} {means.value}" for means, n in found.files.items() if n)
            typer.echo(
                f"  {counted(found.versions, 'version')}, {_count(found.rows)}; "
                f"files: {files or 'none'}; "
                f"{size_of(found.bytes_written)} written, "
                f"{size_of(found.bytes_referenced)} referenced"
                + (f"; verified by {found.verified}" if found.verified else "")
            )
        elif found.verified:
            typer.echo(f"  verified by {found.verified}")
        if found.merge is not None:
            counts = found.merge
            typer.echo(
                f"  merged: {counts.only_in_target} only in target, {counts.only_in_source} only "
                f"in source, {counts.source_newer} source newer, {counts.target_newer} target "
                f"newer, {counts.equal} equal"
            )
        for line in found.lost:
            typer.echo(f"  lost: {line}")
        for line in found.warnings:
            typer.echo(f"  note: {line}")


@app.command("cleanup-backend")
def cleanup_backend(
    format_: Annotated[FormatName, name_option("--format", FormatName, "Format whose tables go.")],
    namespaces: Annotated[
        str, typer.Option("--namespaces", metavar="A,B", help="Whose, with commas between.")
    ],
    storage: StorageOption = None,
    warehouse: WarehouseOption = "",
    location: LocationOption = "",
    dry_run: DryRunOption = False,
    allow_lossy: Annotated[
        bool, typer.Option("--allow-lossy", help="Accept the loss of what no other format holds.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask on a terminal.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete tables of one format, once another format holds all of them."""
    from parquedb import backends

    where = find_storage(storage)
    if not _split(namespaces):
        raise InvalidInputError("--namespaces names none; name some")
    plans = {
        name: backends.cleanup_backend(
            where,
            name,
            format_.value,
            warehouse=warehouse,
            location=location,
            dry_run=True,
            allow_lossy=allow_lossy,
        )
        for name in _split(namespaces)
    }
    files = sum(len(plan.keys) for plan in plans.values())
    if not (dry_run or yes or as_json) and sys.stdin.isatty():
        typer.confirm(f"Delete {files} files of {', '.join(plans)} ({format_.value})?", abort=True)
    if not dry_run:
        for name in plans:
            backends.cleanup_backend(
                where,
                name,
                format_.value,
                warehouse=warehouse,
                location=location,
                allow_lossy=allow_lossy,
            )
    if as_json:
        found = {
            name: {
                "format": plan.format,
                "covered_by": plan.covered_by,
                "files_deleted": len(plan.keys),
                "files_kept": plan.kept,
                "files": [key for key, _ in plan.keys],
            }
            for name, plan in plans.items()
        }
        print_json({"success": True, "dry_run": dry_run, "namespaces": found})
        return
    verb = "would delete" if dry_run else "deleted"
    for name, plan in plans.items():
        typer.echo(
            f"{name}: {verb} {len(plan.keys)} files of {format_.value}, kept {plan.kept}; "
            f"{plan.covered_by.value} holds the data"
        )


@app.command("history")
def history(
    namespace: NamespaceArgument,
    format_: Annotated[
        FormatName | None, name_option("--format", FormatName, "Whose history. [default: primary]")
    ] = None,
    storage: StorageOption = None,
    warehouse: WarehouseOption = "",
    location: LocationOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the versions of a namespace."""
    from parquedb import backends

    where = find_storage(storage)
    chosen = format_.value if format_ is not None else None
    if chosen is None:
        detection = backends.detect_existing_format(
            where, namespace, warehouse=warehouse, location=location
        )
        chosen = "native" if detection.primary is None else detection.primary.value
    backend = backends.create_backend(
        type=chosen, storage=where, warehouse=warehouse, location=location
    )
    versions = backend.history(namespace)
    if as_json:
        shown = [
            {
                "version": version.version,
                "timestamp": iso_time(version.at_ms),
                "operation": version.operation,
                "rows": version.rows,
            }
            for version in versions
        ]
        print_json({"namespace": namespace, "format": chosen, "versions": shown})
        return
    rows = [(v.version, iso_time(v.at_ms), v.operation, v.rows) for v in versions]
    print_table(("version", "timestamp", "operation", "rows"), rows)


@app.command("verify")
def verify(
    namespace: NamespaceArgument,
    against: Annotated[FormatName, name_option("--against", FormatName, "Format to compare with.")],
    count: Annotated[
        bool, typer.Option("--count", help="Compare row counts by metadata, not all rows.")
    ] = False,
    storage: StorageOption = None,
    warehouse: WarehouseOption = "",
    location: LocationOption = "",
    as_json: JsonOption = False,
) -> None:
    """Compare a namespace's tables in two formats, version by version."""
    from parquedb import backends

    found = backends.verify_backend(
        find_storage(storage),
        namespace,
        against.value,
        warehouse=warehouse,
        location=location,
        content=not count,
    )
    differences = found["differences"]
    assert isinstance(differences, list)
    if as_json:
        print_json(found)
    else:
        from parquedb.migrate.report import counted

        verdict = "equal" if found["equal"] else "different"
        typer.echo(
            f"{namespace}: {found['format']} and {found['against']} are {verdict} at "
            f"{counted(int(str(found['versions'])), 'common version')}"
        )
    for difference in differences:
        print_error(f"{namespace}: {difference}")
    raise typer.Exit(DONE if found["equal"] else FAILED)


def _count(rows: int | None) -> str:
    from parquedb.migrate.report import counted

    return "an unknown number of rows" if rows is None else counted(rows, "row")


def _split(namespaces: str | None) -> list[str] | str:
    if namespaces is None:
        return "*"
    return [name.strip() for name in namespaces.split(",") if name.strip()]


def exit_code(error: ParqueDBError) -> int:
    """Return the exit code that an error ends the command with."""
    match error:
        case InvalidInputError():
            return USAGE
        case ConflictError() | LossyError() | UnsupportedError() | StateError():
            return REFUSED
        case AlreadyExistsError():
            return REFUSED
        case _:
            return FAILED


documents.register(app)
upkeep.register(app)
check.register(app)


def run() -> None:
    """Run the command line; the entry point."""
    try:
        app()
    except ParqueDBError as error:
        print_error(str(error))
        if "--json" in sys.argv:
            print_json({"success": False, "error": str(error)})
        sys.exit(exit_code(error))
    except OSError as error:  # of a store or another file it would be a StorageError
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print_error(f"the output cannot be written: {error.strerror or error}")
        sys.exit(FAILED)
    except KeyboardInterrupt:
        print_error("interrupted; what was written so far is whole, run the same command to go on")
        sys.exit(FAILED)
