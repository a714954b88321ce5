"""The command ``check``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from parquedb.cli.options import JsonOption, LocationOption, StorageOption, WarehouseOption
from parquedb.cli.output import print_error, print_json, size_of
from parquedb.cli.settings import find_storage
from parquedb.errors import InvalidInputError

if TYPE_CHECKING:
    from parquedb.maintain.check_report import Checked, CheckProgress, CheckReport

_FAILED = 1
_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    namespaces: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NS]...", help="The namespaces, or '*'. [default: all]"),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All namespaces.")] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read all rows and deletion vectors too.")
    ] = False,
    storage: StorageOption = None,
    warehouse: WarehouseOption = "",
    location: LocationOption = "",
    as_json: JsonOption = False,
) -> None:
    """Check everything that the metadata of tables says; nothing is written."""
    from parquedb import backends

    names = [] if all_ or namespaces == ["*"] else list(namespaces or ())
    if all_ and namespaces not in (None, [], ["*"]):
        raise InvalidInputError("name namespaces or say --all, not both")
    with _shown(quiet=as_json) as show:
        report = backends.check_backend(
            find_storage(storage),
            names or "*",
            warehouse=warehouse,
            location=location,
            deep=deep,
            on_progress=show,
        )
    if as_json:
        print_json(report.to_json())
    else:
        _print(report)
    for name, found in report.namespaces.items():
        for finding in found.findings:
            print_error(f"{name}: {finding}")
    raise typer.Exit(0 if report.healthy else _FAILED)


def _print(report: CheckReport) -> None:
    if not report.namespaces:
        typer.echo("there are no namespaces")
    for name, found in report.namespaces.items():
        typer.echo(f"{name}: {_verdict(found)}")
        for note in found.notes:
            typer.echo(f"  note: {note}")
        if found.orphans:
            _print_orphans(name, found)


def _verdict(found: Checked) -> str:
    tables = ", ".join(
        f"{format_.label} ({versions} version{'' if versions == 1 else 's'})"
        for format_, versions in found.versions.items()
    )
    compared = f", compared at {found.compared} common versions" if found.compared else ""
    count = len(found.findings)
    verdict = "healthy" if found.healthy else f"{count} finding{'' if count == 1 else 's'}"
    return f"{verdict}; {tables or 'no table'}, {found.files} files{compared}"


def _print_orphans(name: str, found: Checked) -> None:
    size_bytes = sum(orphan.size_bytes for orphan in found.orphans)
    typer.echo(
        f"  {len(found.orphans)} orphans, {size_of(size_bytes)}, to which nothing refers: "
        f"'parquedb vacuum {name}' deletes those that ParqueDB left behind, the engine that wrote "
        "them the others"
    )
    for orphan in found.orphans[:_SHOWN]:
        typer.echo(f"    {orphan.path}  {size_of(orphan.size_bytes)}")
    if len(found.orphans) > _SHOWN:
        typer.echo(f"    and {len(found.orphans) - _SHOWN} more, see --json")


@contextmanager
def _shown(*, quiet: bool) -> Iterator[Callable[[CheckProgress], None]]:
    """Show what is checked, on standard error: a line on a terminal, else one for each phase."""
    if quiet:
        yield lambda _: None
        return
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("checking") as status:
            yield lambda told: status.update(
                f"{told.namespace}: {told.phase.value}, {told.files} files, "
                f"{told.findings} findings"
            )
        return
    seen: set[tuple[str, str]] = set()

    def show_line(told: CheckProgress) -> None:
        if (told.namespace, told.phase.value) not in seen:
            seen.add((told.namespace, told.phase.value))
            sys.stderr.write(f"{told.namespace}: {told.phase.value}\n")

    yield show_line
