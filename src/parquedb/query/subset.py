r"""The regular expressions that Python's engine may be trusted with.

A small subset of RE2's syntax is read: characters, ``.``, classes, ``\d \w \s \b``, anchors,
repetitions of one character, alternatives in unrepeated groups. In it every repetition only
chooses one position, so that the steps of backtracking can be counted (:mod:`.regex` does), and
its meaning can be spelled in Python's syntax exactly. Whatever else comes up is not in the subset.
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import Final

from parquedb.slotted import dataclass

_SPACE = r"\t\n\f\r "
_CLASSES: Final = {
    "d": "[0-9]",
    "D": "[^0-9]",
    "w": "[0-9A-Za-z_]",
    "W": "[^0-9A-Za-z_]",
    "s": f"[{_SPACE}]",
    "S": f"[^{_SPACE}]",
}
_MEMBERS: Final = {"d": "0-9", "w": "0-9A-Za-z_", "s": _SPACE}
_CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}
_PUNCTUATION: Final = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ")
_REPEAT = re.compile(r"\{([0-9]{1,3})(?:(,)([0-9]{1,3})?)?\}")
_MOST_REPEATS = 100
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Subset:
    """A pattern of the subset.

    Args:
        python: The same pattern for :mod:`re`, with ``re.ASCII``.
        repetitions: How many repetitions it has.
        ways: Through how many combinations of alternatives it can be walked at most.
        starts: Whether it can match at the start of the text only.
        literal: The text it matches, if that is all it is, between anchors or not.
        ends: Whether that text must be at the end.
    """

    python: str
    repetitions: int
    ways: int
    starts: bool
    literal: str | None
    ends: bool


class _OutsideError(Exception):
    """The pattern is not in the subset."""


def read_subset(pattern: str, flags: str) -> Subset | None:
    """Return a pattern of the subset, None for any other.

    Args:
        pattern: The regular expression in RE2's syntax, without its flags.
        flags: Letters of ``ims``; with ``i`` only ASCII patterns are in the subset.
    """
    if len(pattern) > _LONGEST or ("i" in flags and not pattern.isascii()):
        return None
    reader = _Reader(pattern, lines="m" in flags)
    try:
        python = reader.alternatives(depth=0)
    except _OutsideError:
        return None
    if reader.at < len(pattern):
        return None
    plain = reader.plain and reader.ways == 1
    return Subset(
        python=python,
        repetitions=reader.repetitions,
        ways=reader.ways,
        starts=reader.starts and reader.split == 0,
        literal="".join(reader.literal) if plain else None,
        ends=reader.ends,
    )


@dataclass(slots=True)
class _Reader:
    """Reads a pattern from left to right.

    Args:
        pattern: The pattern.
        lines: Whether anchors match at lines' ends too.
        at: The position of the next character.
        split: How many ``|`` stand outside of groups.
        plain: Whether there were but literal characters, and anchors at the ends.
    """

    pattern: str
    lines: bool
    at: int = 0
    repetitions: int = 0
    ways: int = 1
    split: int = 0
    starts: bool = False
    ends: bool = False
    plain: bool = True
    literal: list[str] = field(default_factory=list)

    def alternatives(self, depth: int) -> str:
        """Read up to the end or the closing parenthesis."""
        if depth > 10:
            raise _OutsideError
        branches = [self._sequence(depth)]
        while self._next("|"):
            self.split += depth == 0
            branches.append(self._sequence(depth))
        self.ways = min(self.ways * len(branches), 1 << 30)
        return "|".join(branches)

    def _next(self, text: str) -> bool:
        if self.pattern.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def _sequence(self, depth: int) -> str:
        out: list[str] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            out.append(self._item(depth))
        return "".join(out)

    def _item(self, depth: int) -> str:
        if self.ends:  # something follows a $
            self.plain = False
        char = self.pattern[self.at]
        if char == "^":
            return self._start()
        if char == "$":
            return self._end()
        if char == "(":
            return self._group(depth)
        if self._next("\\b"):
            self.plain = False
            return self._unrepeated(r"\b")
        literal = self._character()
        if literal is not None:
            self.literal.append(literal)
            return self._repeated(re.escape(literal))
        self.plain = False
        return self._repeated(self._class())

    def _start(self) -> str:
        self.at += 1
        if self.lines:
            self.plain = False
            return self._unrepeated("^")
        if self.at == 1:
            self.starts = True
        else:
            self.plain = False
        return self._unrepeated(r"\A")

    def _end(self) -> str:
        self.at += 1
        if self.lines:
            self.plain = False
            return self._unrepeated("$")
        self.ends = True
        return self._unrepeated(r"\Z")

    def _group(self, depth: int) -> str:
        self.at += 1
        self.plain = False
        if not self._next("?:") and self.pattern.startswith("?", self.at):
            raise _OutsideError
        inner = self.alternatives(depth + 1)
        if not self._next(")"):
            raise _OutsideError
        return self._unrepeated(f"(?:{inner})")

    def _unrepeated(self, python: str) -> str:
        if self.pattern[self.at : self.at + 1] in ("*", "+", "?", "{"):
            raise _OutsideError
        return python

    def _character(self) -> str | None:
        """Read a literal character, if it is one."""
        char = self.pattern[self.at]
        if char in ".[":
            return None
        if char in "*+?{})]":
            raise _OutsideError
        if char != "\\":
            self.at += 1
            return char
        escaped = self.pattern[self.at + 1 : self.at + 2]
        if escaped in _CLASSES:
            return None
        return self._escaped(escaped)

    def _escaped(self, escaped: str) -> str:
        """Read an escape sequence that stands for one character."""
        literal = escaped if escaped in _PUNCTUATION else _CONTROLS.get(escaped)
        if literal is None:
            raise _OutsideError
        self.at += 2
        return literal

    def _class(self) -> str:
        """Read a dot, an escaped class or a class in brackets."""
        if self._next("."):
            return "."
        if self._next("\\"):
            self.at += 1
            return _CLASSES[self.pattern[self.at - 1]]
        self.at += 1
        negated = self._next("^")
        members: list[str] = []
        while not self._next("]"):
            members.append(self._member())
        if not members:  # a bracket that comes first is a member
            raise _OutsideError
        return f"[{'^' if negated else ''}{''.join(members)}]"

    def _member(self) -> str:
        """Read a member of a class: a character, a range or an escaped class."""
        escaped = self.pattern[self.at + 1 : self.at + 2]
        if self.pattern.startswith("\\", self.at) and escaped in _MEMBERS:
            self.at += 2
            if self.pattern.startswith("-", self.at):
                raise _OutsideError
            return _MEMBERS[escaped]
        first = self._one_member()
        if not self.pattern.startswith("-", self.at) or self.pattern.startswith("-]", self.at):
            return re.escape(first)
        self.at += 1
        last = self._one_member()
        if last < first:
            raise _OutsideError
        return f"{re.escape(first)}-{re.escape(last)}"

    def _one_member(self) -> str:
        char = self.pattern[self.at : self.at + 1]
        if char in ("", "["):
            raise _OutsideError
        if char == "\\":
            return self._escaped(self.pattern[self.at + 1 : self.at + 2])
        self.at += 1
        return char

    def _repeated(self, python: str) -> str:
        """Read the repetition after a character or class, if there is one."""
        repetition = self._repetition()
        if not repetition:
            return python
        self.plain = False
        self.repetitions += 1
        if self._next("?"):
            repetition += "?"
        self._unrepeated(repetition)
        return python + repetition

    def _repetition(self) -> str:
        for mark in "*+?":
            if self._next(mark):
                return mark
        if not self.pattern.startswith("{", self.at):
            return ""
        counts = _REPEAT.match(self.pattern, self.at)
        if counts is None:
            raise _OutsideError
        least, most = int(counts[1]), int(counts[3] or counts[1])
        if most < least or most > _MOST_REPEATS:
            raise _OutsideError
        self.at = counts.end()
        return counts[0]
