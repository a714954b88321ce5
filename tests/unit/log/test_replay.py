from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.errors import FormatError
from parquedb.log.change import (
    AddFile,
    Change,
    RemoveFile,
    SetDeletes,
    SetPartitioning,
    SetProperties,
    SetSchema,
)
from parquedb.log.commit import Commit, Operation
from parquedb.log.ports import operation_of
from parquedb.log.replay import TableState, replay
from parquedb.log.snapshot import Snapshot
from parquedb.model.files import DataFile, InlineVector, VectorFile
from parquedb.model.partition import PartitionField, PartitionSpec
from parquedb.model.schema import Schema
from parquedb.model.types import Field, IntType

SCHEMA = Schema((Field(1, "a", IntType(64)),))
WIDER = Schema((*SCHEMA.fields, Field(2, "b", IntType(64))))
BY_A = PartitionSpec(1, (PartitionField(1, "a"),))


def file(path: str, rows: int | None = 10) -> DataFile:
    return DataFile(path, 100, rows)


def commit(version: int, *changes: Change, base: bool = False) -> Commit:
    return Commit(version, 1000 * version, Operation.APPEND, changes, base=base)


def test_an_empty_log() -> None:
    assert replay([]) == TableState().snapshot()


def test_files_come_and_go() -> None:
    end = replay(
        [
            commit(0, SetSchema(SCHEMA), AddFile(file("x")), AddFile(file("y"))),
            commit(1, RemoveFile(file("x")), AddFile(file("z"))),
        ]
    )
    assert (end.version, end.at_ms, end.schema) == (1, 1000, SCHEMA)
    assert set(end.files) == {"y", "z"}
    assert (end.rows, end.size_bytes) == (20, 200)


def test_a_file_may_come_back() -> None:
    end = replay(
        [
            commit(0, AddFile(file("x", 1))),
            commit(1, RemoveFile(file("x", 1))),
            commit(2, AddFile(file("x", 2))),
        ]
    )
    assert end.rows == 2


def test_schema_partitioning_and_properties_are_the_newest() -> None:
    end = replay(
        [
            commit(0, SetSchema(SCHEMA), SetProperties({"keep": "1", "drop": "2", "change": "3"})),
            commit(1, SetSchema(WIDER), SetPartitioning(BY_A)),
            commit(2, SetProperties({"drop": None, "change": "4", "never": None})),
        ]
    )
    assert end.schema is WIDER
    assert end.spec is BY_A
    assert set(end.specs) == {0, 1}  # files of the old one may be live
    assert end.properties == {"keep": "1", "change": "4"}


def test_deletes_replace_earlier_ones() -> None:
    first, second = InlineVector(b"", 3), VectorFile("d", 1, 10, 4)
    log = [commit(0, AddFile(file("x"))), commit(1, SetDeletes("x", (first,)))]
    assert replay(log).rows == 7
    log.append(commit(2, SetDeletes("x", (second,))))
    assert replay(log).files["x"].deletes == (second,)
    assert replay(log).rows == 6
    assert replay([*log, commit(3, SetDeletes("x", ()))]).rows == 10


def test_an_unknown_row_count_is_said() -> None:
    assert replay([commit(0, AddFile(file("x", None)), AddFile(file("y")))]).rows is None


def test_a_base_commit_forgets_what_was_before() -> None:
    end = replay([commit(0, AddFile(file("x"))), commit(5, AddFile(file("y")), base=True)])
    assert set(end.files) == {"y"}
    assert end.version == 5


@pytest.mark.parametrize("change", [RemoveFile(file("x")), SetDeletes("x", ())])
def test_a_change_of_a_file_that_is_not_live_is_damage(change: Change) -> None:
    with pytest.raises(FormatError, match="version 3 changes the file 'x'") as caught:
        replay([commit(0, AddFile(file("y"))), commit(3, change)])
    assert caught.value.location == "x"


def test_snapshots_do_not_change_later() -> None:
    state = TableState()
    state.apply(commit(0, AddFile(file("x")), SetProperties({"k": "1"})))
    before = state.snapshot()
    copy = replace(before, files=dict(before.files), properties=dict(before.properties))
    state.apply(commit(1, RemoveFile(file("x")), SetProperties({"k": None}), SetPartitioning(BY_A)))
    assert before == copy
    resumed = TableState.of(before)
    resumed.apply(commit(1, RemoveFile(file("x"))))
    assert before == copy


changes = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 9)), max_size=5)


@given(st.lists(changes, max_size=8), st.integers(0, 8))
def test_replay_is_a_fold_that_can_stop_anywhere(
    steps: list[list[tuple[str, int]]], at: int
) -> None:
    """Toggle files; compare with a dict; resume from any version's snapshot."""
    live: dict[str, int] = {}
    commits = []
    for version, step in enumerate(steps):
        made: list[Change] = []
        for path, rows in step:
            if path in live:
                made.append(RemoveFile(file(path, live.pop(path))))
            else:
                live[path] = rows
                made.append(AddFile(file(path, rows)))
        commits.append(commit(version, *made))
    end = replay(commits)
    assert {path: f.rows for path, f in end.files.items()} == live
    assert end.rows == sum(live.values())
    middle: Snapshot | None = replay(commits[:at]) if at else None
    assert replay(commits[at:], middle) == end


@pytest.mark.parametrize(
    ("added", "removed", "same_rows", "operation"),
    [
        (0, 0, False, Operation.METADATA),
        (1, 0, False, Operation.APPEND),
        (0, 1, False, Operation.DELETE),
        (1, 1, False, Operation.OVERWRITE),
        (1, 1, True, Operation.REPLACE),
    ],
)
def test_what_a_commit_did(added: int, removed: int, same_rows: bool, operation: Operation) -> None:
    assert operation_of(added=added, removed=removed, same_rows=same_rows) is operation
