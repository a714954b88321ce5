"""Damage: real files with a few bytes or a few JSON values changed, by hypothesis.

``fuzz`` runs one check on many damaged inputs. By default they are few and the same in every run;
with ``PARQUEDB_FUZZ_SECONDS`` each check goes on with fresh ones for so many seconds.
"""

from __future__ import annotations

import json
import os
import resource
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from parquedb.errors import FormatError, NotFoundError, StateError, UnsupportedError

SECONDS = float(os.environ.get("PARQUEDB_FUZZ_SECONDS", "0"))
EXPECTED = (FormatError, UnsupportedError, NotFoundError, StateError)
"""What damage may raise. Anything else is a leak."""
BOUND_BYTES = 64 << 20
"""What reading a file of some kilobytes may allocate, at most."""
GROWTH_BYTES = 512 << 20
"""What many damaged files may make the process grow by, at most."""

Path = tuple[str | int, ...]
Edit = Callable[[bytes], bytes]

_PLACES = st.integers(0, 1 << 30)
_BYTES = st.sampled_from([0, 1, 2, 0x0F, 0x7F, 0x80, 0x81, 0xF0, 0xFE, 0xFF])
_RUNS = st.sampled_from(
    [
        b"\xff" * 9 + b"\x01",
        b"\x00" * 8,
        b"\xff" * 4,
        b"\xfe\xff\xff\xff\x0f",
        b"\x80" * 12,
        b"PAR1",
    ]
)


def _flip(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def _apply(data: bytes, edit: tuple[Any, ...]) -> bytes:
    if not data:
        return data
    kind, place, *rest = edit
    at = place % len(data)
    match kind, rest:
        case "flip", [bit]:
            return _flip(data, at, bit)
        case "set", [byte]:
            return data[:at] + bytes([byte]) + data[at + 1 :]
        case "cut", []:
            return data[:at]
        case "drop", [count]:
            return data[:at] + data[at + count :]
        case "insert", [run]:
            return data[:at] + run + data[at:]
        case "write", [run]:
            return data[:at] + run + data[at + len(run) :]
        case "splice", [source, count]:
            begin = source % len(data)
            return data[:at] + data[begin : begin + count] + data[at + count :]
    raise AssertionError(edit)


_EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), _PLACES, st.integers(0, 7)),
        st.tuples(st.just("set"), _PLACES, _BYTES),
        st.tuples(st.just("cut"), _PLACES),
        st.tuples(st.just("drop"), _PLACES, st.integers(1, 16)),
        st.tuples(st.just("insert"), _PLACES, _RUNS),
        st.tuples(st.just("write"), _PLACES, _RUNS),
        st.tuples(st.just("splice"), _PLACES, _PLACES, st.integers(1, 64)),
    ),
    min_size=1,
    max_size=3,
)


def damaged(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return seeds with one to three edits of their bytes."""

    def edited(data: bytes, edits: list[tuple[Any, ...]]) -> bytes:
        for edit in edits:
            data = _apply(data, edit)
        return data

    return st.builds(edited, st.sampled_from(list(seeds)), _EDITS)


# JSON ---------------------------------------------------------------------------------------

_DEEP = "@deep@"
_HUGE_INT = "@huge@"
_RAW = {
    f'"{_DEEP}"': "[" * 500 + "]" * 500,
    f'"{_HUGE_INT}"': "9" * 400,
}
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63 - 1, -(2**63), 2**63, 2**64, 1.5, -0.0, 1e308,
    "", "x", "0", "-1", "\x00", "é" * 3, "a" * 5000, "9" * 5000, "1e999999999", "../../x", "%zz",
    "9999-99-99", "2024-01-01", "decimal(99,98)", "decimal(9999999999,1)", "fixed[99999999999]",
    "bucket[0]", "truncate[0]", "NaN", "\ud800",
    [], {}, [None], [[]], [{}], {"": None}, {"x": {"x": {}}}, [1, 2], ["a", "a"], _DEEP, _HUGE_INT,
)  # fmt: skip


def _walk(value: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, (*path, index))


def _unfold(value: Any) -> Any:
    """Decode texts that are JSON objects themselves, as ``{"@json": …}``, to reach inside."""
    if isinstance(value, dict):
        return {key: _unfold(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unfold(item) for item in value]
    if isinstance(value, str) and value[:1] == "{" and value[-1:] == "}":
        return {"@json": _unfold(json.loads(value))}
    return value


def _fold(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"@json"}:
            return _dump(_fold(value["@json"]))
        return {key: _fold(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_fold(item) for item in value]
    return value


def _dump(value: Any) -> str:
    text = json.dumps(value)
    for mark, raw in _RAW.items():
        text = text.replace(mark, raw)
    return text


def _replace(value: Any, path: Path, change: Callable[[Any, Any], None]) -> Any:
    value = json.loads(json.dumps(value))
    at = value
    for step in path[:-1]:
        at = at[step]
    change(at, path[-1])
    return value


def _edit_json(document: Any, edit: tuple[Any, ...]) -> Any:
    kind, place, extra = edit
    paths = list(_walk(document))
    path = paths[place % len(paths)]
    if not path:
        return VALUES[extra % len(VALUES)] if kind == "value" else document

    def change(parent: Any, step: Any) -> None:
        if kind == "value":
            parent[step] = VALUES[extra % len(VALUES)]
        elif kind == "drop":
            del parent[step]
        elif kind == "swap":
            other = document
            for part in paths[extra % len(paths)]:
                other = other[part]
            parent[step] = other
        elif isinstance(parent, list):
            parent.append(parent[step])
        else:
            parent[f"{step}2"] = parent[step]

    return _replace(document, path, change)


_JSON_EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("value"), _PLACES, st.integers(0, len(VALUES) - 1)),
        st.tuples(st.just("drop"), _PLACES, st.just(0)),
        st.tuples(st.just("swap"), _PLACES, _PLACES),
        st.tuples(st.just("double"), _PLACES, st.just(0)),
    ),
    min_size=1,
    max_size=2,
)


def damaged_json(seeds: Sequence[bytes], *, lines: bool = False) -> st.SearchStrategy[bytes]:
    """Return JSON documents with one or two values replaced, removed, exchanged or doubled.

    Args:
        seeds: Documents.
        lines: Whether a seed is one document a line.
    """
    parsed = [
        _unfold([json.loads(x) for x in s.splitlines()] if lines else json.loads(s)) for s in seeds
    ]

    def edited(document: Any, edits: list[tuple[Any, ...]]) -> bytes:
        for edit in edits:
            document = _edit_json(document, edit)
        folded = _fold(document)
        if lines and isinstance(folded, list):
            return "".join(_dump(item) + "\n" for item in folded).encode("utf-8", "surrogatepass")
        return _dump(folded).encode("utf-8", "surrogatepass")

    return st.builds(edited, st.sampled_from(parsed), _JSON_EDITS)


# Running ------------------------------------------------------------------------------------


def within_bounds(check: Callable[[Any], None], item: Any, bound: int = BOUND_BYTES) -> None:
    """Run a check and see that Python allocates no more than the bound.

    Not for checks during which Arrow's threads run: tracemalloc does not end safely beside them.
    """
    tracemalloc.start()
    try:
        check(item)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < bound, f"{peak} bytes for an input of {len(item)}"


def expect_only(check: Callable[[Any], None], item: Any) -> None:
    """Run a check that may raise what damage may raise."""
    try:
        check(item)
    except EXPECTED as error:
        said = str(error)
    else:
        return
    assert said, "an error without a word"


def _peak_bytes() -> int:
    """Return the most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fuzz(check: Callable[[Any], None], inputs: st.SearchStrategy[Any], examples: int = 60) -> None:
    """Run a check on damaged inputs: some, the same in every run; or for ``SECONDS``, fresh ones.

    Args:
        check: Reads one input; it may raise what damage may raise.
        inputs: The inputs.
        examples: How many by default.
    """
    common = settings(
        deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False
    )

    before = _peak_bytes()

    def body(item: Any) -> None:
        expect_only(check, item)
        grown = _peak_bytes() - before
        assert grown < GROWTH_BYTES, f"{grown} bytes for an input of {len(item)}"

    if not SECONDS:
        settings(common, max_examples=examples, derandomize=True)(given(inputs)(body))()
        return
    end, number = time.monotonic() + SECONDS, int(time.time())
    while time.monotonic() < end:
        number += 1
        seed(number)(settings(common, max_examples=1000)(given(inputs)(body)))()
