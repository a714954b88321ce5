"""Entries, the state they add up to, and their bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.errors import FormatError, InvalidInputError, UnsupportedError
from parquedb.model.format import Format
from parquedb.namespace.entry import (
    Body,
    Cutover,
    Entry,
    Flush,
    Migrate,
    Retire,
    Staged,
    State,
    Write,
)
from parquedb.namespace.wire import (
    Header,
    encode_entry,
    encode_header,
    encode_line,
    parse_entry,
    parse_header,
    scan,
    shapes_state,
)

WHERE = "file:///lake/_parquedb/users/journal/00000000000000000001.jsonl"
MIGRATION = Migrate("m", Format.NATIVE, Format.ICEBERG)
FORMATS = st.sampled_from(Format)
NUMBERS = st.integers(0, 2**62)
WHOLE = st.integers(-(2**62), 2**62)
IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False) | IDS | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(IDS, inner, max_size=3),
    max_leaves=8,
)
STAGED = st.builds(Staged, IDS, NUMBERS, NUMBERS, st.booleans())


@st.composite
def writes(draw: st.DrawFn) -> Write:
    documents: dict[str, dict[str, Any] | None] = {}
    for id_ in draw(st.sets(IDS, max_size=3)):
        if draw(st.booleans()):
            documents[id_] = None
        else:
            documents[id_] = {"$id": id_, **draw(st.dictionaries(IDS, VALUES, max_size=3))}
            documents[id_]["$id"] = id_
    return Write(documents, tuple(draw(st.lists(STAGED, max_size=2))))


BODIES: st.SearchStrategy[Body] = st.one_of(
    writes(),
    st.builds(Flush, NUMBERS, FORMATS, WHOLE),
    st.builds(Migrate, IDS, FORMATS, FORMATS),
    st.builds(Cutover, FORMATS, WHOLE, WHOLE, NUMBERS),
    st.builds(Retire, FORMATS),
)


class TestState:
    @pytest.mark.parametrize(
        ("before", "body", "after"),
        [
            (State(), Write({}), State()),
            (State(), Flush(3, Format.NATIVE, 1), State(Format.NATIVE)),
            (State(Format.DELTA), Flush(3, Format.NATIVE, 1), State(Format.DELTA)),
            (State(Format.NATIVE), MIGRATION, State(Format.NATIVE, MIGRATION)),
            (
                State(Format.NATIVE, MIGRATION),
                Cutover(Format.ICEBERG, 1, 2, 3),
                State(Format.ICEBERG, None, 3),
            ),
            (State(Format.NATIVE, MIGRATION), Retire(Format.ICEBERG), State(Format.NATIVE)),
            (
                State(Format.NATIVE, MIGRATION),
                Retire(Format.DELTA),
                State(Format.NATIVE, MIGRATION),
            ),
            (State(Format.ICEBERG), Retire(Format.NATIVE), State(Format.ICEBERG)),
        ],
    )
    def test_after_one_more_entry(self, before: State, body: Body, after: State) -> None:
        assert before.after(body) == after

    @given(BODIES)
    def test_only_what_may_shape_it_has_to_be_parsed(self, body: Body) -> None:
        line = encode_entry(1, 0, "", body)
        for before in (State(), State(Format.NATIVE, MIGRATION)):
            assert shapes_state(line) or before.after(body) == before


class TestRoundTrip:
    @given(
        st.integers(1, 10**15),
        NUMBERS,
        st.text(st.characters(codec="utf-8")),
        BODIES,
        st.none() | st.integers(0, 10**15),
    )
    def test_entries(
        self, number: int, at_us: int, tx: str, body: Body, synced: int | None
    ) -> None:
        line = encode_entry(number, at_us, tx, body, synced)
        assert b"\0" not in line
        assert json.loads(line[9:]).get("synced") == synced
        assert line.count(b"\n") == 1
        found = scan(line)
        assert found == ([line[9:-1]], len(line), b"", (), False)
        assert parse_entry(found.payloads[0], number, WHERE) == Entry(number, at_us, tx, body)

    @given(
        st.uuids().map(str),
        st.integers(1, 10**19),
        st.builds(
            State,
            st.none() | FORMATS,
            st.none() | st.builds(Migrate, IDS, FORMATS, FORMATS),
            NUMBERS,
            st.none() | st.integers(1, 9),
        ),
    )
    def test_headers(self, journal: str, first: int, state: State) -> None:
        header = Header(journal, first, state)
        (payload,) = scan(encode_header(header)).payloads
        assert parse_header(payload, WHERE) == header


def test_the_bytes_of_the_specification() -> None:
    line = encode_entry(7, 1_700_000_000_000_000, "a-1", Write({"users/1": {"$id": "users/1"}}))
    payload = b'{"n":7,"at":1700000000000000,"tx":"a-1","op":"write","docs":[{"$id":"users/1"}]}'
    assert line == b"%08x %b\n" % (crc32(payload), payload)
    header = Header("j", 1, State(Format.NATIVE, MIGRATION, 5))
    assert json.loads(encode_header(header)[9:]) == {
        "format": 1,
        "journal": "j",
        "first": 1,
        "state": {
            "base": "native",
            "migration": {"id": "m", "from": "native", "to": "iceberg"},
            "through": 5,
        },
    }


def test_the_examples_of_the_specification() -> None:
    page = Path(__file__).parents[3] / "docs" / "spec" / "journal.md"
    header, *entries = re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL)
    found = parse_header(header.encode(), WHERE)
    assert found == Header(found.journal, 4711, State(Format.NATIVE))
    for number, text in enumerate(entries, 1):
        entry = parse_entry(text.strip().encode(), number, WHERE)
        line = encode_entry(number, entry.at_us, entry.tx, entry.body)
        assert line[9:] == text.encode()
    assert len(entries) == 4


def test_a_document_under_another_id() -> None:
    with pytest.raises(InvalidInputError, match=r"'users/1': .* \$id is 'users/2'"):
        encode_entry(1, 0, "", Write({"users/1": {"$id": "users/2"}}))


class TestScan:
    LINES = tuple(encode_line(b'{"n":%d}' % number) for number in range(4))

    def test_nothing(self) -> None:
        assert scan(b"") == ([], 0, b"", (), False)
        assert scan(b"\0" * 9) == ([], 0, b"", (), False)

    @pytest.mark.parametrize("reserve", [b"", b"\0", b"\0" * 99])
    def test_whole(self, reserve: bytes) -> None:
        data = b"".join(self.LINES)
        payloads = [line[9:-1] for line in self.LINES]
        assert scan(data + reserve) == (payloads, len(data), b"", (), False)

    @pytest.mark.parametrize("reserve", [b"", b"\0", b"\0" * 99])
    def test_cut_short(self, reserve: bytes) -> None:
        data = b"".join(self.LINES)
        for length in range(len(data)):
            found = scan(data[:length] + reserve)
            whole = 17 * (length // 17)
            assert found.length == whole
            assert len(found.payloads) == length // 17
            assert found.rest == (data[whole:length] + reserve if whole < length else b"")
            assert not found.is_damaged(length // 17)

    @pytest.mark.parametrize("junk", [b"\n", b"\n\n", b"junk\n", b"\0" * 50, b"00000000 {}\n"])
    def test_something_else(self, junk: bytes) -> None:
        first, *rest = self.LINES
        found = scan(first + junk)
        assert found[:2] == ([first[9:-1]], len(first))
        assert found.rest == (junk if junk.strip(b"\0") else b"")
        assert not found.is_damaged(1)
        found = scan(first + junk + b"".join(rest))
        assert found[:3] == ([first[9:-1]], len(first), junk + b"".join(rest))
        assert found.is_damaged(1)

    def test_a_newline_that_became_something_else(self) -> None:
        data = b"".join(self.LINES)
        for line in range(4):
            at = 17 * (line + 1) - 1
            for other in (b"x", b"\0"):
                found = scan(data[:at] + other + data[at + 1 :])
                assert len(found.payloads) == line
                assert found.is_damaged(line) is (line < 3)


class TestHoles:
    """Zero bytes where lines were, and right lines behind them."""

    @staticmethod
    def lines(*synced: object) -> list[bytes]:
        return [
            encode_line(json.dumps({"n": number, "synced": each}).encode())
            for number, each in enumerate(synced, 1)
        ]

    @pytest.mark.parametrize("start", [0, 1, 9])
    @pytest.mark.parametrize("left", [0, 1])
    def test_of_what_nobody_had_synced(self, start: int, left: int) -> None:
        """A line or a part of it did not reach the disk, the ones behind it did."""
        one, two, three = self.lines(0, 1, 1)
        two = two[:start] + bytes(len(two) - start - left) + two[len(two) - left :]
        found = scan(one + two + three)
        assert found == ([one[9:-1]], len(one), two + three, [three[9:-1]], True)
        assert not found.is_damaged(2)

    @pytest.mark.parametrize("last", [2, 99, None, "1", True, -1])
    def test_of_what_was_synced(self, last: object) -> None:
        """A line behind says that the one that is missing had been on the disk, or does not say."""
        one, two, three, four = self.lines(0, 1, 1, last)
        for gone in (two, two + three):
            data = (one + two + three + four).replace(gone, bytes(len(gone)))
            assert scan(data).is_damaged(2)
            assert not scan(data[: -len(four)]).is_damaged(2)

    def test_no_zero_byte_is_no_hole(self) -> None:
        one, two, three = self.lines(0, 1, 1)
        for junk in (b"x" * 20 + b"\n", two[:-1] + b"x", two[1:], b"\n"):
            assert scan(one + junk + three).is_damaged(2)
        assert scan(one + b"junk\n" + three + bytes(9) + three).is_damaged(2)

    def test_what_says_nothing(self) -> None:
        one, _, three = self.lines(0, 1, 1)
        for other in (b"[]", b"{", b""):
            data = one + bytes(20) + encode_line(other)
            assert scan(data).is_damaged(2)
            assert scan(data + three).is_damaged(2)


def line_of(raw: object) -> bytes:
    return json.dumps(raw).encode()


GOOD: dict[str, Any] = {"n": 7, "at": 1, "tx": "t", "op": "write", "docs": []}


class TestWhatIsNoEntry:
    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"n": 8}, "its number is 8"),
            ({"n": None}, "its number is None"),
            ({"at": 1.5}, "'at' must be a whole number"),
            ({"tx": 5}, "'tx' a text"),
            ({"docs": None}, "NoneType"),
            ({"docs": [5]}, "int.* object"),
            ({"docs": [{}]}, r"\$id' is missing"),
            ({"docs": [{"$id": 5}]}, "ids are not texts"),
            ({"docs": [{"$id": "a"}, {"$id": "a"}]}, "one is there twice"),
            ({"docs": [{"$id": "a"}], "gone": ["a"]}, "one is there twice"),
            ({"docs": [{"$id": "a", "x": {"$date": "noon"}}]}, "noon"),
            ({"staged": [{"path": "p"}]}, "'size' is missing"),
            ({"staged": [{"path": "", "size": 1, "rows": 1, "fresh": True}]}, "'path' is no text"),
            ({"op": "flush"}, "'through' is missing"),
            ({"op": "flush", "through": -1}, "'through' is negative"),
            ({"op": "flush", "through": True}, "'through' is no whole number"),
            ({"op": "flush", "through": 1, "format": "csv"}, "csv"),
            ({"op": "migrate", "id": "", "from": "native", "to": "delta"}, "'id' is no text"),
            ({"op": "cutover", "to": "delta"}, "'source_version' is missing"),
            ({"op": "retire"}, "'format' is missing"),
        ],
    )
    def test_says_what_is_wrong(self, change: Mapping[str, Any], problem: str) -> None:
        with pytest.raises(FormatError, match=problem) as error:
            parse_entry(line_of({**GOOD, **change}), 7, WHERE)
        assert f"'{WHERE}', entry 7" in str(error.value)
        assert "restore the file from a backup" in str(error.value)
        assert error.value.location == WHERE

    @pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"5", b"{}", b'"x"', b"\xff"])
    def test_is_no_object(self, payload: bytes) -> None:
        with pytest.raises(FormatError, match="entry 7"):
            parse_entry(payload, 7, WHERE)
        with pytest.raises(FormatError, match="header is not one"):
            parse_header(payload, WHERE)

    def test_unknown_fields_are_ignored(self) -> None:
        found = parse_entry(line_of({**GOOD, "later": {"$x": 1}}), 7, WHERE)
        assert found == Entry(7, 1, "t", Write({}))

    @pytest.mark.parametrize("op", ["compress", "", None, 5, ["write"]])
    def test_unknown_operations_are_refused(self, op: object) -> None:
        with pytest.raises((UnsupportedError, FormatError), match="entry 7"):
            parse_entry(line_of({**GOOD, "op": op}), 7, WHERE)


class TestWhatIsNoHeader:
    GOOD: Mapping[str, Any] = {
        "format": 1,
        "journal": "j",
        "first": 1,
        "state": {"base": None, "migration": None, "through": 0},
    }

    @pytest.mark.parametrize(
        "change",
        [
            {"format": "1"},
            {"format": 0},
            {"journal": None},
            {"first": "1"},
            {"first": -1},
            {"state": None},
            {"state": {"base": "csv", "migration": None, "through": 0}},
            {"state": {"base": None, "migration": {}, "through": 0}},
        ],
    )
    def test_says_so(self, change: Mapping[str, Any]) -> None:
        with pytest.raises(FormatError, match="the header is not one") as error:
            parse_header(line_of({**self.GOOD, **change}), WHERE)
        assert WHERE in str(error.value)

    def test_of_a_newer_program(self) -> None:
        with pytest.raises(UnsupportedError, match="version 2, this program knows 1"):
            parse_header(line_of({**self.GOOD, "format": 2}), WHERE)
