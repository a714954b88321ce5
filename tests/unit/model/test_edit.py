"""What a schema becomes by changes of its columns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from parquedb.errors import InvalidInputError
from parquedb.model.edit import (
    AddColumn,
    DropColumn,
    Edit,
    MakeOptional,
    RenameColumn,
    Reorder,
    SetDoc,
    WidenColumn,
    apply_edits,
    is_widening,
)
from parquedb.model.schema import Schema, assign_ids, walk
from parquedb.model.types import (
    DecimalType,
    Field,
    FloatType,
    IntType,
    ListType,
    MapType,
    StringType,
    StructType,
    Type,
)

TEXT = StringType()
POINT = StructType((Field(0, "x", IntType(32), required=True), Field(0, "y", IntType(32))))
SCHEMA = assign_ids(
    Schema(
        (
            Field(0, "id", IntType(32), required=True),
            Field(0, "p", POINT),
            Field(0, "ps", ListType(Field(0, "element", POINT))),
            Field(0, "m", MapType(Field(0, "key", POINT, required=True), Field(0, "value", POINT))),
            Field(0, "a.b", TEXT),
        )
    ),
    {},
    0,
)[0]


def paths(schema: Schema) -> dict[str, int]:
    return {".".join(path): field.id for path, field in walk(schema.fields)}


def test_columns_inside_of_structs_lists_and_maps() -> None:
    known = paths(SCHEMA)
    after = apply_edits(
        SCHEMA,
        [
            AddColumn("p.z", POINT),
            AddColumn("p.z.deep", TEXT),
            RenameColumn("ps.element.x", "left"),
            RenameColumn("m.value.y", "m.value.up"),
            DropColumn("ps.element.y"),
            WidenColumn("m.value.x", IntType(64)),
            MakeOptional("p.x"),
            SetDoc("a.b", "dotted"),
            Reorder(("p.y", "p.z")),
            Reorder(("a.b",)),
        ],
    )
    found = paths(after)
    assert list(found)[:6] == ["a.b", "id", "p", "p.y", "p.z", "p.z.x"]
    assert found["ps.element.left"] == known["ps.element.x"]
    assert found["m.value.up"] == known["m.value.y"]
    assert "ps.element.y" not in found
    new = {found[name] for name in ("p.z", "p.z.x", "p.z.y", "p.z.deep")}
    assert len(new) == 4
    assert min(new) > max(known.values())
    fields = {".".join(path): field for path, field in walk(after.fields)}
    assert fields["m.value.x"].type == IntType(64)
    assert not fields["p.x"].required
    assert fields["a.b"].doc == "dotted"


def test_ids_of_dropped_columns_are_not_given_out_again() -> None:
    old = replace(SCHEMA, last_id=99)
    after = apply_edits(old, [DropColumn("a.b"), AddColumn("a", TEXT)])
    assert paths(after)["a"] == 100


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (AddColumn("ps.x", TEXT), "its elements are 'ps.element'"),
        (AddColumn("m.key.z", TEXT), "keys of a map"),
        (RenameColumn("m.key.x", "z"), "keys of a map"),
        (DropColumn("m.key.x"), "keys of a map"),
        (WidenColumn("m.key.x", IntType(64)), "keys of a map"),
        (RenameColumn("ps.element", "item"), "inside of a list or map"),
        (DropColumn("m.value"), "inside of a list or map"),
        (RenameColumn("p.x", "q.x"), "stays in its struct"),
        (RenameColumn("p.x", "Y"), "differs in case only"),
        (RenameColumn("id", " id"), "cannot be a column's name"),
        (Reorder(("id", "p.x")), "not columns of one struct"),
        (Reorder(("id", "id")), "named twice"),
        (Reorder(("ps.element",)), "have an order"),
        (WidenColumn("p", TEXT), "cannot become string"),
        (DropColumn("nothing"), "no column 'nothing'"),
    ],
    ids=repr,
)
def test_what_cannot_be_done(edit: Edit, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        apply_edits(SCHEMA, [edit])


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (IntType(8), IntType(32), True),
        (IntType(32), IntType(16), False),
        (IntType(32, signed=False), IntType(64), False),
        (IntType(32), FloatType(64), False),
        (FloatType(16), FloatType(64), True),
        (DecimalType(9, 2), DecimalType(18, 2), True),
        (DecimalType(9, 2), DecimalType(18, 3), False),
        (TEXT, IntType(32), False),
    ],
    ids=repr,
)
def test_what_is_wider(old: Type, new: Type, *, wanted: bool) -> None:
    assert is_widening(old, new) is wanted
