"""The commands that read and write documents: ``query``, ``sql``, ``import``, ``export``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Annotated, Any, BinaryIO

import typer

from parquedb.cli.database import open_database
from parquedb.cli.options import (
    AsOfOption,
    FileFormOption,
    IncludeDeletedOption,
    JsonOption,
    LocationOption,
    NamespaceArgument,
    OnExistingName,
    StorageOption,
    WarehouseOption,
    name_option,
    number_option,
)
from parquedb.cli.output import (
    print_documents_table,
    print_json,
    shown_documents,
    size_of,
    until_nobody_reads,
)
from parquedb.errors import InvalidInputError

STANDARD = "-"
"""The name that stands for standard input or output."""

TableOption = Annotated[bool, typer.Option("--table", help="Print a table, not JSON lines.")]
ExtendedOption = Annotated[
    bool,
    typer.Option("--extended", help="Exact JSON, with tags for what JSON has no kind for."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("query")(query)
    app.command("sql")(sql)
    app.command("import")(import_)
    app.command("export")(export)


def query(
    namespace: NamespaceArgument,
    filter_: Annotated[
        str, typer.Argument(metavar="[FILTER]", help="MongoDB's filter language, as JSON.")
    ] = "{}",
    limit: Annotated[int | None, number_option("--limit", 0, "At most so many.")] = None,
    skip: Annotated[int, number_option("--skip", 0, "Leave out so many at the beginning.")] = 0,
    sort: Annotated[
        str | None,
        typer.Option("--sort", metavar="A,-B", help="Order by fields, '-' before descending ones."),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option("--project", metavar="A,B", help="Only these fields; all but -A,-B."),
    ] = None,
    as_of: AsOfOption = None,
    include_deleted: IncludeDeletedOption = False,
    extended: ExtendedOption = False,
    table: TableOption = False,
    storage: StorageOption = None,
    warehouse: WarehouseOption = "",
    location: LocationOption = "",
    as_json: JsonOption = False,
) -> None:
    """Print the documents that match a filter, one JSON object a line."""
    from parquedb.documents.exchange.readable import parse_json

    _check_output(table=table, as_json=as_json)
    spec = parse_json(filter_, "the filter")
    with open_database(storage, warehouse, location) as db:
        found = db.existing(namespace).find(
            spec,
            sort=None if sort is None else _split(sort),
            limit=limit,
            skip=skip,
            project=None if project is None else _projection(_split(project)),
            include_deleted=include_deleted,
            as_of=as_of,
        )
        _print_documents(found, "documents", extended=extended, table=table, as_json=as_json)


def sql(
    statement: Annotated[
        str, typer.Argument(metavar="SQL", help="DuckDB's SQL; namespaces are tables.")
    ],
    as_of: AsOfOption = None,
    extended: ExtendedOption = False,
    table: TableOption = False,
    storage: StorageOption = None,
    warehouse: WarehouseOption = "",
    location: LocationOption = "",
    as_json: JsonOption = False,
) -> None:
    """Run SQL over namespaces and print the rows, one JSON object a line."""
    _check_output(table=table, as_json=as_json)
    with open_database(storage, warehouse, location) as db:
        rows = (db if as_of is None else db.as_of(as_of)).sql(statement)
        documents = (row for batch in rows.to_batches(10_000) for row in batch.to_pylist())
        _print_documents(documents, "rows", extended=extended, table=table, as_json=as_json)


def import_(
    namespace: NamespaceArgument,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="JSON, NDJSON, CSV or Parquet; - is stdin.")
    ],
    form: FileFormOption = None,
    id_field: Annotated[
        str | None,
        typer.Option("--id-field", metavar="F", help="Make ids of this field's values."),
    ] = None,
    on_conflict: Annotated[
        OnExistingName,
        name_option("--on-conflict", OnExistingName, "What to do where an id is taken."),
    ] = OnExistingName.ERROR,
    batch: Annotated[int, number_option("--batch", 1, "Documents in memory at a time.")] = 65_536,
    storage: StorageOption = None,
    warehouse: WarehouseOption = "",
    location: LocationOption = "",
    as_json: JsonOption = False,
) -> None:
    """Create the documents of a file, all or none."""
    from parquedb.documents.exchange.files import FileForm
    from parquedb.documents.exchange.imports import ImportOptions, OnExisting

    with (
        open_database(storage, warehouse, location, writes=True) as db,
        shown_documents(f"{namespace}: read", quiet=as_json) as show,
    ):
        done = db.import_file(
            namespace,
            sys.stdin.buffer if file == STANDARD else file,
            ImportOptions(
                form=None if form is None else FileForm(form.value),
                id_field=id_field,
                on_conflict=OnExisting(on_conflict.value),
                batch=batch,
                on_progress=show,
            ),
        )
    if as_json:
        counts = {
            "documents": done.documents,
            "created": done.created,
            "replaced": done.replaced,
            "skipped": done.skipped,
        }
        print_json({"success": True, "namespace": namespace, **counts})
        return
    typer.echo(
        f"{namespace}: {done.created} created, {done.replaced} replaced, {done.skipped} skipped, "
        f"of {done.documents} in {'standard input' if file == STANDARD else repr(file)}"
    )


def export(
    namespace: NamespaceArgument,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Where to; - is standard output.")
    ] = STANDARD,
    form: FileFormOption = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="JSON for people: dates as text, no tags.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    as_of: AsOfOption = None,
    include_deleted: IncludeDeletedOption = False,
    storage: StorageOption = None,
    warehouse: WarehouseOption = "",
    location: LocationOption = "",
    as_json: JsonOption = False,
) -> None:
    """Write the documents of a namespace to a file that import reads, exactly by default."""
    from parquedb.documents.exchange.exports import ExportOptions
    from parquedb.documents.exchange.files import FileForm

    to_standard = file == STANDARD
    if to_standard and as_json:
        raise InvalidInputError("--json and an export to standard output exclude each other")
    with (
        open_database(storage, warehouse, location) as db,
        shown_documents(f"{namespace}: written", quiet=as_json or to_standard) as show,
        until_nobody_reads() if to_standard else nullcontext(),
    ):
        done = db.export_file(
            namespace,
            sys.stdout.buffer if to_standard else file,
            ExportOptions(
                form=None if form is None else FileForm(form.value),
                plain=plain,
                include_deleted=include_deleted,
                as_of=as_of,
                overwrite=force,
                on_progress=show,
            ),
        )
    if to_standard:
        return
    if as_json:
        print_json(
            {
                "success": True,
                "namespace": namespace,
                "file": file,
                "format": done.form,
                "documents": done.documents,
                "bytes": done.size_bytes,
            }
        )
    else:
        typer.echo(f"{namespace}: {done.documents} documents, {size_of(done.size_bytes)}: {file}")


def _check_output(*, table: bool, as_json: bool) -> None:
    if table and as_json:
        raise InvalidInputError("--table and --json exclude each other")


def _print_documents(
    documents: Iterable[Mapping[str, Any]], key: str, *, extended: bool, table: bool, as_json: bool
) -> None:
    """Print documents as lines, as a table or as one JSON document."""
    if table:
        print_documents_table(list(documents))
        return
    texts = _texts(documents, extended=extended)
    out = sys.stdout.buffer
    with until_nobody_reads():
        if as_json:
            _write_list(out, key, texts)
            return
        for text in texts:
            out.write(text + b"\n")


def _write_list(out: BinaryIO, key: str, texts: Iterator[bytes]) -> None:
    first = next(texts, None)
    out.write(b'{"%b": [' % key.encode())
    if first is not None:
        out.write(b"\n" + first)
        out.writelines(b",\n" + text for text in texts)
        out.write(b"\n")
    out.write(b"]}\n")


def _texts(documents: Iterable[Mapping[str, Any]], *, extended: bool) -> Iterator[bytes]:
    from parquedb.documents.exchange.readable import readable_json
    from parquedb.rows.jsonform import encode_document

    for document in documents:
        yield encode_document(dict(document)) if extended else readable_json(document)


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _projection(names: list[str]) -> dict[str, int]:
    """Return the projection of names, those with a ``-`` in front left out.

    Raises:
        InvalidInputError: Some have a ``-`` and some have none.
    """
    left_out = [name.startswith("-") for name in names]
    if any(left_out) != all(left_out):
        raise InvalidInputError(
            f"--project {','.join(names)} both names fields and leaves some out; do one of the two"
        )
    return {name.removeprefix("-"): 0 if name.startswith("-") else 1 for name in names}
