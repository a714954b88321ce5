"""Where the storage is, if the command line does not say."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from parquedb.errors import InvalidInputError


def find_storage(given: str | None) -> str:
    """Return the storage to use.

    In this order: ``--storage``, ``$PARQUEDB_STORAGE``, ``storage`` in ``[tool.parquedb]`` of
    ``pyproject.toml`` or in ``parquedb.toml`` of the current directory, the current directory.

    Args:
        given: What ``--storage`` says, or None.

    Raises:
        InvalidInputError: A settings file cannot be read.
    """
    if given:
        return given
    if from_environment := os.environ.get("PARQUEDB_STORAGE"):
        return from_environment
    for name, table in (("pyproject.toml", ("tool", "parquedb")), ("parquedb.toml", ())):
        path = Path(name)
        if path.is_file():
            storage = _storage_in(path, table)
            if storage is not None:
                return storage
    return "."


def _storage_in(path: Path, table: tuple[str, ...]) -> str | None:
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidInputError(f"{str(path)!r} cannot be read as settings: {error}") from error
    for key in table:
        settings = settings.get(key, {})
        if not isinstance(settings, dict):
            raise InvalidInputError(f"{str(path)!r}: {key} is {settings!r}; it must be a table")
    storage = settings.get("storage")
    if storage is not None and not isinstance(storage, str):
        raise InvalidInputError(f"{str(path)!r}: storage is {storage!r}; it must be a string")
    return storage
