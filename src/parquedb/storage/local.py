"""A folder of the local file system as a store.

Creation is a temporary file, ``fsync``, then ``link`` to the final name: the name appears with all
its bytes, durable, for exactly one creator. Temporary files are named ``.pqdb-tmp-*``, are never
listed (nor are lock files, ``.pqdb-lock``), and a crash leaves nothing else behind. Names made in
one folder become durable in the order in which they were made (the journalling file systems keep
it); one ``fsync`` of the folder at the end of a batch settles them all.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import BinaryIO, cast

from parquedb.ambient import SYSTEM, Ambient
from parquedb.errors import AlreadyExistsError, CommitUnknownError, StorageError
from parquedb.storage.appends import FileLock, LocalAppendFile
from parquedb.storage.files import (
    NO_LINK,
    NewFile,
    copy_file,
    fsync_all,
    fsync_path,
    info_of,
    is_above,
    link_new,
    read_error,
    same_file,
    stat_of,
    write_error,
    write_file,
)
from parquedb.storage.keys import check_key
from parquedb.storage.store import NewObject, ObjectInfo

_TEMPORARY = ".pqdb-tmp-"
_LOCK = ".pqdb-lock"
_BATCH = 512
_ATTEMPTS = 100
_checked = functools.lru_cache(maxsize=1024)(check_key)


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
        self._settled: set[str] = set()  # folders whose names are durable
        if os.path.lexists(self._root) and not os.path.isdir(self._root):
            raise StorageError(f"storage {self._root!r} is a file; name a folder instead")

    def __repr__(self) -> str:
        return f"LocalStore({self._root!r})"

    @property
    def root(self) -> str:
        """``file://`` and the absolute path, links resolved, nothing percent-encoded."""
        return f"file://{self._root.rstrip('/')}"

    def local_path(self, key: str) -> str:
        """Return the absolute path of a key, whether or not it exists."""
        return f"{self._root}/{check_key(key)}" if key else self._root

    def head(self, key: str) -> ObjectInfo | None:
        """Return size, modification time and etag of a file, or None."""
        path = self._path(key)
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise read_error(error, path) from error
        return info_of(key, found) if stat.S_ISREG(found.st_mode) else None

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
        path = self._path(key)
        try:
            return open(path, "rb")
        except OSError as error:
            raise read_error(error, path) from error

    def create(self, item: NewObject) -> None:
        """Create a file if absent: temporary file, fsync, link, fsync of the folder."""
        if self.create_many([item]) == 0:
            raise AlreadyExistsError(f"{self._path(item.key)!r} exists already")

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
                self._rename([item.key for item in batch], temporaries)

    def replace(self, key: str, data: bytes) -> None:
        """Overwrite a file by renaming a new one over it."""
        self.put_many([NewObject(key, data)])

    @contextlib.contextmanager
    def open_create(self, key: str) -> Iterator[BinaryIO]:
        """Stream into a temporary file that gets its name when the context ends well."""
        with self._temporaries([key]) as (temporary,):
            with self._open_temporary(temporary, self._path(key)) as file:
                yield file
                file.flush()
            self._sync([temporary])
            link_new(temporary, self._path(key))
        self._sync_folders([key])

    def copy_many(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Copy files: a reflink where the file system can, else inside the kernel."""
        for start in range(0, len(pairs), _BATCH):
            batch = pairs[start : start + _BATCH]
            targets = [target for _, target in batch]
            new: set[str] = set()
            with self._temporaries(targets) as temporaries:
                for (key, _), temporary in zip(batch, temporaries, strict=True):
                    source = self._path(key)
                    try:
                        self._in_its_folder(temporary, partial(copy_file, source), source, new)
                    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
                        raise read_error(error, source) from error
                    except OSError as error:
                        raise write_error(error, self._path(targets[0])) from error
                self._sync(temporaries)
                self._settle_folders(new)
                self._rename(targets, temporaries)

    def delete(self, key: str) -> None:
        """Delete a file, and the folders that it leaves empty."""
        path = self._path(key)
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise write_error(error, path) from error
        folder = os.path.dirname(path)
        while folder != self._root:
            self._settled.discard(folder)
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
        """List the files right under a folder and the names of its sub-folders, sorted.

        A link to nothing is listed: what it named is missing, and not unheard of. A link to a
        folder above is none, nor are pipes and other things that are no files.
        """
        path = self.local_path(prefix)
        objects: list[ObjectInfo] = []
        folders: list[str] = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir():
                        if not entry.is_symlink() or not is_above(entry.path, path):
                            folders.append(entry.name)
                    elif not entry.name.startswith(_TEMPORARY) and entry.name != _LOCK:
                        key = f"{prefix}/{entry.name}" if prefix else entry.name
                        with contextlib.suppress(FileNotFoundError):  # deleted since: not listed
                            found = stat_of(entry)
                            if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
                                continue
                            objects.append(info_of(key, found))
        except (FileNotFoundError, NotADirectoryError):
            return [], []
        except OSError as error:
            raise read_error(error, path) from error
        return sorted(objects, key=lambda o: o.key), sorted(folders)

    def link_many(self, pairs: Sequence[tuple[str, str]]) -> bool:
        """Hard-link each pair; what was linked before stays harmlessly if one cannot be."""
        made: list[str] = []
        new: set[str] = set()
        for source, target in pairs:
            origin, path = self._path(source), self._path(target)
            try:
                self._in_its_folder(path, partial(os.link, origin), origin, new)
                made.append(path)
            except FileExistsError as error:
                if not self.same_object(source, target):
                    raise AlreadyExistsError(
                        f"{path!r} exists already with other bytes than {origin!r}"
                    ) from error
            except (FileNotFoundError, NotADirectoryError) as error:
                raise read_error(error, origin) from error
            except OSError as error:
                if error.errno not in NO_LINK or os.path.isdir(origin):
                    raise write_error(error, path) from error
                for done in made:
                    os.unlink(done)
                return False
        self._settle_folders(new)
        self._sync_folders(target for _, target in pairs)
        return True

    def same_object(self, a: str, b: str) -> bool:
        """Whether both keys name the same inode."""
        return same_file(self._path(a), self._path(b))

    def rename(self, source: str, target: str) -> None:
        """Rename a file over another, and fsync the folders of both names."""
        origin, path = self._path(source), self._path(target)
        try:
            self._in_its_folder(path, partial(os.replace, origin), origin)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise read_error(error, origin) from error
        except OSError as error:
            raise write_error(error, path) from error
        self._sync_folders([source, target])

    def list_leftovers(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the temporary files below a folder."""
        for folder, _, names in os.walk(self.local_path(prefix)):
            for name in names:
                if name.startswith(_TEMPORARY):
                    path = os.path.join(folder, name)
                    with contextlib.suppress(FileNotFoundError):  # finished since
                        yield info_of(path[len(self._root) :].strip("/"), os.lstat(path))

    def touched_at_us(self, key: str) -> int | None:
        """Return the later one of a file's modification and change time."""
        path = self._path(key)
        if os.path.realpath(path) != os.path.normpath(path):
            return None
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return max(found.st_mtime_ns, found.st_ctime_ns) // 1000

    def open_append(self, key: str) -> LocalAppendFile:
        """Open an existing file for reading and appending."""
        return LocalAppendFile(self._path(key), durable=self._durable)

    def exists(self, key: str) -> bool:
        """Whether there is a file or a folder of that name."""
        return os.access(f"{self._root}/{_checked(key)}", os.F_OK)

    def lock(self, prefix: str) -> FileLock:
        """Return a lock on a folder: ``flock`` on its ``.pqdb-lock``."""
        return FileLock(os.path.join(self._path(prefix), _LOCK), self._in_its_folder)

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}"

    def _create_batch(self, items: Sequence[NewObject]) -> int:
        created = 0
        with self._temporaries([item.key for item in items]) as temporaries:
            self._write_all(items, temporaries)
            try:
                for item, temporary in zip(items, temporaries, strict=True):
                    link_new(temporary, self._path(item.key))
                    created += 1
            except AlreadyExistsError:
                pass  # said by the number returned
            finally:
                self._settle([item.key for item in items[:created]])
        return created

    def _settle(self, keys: Sequence[str]) -> None:
        """Make new names durable, or say that nobody knows whether they are."""
        try:
            self._sync_folders(keys)
        except StorageError as error:
            raise CommitUnknownError(
                f"{self._path(keys[-1])!r} was created, but may not outlive a power failure "
                f"({error}); read the table again before the next write"
            ) from error

    @contextlib.contextmanager
    def _temporaries(self, keys: Sequence[str]) -> Iterator[Sequence[str]]:
        """Name a temporary file beside each key; remove what is left of them at the end."""
        folders = [os.path.dirname(self._path(key)) for key in keys]
        names = [f"{f}/{_TEMPORARY}{self._ambient.random_bits(64):016x}" for f in folders]
        try:
            yield names
        finally:
            for name in names:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    os.unlink(name)

    def _write_all(self, items: Sequence[NewObject], temporaries: Sequence[str]) -> None:
        for item, temporary in zip(items, temporaries, strict=True):
            try:
                self._in_its_folder(temporary, partial(write_file, item))
            except OSError as error:
                raise write_error(error, self._path(item.key)) from error
        self._sync(temporaries)

    def _rename(self, keys: Sequence[str], temporaries: Sequence[str]) -> None:
        for key, temporary in zip(keys, temporaries, strict=True):
            try:
                os.replace(temporary, self._path(key))
            except OSError as error:
                raise write_error(error, self._path(key)) from error
        self._sync_folders(keys)

    def _open_temporary(self, temporary: str, path: str) -> BinaryIO:
        opened: list[NewFile] = []
        try:
            self._in_its_folder(temporary, lambda new: opened.append(NewFile(new, path)))
        except OSError as error:
            raise write_error(error, path) from error
        return cast("BinaryIO", io.BufferedWriter(opened[0], buffer_size=1 << 20))

    def _in_its_folder(
        self,
        path: str,
        make: Callable[[str], object],
        source: str | None = None,
        new: set[str] | None = None,
    ) -> None:
        """Make a file, and its folder again as often as :meth:`delete` finds it empty before.

        Args:
            path: The file.
            make: Makes it.
            source: A file that it is made of.
            new: Gets the folders whose names are not durable yet, which the caller sees to with
                :meth:`_settle_folders`; by default they are at once.

        Raises:
            FileNotFoundError: ``source`` is missing, or the folder keeps vanishing.
            OSError: Other failures, as the operating system says them.
        """
        folder = os.path.dirname(path)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._make_folder(folder, new)
                make(path)
            except FileNotFoundError:
                if attempt == _ATTEMPTS or (source is not None and not os.path.exists(source)):
                    raise
            else:
                return

    def _sync(self, paths: Sequence[str]) -> None:
        if self._durable:
            fsync_all(paths)

    def _make_folder(self, folder: str, new: set[str] | None = None) -> None:
        """Make a folder, or see to it that one that another process made has a durable name.

        That process may be about to do so, or have died before.
        """
        parent = os.path.dirname(folder)
        if os.path.isdir(folder):
            if self._durable and folder not in self._settled and folder != self._root:
                self._settle_folder(folder, parent, new)
            return
        self._make_folder(parent, new)
        try:
            os.mkdir(folder)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(folder).st_mode):
                raise StorageError(
                    f"{folder!r} is a file where a folder is needed; move it away"
                ) from None
        if self._durable:
            if new is not None:
                new.add(folder)
                return
            fsync_path(parent)
            self._settled.add(folder)

    def _settle_folder(self, folder: str, parent: str, new: set[str] | None) -> None:
        if not folder.startswith(f"{self._root.rstrip('/')}/"):
            return  # the root was made in it
        if new is not None:
            if folder not in new:
                new.add(folder)
                self._make_folder(parent, new)
            return
        self._make_folder(parent)
        with contextlib.suppress(PermissionError):  # not to be read, so not made by one of us
            fsync_path(parent)
        self._settled.add(folder)

    def _settle_folders(self, new: set[str]) -> None:
        """Make the names of folders durable; each folder in which some lie is synced once."""
        if not self._durable:
            return
        for parent in {os.path.dirname(folder) for folder in new}:
            with contextlib.suppress(PermissionError, FileNotFoundError):  # not ours; gone since
                fsync_path(parent)
        self._settled |= new

    def _sync_folders(self, keys: Iterator[str] | Sequence[str]) -> None:
        if self._durable:
            fsync_all({os.path.dirname(self._path(key)) for key in keys}, missing_ok=True)
