"""Open the database that a command works on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from parquedb.cli.settings import find_storage

if TYPE_CHECKING:
    from parquedb.db import DB


@contextmanager
def open_database(
    storage: str | None, warehouse: str, location: str, *, writes: bool = False
) -> Iterator[DB]:
    """Open the database of a storage, for a ``with`` block.

    Args:
        storage: What ``--storage`` says, or None.
        warehouse: Folder of the Iceberg tables.
        location: Folder of the Delta tables.
        writes: Whether the command writes, so that its end flushes what is worth it.
    """
    from parquedb.db import DB

    db = DB(find_storage(storage), backend={"warehouse": warehouse, "location": location})
    try:
        yield db
    except BaseException:
        db.close(flush=False)
        raise
    db.close(flush=writes)
