"""Files that documents are exchanged by: their forms, and what was read of them so far."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import BinaryIO, NoReturn, cast

from parquedb.errors import InvalidInputError, NotFoundError, StorageError
from parquedb.slotted import dataclass

File = str | os.PathLike[str] | BinaryIO


class FileForm(StrEnum):
    """How a file holds documents."""

    NDJSON = "ndjson"
    """A JSON object in each line."""
    JSON = "json"
    """A JSON array of objects."""
    CSV = "csv"
    """A heading and rows, separated by commas."""
    PARQUET = "parquet"
    """Columns, by Apache Parquet."""


_ENDINGS = {
    ".ndjson": FileForm.NDJSON,
    ".jsonl": FileForm.NDJSON,
    ".json": FileForm.JSON,
    ".csv": FileForm.CSV,
    ".parquet": FileForm.PARQUET,
    ".parq": FileForm.PARQUET,
    ".pq": FileForm.PARQUET,
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import or export is.

    Args:
        documents: Documents read or written so far.
        read_bytes: Bytes of the file that were read so far; 0 for an export.
        total_bytes: Bytes of the file, None where it is not known.
    """

    documents: int
    read_bytes: int = 0
    total_bytes: int | None = None


OnProgress = Callable[[Progress], object]


def form_of(file: File, given: FileForm | None) -> FileForm:
    """Return the form of a file: the given one, else by its name's ending, else NDJSON.

    Raises:
        InvalidInputError: The ending says nothing.
    """
    if given is not None:
        return FileForm(given)
    if not isinstance(file, str | os.PathLike):
        return FileForm.NDJSON
    ending = os.path.splitext(os.fspath(file))[1].lower()
    if ending not in _ENDINGS:
        forms = ", ".join(FileForm)
        raise InvalidInputError(
            f"{os.fspath(file)!r} does not say by its ending what it is; name the format, one of "
            f"{forms}"
        )
    return _ENDINGS[ending]


class Incoming:
    """A file of documents, open for reading.

    Args:
        name: What messages call it.
        file: It.
        total_bytes: Its length, None where it is not known.
    """

    def __init__(self, name: str, file: BinaryIO, total_bytes: int | None) -> None:
        self.name = name
        self.file = file
        self.total_bytes = total_bytes
        self.read_bytes = 0
        self.unit = "line"

    def read(self, size: int) -> bytes:
        """Read at most so many bytes; none at the end."""
        data = self.file.read(size)
        self.read_bytes += len(data)
        return data

    def where(self, number: int) -> str:
        """Return how messages name a place: the file and the number of a line or row."""
        return f"{self.name}, {self.unit} {number}"

    def refuse(self, where: str, problem: str) -> NoReturn:
        """Raise the error for bad content.

        Raises:
            InvalidInputError: Always.
        """
        raise InvalidInputError(f"{self.name}{where}: {problem}; nothing was written")


@contextmanager
def open_incoming(file: File) -> Iterator[Incoming]:
    """Open a file for reading, or take one that is open.

    Raises:
        NotFoundError: There is no such file.
        StorageError: It cannot be read.
    """
    if not isinstance(file, str | os.PathLike):
        yield Incoming(str(getattr(file, "name", "the input")), file, None)
        return
    path = os.fspath(file)
    try:
        opened = open(path, "rb")  # noqa: SIM115  (closed below)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path!r} to import; check the name") from error
    except OSError as error:
        raise StorageError(f"{path!r} cannot be read: {error.strerror or error}") from error
    with opened:
        yield Incoming(path, cast("BinaryIO", opened), os.fstat(opened.fileno()).st_size or None)


@contextmanager
def seekable(incoming: Incoming) -> Iterator[BinaryIO]:
    """Return the file itself if it can be read twice, else a copy in a temporary file."""
    if incoming.file.seekable():
        yield incoming.file
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(incoming.file, copy, 1 << 20)
        copy.seek(0)
        yield cast("BinaryIO", copy)
