from __future__ import annotations

import os
import threading
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.ambient import SYSTEM, Ambient
from parquedb.documents.ids import ALPHABET, MAX_LOCAL_BYTES, Ulids, check_document_id
from parquedb.errors import InvalidInputError


class Clock:
    """A clock set by hand, and random bits that are given out in turn."""

    def __init__(self, *bits: int) -> None:
        self.ms = 1_700_000_000_000
        self._bits = list(bits)

    def ambient(self) -> Ambient:
        def random_bits(count: int) -> int:
            assert count == 80
            return self._bits.pop(0) if self._bits else 7

        return Ambient(lambda: self.ms * 1000, uuid.uuid4, random_bits)


def number_of(ulid: str) -> int:
    value = 0
    for character in ulid:
        value = value * 32 + ALPHABET.index(character)
    return value


def test_a_ulid_is_time_and_randomness_in_crockford_base_32() -> None:
    clock = Clock(0x123456789ABCDEF01234)
    ulid = Ulids(clock.ambient()).new()
    assert len(ulid) == 26
    assert number_of(ulid) == (clock.ms << 80) | 0x123456789ABCDEF01234


def test_the_example_of_the_specification() -> None:
    clock = Clock(0)
    clock.ms = 1469918176385
    assert Ulids(clock.ambient()).new() == "01ARYZ6S410000000000000000"


def test_within_a_millisecond_ids_count_up() -> None:
    clock = Clock(5, 99)
    ulids = Ulids(clock.ambient())
    assert [number_of(ulids.new()) & (2**80 - 1) for _ in range(3)] == [5, 6, 7]
    clock.ms += 1
    assert number_of(ulids.new()) == (clock.ms << 80) | 99


def test_a_clock_that_goes_back_keeps_the_last_time() -> None:
    clock = Clock(5)
    ulids = Ulids(clock.ambient())
    first = number_of(ulids.new())
    clock.ms -= 60_000
    assert number_of(ulids.new()) == first + 1
    assert [number_of(ulid) for ulid in ulids.many(2)] == [first + 2, first + 3]


def test_the_low_bits_carry_into_the_high_ones() -> None:
    clock = Clock(0xABC_FFFFE)
    ulids = Ulids(clock.ambient())
    found = [number_of(ulid) & (2**80 - 1) for ulid in [ulids.new(), *ulids.many(2), ulids.new()]]
    assert found == [0xABC_FFFFE, 0xABC_FFFFF, 0xABD_00000, 0xABD_00001]


def test_where_randomness_is_used_up_the_next_millisecond_begins() -> None:
    clock = Clock(2**80 - 1, 3)
    ulids = Ulids(clock.ambient())
    ulids.new()
    assert number_of(ulids.new()) == ((clock.ms + 1) << 80) | 3


@pytest.mark.parametrize("ms", [-5, 0])
def test_a_clock_at_or_before_1970(ms: int) -> None:
    clock = Clock(1)
    clock.ms = ms
    ulids = Ulids(clock.ambient())
    assert number_of(ulids.new()) == 1
    assert number_of(ulids.many(1)[0]) == 2


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 5)), max_size=30))
def test_ids_ascend_whatever_the_clock_does(steps: list[tuple[int, int]]) -> None:
    clock = Clock(2**80 - 3)
    ulids = Ulids(clock.ambient())
    found = []
    for change, count in steps:
        clock.ms += change
        found += ulids.many(count) if count else [ulids.new()]
    assert found == sorted(set(found))
    assert len(found) == sum(count or 1 for _, count in steps)


def test_many_over_the_end_of_the_low_bits() -> None:
    ulids = Ulids(Clock(0xFFFF0).ambient())
    found = ulids.many(1 << 20)
    assert [number_of(ulid) & (2**80 - 1) for ulid in (found[0], found[-1])] == [
        0xFFFF0,
        0xFFFF0 + (1 << 20) - 1,
    ]
    assert found == sorted(set(found))


def test_several_threads_never_get_the_same_id() -> None:
    ulids = Ulids(SYSTEM)
    found: list[str] = []

    def take() -> None:
        mine = [ulids.new() for _ in range(2000)] + ulids.many(2000)
        found.extend(mine)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 16_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_repeat_its_parents_ids() -> None:
    clock = Clock(*(int.from_bytes(os.urandom(10), "big") >> 1 for _ in range(3)))
    ulids = Ulids(clock.ambient())
    ulids.new()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, ulids.new().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 100).decode()
    os.close(read)
    os.close(write)
    assert len(theirs) == 26
    assert theirs != ulids.new()


@pytest.mark.parametrize(
    ("given_id", "whole"),
    [
        ("abc", "users/abc"),
        ("users/abc", "users/abc"),
        ("a@b.c", "users/a@b.c"),
        ("Straße 7", "users/Straße 7"),
        ("x" * MAX_LOCAL_BYTES, "users/" + "x" * MAX_LOCAL_BYTES),
        ("users", "users/users"),
    ],
)
def test_ids_that_users_may_give(given_id: str, whole: str) -> None:
    assert check_document_id("users", given_id) == whole


def test_a_namespace_with_slashes() -> None:
    assert check_document_id("db/users", "db/users/abc") == "db/users/abc"
    assert check_document_id("db/users", "abc") == "db/users/abc"


@pytest.mark.parametrize(
    ("given_id", "why"),
    [
        ("", "empty"),
        ("users/", "empty"),
        ("a/b", "slash"),
        ("posts/abc", "another namespace"),
        ("users/a/b", "slash"),
        ("a\nb", "control"),
        ("a\x00", "control"),
        ("a\x85", "control"),
        ("\ud800", "surrogate"),
        ("ü" * 257, "514 bytes"),
        ("x" * 513, "513 bytes"),
        (7, "string, not int"),
        (None, "string, not NoneType"),
        (b"abc", "string, not bytes"),
    ],
)
def test_ids_that_are_refused(given_id: object, why: str) -> None:
    with pytest.raises(InvalidInputError, match=why) as caught:
        check_document_id("users", given_id)
    str(caught.value).encode()  # a message can be printed


def test_a_subclass_of_str_is_stored_as_str() -> None:
    class Local(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "another"

    assert check_document_id("users", Local("abc")) == "users/abc"
