"""Check everything that the metadata of a namespace's tables says (fsck). Nothing is written.

What cannot be read is a finding like any other, and the check goes on with the rest. Metadata is
read once; of data files the footers, in batches; with ``deep`` all rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from itertools import combinations

from parquedb.ambient import SYSTEM, Ambient
from parquedb.errors import ParqueDBError
from parquedb.formats.contents import Digests
from parquedb.formats.native.origin import read_origins
from parquedb.formats.native.paths import beside_key, origin_key
from parquedb.log.ports import LogReader
from parquedb.maintain.check_agree import AgreementCheck, replay_versions
from parquedb.maintain.check_delta import DeltaCheck
from parquedb.maintain.check_files import Claim, FileChecker
from parquedb.maintain.check_iceberg import IcebergCheck
from parquedb.maintain.check_journal import JournalCheck
from parquedb.maintain.check_orphans import find_orphans, folders_of, list_files
from parquedb.maintain.check_report import (
    Checked,
    CheckPhase,
    CheckProgress,
    CheckReport,
    Findings,
    OnProgress,
    Orphan,
)
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.namespace.places import Places
from parquedb.namespace.tables import (
    Namespace,
    discover_namespaces,
    has_journal,
    no_namespaces,
    root_is_table,
)
from parquedb.slotted import dataclass
from parquedb.storage.store import ObjectInfo, Store

_TABLES = (Format.ICEBERG, Format.DELTA)


def _ignore(_: CheckProgress) -> None:
    """Take no notice of progress."""


def check_namespaces(
    store: Store,
    places: Places,
    names: Iterable[str] | None = None,
    *,
    deep: bool = False,
    on_progress: OnProgress = _ignore,
    ambient: Ambient = SYSTEM,
) -> CheckReport:
    """Check namespaces, one after the other.

    Args:
        store: The storage.
        places: Where the formats' tables are kept.
        names: The namespaces, all by default.
        deep: Whether rows are read: every page of every file, every deletion vector, and the
            content of tables that are copies of each other.
        on_progress: Called as the check goes on.
        ambient: The clock.

    Raises:
        NotFoundError: A named namespace has no data, or the storage is itself a table.
        InvalidInputError: A name cannot be a namespace's.
    """
    wanted = discover_namespaces(store, places) if names is None else tuple(names)
    if not wanted and root_is_table(store):
        raise no_namespaces(store)
    spaces = [Namespace(store, name, places) for name in wanted]
    found: dict[str, Checked] = {}
    for space in spaces:
        check = _Check(space, deep, on_progress, ambient)
        found[space.name] = check.run()
    return CheckReport(found, deep)


@dataclass(slots=True)
class _Check:
    """The check of one namespace."""

    space: Namespace
    deep: bool
    on_progress: OnProgress
    ambient: Ambient
    findings: Findings = field(default_factory=Findings)
    listed: dict[str, ObjectInfo] = field(default_factory=dict)
    referenced: set[str] = field(default_factory=set)
    versions: dict[Format, int] = field(default_factory=dict)
    readers: dict[Format, LogReader] = field(default_factory=dict)
    told: bool = True
    phase: CheckPhase = CheckPhase.JOURNAL
    files: int = 0

    def run(self) -> Checked:
        self.findings.on_file, self.findings.root = self._count, self.space.store.root
        formats = self._formats()
        self.listed = list_files(self.space.store, folders_of(self.space, formats))
        journal = self._journal()
        for format_ in (Format.ICEBERG, Format.DELTA, Format.NATIVE):
            if format_ in formats:
                self._table(format_)
        self.findings.format = None
        self._marks(journal)
        agreement = self._agreement()
        orphans = self._orphans(formats, journal)
        return Checked(
            self.space.name,
            self.versions,
            len(self.referenced),
            agreement.compared,
            tuple(self.findings.found.values()),
            orphans,
            tuple(self.findings.notes),
            self.deep,
        )

    def _formats(self) -> set[Format]:
        """Return the formats that the namespace has, also those that cannot be opened."""
        space, found = self.space, set[Format]()
        for format_ in Format:
            with self.findings.reading(space.folder(format_)):
                record = space.cleanup_record(format_)
                if space.store.head(record) is not None:
                    self.findings.add(
                        record,
                        f"a clean-up of the {format_.label} table was cut short",
                        "finish it with cleanup-backend",
                    )
                elif space.exists(format_) or (format_ in _TABLES and self._lost_log(format_)):
                    found.add(format_)
        if not found and not self.findings.found and not has_journal(space.store, space.name):
            raise space.no_data()
        return found

    def _lost_log(self, format_: Format) -> bool:
        """Whether a table's metadata is gone but for what only a table can have left."""
        store, folder = self.space.store, self.space.folder(format_)
        if format_ is Format.DELTA:
            return bool(store.list_dir(f"{folder}/_delta_log")[0])
        left = store.list_dir(f"{folder}/metadata")[0]
        lost = [i.key for i in left if i.key.endswith((".avro", "version-hint.text"))]
        if lost:
            self.findings.add(
                f"{folder}/metadata",
                "the table has no metadata file, only what such files refer to",
                "restore the newest metadata file from a backup",
            )
            self.told = False
        return False

    def _enter(self, phase: CheckPhase) -> None:
        self.phase = phase
        self._tell()

    def _tell(self) -> None:
        progress = CheckProgress(self.space.name, self.phase, self.files, len(self.findings.found))
        self.on_progress(progress)

    def _count(self) -> None:
        self.files += 1
        if self.files % 256 == 0:
            self._tell()

    def _journal(self) -> JournalCheck:
        self._enter(CheckPhase.JOURNAL)
        check = JournalCheck(self.space.store, self.space.name, self.findings)
        check.run()
        return check

    def _table(self, format_: Format) -> None:
        space = self.space
        self._enter(CheckPhase(format_.value))
        self.findings.format = format_
        folder = space.folder(format_)
        sizes = {key: info.size_bytes for key, info in self.listed.items()}
        files = FileChecker(space.store, sizes, self.findings, format_, self.deep)
        match format_:
            case Format.ICEBERG:
                iceberg = IcebergCheck(space.store, folder, files, self.findings)
                iceberg.run()
                self._take(format_, iceberg)
            case Format.DELTA:
                now_ms = self.ambient.now_ms()
                delta = DeltaCheck(space.store, folder, files, self.findings, now_ms)
                delta.run()
                self._take(format_, delta)
            case Format.NATIVE:
                self._native(files)
        known = len(self.findings.found)
        with self.findings.reading(folder, again=True):
            self.readers[format_] = space.reader(format_)
        if format_ in _TABLES and format_ in self.readers and len(self.findings.found) == known:
            replay_versions(self.readers[format_], self.findings, folder)

    def _take(self, format_: Format, check: IcebergCheck | DeltaCheck) -> None:
        self.versions[format_] = check.versions
        self.referenced |= check.referenced
        self.told = self.told and check.told

    def _native(self, files: FileChecker) -> None:
        """Check the footers of native files, and what is recorded of their origin."""
        space, name = self.space, self.space.name
        self.referenced |= {origin_key(name), beside_key(name)}
        with self.findings.reading(origin_key(name)):
            read_origins(space.store, name)
        try:
            reader = space.reader(Format.NATIVE)
            for key in sorted(reader.referenced()):
                info = space.store.head(key)
                self.referenced.add(key)
                if info is not None and key != origin_key(name):
                    files.add(Claim(DataFile(key, info.size_bytes, None)))
            files.close()
            self.versions[Format.NATIVE] = 1
            snapshot = reader.snapshot()
        except ParqueDBError as error:
            self.findings.raised(error, space.folder(Format.NATIVE))
            self.told = False
            return
        if self.deep:
            spec = snapshot.spec
            for file in snapshot.files.values():
                files.add(Claim(file, snapshot.schema, snapshot.specs.get(file.spec_id, spec)))
            files.close()

    def _marks(self, journal: JournalCheck) -> None:
        """Compare how much of the journal each table says that it includes with the journal."""
        included = 0
        for format_, reader in self.readers.items():
            folder = self.space.folder(format_)
            with self.findings.reading(folder, again=True):
                through = reader.through()
                journal.check_mark(through, format_, folder)
                is_base = journal.state is not None and journal.state.base is format_
                if is_base and through is not None and through.journal == journal.id:
                    journal.check_base(through, format_, folder)
                    included = through.entry
        journal.check_staged(included)
        base = None if journal.state is None else journal.state.base
        if base is not None and journal.flushed is not None and base not in self.versions:
            self.findings.add(
                f"_parquedb/{self.space.name}/journal",
                f"it says that the namespace is kept as {base.label}, and there is no such table",
                "restore the table from a backup",
            )

    def _agreement(self) -> AgreementCheck:
        self._enter(CheckPhase.AGREEMENT)
        with Digests(self.space.store) as digests:
            check = AgreementCheck(self.space.store, self.findings, self.deep, digests)
            for one, other in combinations(sorted(self.readers), 2):
                check.compare(self.readers[one], self.readers[other], self.space.name)
        if len(self.readers) > 1 and not check.compared:
            self.findings.note(
                "no table was carried from another, so that they were not compared with each other"
            )
        return check

    def _orphans(self, formats: set[Format], journal: JournalCheck) -> tuple[Orphan, ...]:
        self._enter(CheckPhase.ORPHANS)
        busy = None if journal.state is None else journal.state.migration
        if not (self.told and journal.told):
            self.findings.note(
                "orphans are not told while metadata cannot be read that may refer to them"
            )
            return ()
        if busy is not None:
            self.findings.note(
                f"orphans are not told while a migration to {busy.target.label} is under way"
            )
            return ()
        return find_orphans(self.space, self.listed, self.referenced | journal.staged, formats)
