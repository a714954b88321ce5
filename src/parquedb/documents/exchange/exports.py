"""Export: the documents of a collection into a file that an import reads.

JSON is exact in its extended form: what JSON has no kind for is tagged (``{"$date": "…"}``).
Parquet is exact too: typed columns, and ``$data`` for the rest. CSV and plain JSON are for other
programs.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Protocol

from parquedb.documents.exchange.files import File, FileForm, OnProgress, Progress, form_of
from parquedb.documents.exchange.readable import json_text, readable_json, readable_value
from parquedb.documents.past import CollectionSnapshot
from parquedb.documents.searching import AsOf
from parquedb.errors import AlreadyExistsError, InvalidInputError, StorageError
from parquedb.rows.columns import SYSTEM_FIELDS, evolve, is_document_schema
from parquedb.rows.jsonform import encode_document
from parquedb.slotted import dataclass
from parquedb.storage.store import LocalPaths, Store

Document = dict[str, Any]

_TOLD = 10_000
"""So many documents are written between two reports of progress."""
_ROWS = 65_536
_COPIED_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How documents are exported.

    Args:
        form: The file's form; by the ending of its name without one.
        plain: Whether JSON is written for people (dates are text) instead of exactly.
        include_deleted: Whether deleted documents are exported too.
        as_of: A version or time to export instead of now.
        overwrite: Whether a file that exists is replaced.
        on_progress: Called now and then.
    """

    form: FileForm | None = None
    plain: bool = False
    include_deleted: bool = False
    as_of: AsOf = None
    overwrite: bool = False
    on_progress: OnProgress | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did.

    Args:
        documents: Documents written.
        size_bytes: Bytes written.
        form: The file's form.
    """

    documents: int
    size_bytes: int
    form: FileForm


class Exporting(Protocol):
    """What an export needs of a collection."""

    def snapshot(self, version: AsOf = None) -> CollectionSnapshot:
        """Return the collection as it is, or was, for reading only."""
        ...


def export_file(collection: Exporting, file: File, options: ExportOptions) -> Exported:
    """Write the documents of a collection to a file. The file appears whole or not at all.

    Raises:
        AlreadyExistsError: It exists and shall not be replaced.
        InvalidInputError: Its ending does not say what it is to be, or it would count as data.
        StorageError: It cannot be written.
    """
    form = form_of(file, options.form)
    snapshot = collection.snapshot(options.as_of)
    export = _Export(snapshot, options)
    write = _WRITERS[form]
    if not isinstance(file, str | os.PathLike):
        counted = _Counted(file)
        write(export, counted)
        return Exported(export.documents, counted.size_bytes, form)
    path = os.path.abspath(os.path.expanduser(os.fspath(file)))
    _check_target(path, snapshot.space.store, form, options)
    temporary = f"{path}.{snapshot.space.ambient.random_bits(32):08x}.tmp"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(temporary, "xb") as opened:
            counted = _Counted(opened)
            write(export, counted)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"{path!r} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(temporary)
    return Exported(export.documents, counted.size_bytes, form)


def _check_target(path: str, store: Store, form: FileForm, options: ExportOptions) -> None:
    if os.path.isdir(path):
        raise InvalidInputError(f"{path!r} is a folder; name a file in it")
    if os.path.exists(path) and not os.path.isfile(path):
        raise InvalidInputError(
            f"{path!r} is a device or a pipe, which a file would replace; write to standard output "
            "('-') and redirect that"
        )
    if os.path.exists(path) and not options.overwrite:
        raise AlreadyExistsError(
            f"{path!r} exists and was left as it is; name another file, or replace it with "
            "overwrite=True (--force)"
        )
    if form is not FileForm.PARQUET or not isinstance(store, LocalPaths):
        return
    root = store.local_path("")
    inside = os.path.relpath(os.path.realpath(path), root).split(os.sep)
    if inside[0] != ".." and not any(part.startswith(("_", ".")) for part in inside):
        raise InvalidInputError(
            f"{path!r} lies in the storage {root!r}, where a Parquet file counts as data of a "
            "namespace; export to a folder outside of it"
        )


class _Counted:
    """A file being written that knows how much was."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.size_bytes += len(data)


class _Export:
    """One export."""

    def __init__(self, snapshot: CollectionSnapshot, options: ExportOptions) -> None:
        self.snapshot = snapshot
        self.options = options
        self.documents = 0

    def read(self) -> Iterator[Document]:
        """Yield the documents, the same ones each time."""
        self.documents = 0
        for document in self.snapshot.find(include_deleted=self.options.include_deleted):
            yield document
            self.documents += 1
            if self.documents % _TOLD == 0:
                self._tell()
        self._tell()

    def encode(self, document: Document) -> bytes:
        """Return a document as JSON."""
        return readable_json(document) if self.options.plain else encode_document(document)

    def _tell(self) -> None:
        if self.options.on_progress is not None:
            self.options.on_progress(Progress(self.documents))


def _write_ndjson(export: _Export, file: _Counted) -> None:
    for document in export.read():
        file.write(export.encode(document) + b"\n")


def _write_json(export: _Export, file: _Counted) -> None:
    before = b"[\n"
    for document in export.read():
        file.write(before + export.encode(document))
        before = b",\n"
    file.write(b"\n]\n" if before == b",\n" else b"[]\n")


def _write_csv(export: _Export, file: _Counted) -> None:
    """Write a heading and rows. The documents are read twice, first for the names of fields."""
    found = dict.fromkeys(name for document in export.read() for name in document)
    names = [name for name in SYSTEM_FIELDS if name in found]
    names += [name for name in found if name not in SYSTEM_FIELDS]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for document in export.read():
        writer.writerow([_cell(document.get(name)) for name in names])
        if text.tell() > 1 << 16:
            file.write(text.getvalue().encode())
            text.seek(0)
            text.truncate()
    file.write(text.getvalue().encode() if names else b"")


def _cell(value: Any) -> str:
    """Return the text of a cell."""
    if value is None:
        return ""
    shown = readable_value(value)
    return shown if isinstance(shown, str) else json_text(shown).decode()


def _write_parquet(export: _Export, file: _Counted) -> None:
    from parquedb.parquet.write import write_parquet  # noqa: PLC0415  (the others do without)
    from parquedb.rows.shred import shred  # noqa: PLC0415
    from parquedb.storage.local import LocalStore  # noqa: PLC0415

    view = export.snapshot.space.view()
    if view.sources and not is_document_schema(view.schema):
        raise InvalidInputError(
            f"namespace {export.snapshot.name!r} is a table without '$id': its files are Parquet "
            "already; export it as NDJSON, JSON or CSV, or query it with SQL"
        )
    newer = [document for document in view.overlay.values() if document is not None]
    schema = evolve(view.schema if view.schema.fields else None, newer)
    documents = export.read()
    chunks = iter(lambda: list(itertools.islice(documents, _ROWS)), [])
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(folder, durable=False)
        write_parquet(store, "export.parquet", (shred(part, schema) for part in chunks), schema)
        with store.open_read("export.parquet") as made:
            while data := made.read(_COPIED_BYTES):
                file.write(data)


_WRITERS: dict[FileForm, Callable[[_Export, _Counted], None]] = {
    FileForm.NDJSON: _write_ndjson,
    FileForm.JSON: _write_json,
    FileForm.CSV: _write_csv,
    FileForm.PARQUET: _write_parquet,
}
