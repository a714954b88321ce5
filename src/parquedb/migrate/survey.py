"""What the files that a migration carries need in the target, found from metadata and footers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from parquedb.log.ports import LogReader
from parquedb.migrate.adopt import adopter, find_unadoptable
from parquedb.migrate.fieldids import (
    find_files_to_fill,
    find_names_used_twice,
    find_narrow_files,
    find_unfit_files,
)
from parquedb.migrate.layout import Layout
from parquedb.migrate.names import find_shredded, read_names
from parquedb.migrate.oldstamps import find_far_files
from parquedb.migrate.options import MigrationOptions
from parquedb.migrate.plan import Situation
from parquedb.namespace.tables import Namespace


def survey_files(
    situation: Situation,
    namespace: Namespace,
    source: LogReader,
    target: LogReader | None,
    options: MigrationOptions,
    layout: Layout,
) -> Situation:
    """Return a situation with what its carried files need.

    Args:
        situation: What is known but for the files.
        namespace: The namespace.
        source: The source.
        target: The target, None where there is no table yet.
        options: What the caller chose.
        layout: How the target is partitioned.

    Raises:
        FormatError: A footer that has to be known cannot be read.
    """
    store, carry, to = namespace.store, situation.carry, options.target
    narrow = find_narrow_files(store, source, carry, to)
    trees = read_names(store, source, carry, to)
    return replace(
        situation,
        layout=layout,
        unfit_files=find_unfit_files(
            store,
            source,
            carry,
            to,
            partial(adopter, namespace, carry, target, options),
            find_names_used_twice(source, target),
        ),
        narrow_files=narrow
        | find_far_files(store, source, carry, to)
        | find_files_to_fill(store, carry, target),
        unadoptable=find_unadoptable(namespace, carry, target, options) or find_shredded(trees),
        trees=trees,
    )
