"""Field ids inside Parquet files that contradict the table's schema.

Iceberg readers match columns by the ids in a file where it has any. A Delta table or a native
folder may hold files with ids that mean something else there, or nothing; referred to by an
Iceberg table they would read as wrong columns, silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parquedb.log.change import AddFile
from parquedb.log.ports import LogReader
from parquedb.migrate.carry import Carry
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.model.schema import Path, ids_by_path
from parquedb.parquet.footer import Footer, read_footers
from parquedb.storage.store import Store

_FOOTERS_AT_A_TIME = 256
_COMMITS_SAMPLED = 128


def find_unfit_files(
    store: Store, source: LogReader, carry: Carry, target: Format
) -> frozenset[str]:
    """Return the files whose own field ids contradict the source's schema.

    Only asked for Iceberg targets of sources that match columns by name. One writer makes a
    commit's files alike, so one file a commit is looked at, over at most 128 commits spread over
    the history; all files are, as soon as one of these has ids.

    Args:
        store: The store.
        source: The source's reader.
        carry: What is to be carried.
        target: Format migrated to.
    """
    if target is not Format.ICEBERG or source.format is Format.ICEBERG:
        return frozenset()
    sample = _sample(carry)
    if not any(footer.carried_ids for footer in read_footers(store, sample)):
        return frozenset()
    unfit: set[str] = set()
    keys = list(carry.added)
    known: dict[Path, int] = {}
    for schema in (*carry.schemas, carry.latest.schema):
        known.update(ids_by_path(schema))
    for start in range(0, len(keys), _FOOTERS_AT_A_TIME):
        footers = read_footers(store, keys[start : start + _FOOTERS_AT_A_TIME])
        unfit.update(footer.key for footer in footers if _contradicts(footer, known))
    return frozenset(unfit)


def _sample(carry: Carry) -> list[str]:
    """One added file of each commit, evenly over the history; several of a single commit."""
    firsts: list[DataFile] = []
    for commit in carry.commits:
        added = [change.file for change in commit.changes if isinstance(change, AddFile)]
        if commit.base or len(carry.versions) == 1:
            firsts += _spread(added)
        elif added:
            firsts.append(added[0])
    return [file.path for file in _spread(firsts)]


def _spread(files: Sequence[DataFile]) -> Sequence[DataFile]:
    step = max(1, len(files) // _COMMITS_SAMPLED)
    return files[::step]


def _contradicts(footer: Footer, known: Mapping[Path, int]) -> bool:
    return any(known.get(path, id_) != id_ for path, id_ in footer.carried_ids.items())
