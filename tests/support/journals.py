"""A namespace's journal on a local disk, opened without the rest."""

from __future__ import annotations

from pathlib import Path

from parquedb.model.format import Format
from parquedb.namespace.journal import open_journal
from parquedb.namespace.local_journal import LocalJournal
from parquedb.storage import Store
from parquedb.storage.local import LocalStore

FOLDER = "_parquedb/users/journal"


def name(first: int) -> str:
    """Return the name of the segment that begins with an entry."""
    return f"{first:020}.jsonl"


def open_(root: Path | Store, *, is_durable: bool = False) -> LocalJournal:
    """Open the journal of ``users`` in a folder or store."""
    store = LocalStore(root, durable=False) if isinstance(root, Path) else root
    journal = open_journal(store, "users", base=Format.NATIVE, is_durable=is_durable)
    assert isinstance(journal, LocalJournal)
    return journal


def numbers(journal: LocalJournal, after: int = 0) -> list[int]:
    """Return the numbers of the entries after one."""
    return [entry.number for entry in journal.read(after)]
