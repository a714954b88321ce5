"""Ask the target, before anything is written, whether it can hold the coming columns."""

from __future__ import annotations

from collections.abc import Callable

from parquedb.errors import UnsupportedError
from parquedb.formats.dialects import DIALECTS
from parquedb.log.ports import LogReader, LogWriter
from parquedb.migrate.carry import Carry
from parquedb.migrate.fit import fit_schema, target_fit
from parquedb.migrate.options import MigrationOptions
from parquedb.model.schema import Schema
from parquedb.namespace.tables import Namespace


def open_target(namespace: Namespace, options: MigrationOptions) -> LogWriter:
    """Return the writer of a migration's target."""
    folder = namespace.folder(options.target)
    return DIALECTS[options.target].open_writer(
        namespace.store, folder, options.ambient, options.format_version, None
    )


def find_unadoptable(
    namespace: Namespace, carry: Carry, target: LogReader | None, options: MigrationOptions
) -> UnsupportedError | None:
    """Return why the target cannot take over the columns of some version, None if it can.

    A type may change in a way that old files cannot follow, or the target's table be one that can
    be read only. Columns that have no equivalent at all are no matter of this function.

    Args:
        namespace: The namespace.
        carry: What is to be carried.
        target: The target's reader, None where there is no table yet.
        options: What the caller chose.
    """
    adopt = adopter(namespace, carry, target, options)
    fit_type = target_fit(None if target is None else target.format_version, options)
    for schema in dict.fromkeys((*carry.schemas, carry.latest.schema)) if carry.versions else ():
        if fit_schema(schema, fit_type).refused:
            return None
        try:
            adopt(schema)
        except UnsupportedError as error:
            return error
    return None


def adopter(
    namespace: Namespace, carry: Carry, target: LogReader | None, options: MigrationOptions
) -> Callable[[Schema], Schema]:
    """Return what tells which ids and types the target gives the columns of the source.

    It is to be asked for the schemas in their order; nothing is written.
    """
    fit_type = target_fit(None if target is None else target.format_version, options)
    writer = open_target(namespace, options)
    expect = None if target is None else target.latest()

    def adopt(schema: Schema) -> Schema:
        fitted = fit_schema(schema, fit_type).schema
        return writer.adopt(fitted, carry.latest.spec, expect=expect)

    return adopt
