"""Check cheaply that Parquet files are there, whole, and what they were recorded to be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from parquedb.errors import FormatError, NotFoundError, UnsupportedError
from parquedb.parquet.footer import check_trailer
from parquedb.storage.store import LocalPaths, Store

_TRAILER_BYTES = 8
_SHOWN = 20
_CHUNK = 64


def probe_file(store: Store, key: str, expected_size_bytes: int | None) -> None:
    """Check one file: it exists, has the size recorded and ends like a Parquet file.

    Args:
        store: The store.
        key: The file.
        expected_size_bytes: Its length by the table's metadata, None where that does not say.

    Raises:
        FormatError: It is gone, of another size, or no Parquet file.
        UnsupportedError: It is encrypted.
    """
    try:
        size_bytes, trailer = _read_trailer(store, key)
    except NotFoundError as error:
        raise FormatError(
            f"{key!r} does not exist; restore the file, or remove it from the table", location=key
        ) from error
    if expected_size_bytes is not None and size_bytes != expected_size_bytes:
        raise FormatError(
            f"{key!r} has {size_bytes} bytes where the table's metadata says "
            f"{expected_size_bytes}: it was overwritten or cut short; restore the file",
            location=key,
        )
    check_trailer(key, size_bytes, trailer)


def probe_files(store: Store, files: Sequence[tuple[str, int | None]], threads: int = 8) -> None:
    """Check many files in parallel.

    Args:
        store: The store.
        files: Keys and expected sizes, see :func:`probe_file`.
        threads: How many at a time, in a store that is not a local disk.

    Raises:
        FormatError: Some are not right; all are listed, the first twenty in the message.
        UnsupportedError: Some are encrypted and no other problem was found.
    """

    def check(part: Sequence[tuple[str, int | None]]) -> list[FormatError | UnsupportedError]:
        found: list[FormatError | UnsupportedError] = []
        for key, size_bytes in part:
            try:
                probe_file(store, key, size_bytes)
            except (FormatError, UnsupportedError) as error:
                found.append(error)
        return found

    parts = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    # a local disk answers faster than threads can be switched
    if len(parts) < 2 or isinstance(store, LocalPaths):
        errors = [error for part in parts for error in check(part)]
    else:
        with ThreadPoolExecutor(threads) as pool:
            errors = [error for found in pool.map(check, parts) for error in found]
    if len(errors) == 1 or all(isinstance(error, UnsupportedError) for error in errors):
        for error in errors:
            raise error
        return
    problems = tuple(str(error) for error in errors)
    more = f"\n… and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    raise FormatError(
        f"{len(problems)} of {len(files)} data files are not right:\n"
        + "\n".join(problems[:_SHOWN])
        + more,
        location=next(e.location for e in errors if isinstance(e, FormatError)),
        problems=problems,
    )


def _read_trailer(store: Store, key: str) -> tuple[int, bytes]:
    """Return a file's size and its last eight bytes."""
    if isinstance(store, LocalPaths):
        try:
            fd = os.open(store.local_path(key), os.O_RDONLY)
        except OSError:
            pass  # the store's own methods below say what is wrong
        else:
            try:
                size_bytes = os.fstat(fd).st_size
                os.lseek(fd, max(0, size_bytes - _TRAILER_BYTES), os.SEEK_SET)
                return size_bytes, os.read(fd, _TRAILER_BYTES)
            except IsADirectoryError:
                raise NotFoundError(f"{key!r} is a folder") from None
            finally:
                os.close(fd)
    info = store.head(key)
    if info is None:
        raise NotFoundError(f"'{store.root}/{key}' does not exist")
    length = min(_TRAILER_BYTES, info.size_bytes)
    return info.size_bytes, store.get_range(key, info.size_bytes - length, length)
