"""Files of the local file system that grow at their end, and locks between processes.

An append is one ``write`` to a file opened with ``O_APPEND``: nothing is ever written over. Zero
bytes alone are, by :meth:`LocalAppendFile.overwrite`, which looks first and has the file open once
more. Nothing is durable before :meth:`LocalAppendFile.sync`. A lock is an ``flock`` on a file that
is never deleted: the kernel lets go of it when its process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn, TypeVar, TypeVarTuple

from parquedb.errors import CommitUnknownError, UnsupportedError
from parquedb.storage.files import fsync_path, read_error, write_error

try:
    import fcntl as _fcntl
except ImportError:  # Windows
    _fcntl = None  # type: ignore[assignment]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_sync_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
_READ_ONLY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_UNWRITTEN = _READ_ONLY | {errno.EBADF, errno.EINVAL, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""With these nothing of a ``write`` was done; with others any part of it may have been."""
_PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_APPENDING = os.O_APPEND | _PLAIN


class LocalAppendFile:
    """An existing file to which bytes are appended.

    Where the file may not be written, it is opened for reading only. An append says so then, unless
    it may be written by now.

    Args:
        path: The file.
        durable: Whether :meth:`sync` does anything.

    Raises:
        NotFoundError: There is no such file.
    """

    __slots__ = ("_durable", "_fd", "_named", "_over", "_path")

    def __init__(self, path: str, *, durable: bool) -> None:
        self._fd = -1
        self._over = -1  # the file open without O_APPEND, with which Linux ignores an offset
        self._path = path
        self._durable = durable
        self._named = False
        try:
            self._fd = self._open()
        except OSError as error:
            raise read_error(error, path) from error

    def __del__(self) -> None:
        self.close()

    def size(self) -> int | None:
        """Return the size in bytes, or None once the file has no name any more."""
        try:
            found = os.fstat(self._fd)
        except OSError as error:
            raise read_error(error, self._path) from error
        return found.st_size if found.st_nlink else None

    def is_in_place(self) -> bool:
        """Whether the file of its path is this one: neither deleted nor moved away."""
        try:
            return _is_at(self._path, self._fd)
        except OSError as error:
            raise read_error(error, self._path) from error

    def read(self, start: int) -> bytes:
        """Return what is there from an offset to the end."""
        try:
            size_bytes = os.fstat(self._fd).st_size
        except OSError as error:
            raise read_error(error, self._path) from error
        return self.read_at(start, size_bytes - start) if size_bytes > start else b""

    def read_at(self, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``; fewer only at the end."""
        try:
            data = os.pread(self._fd, length, start)
            if len(data) == length:
                return data
            parts = [data]
            while parts[-1]:
                start, length = start + len(parts[-1]), length - len(parts[-1])
                parts.append(os.pread(self._fd, length, start))
        except OSError as error:
            raise read_error(error, self._path) from error
        return b"".join(parts)

    def append(self, data: bytes) -> None:
        """Write all of ``data`` at the end, or nothing."""
        before = -1
        try:
            written = os.write(self._fd, data)
            if written == len(data):
                return
            before = os.fstat(self._fd).st_size - written
            failure = _short(written, data)
        except OSError as error:
            failure = error
        if before < 0 and self._may_write_now(failure):
            self.append(data)
            return
        self._fail(failure, before)

    def is_blank(self, start: int, end: int) -> bool:
        """Whether the file still ends at ``end``, has a name, and a zero byte at ``start``.

        Its times are not asked for. Linux gives a file whose times were seen new ones by the next
        write, and to make these durable costs what it costs to make a file durable that has grown.
        """
        try:
            if os.lseek(self._fd, 0, os.SEEK_END) != end:  # where it is means nothing to us
                return False
            return os.pread(self._fd, 1, start) == b"\0" and self._has_name()
        except OSError as error:
            raise read_error(error, self._path) from error

    def overwrite(self, start: int, data: bytes) -> bool:
        """Write all of ``data`` in place of zero bytes, or nothing."""
        length = len(data) + 1
        try:
            if self._over < 0:
                self._over = self._open_over()
            found = os.pread(self._over, length, start)
        except OSError as error:
            raise write_error(error, self._path) from error
        if found != bytes(length):
            return False
        try:
            written = os.pwrite(self._over, data, start)
        except OSError as error:
            self._fail(error, -1)
        if written < len(data):
            self._fail(_short(written, data), start)
        return True

    def truncate(self, size_bytes: int) -> None:
        """Cut the file at ``size_bytes``."""
        try:
            os.ftruncate(self._fd, size_bytes)
        except OSError as error:
            if not self._may_write_now(error):
                raise write_error(error, self._path) from error
            self.truncate(size_bytes)

    def sync(self) -> None:
        """Make the file's bytes durable, also after :meth:`close`; the first time its name too."""
        if not self._durable:
            return
        try:
            if self._fd < 0:
                fsync_path(self._path)
                fsync_path(os.path.dirname(self._path))
            elif self._named:
                _sync_data(self._fd)
            else:
                os.fsync(self._fd)
                fsync_path(os.path.dirname(self._path))
                self._named = True
        except OSError as error:
            raise CommitUnknownError(
                f"{self._path!r}: {error.strerror}; what was written last may not outlive a power "
                "failure: check the disk, then open the database again"
            ) from error

    def close(self) -> None:
        """Close the file. Idempotent."""
        fds, self._fd, self._over = (self._fd, self._over), -1, -1
        for fd in fds:
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | _APPENDING)
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
        return os.open(self._path, os.O_RDONLY | _APPENDING)

    def _may_write_now(self, failure: OSError) -> bool:
        """Open the file anew where it was open for reading only; return whether that was it.

        Raises:
            StorageError: It may only be read still.
        """
        if failure.errno not in (errno.EBADF, errno.EINVAL) or self._fd < 0 or _fcntl is None:
            return False
        if _fcntl.fcntl(self._fd, _fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
            return False
        try:
            found = os.open(self._path, os.O_RDWR | _APPENDING)
        except OSError as error:
            raise write_error(error, self._path) from error
        try:
            if not _is_at(self._path, self._fd):
                return False
            os.dup2(found, self._fd, inheritable=False)  # somebody may be reading by its number
        finally:
            os.close(found)
        return True

    def _has_name(self) -> bool:
        try:
            return not os.readlink(f"/proc/self/fd/{self._fd}").endswith(" (deleted)")
        except OSError:  # systems without; they have no reason to
            return os.fstat(self._fd).st_nlink > 0

    def _open_over(self) -> int:
        found = os.open(self._path, os.O_RDWR | _PLAIN)
        if os.path.samestat(os.fstat(found), os.fstat(self._fd)):
            return found
        os.close(found)
        raise OSError(errno.ESTALE, "another file has its name by now")

    def _fail(self, failure: OSError, before: int) -> NoReturn:
        """Say that a write has failed, after taking back what was written behind ``before``."""
        if before >= 0:
            try:
                os.ftruncate(self._fd, before)
            except OSError as error:
                raise CommitUnknownError(
                    f"{self._path!r}: {failure.strerror}, and what was written of it cannot be "
                    f"removed ({error.strerror}); free space and read the file again"
                ) from failure
        elif failure.errno not in _UNWRITTEN:
            raise CommitUnknownError(
                f"{self._path!r}: {failure.strerror} while it was written; check the disk, and "
                "read again before you repeat it"
            ) from failure
        raise write_error(failure, self._path) from failure


def _short(written: int, data: bytes) -> OSError:
    return OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes were written")


def _is_at(path: str, fd: int) -> bool:
    """Whether the file of a path is one that is open."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except (FileNotFoundError, NotADirectoryError):
        return False


class FileLock:
    """An exclusive lock between processes and threads, reentrant for the thread that holds it.

    Two locks on the same path are strangers, also within one process. A child of ``fork`` closes
    the file at once and opens it anew when it needs it: it would share the lock with its parent
    otherwise, and hold it for as long as it lives if the parent is killed meanwhile. The file stays
    open, so that taking and letting go are one system call each.

    Args:
        path: The lock file. It is created at the first use and never deleted.
        make: Calls a function with the path after making sure that its folder exists.

    Raises:
        UnsupportedError: This operating system has no ``flock``.
    """

    def __init__(self, path: str, make: Callable[[str, Callable[[str], object]], object]) -> None:
        if _fcntl is None:
            raise UnsupportedError(
                f"{path!r} cannot be locked: this system has no flock; write from Linux, macOS or "
                "another POSIX system"
            )
        self._path = path
        self._make = make
        self._fd = -1
        self._depth = 0
        self._doubted = True
        self._mutex = threading.RLock()
        _ALL.add(self)

    def __enter__(self) -> FileLock:
        """Wait until nobody else holds the lock, and take it."""
        self._mutex.acquire()
        try:
            if self._depth == 0:
                self._take()
        except BaseException:
            self._mutex.release()
            raise
        self._depth += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the lock when the outermost context ends."""
        self._depth -= 1
        try:
            if self._depth == 0:
                _fcntl.flock(self._fd, _fcntl.LOCK_UN)
        finally:
            self._mutex.release()

    def __del__(self) -> None:
        self._close()

    def hold(self, action: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run something, with ``args``, while the lock is held."""
        with self._mutex:
            if self._depth == 0:
                self._take()
            self._depth += 1
            try:
                return action(*args)
            finally:  # an __exit__ of our own could be interrupted before it does anything
                self._depth -= 1
                if self._depth == 0:
                    _fcntl.flock(self._fd, _fcntl.LOCK_UN)

    def doubt(self) -> None:
        """Have the next use make sure that the file is still the one of its name."""
        self._doubted = True

    def _take(self) -> None:
        try:
            if self._doubted:
                self._lock()
            else:
                _fcntl.flock(self._fd, _fcntl.LOCK_EX)
        except BaseException as error:
            self._close()
            if isinstance(error, OSError):
                raise self._error(error) from error
            raise

    def _lock(self) -> None:
        while True:
            if self._fd < 0:
                self._make(self._path, self._open)
            _fcntl.flock(self._fd, _fcntl.LOCK_EX)
            if _is_at(self._path, self._fd):
                self._doubted = False
                return
            self._close()  # somebody deleted the file, or moved it away: others lock another one

    def _error(self, error: OSError) -> Exception:
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            return UnsupportedError(
                f"{self._path!r}: {error.strerror}; this file system has no locks, on which "
                "writing rests: keep the database on another disk"
            )
        return write_error(error, self._path)

    def _open(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)

    def _close(self) -> None:
        fd, self._fd, self._doubted = getattr(self, "_fd", -1), -1, True
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def _start_over(self) -> None:
        """Let go of what a forked child shares with its parent."""
        self._close()
        self._depth = 0
        self._mutex = threading.RLock()


_ALL: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _after_fork() -> None:
    for lock in list(_ALL):
        lock._start_over()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
