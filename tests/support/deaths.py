"""A store whose process dies, or that fails, at any operation of a run.

A dead process does nothing more, so what is left is what is there at that moment: the run is
photographed before, in the middle of and after each operation, instead of being run up to it once
for each. A moment at which nothing changed since the last photo is the same death.
"""

from __future__ import annotations

import copy
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from parquedb.storage.faults import Fault, FaultKind, FaultStore, inject
from parquedb.storage.local import LocalStore
from parquedb.storage.store import Store
from parquedb.storage.wrapping import wrap

T = TypeVar("T")
LIVES = (FaultKind.LOST_REPLY, FaultKind.NO_SPACE)
"""The faults that a process outlives; what it does then must be run, for every operation."""


@dataclass(frozen=True, slots=True)
class Death(Generic[T]):
    """How a process died, and what its user was told by then."""

    how: str
    told: T


@dataclass
class _Album(Generic[T]):
    folder: Path
    told: Callable[[], T]
    photos: list[tuple[Path, Death[T]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _last: object = None

    def take(self, how: str) -> None:
        with self._lock:
            told = self.told()
            seen = (_signature(self.folder), told)
            if seen != self._last:
                self._last = copy.deepcopy(seen)
                path = self.folder.parent / f"{self.folder.name}-photo-{len(self.photos)}"
                _copy(self.folder, path)
                self.photos.append((path, Death(how, self._last[1])))


class _Camera(FaultStore):
    """A store without a fault that has its folder photographed around every operation."""

    def __init__(self, store: Store, album: _Album[object]) -> None:
        super().__init__(store, None)
        self._album = album

    def _begin(
        self, method: str, key: str, dying: Callable[[], object] | None = None
    ) -> FaultKind | None:
        struck = super()._begin(method, key)
        self._album.take(f"{self.operations}: before {method} of {key!r}")
        if dying is not None:
            path = self._album.folder / key
            size_bytes = path.stat().st_size
            dying()
            self._album.take(f"{self.operations}: in the middle of {method} of {key!r}")
            os.truncate(path, size_bytes)
        return struck

    def _end(self, struck: FaultKind | None, method: str, key: str) -> None:
        super()._end(struck, method, key)
        self._album.take(f"{self.operations}: after {method} of {key!r}")


def deaths(
    folder: Path, run: Callable[[FaultStore], object], told: Callable[[], T] = lambda: None
) -> Iterator[Death[T]]:
    """Yield every way to die in a run, each time with what is left then in the folder.

    Args:
        folder: The root of the store, as it is before the run.
        run: The run.
        told: What the user of the process knows now.
    """
    album = _Album(folder, told)
    camera = wrap(_Camera, LocalStore(folder, durable=False), album)
    run(camera)
    album.take("at the end")
    assert len(album.photos) > len([1 for method, _ in camera.log if method != "sync"])
    for path, death in album.photos:
        shutil.rmtree(folder)
        path.rename(folder)
        yield death


def faults(
    folder: Path, kind: FaultKind, run: Callable[[FaultStore], object]
) -> Iterator[tuple[FaultStore, str]]:
    """Yield a store that fails at each operation of a run in turn, and which operation that is.

    Args:
        folder: The root of the store; it is each time as it is before the first.
        kind: How it fails.
        run: The run, which shows how many operations there are.
    """
    pristine = folder.parent / f"{folder.name}-pristine"
    _copy(folder, pristine)
    whole = inject(LocalStore(folder, durable=False), None)
    run(whole)
    assert whole.operations > 5
    for at, operation in enumerate(whole.log):
        shutil.rmtree(folder)
        _copy(pristine, folder)
        yield inject(LocalStore(folder, durable=False), Fault(at, kind)), f"{kind} {at} {operation}"


def _signature(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return what changes whenever a file is made, written or removed."""
    found = {}
    for path, folders, names in os.walk(folder):
        found |= {f"{path}/{name}/": () for name in folders}
        for name in names:
            stat = os.lstat(f"{path}/{name}")
            found[f"{path}/{name}"] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


def _copy(folder: Path, target: Path) -> None:
    """Copy a folder; files that are never written again stay the same inodes: their etags say so.

    Only journals grow.
    """
    target.mkdir()
    for path, folders, names in os.walk(folder):
        to = target / os.path.relpath(path, folder)
        for name in folders:
            (to / name).mkdir()
        for name in names:
            if to.name == "journal":
                shutil.copy2(f"{path}/{name}", to / name)
            else:
                os.link(f"{path}/{name}", to / name)
