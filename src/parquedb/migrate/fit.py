"""How a source's schema fits into a target format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from parquedb.formats.dialects import DIALECTS
from parquedb.log.feature import TypeFit
from parquedb.migrate.options import MigrationOptions
from parquedb.model.schema import Schema
from parquedb.model.types import Type, describe_type
from parquedb.slotted import dataclass

FitType = Callable[[Type], TypeFit]
"""How a table stores types."""


def target_fit(version: int | None, options: MigrationOptions) -> FitType:
    """Return how types are stored in the target.

    Args:
        version: The format version of the target's table, None where there is no table yet.
        options: What the caller chose.
    """
    return DIALECTS[options.target].fit_type_of(version or options.format_version)


@dataclass(frozen=True, slots=True)
class SchemaFit:
    """What becomes of a schema.

    Args:
        schema: The schema as the target has it; refused columns keep their type.
        rewrites: Columns whose files must be decoded and encoded again.
        lost: What is lost, one line a column.
        refused: What has no equivalent, one line a column.
    """

    schema: Schema
    rewrites: tuple[str, ...]
    lost: tuple[str, ...]
    refused: tuple[str, ...]


def fit_schema(schema: Schema, fit_type: FitType) -> SchemaFit:
    """Fit every column of a schema into a format."""
    fields, rewrites, lost, refused = [], [], [], []
    for field in schema.fields:
        fit = fit_type(field.type)
        if fit.becomes is None:
            refused.append(f"column {field.name!r}: {describe_type(field.type)} has no equivalent")
            fields.append(field)
            continue
        if fit.rewrite:
            rewrites.append(field.name)
        if fit.lost is not None:
            lost.append(
                f"column {field.name!r}: {describe_type(field.type)} becomes "
                f"{describe_type(fit.becomes)}, losing {fit.lost}"
            )
        fields.append(replace(field, type=fit.becomes))
    return SchemaFit(
        replace(schema, fields=tuple(fields)), tuple(rewrites), tuple(lost), tuple(refused)
    )
