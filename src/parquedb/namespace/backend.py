"""The setting that says in which format, and where, a database keeps its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parquedb.errors import InvalidInputError, did_you_mean
from parquedb.formats.dialects import check_format_version
from parquedb.model.format import Format
from parquedb.namespace.places import Places
from parquedb.slotted import dataclass

_EXAMPLE = '{"type": "iceberg", "migrate_from": "auto"}'
_BACKEND_KEYS = frozenset({"type", "warehouse", "location", "migrate_from", "format_version"})


@dataclass(frozen=True, slots=True)
class Backend:
    """What the setting ``backend`` of a database says.

    Args:
        format: The format of tables; None: whatever is there, native for new ones.
        places: Where tables are.
        migrate_from: What to migrate from where a table is in another format: a format's name,
            ``"auto"``, or None.
        format_version: The format version of new Iceberg tables, None for the usual one.
    """

    format: Format | None
    places: Places
    migrate_from: str | None
    format_version: int | None = None


def parse_backend(backend: str | Mapping[str, Any] | None) -> Backend:
    """Parse the setting ``backend``: a format's name, a mapping, or nothing.

    Raises:
        InvalidInputError: A key or a format is not known; the nearest one is named.
    """
    if backend is None:
        return Backend(None, Places(), None)
    if not isinstance(backend, str | Mapping):
        raise InvalidInputError(
            f"backend is a format's name, or settings such as {_EXAMPLE}, not {backend!r}"
        )
    given = {"type": backend} if isinstance(backend, str) else dict(backend)
    for key in given:
        if key not in _BACKEND_KEYS:
            raise InvalidInputError(
                f"backend has no setting {key!r}; it has {', '.join(sorted(_BACKEND_KEYS))}"
                f"{did_you_mean(key, _BACKEND_KEYS)}"
            )
    format_ = given.get("type")
    if format_ is not None and format_ not in set(Format):
        names = ", ".join(repr(each.value) for each in Format)
        raise InvalidInputError(
            f"backend type {format_!r} is not known; it is one of {names}"
            f"{did_you_mean(format_, Format)}"
        )
    source = given.get("migrate_from")
    if source is not None and source != "auto" and source not in set(Format):
        names = ", ".join(repr(each.value) for each in Format)
        raise InvalidInputError(
            f"backend migrate_from {source!r} is neither 'auto' nor {names}"
            f"{did_you_mean(source, ('auto', *Format))}"
        )
    places = Places(_prefix(given, "warehouse"), _prefix(given, "location"))
    wanted = None if format_ is None else Format(format_)
    version: Any = given.get("format_version")
    check_format_version(wanted, version)
    return Backend(wanted, places, source, version)


def _prefix(given: Mapping[str, Any], name: str) -> str:
    """Return the prefix of a format's tables."""
    prefix = given.get(name, "")
    if not isinstance(prefix, str) or {".", ".."} & {*prefix.split("/")}:
        raise InvalidInputError(
            f"backend {name} is a folder below the storage, such as 'lake', not {prefix!r}"
        )
    return prefix
