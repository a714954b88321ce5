"""The plan: what a migration will do, decided from values alone. Printed, it is the dry run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from parquedb.errors import ConflictError, LossyError, ParqueDBError, UnsupportedError
from parquedb.formats.delta.table import check_types
from parquedb.formats.dialects import DIALECTS
from parquedb.migrate.carry import Carry
from parquedb.migrate.fit import SchemaFit, fit_schema, target_fit
from parquedb.migrate.layout import AS_IT_IS, Layout
from parquedb.migrate.names import NO_COPIES, NameCopies, Need, plan_copies
from parquedb.migrate.options import Files, History, MigrationOptions, OnConflict
from parquedb.migrate.relate import Continues, Fresh, Relation
from parquedb.migrate.report import Action, Means, NamespaceReport, counted
from parquedb.model.format import Format
from parquedb.model.schema import Schema, walk
from parquedb.parquet.elements import Element
from parquedb.slotted import dataclass

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Situation:
    """What a plan is made from.

    Args:
        namespace: The namespace.
        source: Format migrated from.
        source_folder: Key of the source's table.
        target_folder: Key of the target's table.
        relation: How the target stands to the source.
        carry: What is to be carried.
        target_rows: Rows that the target holds already.
        target_versions: How many versions the target has already.
        can_link: Whether the store can make hard links.
        unfit_files: Files that need a copy with other field ids in the footer.
        narrow_files: Files whose types are narrower than the table's when they are added, or with
            timestamps of an old form that not all of the target's readers read right.
        layout: How the target is partitioned.
        unadoptable: Why the target cannot take over the columns of some version.
        trees: The columns of the source's files by key, where their names may not be those that
            the target's readers look for; else None.
        unnamed: Branches and tags that are not carried, one line each.
        placed: Files of a folder that the target has from an earlier run, and whether they were
            written again for it: they come into it once.
        columns: The target's columns; None where there is no table yet.
        target_version: The format version of the target's table, None where there is no table yet
            or formats have no versions.
    """

    namespace: str
    source: Format
    source_folder: str
    target_folder: str
    relation: Relation
    carry: Carry
    target_rows: int | None
    target_versions: int
    can_link: bool
    unfit_files: frozenset[str] = frozenset()
    narrow_files: frozenset[str] = frozenset()
    layout: Layout = AS_IT_IS
    unadoptable: UnsupportedError | None = None
    trees: Mapping[str, Element] | None = None
    unnamed: tuple[str, ...] = ()
    placed: frozenset[tuple[str, bool]] = frozenset()
    columns: Schema | None = None
    target_version: int | None = None

    def is_placed(self, key: str, means: Means) -> bool:
        """Whether the target has a file already in the way that is planned."""
        return (key, means is Means.REWRITTEN) in self.placed


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """What will be done with a namespace.

    Args:
        situation: What the plan was made from.
        target: Format migrated to.
        action: ``MIGRATED`` (will be), ``SKIPPED`` or ``REFUSED``.
        reason: Why, in one sentence.
        means: How each file that is carried comes into the target, by the source's key.
        lost: What will be lost.
        warnings: What the caller should know besides.
        error: Why the migration is refused.
        replaces: Whether the target's own rows are replaced or merged by one new version.
        widens: Whether files are written again when a column gets a wider type.
        names: What renames cost.
    """

    situation: Situation
    target: Format
    action: Action
    reason: str
    means: Mapping[str, Means]
    lost: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: ParqueDBError | None = None
    replaces: bool = False
    widens: bool = False
    names: NameCopies = NO_COPIES

    def to_report(self) -> NamespaceReport:
        """Return the plan as the report of a dry run."""
        added = self.situation.carry.added
        chosen = {k: m for k, m in self.means.items() if not self.situation.is_placed(k, m)}
        written = sum(
            added[key].size_bytes
            for key, means in chosen.items()
            if means in (Means.COPIED, Means.FOOTER, Means.REWRITTEN)
        )
        files = Counter(chosen.values())
        widened = self.situation.carry.promoted if self.widens else ()
        files[Means.REWRITTEN] += len(widened)
        files[Means.FOOTER] += self.names.copies
        files[Means.REWRITTEN] += self.names.rewritten
        again = sum(file.size_bytes for file in widened) + self.names.size_bytes
        refused = self.action is Action.REFUSED
        return NamespaceReport(
            source=self.situation.source,
            target=self.target,
            action=self.action,
            reason=self.reason,
            versions=0 if refused else len(self.situation.carry.versions),
            rows=self.situation.carry.latest.rows,
            files=files,
            bytes_written=written + again,
            bytes_referenced=sum(added[key].size_bytes for key in chosen) - written,
            lost=self.lost,
            warnings=self.warnings,
            error=self.error,
        )


def plan_migration(situation: Situation, options: MigrationOptions) -> MigrationPlan:
    """Decide what a migration does. Pure: the same situation gives the same plan."""
    target = options.target
    carry = situation.carry
    fit_type = target_fit(situation.target_version, options)
    fits = [fit_schema(schema, fit_type) for schema in carry.schemas]
    lost = _losses(situation, options, fits)

    def refuse(error: ParqueDBError) -> MigrationPlan:
        return MigrationPlan(situation, target, Action.REFUSED, str(error), {}, lost, (), error)

    conflict = _find_conflict(situation, options)
    if conflict is not None:
        return refuse(conflict)
    if not carry.versions:
        reason = f"{target.label} already holds everything up to version {carry.latest.version}"
        kept = tuple(_told_version(situation, options))
        return MigrationPlan(situation, target, Action.SKIPPED, reason, {}, situation.unnamed, kept)
    unsupported = _find_unsupported(situation, options, fits) or situation.unadoptable
    if unsupported is not None:
        return refuse(unsupported)
    if lost and not options.allow_lossy and _is_refusable(situation, options, fits):
        return refuse(
            LossyError(
                f"{situation.namespace!r}: migrating {situation.source.label} to {target.label} "
                f"loses {'; '.join(lost)}. Pass --allow-lossy (allow_lossy=True) to accept that"
                f"{_kept_by_newer(situation, options, fits)}",
                lost=lost,
            )
        )
    rewrites_all = any(fit.rewrites for fit in fits) or options.files is Files.REWRITE
    rewritten = situation.narrow_files | situation.layout.absent
    names = plan_copies(carry, situation.trees, lambda key: rewrites_all or key in rewritten)
    chosen = _choose_means(situation, options, names, rewrites_all=rewrites_all)
    if isinstance(chosen, ParqueDBError):
        return refuse(chosen)
    changed = _find_changed_type(situation, target, chosen)
    if changed is not None:
        return refuse(changed)
    related = isinstance(situation.relation, Fresh | Continues) and not _moved(situation.relation)
    verb = "carry" if related else options.on_conflict.value
    reason = f"{verb} {counted(len(carry.versions), 'version')} of {situation.source.label}"
    warnings = _warnings(situation, options, chosen, names)
    return MigrationPlan(
        situation,
        target,
        Action.MIGRATED,
        reason,
        chosen,
        lost,
        warnings,
        replaces=not related,
        widens=target is Format.DELTA,
        names=names,
    )


def _moved(relation: Relation) -> bool:
    return isinstance(relation, Continues) and relation.target_moved


def _find_conflict(situation: Situation, options: MigrationOptions) -> ConflictError | None:
    relation = situation.relation
    if options.on_conflict is not OnConflict.ERROR or isinstance(relation, Fresh):
        return None
    rows = "an unknown number of" if situation.target_rows is None else situation.target_rows
    held = f"{rows} rows in {counted(situation.target_versions, 'version')}"
    hint = (
        "use --force to replace its rows by a new version, --merge to combine both by $id (or "
        "--key COLUMN), or delete the target's data first"
    )
    if isinstance(relation, Continues):
        if not relation.target_moved or not situation.carry.versions:
            return None
        return ConflictError(
            f"Conflict with existing data: the {options.target.label} table "
            f"{situation.target_folder!r} ({held}) was written to by others, or moved back, since "
            f"version {relation.target_version}, and {situation.source.label} has "
            f"{counted(len(situation.carry.versions), 'new version')}; {hint}"
        )
    if relation.by_way is not None:
        return _by_way(situation, options, relation.by_way, f"({held})", hint)
    return ConflictError(
        f"Conflict with existing data: the {options.target.label} table "
        f"{situation.target_folder!r} holds {held} that did not come from this "
        f"{situation.source.label} table; {hint}"
    )


def _by_way(
    situation: Situation, options: MigrationOptions, third: Format, held: str, hint: str
) -> ConflictError:
    """Return the conflict of two tables that met a third one, and not each other."""
    source, target, between = situation.source.label, options.target.label, third.label
    told = (
        f"keeps no older version that would tell which; {hint}"
        if third is Format.NATIVE
        else f"alone records which; go the same way: migrate {source} to {between}, then {between} "
        f"to {target}. Or {hint}"
    )
    return ConflictError(
        f"Conflict with existing data: the {target} table {situation.target_folder!r} {held} and "
        f"this {source} table have versions in common by way of the {between} table, which {told}"
    )


def _losses(
    situation: Situation, options: MigrationOptions, fits: list[SchemaFit]
) -> tuple[str, ...]:
    lost = list(situation.carry.lost)
    for fit in fits:
        lost += [line for line in fit.lost if line not in lost]
    if options.target is Format.NATIVE and situation.source is not Format.NATIVE:
        lost.append("time travel: native Parquet keeps the newest version only")
        lost.append("ACID commits by other engines: native Parquet is a plain file")
        if any(spec.fields for spec in situation.carry.specs):
            lost.append("partitioning: partition columns become ordinary columns")
    elif options.history is History.LATEST and situation.source is not Format.NATIVE:
        lost.append(f"the versions before {situation.carry.latest.version}: history='latest'")
    elif options.on_conflict is not OnConflict.ERROR and situation.carry.versions:
        replaces = not isinstance(situation.relation, Fresh | Continues)
        if (replaces or _moved(situation.relation)) and situation.source is not Format.NATIVE:
            lost.append(
                f"the source's versions before {situation.carry.latest.version}: "
                f"{options.on_conflict.value} carries the newest one"
            )
    return (*lost, *situation.unnamed)


def _is_refusable(situation: Situation, options: MigrationOptions, fits: list[SchemaFit]) -> bool:
    """Whether the migration itself loses something; what is gone or unwanted does not count."""
    to_native = options.target is Format.NATIVE and situation.source is not Format.NATIVE
    return to_native or any(fit.lost for fit in fits)


def _find_unsupported(
    situation: Situation, options: MigrationOptions, fits: list[SchemaFit]
) -> UnsupportedError | None:
    target = options.target
    where = f"{situation.namespace!r}: {situation.source.label} to {target.label}"
    refused = list(dict.fromkeys(line for fit in fits for line in fit.refused))
    if situation.source is Format.NATIVE and not refused:
        native = fit_schema(situation.carry.latest.schema, DIALECTS[Format.NATIVE].fit_type)
        refused = list(native.refused)
    if refused:
        return UnsupportedError(
            f"{where} is not supported for {'; '.join(refused)}; cast or drop these columns first"
            f"{_kept_by_newer(situation, options, fits)}",
            feature="types",
        )
    if target is Format.NATIVE:
        return None
    schemas = dict.fromkeys((*situation.carry.schemas, situation.carry.latest.schema))
    twins = list(dict.fromkeys(pair for schema in schemas for pair in _find_twins(schema)))
    if twins:
        shown = "; ".join(twins[:_SHOWN])
        more = f" and {len(twins) - _SHOWN} more" if len(twins) > _SHOWN else ""
        return UnsupportedError(
            f"{where}: columns differ in case or in dots only, and some readers take one for the "
            f"other: {shown}{more}; rename one of each first",
            feature="column names",
        )
    if any("" in path for schema in schemas for path, _ in walk(schema.fields)):
        return UnsupportedError(
            f"{where}: a column has no name, and some readers make one up; name it first",
            feature="column names",
        )
    if not situation.carry.latest.schema.fields:
        return UnsupportedError(
            f"{where}: the table has no columns", feature="tables without columns"
        )
    return None


def _find_changed_type(
    situation: Situation, target: Format, means: Mapping[str, Means]
) -> UnsupportedError | None:
    """Return why files that stay in a Delta table could not be read with its new columns."""
    stay = [key for key, how in means.items() if situation.is_placed(key, how)]
    if target is not Format.DELTA or situation.columns is None or not stay:
        return None
    fitted = fit_schema(situation.carry.latest.schema, DIALECTS[target].fit_type).schema
    try:
        check_types(situation.columns, fitted, stay)
    except UnsupportedError as error:
        return UnsupportedError(f"{situation.namespace!r}: {error}", feature=error.feature)
    return None


def _kept_by_newer(situation: Situation, options: MigrationOptions, fits: list[SchemaFit]) -> str:
    """Say which columns a new table of the newest format version would have as they are."""
    newest = max(DIALECTS[options.target].versions, default=None)
    held = situation.target_version
    if newest is None or (held is not None and held >= newest):
        return ""
    fit_type = DIALECTS[options.target].fit_type_of(newest)
    better = [fit_schema(schema, fit_type) for schema in situation.carry.schemas]
    still = {line for fit in better for line in (*fit.lost, *fit.refused)}
    lines = dict.fromkeys(line for fit in fits for line in (*fit.lost, *fit.refused))
    kept = dict.fromkeys(line.partition(":")[0] for line in lines if line not in still)
    if not kept:
        return ""
    what = f"--format-version {newest} (format_version={newest}) keeps {', '.join(kept)} as it is"
    if held is None:
        return f"; {what}"
    return f"; {what}, but for new tables only, and there is one of version {held} already"


def _find_twins(schema: Schema) -> Iterator[str]:
    """Yield pairs of columns whose full names readers may take for the same."""
    seen: dict[str, str] = {}
    for path, _ in walk(schema.fields):
        name = ".".join(path)
        if (other := seen.setdefault(name.lower(), name)) != name or (
            len(path) > 1 and (schema.find(name) is not None)
        ):
            yield f"{other!r} and {name!r}"


def _choose_means(
    situation: Situation, options: MigrationOptions, names: NameCopies, *, rewrites_all: bool
) -> dict[str, Means] | UnsupportedError:
    """Pick, for each file, the cheapest way that is right in every reader."""
    added = situation.carry.added
    if options.target is Format.NATIVE:
        live = situation.carry.latest.files
        one = len(live) == 1 and not situation.carry.latest.spec.fields
        one = one and not any(file.deletes for file in live.values())
        return dict.fromkeys(live, Means.COPIED if one else Means.REWRITTEN)
    if rewrites_all:
        return dict.fromkeys(added, Means.REWRITTEN)
    choose = _means_of(situation, options)
    means: dict[str, Means] = {}
    for key in added:
        again = key in situation.narrow_files or key in situation.layout.absent
        if again or names.first.get(key) is Need.REWRITE:
            chosen: Means | UnsupportedError = Means.REWRITTEN
        else:
            copied = key in situation.unfit_files or key in names.first
            chosen = Means.FOOTER if copied else choose(key)
        if isinstance(chosen, UnsupportedError):
            return chosen
        means[key] = chosen
    return means


def _means_of(
    situation: Situation, options: MigrationOptions
) -> Callable[[str], Means | UnsupportedError]:
    native = situation.source is Format.NATIVE
    below = f"{situation.target_folder}/"
    addressable = options.target is Format.ICEBERG
    partitions = situation.layout.folders

    def choose(key: str) -> Means | UnsupportedError:
        file = situation.carry.added[key]
        reachable = key.startswith(below) and partitions.told_by(file)
        shareable = not native and (addressable or reachable)
        match options.files:
            case Files.COPY:
                return Means.COPIED
            case Files.LINK if native and not options.delete_source:
                return UnsupportedError(
                    "--files link: native files that are kept may be overwritten in place by other "
                    "tools, and a link would change with them; use --files auto or copy"
                )
            case Files.LINK if situation.can_link:
                return Means.LINKED
            case Files.LINK:
                return UnsupportedError(
                    "--files link: this storage cannot make hard links; use --files auto or copy"
                )
            case Files.SHARE if shareable:
                return Means.SHARED
            case Files.SHARE:
                return UnsupportedError(
                    f"--files share: {key!r} cannot be shared, because "
                    + (
                        "native files may be overwritten in place by other tools"
                        if native
                        else f"Delta addresses only files below {below!r}, and some readers "
                        "take partition values from 'column=value' folders"
                    )
                    + "; use --files auto"
                )
            case _:
                pass
        if native and not options.delete_source:
            return Means.COPIED
        if shareable and (options.delete_source or not situation.can_link):
            return Means.SHARED
        return Means.LINKED if situation.can_link else Means.COPIED

    return choose


def _warnings(
    situation: Situation,
    options: MigrationOptions,
    means: Mapping[str, Means],
    names: NameCopies,
) -> tuple[str, ...]:
    warnings = list(_told_version(situation, options))
    if not options.delete_source and Means.SHARED in means.values():
        warnings.append(
            f"both tables refer to the same files: a vacuum or expiry of the "
            f"{situation.source.label} table deletes them for the {options.target.label} table too"
        )
    warnings += _told_names(situation, names)
    layout = situation.layout
    if layout.reason is not None:
        told = "; ".join(layout.lines) or "statistics of the files stand in for partition values"
        warnings.append(
            f"the {options.target.label} table is not partitioned, because {layout.reason}. "
            f"To skip files, readers have their statistics: {told}"
        )
    return tuple(warnings)


def _told_version(situation: Situation, options: MigrationOptions) -> Iterator[str]:
    """Say that a table keeps its format version."""
    held, asked = situation.target_version, options.format_version
    if held is not None and asked not in (None, held):
        yield (
            f"the {options.target.label} table has format version {held} and keeps it: "
            f"--format-version {asked} (format_version={asked}) is for new tables"
        )


def _told_names(situation: Situation, names: NameCopies) -> Iterator[str]:
    """Say what renames cost."""
    if not names:
        return
    first = list(names.first.values())
    added = situation.carry.added
    size_bytes = names.size_bytes + sum(added[key].size_bytes for key in names.first)
    done = []
    if copies := names.copies + first.count(Need.FOOTER):
        what = "with other names in the footer" if names.renamed else "with another footer"
        done.append(f"{counted(copies, 'live file')} will be copied {what}")
    if rewritten := names.rewritten + first.count(Need.REWRITE):
        done.append(
            f"{counted(rewritten, 'live file')} with structs inside lists or maps will be written "
            "again"
        )
    why = []
    if names.renamed:
        why.append(
            "columns were renamed, dropped or added again, and Delta's readers match columns by "
            "name"
        )
    if names.variants:
        why.append("variants are annotated as such, and not all of Delta's readers know that")
    yield f"{'; '.join(why)}: {' and '.join(done)}, {size_bytes:,} bytes"
