"""How a namespace is written."""

from __future__ import annotations

from collections.abc import Mapping

from parquedb.model.format import Format
from parquedb.model.types import Type
from parquedb.slotted import dataclass


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How a namespace is written.

    Args:
        format: The format of a base that does not exist yet.
        is_durable: Whether a write returns only once it is on the disk (``fsync``); else once the
            operating system has it.
        flush_bytes: The tail is flushed once the journal holds this many bytes of it.
        declared: Types of columns that the collection's schema declares.
        indexed: Names of fields that get a bloom filter besides ``$id``.
        format_version: The format version of a base that does not exist yet, None for the usual
            one.
    """

    format: Format = Format.NATIVE
    is_durable: bool = True
    flush_bytes: int = 64 << 20
    declared: Mapping[str, Type] | None = None
    indexed: tuple[str, ...] = ()
    format_version: int | None = None
