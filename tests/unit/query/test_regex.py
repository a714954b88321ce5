from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.errors import InvalidInputError
from parquedb.query.regex import check_regex, compile_regex, re2_pattern, search_many
from parquedb.query.subset import read_subset

EXAMPLES = [
    ("", "", ["", "x"], []),
    ("abc", "", ["xabcx"], ["ab", "ABC"]),
    ("^abc", "", ["abcx"], ["xabc"]),
    ("abc$", "", ["xabc"], ["abcx", "abc\n"]),
    ("^abc$", "", ["abc"], ["abc\n", "xabc"]),
    (r"^a\.c", "", ["a.cx"], ["abc"]),
    ("abc", "i", ["xABCx"], ["ab"]),
    ("k", "i", ["K", "\u212a"], ["i"]),
    ("s", "i", ["S", "ſ"], [""]),
    ("i", "i", ["I"], ["İ", "ı"]),
    ("é", "i", ["É"], ["e"]),
    ("straße", "i", ["STRAẞE"], ["STRASSE"]),
    ("a.b", "", ["a\rb", "aéb", "a😀b"], ["a\nb"]),
    ("a.b", "s", ["a\nb"], ["ab"]),
    ("^b$", "m", ["a\nb\nc"], ["ab"]),
    ("^$", "m", ["a\n"], ["a"]),
    (r"\d+", "", ["x1"], ["x", "٣"]),
    (r"\w", "", ["_"], ["é", "-"]),
    (r"\bé", "", ["aé"], ["é"]),
    (r"\s", "", [" ", "\f"], ["\v", "\u00a0"]),
    (r"[[:space:]]", "", ["\v"], ["x"]),
    (r"\pL", "", ["é"], ["1"]),
    ("[^a]", "", ["\n"], ["a"]),
    ("[]a]", "", ["]"], ["["]),
    ("a|b", "", ["b"], ["c"]),
    ("^(foo|bar)-", "", ["bar-"], ["xbar-"]),
    ("^(a|b)+$", "", ["abba"], ["abc"]),
    ("(?i)x", "", ["X"], ["y"]),
    ("(?<year>[0-9]{4})", "", ["in 1999"], ["999"]),
    ("a b # c\n d", "x", ["abd"], ["a b d", "ab"]),
    (r"a\ b[ #]c", "x", ["a b c", "a b#c"], ["abc"]),
    ("[]#] x", "x", ["#x"], ["x"]),
    ("[[:alpha:] ]x", "x", [" x", "ax"], ["1x"]),
    (r"\Qa b\E c", "x", ["a bc"], ["abc"]),
    ("a{2,3}", "", ["aa"], ["a"]),
    ("a{,2}", "", ["a{,2}"], ["aa"]),
    ("x\x00y", "", ["ax\x00y"], ["xy"]),
]


@pytest.mark.parametrize(("pattern", "flags", "found", "other"), EXAMPLES, ids=repr)
def test_examples(pattern: str, flags: str, found: list[str], other: list[str]) -> None:
    search = compile_regex(pattern, flags)
    assert [text for text in found if not search(text)] == []
    assert [text for text in other if search(text)] == []
    assert search_many(pattern, flags, [*found, *other, None]) == [True] * len(found) + [False] * (
        len(other) + 1
    )


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "missing )"),
        ("[a", "missing ]"),
        ("*a", "no argument"),
        ("a**", "bad repetition"),
        ("a++", "bad repetition"),
        ("a{1001}", "invalid repetition size"),
        ("\\", "trailing \\"),
        (r"(a)\1", "neither backreferences nor lookaround"),
        ("(?=a)", "neither backreferences nor lookaround"),
        ("(?!a)", "neither backreferences nor lookaround"),
        ("(?<=a)b", "neither backreferences nor lookaround"),
        ("(?<!a)b", "neither backreferences nor lookaround"),
        (r"a\Z", "invalid escape"),
        (r"\C", "use . with option s"),
        ("(?x)a", "invalid"),
    ],
)
def test_refused(pattern: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(reason)) as error:
        check_regex(pattern)
    assert repr(pattern) in str(error.value)


def test_unknown_flags_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="unknown option 'g'"):
        check_regex("a", "ig")


def test_re2_spelling() -> None:
    assert re2_pattern("a.b") == "a.b"
    assert re2_pattern("a b # c", "xsi") == "(?is)ab"
    assert re2_pattern(r"(?<n>[(?<x>])\(?<", "") == r"(?P<n>[(?<x>])\(?<"


@pytest.mark.parametrize(
    "pattern",
    ["(a*)*b", "(a|a)*b", "(a|aa)+$", "a*a*a*a*a*a*b", "^(([a-z])+.)+[A-Z]([a-z])+$", "a*b",
     r"\s+$",
     "(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)b",
     "a?" * 60 + "a" * 60 + "b"],
)  # fmt: skip
def test_nothing_hangs(pattern: str) -> None:
    """By Python's engine each of these takes longer than a test may, which ends it."""
    search = compile_regex(pattern)
    for char in "a ":
        text = char * 100_000 + "!"
        assert not search(text)
        assert not search(text[:63] + "!")


def test_simple_patterns_do_without_pyarrow() -> None:
    """What a get does not need is not imported."""
    code = (
        "import sys\n"
        "from parquedb.query.parse import parse_filter\n"
        "from parquedb.query.match import compile_match\n"
        "spec = {'a': {'$regex': '^A.*[0-9]{2}x?$', '$options': 'i'}}\n"
        "match = compile_match(parse_filter(spec))\n"
        "assert match({'a': 'abc 12'})\n"
        "assert not {'pyarrow', 'duckdb'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0


TOKENS = (
    *"abKksi19é._-\n|*+?^$(){}[]",
    *(r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"\b", r"\.", r"\n", r"\-", r"\_"),
    *("[ab]", "[^a]", "[a-k]", r"[^\w]", r"[\s-]", "[-a]", "[a-z-9]", "[--/]", "[ -~]", "[é]"),
    *("(a|b)", "(?:b|)", "(^a)", "??", "{2}", "{1,2}", "{0}", "{1,}?", ".*", ".+?"),
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from(TOKENS), max_size=6).map("".join),
    st.sets(st.sampled_from("ims")).map(lambda flags: "".join(sorted(flags))),
    st.lists(st.text("abKksiéıİſ\u212aß.\n \v1-_9+({", max_size=6), min_size=1, max_size=8),
)
def test_pythons_engine_agrees_with_re2(pattern: str, flags: str, texts: list[str]) -> None:
    try:
        expected = search_many(pattern, flags, texts)
    except InvalidInputError:
        assert read_subset(pattern, flags) is None
        return
    search = compile_regex(pattern, flags)
    assert [search(text) for text in texts] == expected


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(TOKENS), max_size=5).map("".join),
    st.sets(st.sampled_from("ims")).map(lambda flags: "".join(sorted(flags))),
    st.lists(st.text("abKsi\u212a.\n \v1-_", max_size=5), min_size=1, max_size=5),
)
def test_duckdb_agrees(pattern: str, flags: str, texts: list[str]) -> None:
    import duckdb

    try:
        expected = search_many(pattern, flags, texts)
    except InvalidInputError:
        return
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT regexp_matches(unnest(?::VARCHAR[]), ?)", [texts, re2_pattern(pattern, flags)]
        ).fetchall()
    assert [found for (found,) in rows] == expected
