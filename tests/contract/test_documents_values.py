"""Documents read back equal, of the same types, whatever was promoted to a column."""

import itertools
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import stored
from tests.support.databases import BACKENDS, STORES, Place, fields_of, place
from tests.support.stored import assert_same, same


class Color(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


EAST = timezone(timedelta(hours=5, minutes=30))
DEEP = 1
for _ in range(45):
    DEEP = {"d": [DEEP]}  # type: ignore[assignment]

VALUES = [
    None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64, -(10**40),
    0.0, -0.0, 1.0, 1.5, 1e300, 5e-324, float("inf"), float("-inf"),
    "", "a", "null", "1", "\0", "a\nb", "é", "e\u0301", "😀", "\U0010ffff", '"', "\\", "'", "$x",
    "x" * 10_000, "2020-01-01", "{}",
    b"", b"\0\xff", b"abc",
    datetime(2020, 1, 1, 12, 30, 15, 123456, tzinfo=UTC), datetime(2020, 1, 1),
    datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    date(2020, 2, 29), date(1, 1, 1), date(9999, 12, 31),
    Decimal(1), Decimal("1.10"), Decimal("-0.001"), Decimal("1E+30"), Decimal("1e-30"), Decimal(0),
    Decimal("12345678901234567890123456789012345678901234567890.123"),
    uuid.UUID(int=0), uuid.UUID("12345678-1234-5678-1234-567812345678"),
    [], [None], [1, 2], [1, 1.0], [1, "a", None, True], [[]], [[1], [2.0, None]], ["a", None],
    [{"a": 1}, {"a": None}, {}], [b"x", b""], [date(2020, 1, 1)], [Decimal("1.1"), Decimal(2)],
    {}, {"a": None}, {"a": {}}, {"a": []}, {"a": {"b": {"c": [1, {"d": None}]}}},
    {"a.b": 1, "$c": 2, "$$d": 3, "": 4, "é": 5, "😀": 6, "$id": 7, "$date": "x", "$int": ["a"]},
    {"$date": "2020-01-01T00:00:00Z"}, {"$decimal": "1"}, {"$bytes": "!"}, {"$uuid": 1},
    {"A": 1, "a": 2}, DEEP,
]  # fmt: skip

ODD_NAMES = ["a.b", "$dollar", "$$two", "with space", 'q"uote', "é", "😀", "", "Select", "$data2",
             "$int", "$data", "file_row_number", "filename", "x" * 300, "tab\t", "_parquedb_row",
             "NAME", "Version", "deletedat", "id", "type", "0", "element", "key_value"]  # fmt: skip


@pytest.fixture(params=[(b, s) for b in BACKENDS for s in STORES], ids="-".join)
def where(request, tmp_path):
    found = place(*request.param, tmp_path / "db")
    yield found
    found.close()


def check(where: Place, written: list[dict]) -> None:
    """Create documents and read them back in every state and way."""
    db = where.open()
    ids = db.users.create_many(written[::2])
    ids += [db.users.create(each).id for each in written[1::2]]
    wanted = dict(zip(ids, [*written[::2], *written[1::2]], strict=True))
    for state in range(5):
        for key, each in wanted.items():
            got = fields_of(db.users.get(key))
            if "name" not in each:
                got.pop("name", None)
            assert same(got, each), f"state {state}: {got!r} is not {each!r}"
        found = {each.id: dict(each) for each in db.users.find()}
        assert_same([found[key] for key in ids], [dict(db.users.get(key)) for key in ids])
        if state == 0:
            db.flush()
        elif state == 1:
            db.close()
            db = where.open()
        elif state == 2:
            for key in ids[::3]:
                db.users.update(key, {"$set": {"touched": 1}})
                wanted[key] = {**wanted[key], "touched": 1}
        elif state == 3:
            db.flush()
            db.compact()


def test_each_kind_alone(where):
    """Every value in a field of its own, of which a column is made."""
    check(where, [{f"field{number}": value} for number, value in enumerate(VALUES)])


def test_all_in_one_field(where):
    """Every value in the same field, so that most do not fit its column."""
    check(where, [{"n": number, "x": value} for number, value in enumerate(VALUES)])


def test_neighbours_in_one_field(where):
    """Pairs of values in a field: one decides the column's type, the other must fit or not."""
    written = []
    for number, (one, other) in enumerate(itertools.pairwise(VALUES)):
        written += [{f"f{number}": one}, {f"f{number}": other}, {f"f{number}": [one, other]}]
    check(where, written)


def test_odd_names(where):
    check(where, [{name: [1, None]} for name in ODD_NAMES if name])
    check(where, [dict.fromkeys(ODD_NAMES, 1), {"sub": dict.fromkeys(ODD_NAMES, "x")}])


def test_types_that_become_others(where):
    db = where.open()
    east, folded = datetime(2020, 1, 1, tzinfo=EAST), datetime(2020, 1, 1, tzinfo=UTC, fold=1)
    given = {"t": (1, (2,)), "c": Color.RED, "l": Level.LOW, "e": east, "f": [folded]}
    made = db.users.create(given)
    wanted = {"t": [1, [2]], "c": "red", "l": 1, "f": [datetime(2020, 1, 1, tzinfo=UTC)]}
    wanted["e"] = datetime(2019, 12, 31, 18, 30, tzinfo=UTC)
    assert same(fields_of(made), wanted)
    for _ in range(2):
        got = fields_of(db.users.get(made.id))
        assert same(got, wanted)
        db.flush()
    assert same(fields_of(db.users.replace(made.id, given)), wanted)


class Odd(str, Enum):  # noqa: UP042  (a StrEnum's worth is its text)
    """What it is as text, and what it is worth, are two things."""

    ME = "me"

    def __new__(cls, text: str) -> "Odd":
        made = str.__new__(cls, text)
        made._value_ = {"$id": "users/another"}  # type: ignore[assignment]
        return made

    __repr__ = object.__repr__


def test_text_of_a_kind_of_its_own_becomes_text(where):
    """Names of fields, types and people too, before and after a flush."""
    db = where.open()
    first = db.users.create({"n": 1}, actor=Odd.ME)
    assert db.users.delete(first.id, actor=Odd.ME)
    db.users.upsert({Color.RED: 1}, {"$set": {Odd.ME: 2}}, actor=Odd.ME)
    db.users.create_many([{Odd.ME: 1, "$type": Odd.ME}], actor=Odd.ME)
    db.users.create({"$id": "a", "$type": Odd.ME, "$name": Odd.ME}, actor=Color.RED)
    for update in ({"$set": {Odd.ME: {Odd.ME: 1}}}, {"$rename": {"me": Color.RED}}):
        entity = db.users.update("a", update, actor=Odd.ME)
        assert same(dict(entity), dict(where.open().users["a"]))
    db.users.replace("a", {Odd.ME: 1}, actor=Odd.ME)
    db.users.update("a", {"$inc": {Odd.ME: 1}}, actor=Odd.ME)
    before = {each.id: dict(each) for each in db.users.find(include_deleted=True)}
    assert len(before) == 4
    for one in before.values():
        assert {type(value) for value in one.values() if isinstance(value, str)} == {str}
        assert one["updatedBy"] == "me"
    db.flush()
    assert same({each.id: dict(each) for each in db.users.find(include_deleted=True)}, before)


def test_a_field_that_changes_its_type(where):
    db = where.open()
    made = db.users.create({"x": 1})
    for value in VALUES:
        db.users.update(made.id, {"$set": {"x": value}})
        assert same(fields_of(db.users.get(made.id)), {"x": value})
        if len(repr(value)) < 50:
            db.flush()
            assert same(fields_of(db.users.get(made.id)), {"x": value}), value


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(batches=st.lists(stored.documents(min_size=1), min_size=1, max_size=3))
def test_random_documents(backend, batches, tmp_path_factory):
    """Batches, each flushed, so that the columns grow; the first ones must stay as they were."""
    where = place(backend, "memory", tmp_path_factory.getbasetemp())
    db = where.open()
    wanted: dict[str, dict] = {}
    for number, batch in enumerate(batches):
        clean = [_given(each, f"{number}-{index}") for index, each in enumerate(batch)]
        db.users.create_many(clean)
        wanted |= {f"users/{each['$id']}": each for each in clean}
        db.flush()
        for key, each in wanted.items():
            got = fields_of(db.users.get(key))
            assert same(got, fields_of(_plain(each))), f"{got!r} is not {each!r}"
        found = db.users.find().to_list()
        assert [each.id for each in found] == sorted(wanted)
        assert_same([dict(e) for e in found], [dict(db.users.get(key)) for key in sorted(wanted)])
    where.close()


SYSTEM = {"createdAt", "updatedAt", "deletedAt", "createdBy", "updatedBy", "deletedBy", "version"}


def _given(document: dict, local: str) -> dict:
    kept = {key: value for key, value in document.items() if key not in SYSTEM and key != "$name"}
    kept.setdefault("name", "given")
    return {**kept, "$id": local}


def _plain(value):
    from parquedb.rows.values import plain

    return plain(value)
