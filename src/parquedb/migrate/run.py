"""Run migrations: survey, plan, transfer, verify, clean up; namespace by namespace.

All namespaces are planned before any is touched, so that a refusal leaves everything unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from parquedb.errors import (
    ConflictError,
    FormatError,
    InvalidInputError,
    LossyError,
    NotFoundError,
    ParqueDBError,
    StateError,
    UnsupportedError,
    VerificationError,
)
from parquedb.formats.dialects import check_format_version
from parquedb.log.ports import LogReader
from parquedb.log.snapshot import Snapshot
from parquedb.migrate.carry import Carry, carry_after, carry_history, carry_latest
from parquedb.migrate.cleanup import finish_cleanup
from parquedb.migrate.continuity import find_stranger, other_history
from parquedb.migrate.cutover import SourceMovedError, flush_tail, journal_base
from parquedb.migrate.execute import addresses_of, execute, way_back
from parquedb.migrate.fit import fit_schema, target_fit
from parquedb.migrate.layout import Layout, layout_of
from parquedb.migrate.options import (
    History,
    MigrationOptions,
    MigrationProgress,
    OnConflict,
    Phase,
)
from parquedb.migrate.plan import MigrationPlan, Situation, plan_migration
from parquedb.migrate.relate import Continues, Fresh, Relation, Unrelated, meets, relation_of
from parquedb.migrate.report import Action, MigrationReport, NamespaceReport
from parquedb.migrate.survey import survey_files
from parquedb.migrate.typescript import decoding, planned_with
from parquedb.model.format import Format
from parquedb.namespace.flush import flush_lock
from parquedb.namespace.tables import Namespace, discover_namespaces, has_journal, no_namespaces
from parquedb.slotted import dataclass
from parquedb.storage.store import HardLinks, Store

_CATCH_UPS = 5
_OVERWRITTEN = (FormatError, StateError)
"""What a file that is replaced while it is read looks like."""


@dataclass(frozen=True, slots=True)
class _Job:
    """A namespace with its plan."""

    namespace: Namespace
    source: LogReader
    target: LogReader | None
    plan: MigrationPlan


def run_migration(
    store: Store, names: Sequence[str] | None, options: MigrationOptions
) -> MigrationReport:
    """Migrate namespaces; what happens to each is in the report, nothing is raised for it.

    Args:
        store: The storage.
        names: The namespaces; None for all there are.
        options: What the caller chose.

    Raises:
        InvalidInputError: Options contradict each other, or a name cannot be a namespace's.
        NotFoundError: The storage has no namespaces at all.
    """
    started_us = options.ambient.now_us()
    _check_options(options)
    chosen = _names(store, names, options)
    reports: dict[str, NamespaceReport] = {}
    jobs: dict[str, _Job] = {}
    for name in chosen:
        namespace = Namespace(store, name, options.places)
        outcome = _planned(namespace, options)
        if isinstance(outcome, NamespaceReport):
            reports[name] = outcome
        else:
            jobs[name] = outcome
            reports[name] = outcome.plan.to_report()
    refused = any(
        report.action is Action.REFUSED or isinstance(report.error, NotFoundError)
        for report in reports.values()
    )
    if not options.dry_run and refused:
        for name, job in jobs.items():
            if job.plan.action is Action.MIGRATED:
                reports[name] = _held_back(reports[name])
    elif not options.dry_run:
        for name, job in jobs.items():
            reports[name] = _attempt(job, options)
    duration_ms = (options.ambient.now_us() - started_us) // 1000
    ordered = {name: reports[name] for name in chosen}
    return MigrationReport(ordered, duration_ms, options.dry_run)


def _check_options(options: MigrationOptions) -> None:
    if options.batch_size < 1:
        raise InvalidInputError(f"batch_size is {options.batch_size}; it must be at least 1")
    if options.source is not None and options.source is options.target:
        raise InvalidInputError(
            f"source and target are both {options.target.value!r}; choose two different formats"
        )
    check_format_version(options.target, options.format_version)
    if options.key is not None and options.on_conflict is not OnConflict.MERGE:
        raise InvalidInputError("key only goes with on_conflict='merge' (--key with --merge)")


def _names(store: Store, names: Sequence[str] | None, options: MigrationOptions) -> tuple[str, ...]:
    if names is not None:
        chosen = tuple(dict.fromkeys(names))
        for name in chosen:
            Namespace(store, name, options.places)
        if not chosen:
            raise InvalidInputError("no namespaces were named; name some, or leave the choice out")
        return chosen
    found = discover_namespaces(store, options.places)
    if not found:
        raise no_namespaces(store)
    return found


def _planned(namespace: Namespace, options: MigrationOptions) -> _Job | NamespaceReport:
    """Survey and plan one namespace; every outcome but a plan is a report."""
    source_format: Format | None = options.source
    try:
        if not options.dry_run:
            finish_cleanup(namespace)
            flush_tail(namespace, options)
        source_format = source_format or _choose_source(namespace, options.target)
        if source_format is None and not namespace.exists(options.target):
            return _only_journal(namespace, options)
        if source_format is None:
            alone = len(namespace.formats()) == 1
            what = "the only format there is" if alone else "what holds the collection already"
            reason = f"{options.target.label} is {what}"
            return NamespaceReport(
                options.target,
                options.target,
                Action.SKIPPED,
                reason,
                rows=namespace.reader(options.target).snapshot().rows,
            )
        return _surveyed(namespace, source_format, options)
    except (ConflictError, UnsupportedError) as error:
        action = Action.REFUSED
        failure: ParqueDBError = error
    except ParqueDBError as error:
        action, failure = Action.FAILED, error
    return NamespaceReport(source_format, options.target, action, str(failure), error=failure)


def _only_journal(namespace: Namespace, options: MigrationOptions) -> NamespaceReport:
    """Report on a namespace that a dry run leaves in its journal."""
    base = journal_base(namespace)
    reason = "its documents are in the journal only; they are flushed first"
    if options.dry_run and base is not options.target:
        return NamespaceReport(base, options.target, Action.MIGRATED, reason)
    return NamespaceReport(base, options.target, Action.SKIPPED, "it is kept so already")


def _choose_source(namespace: Namespace, target: Format) -> Format | None:
    """Pick the format to migrate from; None if the target is all there is.

    Raises:
        NotFoundError: The namespace has no data.
    """
    others = [format_ for format_ in namespace.formats() if format_ is not target]
    base = journal_base(namespace)
    if base is not None and not namespace.exists(base):
        return None  # nothing was flushed yet
    if base is target:
        return None  # what other tables hold is older
    if base in others:
        return base
    if not namespace.exists(target):
        if not others:
            raise namespace.no_data()
        primary = namespace.detect().primary
        return primary if primary in others else others[0]
    if not others:
        return None
    lineage = namespace.reader(target).lineage()
    if lineage is not None and lineage.origin.format in others:
        return lineage.origin.format
    for format_ in others:
        theirs = namespace.reader(format_).lineage()
        if theirs is not None and theirs.origin.format is target:
            return format_
    primary = namespace.detect().primary
    return primary if primary in others else others[0]


def _third(namespace: Namespace, source: LogReader, target: LogReader) -> Format | None:
    """Return the format of a third table that has versions in common with both, None without."""
    for format_ in (one for one in Format if one not in (source.format, target.format)):
        with suppress(ParqueDBError):  # that it cannot be read is no matter of this run
            if namespace.exists(format_):
                between = namespace.reader(format_)
                if meets(source, between) and meets(between, target):
                    return format_
    return None


def _job(namespace: Namespace, source_format: Format, options: MigrationOptions) -> _Job:
    options.on_progress(MigrationProgress(namespace.name, Phase.SCAN, 0, None, 0, 0))
    source = namespace.reader(source_format)
    target = namespace.reader(options.target) if namespace.exists(options.target) else None
    relation = relation_of(source, target)
    if target is not None and isinstance(relation, Unrelated):
        relation = Unrelated(_third(namespace, source, target))
    source = decoding(namespace.store, source, target)
    target = None if target is None else decoding(namespace.store, target, source)
    held = None if target is None else target.snapshot()
    carry, layout = _carry(namespace, source, target, relation, options, held)
    if held is not None and isinstance(relation, Continues) and not relation.target_moved:
        stranger = _stranger(namespace, source, options.target, carry, (held, layout))
        if stranger is not None:
            if options.on_conflict is OnConflict.ERROR:
                folder = namespace.folder(source_format)
                raise other_history(source_format.label, folder, relation.source_version, stranger)
            relation = Unrelated()
            carry, layout = _carry(namespace, source, target, relation, options, held)
    situation = Situation(
        namespace=namespace.name,
        source=source_format,
        source_folder=namespace.folder(source_format),
        target_folder=namespace.folder(options.target),
        relation=relation,
        carry=carry,
        target_rows=None if held is None else held.rows,
        target_versions=0 if target is None else len(target.history()),
        can_link=isinstance(namespace.store, HardLinks),
        unnamed=_unnamed(source, target, carry, relation, options),
        target_version=None if target is None else target.format_version,
    )
    situation = survey_files(situation, namespace, source, target, options, layout)
    if held is not None:
        placed = _placed(namespace, source, situation, options, held)
        situation = replace(situation, placed=placed, columns=held.schema)
    plan = plan_migration(situation, planned_with(source, options))
    return _Job(namespace, source, target, plan)


def _stranger(
    namespace: Namespace,
    source: LogReader,
    target: Format,
    carry: Carry,
    there: tuple[Snapshot, Layout],
) -> str | None:
    """Return a file that one side alone has at the version to go on from; None if all is well."""
    (held, layout), before = there, carry.before
    if before is None or Format.NATIVE in (source.format, target):
        return None
    addresses = addresses_of(namespace, source.format, target, source.table_id, layout.folders)
    back = partial(way_back, namespace, target, source, held.files)
    return find_stranger(before.files, held.files, addresses, back)


def _placed(
    namespace: Namespace,
    source: LogReader,
    situation: Situation,
    options: MigrationOptions,
    held: Snapshot,
) -> frozenset[tuple[str, bool]]:
    """Return the files of a folder that the target has, and whether they were written again."""
    if source.format is not Format.NATIVE or not isinstance(situation.relation, Continues):
        return frozenset()
    folders = situation.layout.folders
    to = options.target
    addresses = addresses_of(namespace, source.format, to, source.table_id, folders)
    fit_type = target_fit(situation.target_version, options)
    schema = fit_schema(situation.carry.latest.schema, fit_type).schema
    found: set[tuple[str, bool]] = set()
    for key, file in situation.carry.added.items():
        if addresses.rewritten(file, schema) in held.files:
            found.add((key, True))
        if any(candidate in held.files for candidate in addresses.candidates(file)):
            found.add((key, False))
    return frozenset(found)


def _unnamed(
    source: LogReader,
    target: LogReader | None,
    carry: Carry,
    relation: Relation,
    options: MigrationOptions,
) -> tuple[str, ...]:
    """Return the branches and tags of the source that the target will not have."""
    known: set[str] = set()
    if isinstance(relation, Fresh | Continues) and options.target is not Format.NATIVE:
        wanted = {version.version for version in carry.versions}
        known = {name for v, names in source.tags().items() if v in wanted for name in names}
    if target is not None:
        known.update(name for names in target.tags().values() for name in names)
    tags = (name for names in source.tags().values() for name in names)
    return (*source.unshown(), *(f"the tag {name!r}" for name in tags if name not in known))


def _carry(
    namespace: Namespace,
    source: LogReader,
    target: LogReader | None,
    relation: Relation,
    options: MigrationOptions,
    held: Snapshot | None,
) -> tuple[Carry, Layout]:
    """Read what is to be carried, by how the target stands to the source, and lay it out."""
    carry = _carried(namespace, source, target, relation, options)
    store, to = namespace.store, options.target
    return carry, layout_of(store, source.format, carry, to, relation, held)


def _carried(
    namespace: Namespace,
    source: LogReader,
    target: LogReader | None,
    relation: Relation,
    options: MigrationOptions,
) -> Carry:
    store = namespace.store
    to_native = options.target is Format.NATIVE
    match relation:
        case Fresh():
            latest = options.history is History.LATEST or to_native
            return carry_latest(store, source) if latest else carry_history(store, source)
        case Continues(target_moved=True) if options.on_conflict is not OnConflict.ERROR:
            return carry_latest(store, source)
        case Continues(cursor) if target is not None:
            if to_native and source.latest() != cursor:
                return carry_latest(store, source)
            schema = None if to_native else target.snapshot().schema
            return carry_after(store, source, cursor, target, schema)
        case _:
            return carry_latest(store, source)


def _attempt(job: _Job, options: MigrationOptions) -> NamespaceReport:
    """Execute one plan; every failure is a report that says what stands."""
    failure: ParqueDBError
    try:
        return _until_caught_up(job, options)
    except (ConflictError, UnsupportedError, LossyError) as error:
        action, failure = Action.REFUSED, error
    except ParqueDBError as error:
        action, failure = Action.FAILED, error
    message = str(failure)
    if not message.startswith(("Migration failed", "Conflict with", "Verification failed")):
        message = f"Migration failed: {message}"
    return replace(
        job.plan.to_report(),
        action=action,
        reason=message,
        versions=0,
        files={},
        bytes_written=0,
        bytes_referenced=0,
        error=failure,
    )


def _until_caught_up(job: _Job, options: MigrationOptions) -> NamespaceReport:
    """Execute a plan, and again for what a document collection's flushes add meanwhile."""
    for _ in range(_CATCH_UPS):
        try:
            return execute(job.namespace, job.source, job.target, job.plan, options)
        except SourceMovedError:
            job.namespace.refresh()
        except (NotFoundError, VerificationError):
            job.namespace.refresh()
            if not _was_replaced(job):
                raise
        except _OVERWRITTEN:
            job.namespace.refresh()
            if not (_has_flushes(job.namespace, job.source.format) and _was_replaced(job)):
                raise
        job = _surveyed(job.namespace, job.source.format, options)
    # flushes come faster than they are carried over: hold them off; writes go on in the journal
    with flush_lock(job.namespace.store, job.namespace.name):
        job.namespace.refresh()
        job = _job(job.namespace, job.source.format, options)
        return execute(job.namespace, job.source, job.target, job.plan, options)


def _surveyed(namespace: Namespace, source: Format, options: MigrationOptions) -> _Job:
    """Survey and plan; again where a flush replaced the one file of a collection meanwhile."""
    if not _has_flushes(namespace, source):
        return _job(namespace, source, options)
    for _ in range(_CATCH_UPS):
        before = namespace.mark(source)
        try:
            return _job(namespace, source, options)
        except (NotFoundError, *_OVERWRITTEN):
            if namespace.mark(source) == before:
                raise
            namespace.refresh()
    with flush_lock(namespace.store, namespace.name):
        namespace.refresh()
        return _job(namespace, source, options)


def _has_flushes(namespace: Namespace, source: Format) -> bool:
    return source is Format.NATIVE and has_journal(namespace.store, namespace.name)


def _was_replaced(job: _Job) -> bool:
    """Whether the source was replaced, and keeps no version of what was carried to compare with."""
    source = job.source
    if source.format is not Format.NATIVE or not job.namespace.exists(source.format):
        return False
    return job.namespace.reader(source.format).latest() != source.latest()


def _held_back(report: NamespaceReport) -> NamespaceReport:
    reason = "another namespace was refused, so nothing was changed"
    return replace(
        report,
        action=Action.SKIPPED,
        reason=reason,
        versions=0,
        files={},
        bytes_written=0,
        bytes_referenced=0,
    )
