"""Whether a Delta log says the same wherever it says something twice, and names files that are.

PROTOCOL.md, "Delta Log Entries", "Checkpoints", "Action Reconciliation".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from parquedb.errors import FormatError, ParqueDBError
from parquedb.formats.delta.checkpoint import read_checkpoint
from parquedb.formats.delta.operations import lost_lines
from parquedb.formats.delta.paths import (
    Checkpoint,
    Listing,
    commit_key,
    log_folder,
    parse_commit_name,
    parse_data_path,
    parse_listing,
)
from parquedb.formats.delta.state import LogState, read_commit
from parquedb.formats.delta.timeline import Era, Timeline, build_file
from parquedb.formats.delta.vectors import vector_key
from parquedb.formats.delta.wire import Actions, Add, Vector, identity_of
from parquedb.maintain.check_delta_log import (
    LogFiles,
    check_checksum,
    check_compacted,
    check_hint,
    differences,
    sidecars_of,
)
from parquedb.maintain.check_files import Claim, FileChecker
from parquedb.maintain.check_report import Findings
from parquedb.model.files import DataFile
from parquedb.slotted import dataclass
from parquedb.storage.store import ObjectInfo, Store

_RESTORE_FILE = "restore the file from a backup, or remove it from the table"
_CHECKPOINT = (
    "readers that begin with it see another table: delete it if the commits before it are still "
    "there, else restore it from a backup"
)
_LOST = "restore the log from a backup: readers miss the rows, or return rows that were deleted"
_RETENTION_MS = 7 * 86_400_000
"""How long removed files are kept where the table does not say (deletedFileRetentionDuration)."""
_RETENTION = "delta.deletedFileRetentionDuration"


@dataclass(slots=True)
class _Run:
    """Versions that follow each other without a gap.

    Args:
        state: The table at the newest of them.
        timeline: Their metadata.
        size_bytes: Bytes of the table's files at the newest of them.
    """

    state: LogState
    timeline: Timeline
    size_bytes: int = 0

    def apply(self, version: int, actions: Actions) -> None:
        """Go on to a version."""
        state = self.state
        names = {one.path for one in actions.removes} | {one.path for one in actions.adds}
        keys = {parse_data_path(state.root, state.folder, name) for name in names}
        self.size_bytes -= sum(state.live[key].size for key in keys if key in state.live)
        state.apply(version, actions)
        self.size_bytes += sum(state.live[key].size for key in keys if key in state.live)


@dataclass(slots=True)
class DeltaCheck:
    """Walks a log once from its oldest file to its newest.

    Args:
        store: The store.
        folder: The table's folder.
        files: Checks the data files.
        findings: Where findings go.
        now_ms: The time, milliseconds since the epoch.
        referenced: Keys of all files that the log refers to.
        versions: How many versions could be followed.
        told: Whether every file that the log refers to is known.
    """

    store: Store
    folder: str
    files: FileChecker
    findings: Findings
    now_ms: int
    referenced: set[str] = field(default_factory=set)
    versions: int = 0
    told: bool = True
    _run: _Run | None = None
    _listing: Listing | None = None
    _gone: dict[str, str] = field(default_factory=dict)
    _vacuums: bool = False

    def run(self) -> None:
        """Check the log, then the files that its versions need."""
        folder = log_folder(self.folder)
        infos = list(self.store.list(folder))
        self.referenced.update(i.key for i in infos if not i.key.startswith(f"{folder}/_sidecars/"))
        direct = [info for info in infos if "/" not in info.key[len(folder) + 1 :]]
        listing, error = self._sort_out(direct)
        self._listing = listing
        others = LogFiles.of(direct)
        versions = (*listing.commits, *listing.checkpoints)
        for version in range(min(versions, default=0), max(versions, default=-1) + 1):
            self._step(version, listing)
            if self._run is None:
                continue
            self.versions += 1
            state = self._run.state
            if (checksum := others.checksums.get(version)) is not None:
                check_checksum(self.store, checksum, state, self._run.size_bytes, self.findings)
            for first, info in others.compacted.get(version, ()):
                check_compacted(self.store, info, first, state, self.findings)
        if error is not None and (self._run is None or not self.findings.about(error.location)):
            self.findings.raised(error, folder)
            self.told = False
        check_hint(self.store, self.folder, listing, self.findings)
        self._check_gone()
        self.files.close()

    def _sort_out(self, infos: list[ObjectInfo]) -> tuple[Listing, FormatError | None]:
        """Sort out the log's files; where versions are missing, as far as there are some."""
        try:
            listing = parse_listing(self.folder, infos)
        except FormatError as error:
            commits = {
                version: info
                for info in infos
                if (version := parse_commit_name(info.key.rpartition("/")[2])) is not None
            }
            rest = [info for info in infos if info not in commits.values()]
            found = parse_listing(self.folder, rest)
            checkpoints = {} if found is None else found.checkpoints
            return Listing(commits, checkpoints, min(commits), max(commits)), error
        if listing is None:
            nothing = FormatError(
                f"{log_folder(self.folder)!r} has no commits; restore them from a backup",
                location=log_folder(self.folder),
            )
            return Listing({}, {}, 0, -1), nothing
        return listing, None

    def _step(self, version: int, listing: Listing) -> None:
        """Go on to the next version, by its commit or by a checkpoint."""
        if version in listing.commits:
            self._commit(version)
        elif self._run is not None:
            self._run = None
            self.findings.add(
                commit_key(self.folder, version),
                f"version {version} is missing, and the log goes on after it",
                "restore the file from a backup: without it older versions cannot be read",
            )
        checkpoint = listing.checkpoints.get(version)
        if checkpoint is not None:
            self._checkpoint(checkpoint)

    def _commit(self, version: int) -> None:
        key = commit_key(self.folder, version)
        try:
            actions = read_commit(self.store, self.folder, version)
            self._check_actions(actions, key)
            if self._run is None and version > 0:
                return  # what was before is not known: a checkpoint comes
            self._apply(version, actions, key)
        except ParqueDBError as error:
            self.findings.raised(error, key)
            self.told, self._run = False, None

    def _check_actions(self, actions: Actions, key: str) -> None:
        """Check that a commit says something, and nothing that is not known."""
        if actions == Actions(adds=[], removes=[], txns=[], domains=[], cdc_paths=[], others=[]):
            self.findings.add(
                key,
                "has no actions: it was not written to its end, and what it changed is lost",
                "restore the file from a backup",
            )
        elif actions.others:
            names = ", ".join(map(repr, dict.fromkeys(actions.others)))
            self.findings.add(
                key,
                f"has actions that readers do not know and leave out: {names}",
                "restore the file from a backup, or ask the program that wrote it what they mean",
            )
        elif (lost := lost_lines(actions)) is not None:
            self.findings.add(key, f"{lost}: lines of it are lost", _LOST)

    def _check_removes(self, state: LogState, actions: Actions, key: str) -> None:
        """Check that a commit removes files that are there: else who added them is lost."""
        for gone in actions.removes:
            live = state.live.get(parse_data_path(state.root, state.folder, gone.path))
            if live is None:
                said = "which no version before it added, or one before removed"
            elif identity_of(live.vector) != identity_of(gone.vector):
                said = "which has other deleted rows by the versions before it"
            else:
                continue
            self.findings.add(
                key, f"removes {gone.path!r}, {said}: lines of an older version are lost", _LOST
            )
            return

    def _apply(self, version: int, actions: Actions, key: str) -> None:
        """Take over a version: its own actions, or a checkpoint's at the beginning of a run."""
        if self._run is None:
            assert self._listing is not None
            listing = replace(self._listing, start=version)
            timeline = Timeline(self.store, self.folder, listing, Actions)
            self._run = _Run(LogState(self.store.root, self.folder), timeline)
        info = actions.info
        if info is not None and (info.operation or "").upper().startswith("VACUUM"):
            self._vacuums = True
        if key == commit_key(self.folder, version):
            self._check_removes(self._run.state, actions, key)
        self._run.apply(version, actions)
        era = self._run.timeline.extend(Actions(info, actions.protocol, actions.metadata)).era
        if era.refusal is not None:
            self.findings.raised(era.refusal, self.folder)
        else:
            self.files.note_schema(era.schema)
        self._refer(actions, key)
        for add in actions.adds:
            with self.findings.reading(key):
                self._claim(add, era)

    def _refer(self, actions: Actions, key: str) -> None:
        """Note the files that are removed, or hold what changed."""
        root, folder = self.store.root, self.folder
        for path in (*(gone.path for gone in actions.removes), *actions.cdc_paths):
            with self.findings.reading(key):
                self.referenced.add(parse_data_path(root, folder, path))
        for gone in actions.removes:
            with self.findings.reading(key):
                self._vector(gone.vector)

    def _vector(self, vector: Vector | None) -> str | None:
        key = None if vector is None else vector_key(self.store.root, self.folder, vector)
        if key is not None:
            self.referenced.add(key)
        return key

    def _claim(self, add: Add, era: Era) -> None:
        path = parse_data_path(self.store.root, self.folder, add.path)
        self.referenced.add(path)
        vector = self._vector(add.vector)
        if self.files.size_of(path) is None:
            self._gone.setdefault(path, path)
            return
        if era.refusal is not None:
            self.files.add(Claim(DataFile(path, add.size, None)))
            return
        file = build_file(self.store.root, self.folder, era, add)
        if vector is not None and self.files.size_of(vector) is None:
            self._gone.setdefault(vector, path)
            file = replace(file, deletes=())
        specs = {spec.spec_id: spec for spec, _ in era.specs.values()}
        specs[era.spec.spec_id] = era.spec
        self.files.add(Claim(file, era.schema, specs[file.spec_id]))

    def _checkpoint(self, checkpoint: Checkpoint) -> None:
        """Compare a checkpoint with the commits before it, or begin with it."""
        key = checkpoint.files[0].key
        try:
            actions = read_checkpoint(self.store, self.folder, checkpoint)
            for sidecar, size_bytes in sidecars_of(self.store, self.folder, checkpoint):
                self.referenced.add(sidecar)
                named = f"the checkpoint of version {checkpoint.version} names it"
                self.files.expect(sidecar, size_bytes, named)
            if self._run is None:
                self._apply(checkpoint.version, actions, key)
                return
        except ParqueDBError as error:
            self.findings.raised(error, key)
            self.told = self.told and self._run is not None
            return
        for problem in differences(self._run.state, actions):
            self.findings.add(key, problem, _CHECKPOINT)

    def _check_gone(self) -> None:
        """Tell files that are missing from those of old versions, which a vacuum deletes."""
        if not self._gone:
            return
        state = None if self._run is None else self._run.state
        needed: set[str] = set()
        removed: Mapping[str, int] = {}
        if state is not None:
            needed.update(state.live)
            needed.update(filter(None, (self._vector(add.vector) for add in state.live.values())))
            removed = {key: gone.removed_at_ms or 0 for (key, _), gone in state.tombstones.items()}
        kept_ms = _RETENTION_MS if state is None else _retention_ms(state)
        vacuumed = 0
        for key, path in self._gone.items():
            young = self.now_ms - removed.get(path, 0) < kept_ms
            if state is None or key in needed or (young and not self._vacuums):
                what = "" if key == path else f", with the deleted rows of {path!r}"
                self.findings.add(
                    key, f"the table refers to this file{what}, which does not exist", _RESTORE_FILE
                )
            else:
                vacuumed += 1
        if vacuumed:
            self.findings.note(
                f"{self.folder}: {vacuumed} files of older versions were deleted by a vacuum, so "
                "that these versions can no longer be read"
            )


def _retention_ms(state: LogState) -> int:
    """Return how long removed files are kept at least."""
    text = "" if state.metadata is None else state.metadata.configuration.get(_RETENTION, "")
    words = text.removeprefix("interval ").split()
    units = {"week": 7 * 86_400_000, "day": 86_400_000, "hour": 3_600_000, "minute": 60_000}
    if len(words) == 2 and words[0].isdigit() and words[1].rstrip("s") in units:
        return int(words[0]) * units[words[1].rstrip("s")]
    return _RETENTION_MS
