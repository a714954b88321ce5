"""The compiled part against Python, which decides what is right."""

from __future__ import annotations

import math
import shutil
import sys
import sysconfig
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import parquedb
from parquedb import compiled
from parquedb.errors import FormatError, InvalidInputError
from parquedb.rows import single
from parquedb.rows.jsonform import decode_document, encode_document, restore_document
from parquedb.rows.values import checked_copy
from tests.support.core import python_only
from tests.support.stored import instants, same, texts, values

needs_core = pytest.mark.skipif(not compiled.is_compiled, reason="nothing is compiled here")
FEW_DIGITS = st.builds(
    lambda whole, places: whole / 10**places, st.integers(-(10**15), 10**15), st.integers(0, 8)
)
common_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | FEW_DIGITS
    | texts
    | instants
    | st.datetimes()
    | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
common = st.dictionaries(texts, common_values, max_size=6)
anything = st.dictionaries(texts, values, max_size=6)


def _in_python(act: Any, *args: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        python_only(patch)
        return act(*args)


def _is_finite_utc(value: Any) -> bool:
    """Whether a value is of those that the compiled part takes."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return all(map(_is_finite_utc, inner))
    return not isinstance(value, datetime) or (value.tzinfo in (None, UTC) and not value.fold)


def _has_only_instants(value: Any, system: tuple[str, ...] = ()) -> bool:
    """Whether the only tags of a value's JSON are of instants, and no key is escaped."""
    if isinstance(value, dict):
        escaped = [key for key in value if key[:1] == "$" and key not in system]
        return not escaped and all(map(_has_only_instants, value.values()))
    if isinstance(value, list):
        return all(map(_has_only_instants, value))
    if isinstance(value, datetime):
        return value.tzinfo is not None
    return not isinstance(value, date)


def _few_floats(value: Any) -> bool:
    """Whether a value holds so few floats that the compiled part encodes it."""
    return repr(value).count(".") <= 2


def test_it_is_there_where_it_can_be_compiled():
    compiler = (sysconfig.get_config_var("CC") or "").split()
    if not compiler or shutil.which(compiler[0]) is None:
        pytest.skip("no compiler here")
    assert compiled.is_compiled, "python -m pip install -e . compiles it"


@needs_core
@given(common)
def test_common_documents_are_copied_as_python_does(document):
    wanted, size_bytes = _in_python(checked_copy, document, "x")
    found = compiled.copy_document(document)
    assert found is not None or not _is_finite_utc(document)
    if found is not None:
        assert same(found[0], wanted)
        assert found[1] == size_bytes


@needs_core
@given(anything)
def test_no_document_is_copied_that_python_refuses_or_changes(document):
    found = compiled.copy_document(document)
    if found is not None:
        wanted, size_bytes = _in_python(checked_copy, document, "x")
        assert same(found[0], wanted)
        assert found[1] == size_bytes


@needs_core
def test_a_copy_shares_nothing_that_can_change():
    document = {"a": [1, [2], {"b": [3]}], "c": {"d": {"e": 1}}}
    found, _ = compiled.copy_document(document)
    assert found == document
    found["a"][1].append(4)
    found["a"][2]["b"].append(4)
    found["c"]["d"]["e"] = 2
    assert document == {"a": [1, [2], {"b": [3]}], "c": {"d": {"e": 1}}}


@needs_core
@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        [1.0, math.nan],
        "\ud800",
        {"\udfff": 1},
        {1: 1},
        (1,),
        {1},
        2**63,
        [2**70],
        object(),
        type("Text", (str,), {})("a"),
        type("Items", (list,), {})([1]),
        datetime(2020, 1, 1, fold=1),
    ],
)
def test_what_is_not_common_is_left_to_python(value):
    assert compiled.copy_document({"a": value}) is None
    assert compiled.copy_document({"a": [value]}) is None


@needs_core
@pytest.mark.parametrize("given_", [None, 1, [], "a", type("Doc", (dict,), {})()], ids=repr)
def test_what_is_no_dict_is_left_to_python(given_):
    assert compiled.copy_document(given_) is None
    assert compiled.encode_document(given_) is None


@needs_core
def test_what_has_no_end_or_takes_too_long_is_left_to_python():
    endless: list[Any] = []
    endless.append(endless)
    assert compiled.copy_document({"a": endless}) is None
    assert compiled.encode_document({"a": endless}) is None
    wide: list[Any] = ["x" * 1000]
    for _ in range(60):
        wide = [wide, wide]
    assert compiled.copy_document({"a": wide}) is None
    assert compiled.encode_document({"a": wide}) is None


@needs_core
@given(common)
def test_common_documents_are_encoded_as_python_does(document):
    document = {"$id": "users/1", "$type": "User", **document}
    found = compiled.encode_document(document)
    assert found is not None or not (_is_finite_utc(document) and _few_floats(document))
    if found is not None:
        assert same(decode_document(found), document)
        if b"e-" not in found and b"e+" not in found:  # of floats, or of a text
            assert found == _in_python(encode_document, document)


@needs_core
@given(anything)
def test_no_document_is_encoded_otherwise_than_python_does(document):
    found = compiled.encode_document(document)
    if found is not None:
        wanted = decode_document(_in_python(encode_document, document))
        assert same(decode_document(found), wanted)


@needs_core
@given(common)
@example({"a": {"$id": 1}})
@example({"a": [{"b": datetime(2020, 1, 1, tzinfo=UTC)}]})
def test_common_documents_are_restored_as_python_does(document):
    document = {"$id": "users/1", "$type": "User", **document}
    text = _in_python(encode_document, document)
    parsed = orjson.loads(text)
    found = compiled.restore_document(parsed)
    assert found is parsed or not _has_only_instants(document, ("$id", "$type"))
    if found is not None:
        assert same(found, _in_python(restore_document, orjson.loads(text)))


@needs_core
@given(anything)
def test_no_document_is_restored_otherwise_than_python_does(document):
    text = _in_python(encode_document, document)
    wanted = _in_python(restore_document, orjson.loads(text))
    found = compiled.restore_document(orjson.loads(text))
    if found is not None:
        assert same(found, wanted)
    assert same(restore_document(orjson.loads(text)), wanted)  # Python goes on where it declines


@needs_core
@pytest.mark.parametrize(
    "text",
    [
        1,
        "",
        "Z",
        "2020-01-01",
        "2020-01-01T00:00:00",
        "2020-01-01T00:00:00z",
        "2020-01-01 00:00:00Z",
        "2020-01-01T00:00:00,000000Z",
        "2020-01-01T00:00:00.00000aZ",
        "2020-01-01T00:00:00.000Z",
        "2020-13-01T00:00:00Z",
        "2021-02-29T00:00:00Z",
        "2020-01-01T24:00:00Z",
        "2020-01-01T00:00:60Z",
        "0000-01-01T00:00:00Z",
        "２０20-01-01T00:00:00Z",
    ],
)
def test_an_instant_in_another_form_is_left_to_python(text):
    assert compiled.restore_document({"a": {"$date": text}}) is None
    assert compiled.restore_document({"a": [{"$date": text}]}) is None


@needs_core
@pytest.mark.parametrize(
    "parsed",
    [
        {"$date": "2020-01-01T00:00:00Z"},
        {"a": {"$id": "users/1"}},
        {"a": {"$date": "2020-01-01T00:00:00Z", "b": 1}},
        {"a": {"$$date": "2020-01-01T00:00:00Z"}},
        {"$$a": 1},
        {"a": [[{"$day": "2020-01-01"}]]},
        [],
        None,
    ],
    ids=repr,
)
def test_other_tags_and_escaped_keys_are_left_to_python(parsed):
    assert compiled.restore_document(parsed) is None


def test_json_that_is_nested_without_end_is_an_error():
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert compiled.restore_document({"a": deep}) is None
    with pytest.raises(FormatError, match="recursion"):
        restore_document({"a": deep})


@needs_core
@given(st.floats(allow_nan=False, allow_infinity=False) | FEW_DIGITS)
@example(0.1 + 0.2)
@example(-0.0)
@example(1e-3)
@example(999_999_999.999999)
@example(1e9)
@example(5e-324)
def test_floats_are_read_as_they_were(value):
    text = compiled.encode_document({"a": value})
    assert text is not None
    assert text == b'{"a":%b}' % repr(value).encode()
    assert math.copysign(1.0, decode_document(text)["a"]) == math.copysign(1.0, value)


@needs_core
def test_infinities_many_floats_and_long_texts_are_left_to_python():
    assert compiled.encode_document({"a": math.inf}) is None
    assert compiled.encode_document({"a": [1 / 3, 1 / 7, 1 / 9]}) is None
    assert compiled.encode_document({"a": [n / 2 for n in range(8)]}) is not None
    assert compiled.encode_document({"a": [n / 2 for n in range(9)]}) is None
    assert compiled.encode_document({"a": "x" * 2_000_000}) is None
    assert decode_document(encode_document({"a": "é" * 2_000_000})) == {"a": "é" * 2_000_000}


@needs_core
@given(st.text(st.sampled_from('aé€😀"\\\n\0\x1f \x7f\x80'), max_size=40))
def test_texts_are_escaped_as_json_does(text):
    found = compiled.encode_document({text: text})
    assert found == _in_python(encode_document, {text: text})


@needs_core
@pytest.mark.parametrize("odd", [Decimal(1), (1,), {2}], ids=repr)
def test_what_is_not_common_is_found_before_any_work(odd):
    """A text keeps its UTF-8 once somebody asked for it."""
    text = "é" * 100_000
    size_bytes = sys.getsizeof(text)
    document = {"a": [text], "z": [{"b": odd}]}
    assert compiled.encode_document(document) is None
    assert compiled.copy_document(document) is None
    assert sys.getsizeof(text) == size_bytes


@needs_core
@pytest.mark.parametrize("year", [1, 4, 100, 400, 1582, 1900, 1969, 1970, 2000, 2024, 9999])
def test_instants_of_all_years_are_read(year):
    times = [
        datetime(year, month, day, 23, 59, 58, 999_999, tzinfo=UTC)
        for month in range(1, 13)
        for day in (1, 28)
    ]
    times.append(datetime(year, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
    column = pa.array(times, pa.timestamp("us", "UTC"))
    read = compiled.RowReader((single._described("at", column),), len(column)).read
    assert [read(row)["at"] for row in range(len(times))] == times
    assert read(0)["at"].tzinfo is UTC


def _reader(column: pa.Array) -> Any:
    return compiled.RowReader((single._described("a", column),), len(column))


@needs_core
@pytest.mark.parametrize("row", [-1, 3, 2**70])
def test_a_row_that_is_not_there(row):
    with pytest.raises(IndexError):
        _reader(pa.array([1, 2, 3])).read(row)


@needs_core
def test_a_text_outside_of_its_column_is_an_error():
    offsets = pa.array([0, 5, 3, 900, 8], pa.int32()).buffers()[1]
    column = pa.Array.from_buffers(pa.string(), 4, [None, offsets, pa.py_buffer(b"abcdefgh")])
    read = _reader(column).read
    assert read(0) == {"a": "abcde"}
    for row in (1, 2, 3):
        with pytest.raises(ValueError, match="not within its column"):
            read(row)


@needs_core
def test_a_list_outside_of_its_column_is_an_error():
    offsets = pa.array([0, 2, 7, 3], pa.int32()).buffers()[1]
    inner = pa.array([1, 2, 3])
    column = pa.Array.from_buffers(pa.list_(pa.int64()), 3, [None, offsets], children=[inner])
    read = _reader(column).read
    assert read(0) == {"a": [1, 2]}
    for row in (1, 2):
        with pytest.raises(ValueError, match="not within its column"):
            read(row)


@needs_core
def test_text_that_is_not_utf8_is_an_error():
    offsets = pa.array([0, 2], pa.int32()).buffers()[1]
    column = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff\xfe")])
    with pytest.raises(UnicodeDecodeError):
        _reader(column).read(0)


_EIGHT = pa.py_buffer(bytes(8))


@needs_core
@pytest.mark.parametrize(
    "column",
    [
        ("a", "q", 0, 2, None, _EIGHT, None, None, ()),
        ("a", "q", 1, 1, None, _EIGHT, None, None, ()),
        ("a", "q", 0, 1, None, None, None, None, ()),
        ("a", "i", 0, 3, None, _EIGHT, None, None, ()),
        ("a", "?", 0, 65, None, _EIGHT, None, None, ()),
        ("a", "s", 0, 2, None, _EIGHT, None, None, ()),
        ("a", "q", 0, 1, pa.py_buffer(b""), None, None, None, ()),
        ("a", "q", -1, 1, None, _EIGHT, None, None, ()),
        ("a", "q", 0, -1, None, _EIGHT, None, None, ()),
        ("a", "q", 2**62, 2**62, None, _EIGHT, None, None, ()),
        ("a", "x", 0, 1, None, _EIGHT, None, None, ()),
        ("a", "(", 0, 1, None, None, None, None, ()),
        ("a", "t", 0, 1, None, _EIGHT, None, None, ()),
        ("a", "[", 0, 1, None, _EIGHT, None, None, ()),
        ("a", "{", 0, 2, None, None, None, None, (("b", "q", 0, 1, None, _EIGHT, None, None, ()),)),
        ("a", "{", 0, 1, None, None, None, None, (("b", "q", 0, 9, None, _EIGHT, None, None, ()),)),
    ],
)
def test_a_column_that_says_more_than_it_has_is_refused(column):
    with pytest.raises(ValueError, match=r"column|member"):
        compiled.RowReader((column,), 1)


@needs_core
@pytest.mark.parametrize("column", [1, (), ("a", 1), ("a", "qq", 0, 1, None, None, None, None, ())])
def test_what_is_no_column_is_refused(column):
    with pytest.raises(TypeError):
        compiled.RowReader((column,), 1)


@needs_core
def test_a_reader_of_fewer_rows_than_it_says_is_refused():
    with pytest.raises(ValueError, match="too few rows"):
        compiled.RowReader((single._described("a", pa.array([1])),), 2)


def test_a_refused_document_is_told_of_as_before():
    with pytest.raises(InvalidInputError, match=r"users/1: a\.1: NaN is not a value"):
        checked_copy({"a": [1, math.nan]}, "users/1")


@needs_core
def test_what_is_deeper_than_a_document_is_restored_by_python():
    """No document is as deep; a small stack of a thread would end with the process."""
    deep: Any = [{"$date": "2020-01-01T00:00:00Z"}]
    for _ in range(200):
        deep = [deep]
    assert compiled.restore_document({"a": deep}) is None
    found = restore_document({"a": deep})["a"]
    for _ in range(200):
        (found,) = found
    assert found == [datetime(2020, 1, 1, tzinfo=UTC)]


def test_what_was_compiled_of_an_older_source_is_not_used(monkeypatch):
    older = ModuleType("parquedb._core")
    older.copy_document = lambda _document: None
    monkeypatch.setitem(sys.modules, "parquedb._core", older)
    monkeypatch.setattr(parquedb, "_core", older, raising=False)
    spec = spec_from_file_location("compiled_again", compiled.__file__)
    again = module_from_spec(spec)
    spec.loader.exec_module(again)
    assert not again.is_compiled
    assert again.RowReader is None
    assert again.copy_document({}) is None
