"""What a commit did: Delta's words and the neutral ones.

PROTOCOL.md, "Commit Provenance Information": the words are free; these are those that Spark and
delta-rs write.
"""

from __future__ import annotations

from typing import assert_never

from parquedb.formats.delta.wire import Actions, CommitInfo
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
