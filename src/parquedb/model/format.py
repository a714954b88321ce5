"""The names of the backends."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """A backend: what holds a namespace's table."""

    NATIVE = "native"
    ICEBERG = "iceberg"
    DELTA = "delta"

    @property
    def label(self) -> str:
        """The name as sentences write it."""
        return {"native": "native Parquet", "iceberg": "Iceberg", "delta": "Delta"}[self.value]
