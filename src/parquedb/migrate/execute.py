"""Carry out the plan for one namespace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from parquedb.errors import ConflictError, ParqueDBError, StateError
from parquedb.formats.native.paths import DATA, beside_key
from parquedb.log.change import AddFile, RemoveFile, SetPartitioning, SetSchema
from parquedb.log.commit import MERGED, Commit, Operation, Origin
from parquedb.log.pairs import common_versions
from parquedb.log.ports import Conflict, LogReader, LogWriter
from parquedb.migrate.adopt import open_target
from parquedb.migrate.carry import (
    Carry,
    SourceVersion,
    base_commit,
    carry_after,
)
from parquedb.migrate.cleanup import clean_up, plan_cleanup
from parquedb.migrate.cutover import cut_over
from parquedb.migrate.fit import fit_schema, target_fit
from parquedb.migrate.layout import Layout, find_layout
from parquedb.migrate.merge import merge_rows, merge_schemas
from parquedb.migrate.options import (
    MigrationOptions,
    MigrationProgress,
    OnConflict,
    Phase,
    Verify,
)
from parquedb.migrate.partitions import PartitionFolders
from parquedb.migrate.place import Addresses, Placer
from parquedb.migrate.plan import MigrationPlan, plan_migration
from parquedb.migrate.relate import Continues
from parquedb.migrate.report import Action, MergeCounts, NamespaceReport, counted
from parquedb.migrate.survey import survey_files
from parquedb.migrate.transfer import Transfer
from parquedb.migrate.typescript import planned_with, reopened, rows_of
from parquedb.migrate.verify import verify_content, verify_counts, verify_merged
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.model.partition import IdentityTransform, PartitionSpec
from parquedb.namespace.tables import Namespace
from parquedb.slotted import dataclass

_CATCH_UP_ROUNDS = 20


@dataclass(slots=True)
class _Run:
    """One namespace's migration while it is carried out."""

    namespace: Namespace
    options: MigrationOptions
    writer: LogWriter
    placer: Placer
    versions: list[SourceVersion]
    total_rows: int | None
    merge: MergeCounts | None = None
    bytes_written: int = 0

    def tell(self, phase: Phase, done: int, rows: int, total: int | None = None) -> None:
        """Report progress."""
        total_versions = len(self.versions) if total is None else total
        self.options.on_progress(
            MigrationProgress(
                self.namespace.name, phase, rows, self.total_rows, done, total_versions
            )
        )


def execute(
    namespace: Namespace,
    source: LogReader,
    target: LogReader | None,
    plan: MigrationPlan,
    options: MigrationOptions,
) -> NamespaceReport:
    """Carry out a plan.

    Args:
        namespace: The namespace.
        source: The source as it was surveyed.
        target: The target as it was surveyed, or None.
        plan: What to do.
        options: What the caller chose.

    Returns:
        What was done.

    Raises:
        ConflictError: Somebody else wrote to the target meanwhile; a second run continues.
        VerificationError: The target differs from the source; the source was kept.
        FormatError: A file cannot be read; until one can, a second run fails as well.
        StorageError: The store failed; the target ends at some version; a second run continues.
    """
    report = plan.to_report()
    if plan.action is Action.MIGRATED:
        run = _start(namespace, source, plan, options)
        if plan.replaces and options.on_conflict is OnConflict.MERGE and target is not None:
            _merge(run, source, target, plan)
        elif options.target is Format.NATIVE:
            _write_native(run, source, target, plan)
        else:
            _carry_all(run, source, target, plan)
        report = replace(
            report,
            reason=f"carried {counted(len(run.versions), 'version')} of {source.format.label}",
            versions=len(run.versions),
            files=run.placer.counts or report.files,
            bytes_written=run.bytes_written + run.placer.bytes_written,
            bytes_referenced=run.placer.bytes_referenced,
            verified=_verify(run, source),
            merge=run.merge,
        )
    elif plan.action is Action.SKIPPED:
        report = replace(report, verified=_complete(namespace, source, plan, options))
    if plan.action in (Action.MIGRATED, Action.SKIPPED):
        cut_over(namespace, source.format, options)
    if options.delete_source and plan.action in (Action.MIGRATED, Action.SKIPPED):
        options.on_progress(MigrationProgress(namespace.name, Phase.CLEANUP, 0, None, 0, 0))
        namespace.refresh()
        # what is lost is in the plan already, and was allowed there or is gone, but for names
        allowed = options.allow_lossy or len(plan.lost) > len(plan.situation.unnamed)
        clean_up(namespace, plan_cleanup(namespace, source.format, allow_lossy=allowed))
        report = replace(report, reason=f"{report.reason}; deleted the source")
    return report


def _complete(
    namespace: Namespace, source: LogReader, plan: MigrationPlan, options: MigrationOptions
) -> str | None:
    """Verify what is there and record its completion, if an earlier run could not.

    A migration without new versions is only incomplete if its verification failed or was cut
    short: then all rows of every version are compared, whatever the caller asks for. Who asks for
    that gets it of a complete one too: the run before may have been killed while it compared.

    Returns:
        What was compared, or None.
    """
    relation = plan.situation.relation
    if not isinstance(relation, Continues):
        return None
    writer = open_target(namespace, options)
    writer.settle()
    is_settled = relation.completed and options.verify is not Verify.CONTENT
    if is_settled or relation.target_moved:
        return None
    target = namespace.reader(options.target)
    versions = [
        SourceVersion(ours.version, ours.at_ms, ours.rows)
        for ours, theirs in common_versions(source, target)
        if theirs.origin is not None
        and (theirs.origin.table_id, theirs.origin.version) == (source.table_id, ours.version)
    ]  # others went the other way
    if versions:
        verify_counts(source, versions, target)
        verify_content(namespace.store, source, versions, target, lambda _: None)
    if not relation.completed:
        writer.set_completed(options.ambient.now_ms())
    return Verify.CONTENT.value if versions else None


def _start(
    namespace: Namespace,
    source: LogReader,
    plan: MigrationPlan,
    options: MigrationOptions,
) -> _Run:
    partitions = plan.situation.layout.folders
    addresses = addresses_of(namespace, source.format, options.target, source.table_id, partitions)
    writer = open_target(namespace, options)
    carry = plan.situation.carry
    placer = Placer(namespace.store, addresses, plan.means, rows_of(source))
    return _Run(namespace, options, writer, placer, [], carry.latest.rows)


def addresses_of(
    namespace: Namespace,
    source: Format,
    target: Format,
    source_id: str,
    partitions: PartitionFolders,
) -> Addresses:
    """Say where a source's files go in a target.

    Files that only the target refers to lie in ``data/``; where another table lives in the same
    folder, they lie in a folder that begins with ``_``, which foreign clean-ups do not look into.
    """
    folder = namespace.folder(target)
    shared = any(
        namespace.folder(other) == folder and namespace.exists(other)
        for other in (Format.ICEBERG, Format.DELTA, Format.NATIVE)  # listing files comes last
        if other is not target
        and (other is not Format.NATIVE or namespace.store.list_dir(folder)[0])
    )
    data = f"_{target.value}_data" if shared else "data"
    told = partitions if target is Format.DELTA else None
    return Addresses(source, source_id, namespace.folder(source), f"{folder}/{data}", told)


def _carry_all(run: _Run, source: LogReader, target: LogReader | None, plan: MigrationPlan) -> None:
    """Carry the plan's commits, then what the source committed meanwhile, until nothing is new."""
    carry = plan.situation.carry
    if source.format is Format.NATIVE:
        _mark_beside(run)
    held = None if target is None else target.snapshot()
    live = {} if held is None else dict(held.files)
    transfer = Transfer(
        fit_type=target_fit(plan.situation.target_version, run.options),
        source=source.format,
        source_id=source.table_id,
        target=run.writer,
        placer=run.placer,
        live=live,
        back=way_back(run.namespace, run.options.target, source, live),
        expect=None if target is None else target.latest(),
        batch_size=run.options.batch_size,
        now_ms=run.options.ambient.now_ms,
        layout=plan.situation.layout,
        held=None if held is None else held.schema,
    )
    if carry.before is not None:
        transfer.start_after(carry.before)
    transfer.follow_names(plan.situation.trees)
    if plan.replaces:
        carry = _as_one(carry, run.options.ambient.now_ms())
    elif plan.situation.layout.rekeyed and carry.before is not None:
        transfer.partition_anew(plan.situation.layout, carry.before)
    for _ in range(_CATCH_UP_ROUNDS):
        run.versions += carry.versions
        transfer.run(carry.commits, lambda done, rows: run.tell(Phase.WRITE, done, rows))
        run.bytes_written = transfer.bytes_written
        run.namespace.refresh()
        newer = reopened(run.namespace.store, run.namespace.reader(source.format), source)
        last = run.versions[-1]
        if newer.latest() == last.version:
            return
        there = run.namespace.reader(run.options.target)
        carry = carry_after(run.namespace.store, newer, last.version, there, None)
        layout = find_layout(
            run.namespace.store, source.format, carry, run.options.target, there.snapshot()
        )
        situation = replace(plan.situation, carry=carry)
        situation = survey_files(situation, run.namespace, newer, there, run.options, layout)
        again = plan_migration(situation, planned_with(newer, run.options))
        if again.error is not None:
            raise again.error
        run.placer.means.update(again.means)
        run.placer.addresses = replace(run.placer.addresses, partitions=_told(layout, run))
        if layout.rekeyed and carry.before is not None:
            transfer.partition_anew(layout, carry.before)
        transfer.layout = layout
        transfer.follow_names(situation.trees)
        run.placer.rows = rows_of(newer)
    raise StateError(
        f"{run.namespace.name!r}: the source was written to faster than it could be carried, "
        f"{_CATCH_UP_ROUNDS} times; the target is whole up to version {run.versions[-1].version}; "
        "run the same command again"
    )


def _told(layout: Layout, run: _Run) -> PartitionFolders | None:
    return layout.folders if run.options.target is Format.DELTA else None


def _mark_beside(run: _Run) -> None:
    """Mark a folder in which native files stay beside the table that is about to be made there."""
    namespace = run.namespace
    reader = namespace.reader(Format.NATIVE)
    folder = namespace.folder(run.options.target)
    if folder in (namespace.name, f"{DATA}/{namespace.name}") and any(
        key.startswith(f"{folder}/") for key in reader.referenced()
    ):
        namespace.store.replace(beside_key(namespace.name), b"{}")


def _as_one(carry: Carry, at_ms: int) -> Carry:
    """Make the source's newest snapshot one new version of now that replaces the target's rows."""
    commit = replace(base_commit(carry.latest), at_ms=at_ms)
    last = carry.versions[-1]
    return replace(carry, versions=(last,), commits=(commit,))


def way_back(
    namespace: Namespace, target: Format, source: LogReader, live: Mapping[str, DataFile]
) -> dict[str, str]:
    """Map the keys that the target's files were given in the source, when it was the target."""
    if source.format is Format.NATIVE or not live:
        return {}
    table_id = namespace.reader(target).table_id
    ours = namespace.reader(target).snapshot()
    columns = tuple(
        item.id
        for name in (field.name for field in source.snapshot().spec.fields)
        for item in ours.schema.fields
        if item.name == name
    )
    everywhere = PartitionFolders.of([ours.schema], ours.specs.values(), ())
    usual = addresses_of(namespace, target, source.format, table_id, everywhere)
    folder = namespace.folder(source.format)
    back: dict[str, str] = {}
    for key, file in live.items():
        for data in (f"_{source.format.value}_data", "data"):
            reverse = replace(usual, data_folder=f"{folder}/{data}")
            candidates = list(reverse.candidates(file))
            if columns and usual.partitions is not None:
                told = replace(everywhere, columns=columns)
                candidates += replace(reverse, partitions=told).candidates(file)
            back.update((candidate, key) for candidate in candidates if candidate != key)
    return back


def _write_native(
    run: _Run, source: LogReader, target: LogReader | None, plan: MigrationPlan
) -> None:
    """Write the newest snapshot as one file."""
    carry = plan.situation.carry
    commit = base_commit(carry.latest)
    origin = Origin(source.format, source.table_id, carry.latest.version)
    commit = replace(commit, base=False, origin=origin)
    result = run.writer.append(
        [commit],
        expect=None if target is None else target.latest(),
        completed_at_ms=run.options.ambient.now_ms(),
    )
    if isinstance(result, Conflict):
        raise ConflictError(
            f"Conflict with existing data: somebody else wrote {run.namespace.name!r} as native "
            "Parquet meanwhile; nothing was replaced, run the same command again"
        )
    run.bytes_written = result.bytes_written
    run.versions = list(carry.versions[-1:])
    run.tell(Phase.WRITE, 1, carry.latest.rows or 0)


def _merge(run: _Run, source: LogReader, target: LogReader, plan: MigrationPlan) -> None:
    """Write the combined rows as one new version."""
    theirs, ours = plan.situation.carry.latest, target.snapshot()
    fit = fit_schema(theirs.schema, target_fit(plan.situation.target_version, run.options))
    spec = ours.spec
    if not all(isinstance(item.transform, IdentityTransform) for item in spec.fields):
        spec = PartitionSpec(max(ours.specs) + 1)  # merged rows are of many days and buckets
    schema = merge_schemas(run.namespace.name, ours.schema, fit.schema)
    run.tell(Phase.TRANSFORM, 0, 0)
    folder = run.placer.addresses.data_folder
    merged = merge_rows(
        run.namespace.store,
        theirs,
        replace(ours, spec=spec),
        schema,
        run.options.key or "$id",
        lambda: f"{folder}/merged-{run.options.ambient.new_uuid()}.parquet",
        source_rows=rows_of(source),
        target_rows=rows_of(target),
        annotated=run.options.target is Format.ICEBERG,
    )
    run.merge = merged.counts
    origin = Origin(source.format, source.table_id + MERGED, theirs.version)
    commit = Commit(
        theirs.version,
        run.options.ambient.now_ms(),
        Operation.OVERWRITE,
        (
            SetSchema(schema),
            SetPartitioning(spec, current=spec is ours.spec),
            *(RemoveFile(file) for file in ours.files.values()),
            *(AddFile(file) for file in merged.files),
        ),
        origin=origin,
    )
    result = run.writer.append(
        [commit], expect=target.latest(), completed_at_ms=run.options.ambient.now_ms()
    )
    if isinstance(result, Conflict):
        raise ConflictError(
            f"Conflict with existing data: somebody else wrote to the {target.format.label} table "
            "while it was merged; nothing was changed, run the same command again"
        )
    found = merged.counts
    rows = (
        found.only_in_target + found.only_in_source + found.source_newer + found.target_newer
    ) + found.equal
    run.bytes_written = result.bytes_written + sum(file.size_bytes for file in merged.files)
    run.versions = [SourceVersion(theirs.version, theirs.at_ms, rows)]
    run.tell(Phase.WRITE, 1, rows)


def _verify(run: _Run, source: LogReader) -> str | None:
    """Compare the target, read anew, with the source."""
    how = run.options.verify
    if how is Verify.NONE:
        return None
    run.namespace.refresh()
    try:
        target = run.namespace.reader(run.options.target)
        fresh = reopened(run.namespace.store, run.namespace.reader(source.format), source)
        if run.merge is not None:
            verify_merged(target, run.versions[-1])
            return Verify.COUNT.value
        there = {version.version for version in fresh.history()}
        # a rollback or expiry meanwhile takes versions away that were carried right
        versions = [one for one in run.versions if one.version in there] or run.versions
        verify_counts(fresh, versions, target)
        if how is Verify.CONTENT:
            store = run.namespace.store
            verify_content(
                store, fresh, versions, target, lambda done: run.tell(Phase.VERIFY, done, 0)
            )
    except (ParqueDBError, KeyboardInterrupt):  # a file that cannot be read, too
        run.writer.set_completed(None)
        raise
    run.tell(Phase.VERIFY, len(run.versions), run.total_rows or 0)
    return how.value
