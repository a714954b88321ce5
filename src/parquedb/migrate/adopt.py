"""Ask the target, before anything is written, whether it can hold the coming columns."""

from __future__ import annotations

from parquedb.errors import UnsupportedError
from parquedb.formats.dialects import DIALECTS
from parquedb.log.ports import LogReader
from parquedb.migrate.carry import Carry
from parquedb.migrate.fit import fit_schema
from parquedb.migrate.options import MigrationOptions
from parquedb.namespace.tables import Namespace


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
    if not carry.versions:
        return None
    dialect = DIALECTS[options.target]
    writer = dialect.open_writer(namespace.store, namespace.folder(options.target), options.ambient)
    expect = None if target is None else target.latest()
    for schema in dict.fromkeys((*carry.schemas, carry.latest.schema)):
        fit = fit_schema(schema, dialect.fit_type)
        if fit.refused:
            return None
        try:
            writer.adopt(fit.schema, carry.latest.spec, expect=expect)
        except UnsupportedError as error:
            return error
    return None
