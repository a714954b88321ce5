import copy
import dataclasses
import inspect
import pickle
from dataclasses import FrozenInstanceError, field

import pytest

from parquedb.slotted import dataclass


def both(*, frozen):
    """The same class, made here and by the standard library."""

    def make(decorate):
        class Point:
            """A point."""

            x: int
            y: "list[int]" = field(default_factory=list)
            name: str = "p"
            secret: str = field(default="s", repr=False, compare=False)
            seen: int = field(default=7, init=False, compare=False)
            made: dict = field(default_factory=dict, init=False, repr=False, compare=False)

            def twice(self):
                return self.x * 2

        return decorate(Point)

    ours = make(dataclass(frozen=frozen, slots=True))
    theirs = make(dataclasses.dataclass(frozen=frozen, slots=True))
    return pytest.param(ours, theirs, id="frozen" if frozen else "open")


ours_and_theirs = pytest.mark.parametrize(
    ("ours", "theirs"), [both(frozen=True), both(frozen=False)]
)


@ours_and_theirs
def test_it_takes_and_shows_the_same_as_the_standard_librarys(ours, theirs):
    for args in [(1,), (1, [2]), (1, [2], "q"), (1, [2], "q", "t")]:
        assert repr(ours(*args)) == repr(theirs(*args))
        assert dataclasses.asdict(ours(*args)) == dataclasses.asdict(theirs(*args))
    assert ours(x=1, secret="u").secret == "u"
    for wrong in [(), (1, 2, 3, 4, 5)]:
        with pytest.raises(TypeError) as one:
            ours(*wrong)
        with pytest.raises(TypeError) as other:
            theirs(*wrong)
        assert str(one.value) == str(other.value)
    names = [list(inspect.signature(each).parameters) for each in (ours, theirs)]
    assert names[0] == names[1]
    assert ours.__init__.__annotations__ == theirs.__init__.__annotations__
    assert ours.__init__.__globals__ is theirs.__init__.__globals__  # where its hints are known
    assert ours.__match_args__ == theirs.__match_args__
    assert ours.__slots__ == theirs.__slots__
    assert ours.__doc__ == theirs.__doc__
    assert ours(3).twice() == 6
    assert not hasattr(ours(1), "__dict__")


@ours_and_theirs
def test_it_compares_as_the_standard_librarys(ours, theirs):
    assert ours(1) == ours(1)
    assert ours(1) != ours(2)
    assert ours(1, secret="a") == ours(1, secret="b")
    assert ours(1) != theirs(1)
    assert ours(1).__eq__(theirs(1)) is NotImplemented
    assert (ours.__hash__ is None) == (theirs.__hash__ is None)


@ours_and_theirs
def test_a_default_is_made_for_each(ours, theirs):
    assert ours(1).y is not ours(1).y
    assert ours(1).made is not ours(1).made
    assert ours(1).seen == 7


def test_the_frozen_cannot_be_changed_and_can_be_hashed():
    @dataclass(frozen=True, slots=True)
    class Pair:
        one: int
        other: int = 2

    pair = Pair(1)
    for name in ("one", "new"):
        with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(pair, name, 3)
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'one'"):
        del pair.one
    assert hash(pair) == hash((1, 2))
    assert {pair: 1}[Pair(1, 2)] == 1
    assert dataclasses.replace(pair, one=5) == Pair(5)
    assert copy.copy(pair) == copy.deepcopy(pair) == pair


def test_one_of_one_field_and_one_of_none():
    @dataclass(frozen=True, slots=True)
    class One:
        value: int

    @dataclass(frozen=True, slots=True)
    class Nothing:
        pass

    assert One(1) == One(1) != One(2)
    assert hash(One(1)) == hash((1,))
    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(())
    assert repr(Nothing()).endswith("Nothing()")
    assert (One.__doc__, Nothing.__doc__) == ("One(value)", "Nothing()")


def test_what_a_class_has_of_its_own_stays():
    @dataclass(frozen=True, slots=True)
    class Own:  # noqa: PLW1641
        value: int

        def __eq__(self, other):
            return True

        def __repr__(self):
            return "own"

        def __post_init__(self):
            object.__setattr__(self, "value", self.value + 1)

    assert Own(1) == 5
    assert repr(Own(1)) == "own"
    assert Own(1).value == 2
    assert hash(Own(1)) == hash((2,))


def test_one_that_holds_itself_can_be_shown():
    @dataclass(slots=True)
    class Node:
        next: object = None

    node = Node()
    node.next = node
    assert repr(node).endswith("Node(next=...)")


def test_it_can_be_pickled():
    from parquedb.model.types import DecimalType

    assert pickle.loads(pickle.dumps(DecimalType(10, 2))) == DecimalType(10, 2)
