"""What a commit did: Delta's words and the neutral ones.

PROTOCOL.md, "Commit Provenance Information": the words are free; these are those that Spark and
delta-rs write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import orjson

from parquedb.formats.delta.wire import Actions, Add, CommitInfo, Remove
from parquedb.log.commit import Operation
from parquedb.log.ports import operation_of

_WORDS = {
    "CREATE TABLE": Operation.CREATE,
    "CREATE TABLE AS SELECT": Operation.CREATE,
    "CONVERT": Operation.CREATE,
    "CLONE": Operation.CREATE,
    "DELETE": Operation.DELETE,
    "TRUNCATE": Operation.DELETE,
    "OPTIMIZE": Operation.REPLACE,
    "REORG": Operation.REPLACE,
}


def parse_operation(info: CommitInfo, actions: Actions, *, added: int, removed: int) -> Operation:
    """Return what a commit did, by its own word if that fits the files, else by the files.

    Args:
        info: Its ``commitInfo``.
        actions: Its actions.
        added: Files it really added.
        removed: Files it really removed.
    """
    same_rows = not any(add.data_change for add in actions.adds) and not any(
        remove.data_change for remove in actions.removes
    )
    word = _WORDS.get((info.operation or "").upper())
    match word:
        case Operation.CREATE if removed == 0:
            return word
        case Operation.DELETE if removed > 0:
            return word
        case Operation.REPLACE if added > 0 and removed > 0:
            return word
        case _:
            return operation_of(added=added, removed=removed, same_rows=same_rows)


def encode_operation(operation: Operation, *, schema_changed: bool) -> tuple[str, dict[str, str]]:
    """Return ``commitInfo.operation`` and ``operationParameters`` of a neutral operation."""
    match operation:
        case Operation.CREATE:
            return "CREATE TABLE", {}
        case Operation.APPEND:
            return "WRITE", {"mode": "Append"}
        case Operation.OVERWRITE:
            return "WRITE", {"mode": "Overwrite"}
        case Operation.DELETE:
            return "DELETE", {}
        case Operation.REPLACE:
            return "OPTIMIZE", {}
        case Operation.METADATA:
            return ("CHANGE COLUMN" if schema_changed else "SET TBLPROPERTIES"), {}
        case _:
            assert_never(operation)


ADDED = frozenset(
    {
        "numFiles", "numAddedFiles", "numTargetFilesAdded", "numRestoredFiles", "numConvertedFiles",
        "num_added_files", "num_target_files_added", "numFilesAdded", "numRestoredFile",
    }
)  # fmt: skip
"""Under which names writers count the files that a commit adds: Spark's, then those of delta-rs."""
REMOVED = frozenset(
    {
        "numRemovedFiles", "numTargetFilesRemoved",
        "num_removed_files", "num_target_files_removed", "numFilesRemoved", "numRemovedFile",
    }
)  # fmt: skip
"""Under which names they count those that it removes."""
WRITTEN, ROWS = "numFiles", "numOutputRows"
"""What Spark counts of a write: files, also those without rows, which it leaves out, and rows."""
_WRITES = (
    "WRITE", "CREATE TABLE AS SELECT", "CREATE OR REPLACE TABLE AS SELECT",
    "REPLACE TABLE AS SELECT",
)  # fmt: skip


def encode_metrics(adds: Sequence[Add], removes: Sequence[Remove]) -> dict[str, str]:
    """Return ``operationMetrics``: how many lines a commit has, so that a lost one is missed."""
    return {"numAddedFiles": str(len(adds)), "numRemovedFiles": str(len(removes))}


def lost_lines(actions: Actions) -> str | None:
    """Say how a commit's files are fewer than its writer counted, None if they are not.

    A writer may count less than it writes (files that only get another deletion vector), and where
    it writes change files, these too.
    """
    info = actions.info
    if info is None or not info.metrics:
        return None
    told = dict(info.metrics)
    if not actions.cdc_paths:
        files = max((n for name, n in told.items() if name in ADDED and name != WRITTEN), default=0)
        if files > len(actions.adds):
            return f"adds {len(actions.adds)} files, and its writer counted {files}"
        if info.operation in _WRITES and WRITTEN in told:
            rows = _rows(actions.adds)
            if rows is not None and rows < told.get(ROWS, 0):
                return f"adds {rows} rows, and its writer counted {told[ROWS]}"
            if rows is None and told[WRITTEN] > len(actions.adds):
                return f"adds {len(actions.adds)} files, and its writer counted {told[WRITTEN]}"
    gone = max((n for name, n in told.items() if name in REMOVED), default=0)
    if gone > len(actions.removes):
        return f"removes {len(actions.removes)} files, and its writer counted {gone}"
    return None


def _rows(adds: Sequence[Add]) -> int | None:
    """Return how many rows the files have, None where it is not recorded."""
    total = 0
    for add in adds:
        try:
            total += orjson.loads(add.stats or "")["numRecords"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return None
    return total
