"""Single files of the local file system: written whole, copied, linked, made durable.

What the operating system refuses becomes one of ParqueDB's errors here.
"""

from __future__ import annotations

import errno
import functools
import io
import os
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, BinaryIO

from parquedb.errors import AlreadyExistsError, NotFoundError, StorageError
from parquedb.storage.store import NewObject, ObjectInfo

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})
"""How file systems say that they cannot make a hard link here."""

_FSYNC_THREADS = 16
_FICLONE = 0x40049409


class NewFile(io.FileIO):
    """A file being written, whose failures are told apart from those of the one who writes it.

    Args:
        path: The file, which must not exist.
        target: The name that it will have, for messages.
    """

    def __init__(self, path: str, target: str) -> None:
        super().__init__(path, "xb")
        self.target = target

    def write(self, data: ReadableBuffer, /) -> int:
        """Write some of the bytes and return how many."""
        try:
            return super().write(data)
        except OSError as error:
            raise write_error(error, self.target) from error


def info_of(key: str, found: os.stat_result) -> ObjectInfo:
    """Return what a store says of a file."""
    return _info(key, found.st_ino, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=64)  # a table's mark is looked at again and again
def _info(key: str, inode: int, modified_ns: int, size_bytes: int) -> ObjectInfo:
    etag = f"{inode:x}-{modified_ns:x}-{size_bytes:x}"
    return ObjectInfo(key, size_bytes, modified_ns // 1000, etag)


def stat_of(entry: os.DirEntry[str]) -> os.stat_result:
    """Return what a file in a folder is, of a link that leads to nothing what the link is."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return entry.stat(follow_symlinks=False)


def is_above(link: str, folder: str) -> bool:
    """Whether a link leads to the folder that it is in, or to one above."""
    target, inside = os.path.realpath(link), os.path.realpath(folder)
    return f"{inside}/".startswith(f"{target.rstrip('/')}/")


def same_file(a: str, b: str) -> bool:
    """Whether two names exist and are the same file."""
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


def link_new(temporary: str, path: str) -> None:
    """Give a finished file its name, for exactly one creator.

    Raises:
        AlreadyExistsError: The name is taken.
    """
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        if os.path.isdir(path):
            raise write_error(OSError(errno.EISDIR, "Is a directory"), path) from error
        if not same_file(temporary, path):  # a network file system may repeat what succeeded
            raise AlreadyExistsError(f"{path!r} exists already") from error
    except OSError as error:
        if error.errno in NO_LINK:
            raise StorageError(
                f"{path!r}: {error.strerror}; this file system has no hard links, on which atomic "
                "commits rest: keep the tables on another disk"
            ) from error
        raise write_error(error, path) from error


def write_file(item: NewObject, path: str) -> None:
    """Write a new file, with the modification time that it shall have."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        view = memoryview(item.data)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)
    if item.modified_at_ms is not None:
        at_ns = item.modified_at_ms * 1_000_000
        os.utime(path, ns=(at_ns, at_ns))


def fsync_path(path: str) -> None:
    """Make a file or a folder durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_all(paths: Collection[str], *, missing_ok: bool = False) -> None:
    """Make files or folders durable, many at once.

    Args:
        paths: Which.
        missing_ok: Whether one may be gone: a folder whose files somebody has deleted since.
    """

    def sync(path: str) -> None:
        try:
            fsync_path(path)
        except FileNotFoundError as error:
            if not missing_ok:
                raise write_error(error, path) from error
        except OSError as error:
            raise write_error(error, path) from error

    def sync_each(some: Iterable[str]) -> None:
        for path in some:
            sync(path)

    if len(paths) < 4:
        sync_each(paths)
        return
    every = list(paths)
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  (a get does without)

    with ThreadPoolExecutor(_FSYNC_THREADS) as pool:  # a task for each would cost more than it does
        for _ in pool.map(sync_each, (every[i::_FSYNC_THREADS] for i in range(_FSYNC_THREADS))):
            pass


def _reflink(source: int, target: int) -> bool:
    """Share the source's extents with the target (Linux ``FICLONE``: btrfs, xfs, …)."""
    try:
        import fcntl  # noqa: PLC0415  (absent on Windows)

        fcntl.ioctl(target, _FICLONE, source)
    except (ImportError, OSError):
        return False
    return True


def copy_file(source: str, target: str) -> None:
    """Copy into a new file, sharing or inside the kernel where that is possible."""
    with open(source, "rb") as file, open(target, "xb") as out:
        whole = _reflink(file.fileno(), out.fileno()) or _copy_range(file.fileno(), out.fileno())
        if not whole:
            import shutil  # noqa: PLC0415  (a get does without its archives)

            shutil.copyfileobj(file, out, 1 << 24)


def copy_beginning(source: BinaryIO, target: BinaryIO, size_bytes: int) -> int:
    """Copy a file's first bytes into a new, empty one; inside the kernel where that is possible.

    Args:
        source: The file.
        target: The new one; it stands behind the bytes copied afterwards.
        size_bytes: How many bytes.

    Returns:
        How many there were.

    Raises:
        StorageError: The target cannot be written.
    """
    source.seek(0)
    raw = getattr(target, "raw", None)
    if isinstance(source, io.BufferedReader) and isinstance(raw, NewFile):
        try:
            if _copy_range(source.fileno(), raw.fileno(), size_bytes):
                return target.seek(size_bytes)
        except OSError as error:
            raise write_error(error, raw.target) from error
    left = size_bytes
    while left > 0 and (data := source.read(min(left, 1 << 24))):
        target.write(data)
        left -= len(data)
    return size_bytes - left


def _copy_range(source: int, target: int, size_bytes: int | None = None) -> bool:
    """Copy inside the kernel. False where it cannot, with nothing written."""
    if not hasattr(os, "copy_file_range"):
        return False
    left = os.fstat(source).st_size if size_bytes is None else size_bytes
    offset = 0  # not where the file stands: it may have been read ahead
    while left > 0:
        try:
            done = os.copy_file_range(source, target, min(left, 1 << 30), offset)
        except OSError as error:
            if offset or error.errno not in NO_LINK | {errno.EINVAL}:
                raise
            return False
        if done == 0:
            raise OSError(errno.EIO, "the file became shorter while it was copied")
        offset += done
        left -= done
    return True


def read_error(error: OSError, path: str) -> Exception:
    """Say why something could not be read."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
        return NotFoundError(f"{path!r} does not exist")
    return _store_error(error, path, "readable")


def write_error(error: OSError, path: str) -> Exception:
    """Say why something could not be written."""
    match error.errno:
        case errno.ENOENT:
            return StorageError(f"{path!r}: its folder was deleted meanwhile; try again")
        case errno.EISDIR | errno.ENOTDIR | errno.ENOTEMPTY:
            return StorageError(f"{path!r}: a folder and a file have the same name; move one away")
        case _:
            return _store_error(error, path, "writable")


def _store_error(error: OSError, path: str, needed: str) -> Exception:
    reason = error.strerror or str(error)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return StorageError(f"{path!r}: {reason}; free space and run the same command again")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return StorageError(
                f"{path!r}: {reason}; make the folder {needed}, and what is in it, and try again"
            )
        case _:
            return StorageError(f"{path!r}: {reason}")
