"""A folder of the local file system as a store.

Creation is a temporary file, ``fsync``, then ``link`` to the final name: the name appears with all
its bytes, durable, for exactly one creator. Temporary files are named ``.pqdb-tmp-*``, are never
listed, and a crash leaves nothing else behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from parquedb.ambient import SYSTEM, Ambient
from parquedb.errors import AlreadyExistsError, NotFoundError, StorageError
from parquedb.storage.keys import check_key
from parquedb.storage.store import NewObject, ObjectInfo

_TEMPORARY = ".pqdb-tmp-"
_FSYNC_THREADS = 16
_BATCH = 512
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}
_FICLONE = 0x40049409


class LocalStore:
    """Objects as files below one folder.

    Args:
        root: The folder. It is created when something is first written to it.
        durable: Whether writes are ``fsync``-ed before they return.
        ambient: Where the names of temporary files come from.

    Raises:
        StorageError: ``root`` exists and is no folder.
    """

    sets_modified_at = True

    def __init__(
        self, root: str | os.PathLike[str], *, durable: bool = True, ambient: Ambient = SYSTEM
    ) -> None:
        self._root = os.path.realpath(os.path.expanduser(os.fspath(root)))
        self._durable = durable
        self._ambient = ambient
        if os.path.lexists(self._root) and not os.path.isdir(self._root):
            raise StorageError(f"storage {self._root!r} is a file; name a folder instead")

    def __repr__(self) -> str:
        return f"LocalStore({self._root!r})"

    @property
    def root(self) -> str:
        """``file://`` and the absolute path, links resolved, nothing percent-encoded."""
        return f"file://{self._root}"

    def local_path(self, key: str) -> str:
        """Return the absolute path of a key, whether or not it exists."""
        return os.path.join(self._root, check_key(key)) if key else self._root

    def head(self, key: str) -> ObjectInfo | None:
        """Return size, modification time and etag of a file, or None."""
        path = self.local_path(key)
        try:
            stat = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _translate(error, path) from error
        return None if os.path.isdir(path) else _info(key, stat)

    def get(self, key: str) -> bytes:
        """Return a file's bytes."""
        with self.open_read(key) as file:
            return file.read()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``."""
        with self.open_read(key) as file:
            file.seek(start)
            return file.read(length)

    def open_read(self, key: str) -> BinaryIO:
        """Open a file for reading."""
        path = self.local_path(key)
        try:
            return open(path, "rb")
        except OSError as error:
            raise _translate(error, path) from error

    def create(self, item: NewObject) -> None:
        """Create a file if absent: temporary file, fsync, link, fsync of the folder."""
        if self.create_many([item]) == 0:
            raise AlreadyExistsError(f"{self.local_path(item.key)!r} exists already")

    def create_many(self, items: Sequence[NewObject]) -> int:
        """Create files in order, ``fsync``-ed in parallel, until one exists."""
        for start in range(0, len(items), _BATCH):
            batch = items[start : start + _BATCH]
            created = self._create_batch(batch)
            if created < len(batch):
                return start + created
        return len(items)

    def put_many(self, items: Sequence[NewObject]) -> None:
        """Write files under their own unique names, ``fsync``-ed in parallel."""
        for start in range(0, len(items), _BATCH):
            batch = items[start : start + _BATCH]
            with self._temporaries([item.key for item in batch]) as temporaries:
                self._write_all(batch, temporaries)
                for item, temporary in zip(batch, temporaries, strict=True):
                    _call(os.replace, temporary, self.local_path(item.key))
            self._sync_folders(item.key for item in batch)

    def replace(self, key: str, data: bytes) -> None:
        """Overwrite a file by renaming a new one over it."""
        self.put_many([NewObject(key, data)])

    @contextlib.contextmanager
    def open_create(self, key: str) -> Iterator[BinaryIO]:
        """Stream into a temporary file that gets its name when the context ends well."""
        path = self.local_path(key)
        temporary = self._temporary_beside(path)
        try:
            try:
                with open(temporary, "xb", buffering=1 << 20) as file:
                    yield file
                    file.flush()
                    if self._durable:
                        os.fsync(file.fileno())
                os.link(temporary, path)
            except FileExistsError as error:
                raise AlreadyExistsError(f"{path!r} exists already") from error
            except OSError as error:
                raise _translate(error, path) from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        self._sync_folders([key])

    def copy_many(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Copy files: a reflink where the file system can, else inside the kernel."""
        for start in range(0, len(pairs), _BATCH):
            batch = pairs[start : start + _BATCH]
            with self._temporaries([target for _, target in batch]) as temporaries:
                for (source, _), temporary in zip(batch, temporaries, strict=True):
                    _call(_copy_file, self.local_path(source), temporary)
                self._sync(temporaries)
                for (_, target), temporary in zip(batch, temporaries, strict=True):
                    _call(os.replace, temporary, self.local_path(target))
            self._sync_folders(target for _, target in batch)

    def delete(self, key: str) -> None:
        """Delete a file, and the folders that it leaves empty."""
        path = self.local_path(key)
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise _translate(error, path) from error
        folder = os.path.dirname(path)
        while folder != self._root:
            try:
                os.rmdir(folder)
            except OSError:
                return  # not empty, or somebody else's: either way it stays
            folder = os.path.dirname(folder)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the files below a folder by key, links to folders followed no further."""
        objects, folders = self.list_dir(prefix)
        entries: list[tuple[str, ObjectInfo | None]] = [(info.key, info) for info in objects]
        entries += [(f"{prefix}/{name}" if prefix else name, None) for name in folders]
        # "a.x" sorts before "a/y": keys, not names, decide
        for key, info in sorted(entries, key=lambda e: e[0] if e[1] else e[0] + "/"):
            if info is not None:
                yield info
            elif not os.path.islink(self.local_path(key)):
                yield from self.list(key)

    def list_dir(self, prefix: str) -> tuple[Sequence[ObjectInfo], Sequence[str]]:
        """List the files right under a folder and the names of its sub-folders, sorted."""
        path = self.local_path(prefix)
        objects: list[ObjectInfo] = []
        folders: list[str] = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append(entry.name)
                    elif not entry.name.startswith(_TEMPORARY):
                        key = f"{prefix}/{entry.name}" if prefix else entry.name
                        with contextlib.suppress(FileNotFoundError):  # deleted since: not listed
                            objects.append(_info(key, entry.stat()))
        except (FileNotFoundError, NotADirectoryError):
            return [], []
        except OSError as error:
            raise _translate(error, path) from error
        return sorted(objects, key=lambda o: o.key), sorted(folders)

    def link_many(self, pairs: Sequence[tuple[str, str]]) -> bool:
        """Hard-link each pair; what was linked before stays harmlessly if one cannot be."""
        made: list[str] = []
        for source, target in pairs:
            origin, path = self.local_path(source), self.local_path(target)
            self._make_folder(os.path.dirname(path))
            try:
                os.link(origin, path)
                made.append(path)
            except FileExistsError as error:
                if not self.same_object(source, target):
                    raise AlreadyExistsError(
                        f"{path!r} exists already with other bytes than {origin!r}"
                    ) from error
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise _translate(error, origin) from error
                for done in made:
                    _call(os.unlink, done)
                return False
        self._sync_folders(target for _, target in pairs)
        return True

    def same_object(self, a: str, b: str) -> bool:
        """Whether both keys name the same inode."""
        try:
            return os.path.samefile(self.local_path(a), self.local_path(b))
        except OSError:
            return False

    def _create_batch(self, items: Sequence[NewObject]) -> int:
        created = 0
        with self._temporaries([item.key for item in items]) as temporaries:
            self._write_all(items, temporaries)
            for item, temporary in zip(items, temporaries, strict=True):
                path = self.local_path(item.key)
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    break
                except OSError as error:
                    raise _translate(error, path) from error
                created += 1
        self._sync_folders(item.key for item in items[:created])
        return created

    @contextlib.contextmanager
    def _temporaries(self, keys: Sequence[str]) -> Iterator[Sequence[str]]:
        """Name a temporary file beside each key; remove what is left of them at the end."""
        names = [self._temporary_beside(self.local_path(key)) for key in keys]
        try:
            yield names
        finally:
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)

    def _write_all(self, items: Sequence[NewObject], temporaries: Sequence[str]) -> None:
        for item, temporary in zip(items, temporaries, strict=True):
            _call(_write_file, temporary, item)
        self._sync(temporaries)

    def _sync(self, paths: Sequence[str]) -> None:
        if self._durable:
            _fsync_all(paths)

    def _temporary_beside(self, path: str) -> str:
        folder = os.path.dirname(path)
        self._make_folder(folder)
        return f"{folder}/{_TEMPORARY}{self._ambient.random_bits(64):016x}"

    def _make_folder(self, folder: str) -> None:
        if os.path.isdir(folder):
            return
        parent = os.path.dirname(folder)
        self._make_folder(parent)
        try:
            os.mkdir(folder)
        except FileExistsError:
            if not os.path.isdir(folder):
                raise StorageError(
                    f"{folder!r} is a file where a folder is needed; move it away"
                ) from None
        except OSError as error:
            raise _translate(error, folder) from error
        if self._durable:
            _call(_fsync_path, parent)

    def _sync_folders(self, keys: Iterator[str] | Sequence[str]) -> None:
        if self._durable:
            for folder in {os.path.dirname(self.local_path(key)) for key in keys}:
                _call(_fsync_path, folder)


def _info(key: str, stat: os.stat_result) -> ObjectInfo:
    etag = f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"
    return ObjectInfo(key, stat.st_size, stat.st_mtime_ns // 1000, etag)


def _write_file(path: str, item: NewObject) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        view = memoryview(item.data)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)
    if item.modified_at_ms is not None:
        at_ns = item.modified_at_ms * 1_000_000
        os.utime(path, ns=(at_ns, at_ns))


def _fsync_path(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _fsync_all(paths: Sequence[str]) -> None:
    if len(paths) < 4:
        for path in paths:
            _call(_fsync_path, path)
        return
    with ThreadPoolExecutor(_FSYNC_THREADS) as pool:
        for _ in pool.map(lambda path: _call(_fsync_path, path), paths):
            pass


def _reflink(source: int, target: int) -> bool:
    """Share the source's extents with the target (Linux ``FICLONE``: btrfs, xfs, …)."""
    try:
        import fcntl  # noqa: PLC0415  (absent on Windows)

        fcntl.ioctl(target, _FICLONE, source)
    except (ImportError, OSError):
        return False
    return True


def _copy_file(source: str, target: str) -> None:
    with open(source, "rb") as file, open(target, "xb") as out:
        whole = _reflink(file.fileno(), out.fileno()) or _copy_range(file.fileno(), out.fileno())
        if not whole:
            shutil.copyfileobj(file, out, 1 << 24)


def _copy_range(source: int, target: int) -> bool:
    """Copy inside the kernel. False where it cannot, with nothing written."""
    if not hasattr(os, "copy_file_range"):
        return False
    left = os.fstat(source).st_size
    begun = False
    while left > 0:
        try:
            done = os.copy_file_range(source, target, min(left, 1 << 30))
        except OSError as error:
            if begun or error.errno not in _NO_LINK | {errno.EINVAL}:
                raise
            return False
        if done == 0:
            raise OSError(errno.EIO, "the file became shorter while it was copied")
        begun = True
        left -= done
    return True


def _call(function: Callable[..., object], *arguments: object) -> None:
    """Run a system call on paths and translate its failure, naming the first path."""
    try:
        function(*arguments)
    except OSError as error:
        raise _translate(error, str(arguments[0])) from error


def _translate(error: OSError, path: str) -> Exception:
    reason = error.strerror or str(error)
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.EISDIR:
            return NotFoundError(f"{path!r} does not exist")
        case errno.ENOSPC | errno.EDQUOT:
            return StorageError(f"{path!r}: {reason}; free space and run the same command again")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return StorageError(f"{path!r}: {reason}; make the folder writable and try again")
        case _:
            return StorageError(f"{path!r}: {reason}")
