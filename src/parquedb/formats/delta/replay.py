"""The files of a table from version to version, read once and forward.

PROTOCOL.md, "Action Reconciliation".
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from parquedb.errors import FormatError, NotFoundError
from parquedb.formats.delta.checkpoint import read_checkpoint
from parquedb.formats.delta.paths import Listing, parse_data_path
from parquedb.formats.delta.timeline import Era, Timeline, build_file
from parquedb.formats.delta.wire import Actions, Add, Vector, identity_of
from parquedb.log.snapshot import Snapshot
from parquedb.log.walk import Step
from parquedb.model.files import DataFile
from parquedb.storage.store import Store


class Replay:
    """Goes from version to version of a log (see :class:`~parquedb.log.walk.Walk`).

    Args:
        store: The store.
        folder: The table's folder.
        listing: What the log holds.
        timeline: Times and metadata of the versions.
        read: Reads a version's actions.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        listing: Listing,
        timeline: Timeline,
        read: Callable[[int], Actions],
    ) -> None:
        self._store = store
        self._folder = folder
        self._listing = listing
        self._timeline = timeline
        self._read = read
        self._version = -1
        self._adds: dict[str, tuple[Add, Era]] = {}
        self._files: dict[str, DataFile] = {}
        self._touched: set[str] = set()

    def to(self, version: int | None) -> Step:
        """Go to a version, None for the newest; from the nearest checkpoint to go back."""
        wanted = self._listing.latest if version is None else version
        if not self._listing.start <= wanted <= self._listing.latest:
            raise no_version(self._folder, self._listing, wanted)
        era = self._timeline.at(wanted).era
        era.check_readable()
        begins = self._version < 0 or wanted < self._version
        if begins:
            self._begin(wanted)
        reached, self._version = self._version, -1  # unless all of it can be read
        for number in range(reached + 1, wanted + 1):
            self._apply(self._read(number), self._timeline.at(number).era)
        touched, self._touched = self._touched, set()
        self._build(touched)
        self._version = wanted
        specs = {spec.spec_id: spec for spec, _ in era.specs.values()}
        snapshot = Snapshot(
            wanted,
            self._timeline.at(wanted).at_ms,
            era.schema,
            era.spec,
            {era.spec.spec_id: era.spec} | specs,
            MappingProxyType(self._files),
            era.properties,
        )
        return Step(snapshot, None if begins else touched)

    def _begin(self, wanted: int) -> None:
        """Begin with the nearest checkpoint, or with nothing."""
        self._adds.clear()
        self._files.clear()
        self._touched.clear()
        checkpoint = self._listing.checkpoint_before(wanted)
        self._version = self._listing.start - 1
        if checkpoint is not None:
            actions = read_checkpoint(self._store, self._folder, checkpoint)
            self._apply(actions, self._timeline.at(checkpoint.version).era)
            self._version = checkpoint.version

    def _apply(self, actions: Actions, era: Era) -> None:
        adds, removes = last_by_key(self._store.root, self._folder, actions)
        live = self._adds
        for key, vectors in removes.items():
            if key in live and identity_of(live[key][0].vector) in vectors:
                del live[key]
                self._touched.add(key)
        for key, add in adds.items():
            known = live[key][0].vector if key in live else add.vector
            if identity_of(known) != identity_of(add.vector):
                raise added_beside(self._folder, add)
            live[key] = (add, era)
            self._touched.add(key)

    def _build(self, touched: set[str]) -> None:
        for key in touched:
            if key in self._adds:
                add, era = self._adds[key]
                self._files[key] = build_file(self._store.root, self._folder, era, add)
            else:
                self._files.pop(key, None)


def last_by_key(
    root: str, folder: str, actions: Actions
) -> tuple[dict[str, Add], dict[str, dict[str | None, Vector | None]]]:
    """Return a commit's adds, and its removes with their vectors; a path in both counts as added.

    A remove is of the file with that vector: with another one, the file stays.
    """
    adds = {parse_data_path(root, folder, add.path): add for add in actions.adds}
    removes: dict[str, dict[str | None, Vector | None]] = {}
    for gone in actions.removes:
        vectors = removes.setdefault(parse_data_path(root, folder, gone.path), {})
        vectors[identity_of(gone.vector)] = gone.vector
    return adds, removes


def added_beside(folder: str, add: Add) -> FormatError:
    """Return the error for a file that is added beside what it was, with other deleted rows."""
    return FormatError(
        f"the Delta table {folder!r} adds {add.path!r} with other deleted rows than it has, and "
        "does not remove it as it was: some readers show rows twice; restore an older version",
        location=add.path,
        section="Add File and Remove File",
    )


def no_version(folder: str, listing: Listing, version: int) -> NotFoundError:
    """Return the error for a version that cannot be read."""
    return NotFoundError(
        f"the Delta table {folder!r} has no readable version {version}; it can be read from "
        f"version {listing.start} to {listing.latest}"
    )
