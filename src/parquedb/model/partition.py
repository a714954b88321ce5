"""Partitioning: which value of a row decides in which file it lies."""

from __future__ import annotations

from parquedb.slotted import dataclass


@dataclass(frozen=True, slots=True)
class IdentityTransform:
    """The value itself."""


@dataclass(frozen=True, slots=True)
class YearTransform:
    """Years since 1970."""


@dataclass(frozen=True, slots=True)
class MonthTransform:
    """Months since 1970-01."""


@dataclass(frozen=True, slots=True)
class DayTransform:
    """Days since 1970-01-01."""


@dataclass(frozen=True, slots=True)
class HourTransform:
    """Hours since 1970-01-01 00:00."""


@dataclass(frozen=True, slots=True)
class BucketTransform:
    """A hash modulo ``buckets``."""

    buckets: int


@dataclass(frozen=True, slots=True)
class TruncateTransform:
    """The value cut to ``width``."""

    width: int


@dataclass(frozen=True, slots=True)
class VoidTransform:
    """Always null: a partition field that is no longer used."""


Transform = (
    IdentityTransform
    | YearTransform
    | MonthTransform
    | DayTransform
    | HourTransform
    | BucketTransform
    | TruncateTransform
    | VoidTransform
)


@dataclass(frozen=True, slots=True)
class PartitionField:
    """One partition column.

    Args:
        source_id: Id of the schema field it is made from.
        name: Its name; for identity partitions the name of the source column.
        transform: How it is made.
    """

    source_id: int
    name: str
    transform: Transform = IdentityTransform()


@dataclass(frozen=True, slots=True)
class PartitionSpec:
    """A way to partition a table; ``fields`` is empty for an unpartitioned one.

    Args:
        spec_id: Number of the spec in its table; 0 where the format has one spec only.
        fields: Partition columns in order.
    """

    spec_id: int = 0
    fields: tuple[PartitionField, ...] = ()


UNPARTITIONED = PartitionSpec()
