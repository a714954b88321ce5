"""The errors of ParqueDB, sorted by what the caller does next.

Every message names the object (a path or a namespace), what is wrong with it and what to do
next. Exceptions of other libraries are translated where they enter, at the adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class ParqueDBError(Exception):
    """Base of every error raised by ParqueDB."""


class ConflictError(ParqueDBError):
    """Somebody else changed the same thing first. Re-read and try again, or decide."""


class CommitUnknownError(ParqueDBError):
    """A commit may or may not have happened. Re-read; delete nothing."""


class NotFoundError(ParqueDBError, KeyError):
    """The named object does not exist."""

    def __str__(self) -> str:
        """Return the message itself; ``KeyError`` would print its repr."""
        return str(self.args[0]) if self.args else ""


class AlreadyExistsError(ParqueDBError):
    """The named object exists and was left as it is."""


class InvalidInputError(ParqueDBError, ValueError):
    """An argument is not acceptable. Nothing was done."""


class ValidationError(InvalidInputError):
    """A document is not as its collection's schema asks. Nothing was written.

    Args:
        where: The document's id, or what it is.
        problems: The path of every wrong value, and what is wrong with it.
    """

    def __init__(self, where: str, problems: Sequence[tuple[str, str]]) -> None:
        listed = "; ".join(f"{path}: {text}" for path, text in problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{where} is not as the schema asks, {count}: {listed}.")
        self.problems = tuple(problems)


class UnsupportedError(ParqueDBError):
    """The data uses a feature that cannot be handled right. Nothing was done.

    Args:
        message: What is not supported, where, and what to do instead.
        feature: The feature's name in its format's specification, where there is one.
    """

    def __init__(self, message: str, *, feature: str | None = None) -> None:
        super().__init__(message)
        self.feature = feature


class LossyError(ParqueDBError):
    """The step would lose something and the loss was not allowed. Nothing was done.

    Args:
        message: What was refused and how to allow it.
        lost: One line for each thing that would be lost.
    """

    def __init__(self, message: str, *, lost: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.lost = tuple(lost)


class StateError(ParqueDBError):
    """The table or namespace is not in a state in which this can be done."""


class VerificationError(ParqueDBError):
    """Source and target were compared after a migration and differ."""


class StorageError(ParqueDBError):
    """The store failed: no permission, no space, a broken connection."""


class FormatError(ParqueDBError):
    """Bytes in the store do not follow their format's specification.

    Args:
        message: What is wrong with the object and what to do next.
        location: Key or URI of the object.
        section: Section of the specification that is not followed.
        problems: All problems found, where more than one is.
        parts: The errors of several objects that this one stands for.
    """

    def __init__(
        self,
        message: str,
        *,
        location: str | None = None,
        section: str | None = None,
        problems: Sequence[str] = (),
        parts: Sequence[FormatError] = (),
    ) -> None:
        super().__init__(message)
        self.location = location
        self.section = section
        self.problems = tuple(problems)
        self.parts = tuple(parts)


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """Return what a message adds of a name that is not known: the nearest one, if there is one."""
    import difflib  # noqa: PLC0415  (a get does without)

    near = difflib.get_close_matches(str(given).lower(), [str(each) for each in known], 1)
    return f"; did you mean {near[0]!r}?" if near else ""
