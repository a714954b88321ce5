"""What a check of a namespace found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from enum import StrEnum

from parquedb.errors import FormatError, ParqueDBError
from parquedb.model.format import Format
from parquedb.slotted import dataclass

_RESTORE = "restore it from a backup"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be.

    Args:
        path: Key of the file, or of the table's folder, that it is about.
        problem: What is wrong.
        advice: What to do next.
        format: The table that refers to the file; None for the journal and for comparisons.
    """

    path: str
    problem: str
    advice: str
    format: Format | None = None

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.path}: {self.problem}; {self.advice}"


@dataclass(frozen=True, slots=True)
class Orphan:
    """A file in a table's folders that nothing refers to.

    Args:
        path: Its key.
        size_bytes: Its length.
        modified_at_us: When it was modified last, microseconds since the epoch.
    """

    path: str
    size_bytes: int
    modified_at_us: int


class CheckPhase(StrEnum):
    """What a check is doing."""

    JOURNAL = "journal"
    NATIVE = "native"
    ICEBERG = "iceberg"
    DELTA = "delta"
    AGREEMENT = "agreement"
    ORPHANS = "orphans"


@dataclass(frozen=True, slots=True)
class CheckProgress:
    """How far a check has come.

    Args:
        namespace: Which one.
        phase: What is being done.
        files: Data files and files of deletes looked at so far, over all phases.
        findings: Findings so far.
    """

    namespace: str
    phase: CheckPhase
    files: int
    findings: int


OnProgress = Callable[[CheckProgress], None]


@dataclass(frozen=True, slots=True)
class Checked:
    """What the check of one namespace found.

    Args:
        name: The namespace.
        versions: How many versions of each table were followed.
        files: How many distinct files the tables refer to, metadata included.
        compared: At how many common versions tables were compared.
        findings: What is wrong; empty for a healthy namespace.
        orphans: Files that nothing refers to; no harm but space.
        notes: What is no fault and worth to know.
        deep: Whether rows were read.
    """

    name: str
    versions: Mapping[Format, int]
    files: int
    compared: int
    findings: tuple[Finding, ...]
    orphans: tuple[Orphan, ...]
    notes: tuple[str, ...]
    deep: bool

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def to_json(self) -> dict[str, object]:
        """Return the documented JSON shape."""
        return {
            "healthy": self.healthy,
            "versions": {format_.value: count for format_, count in self.versions.items()},
            "files": self.files,
            "compared": self.compared,
            "findings": [
                {
                    "path": one.path,
                    "format": None if one.format is None else one.format.value,
                    "problem": one.problem,
                    "advice": one.advice,
                }
                for one in self.findings
            ],
            "orphans": [{"path": one.path, "bytes": one.size_bytes} for one in self.orphans],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What the check of several namespaces found.

    Args:
        namespaces: Each by its name.
        deep: Whether rows were read.
    """

    namespaces: Mapping[str, Checked]
    deep: bool

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong anywhere."""
        return all(found.healthy for found in self.namespaces.values())

    def to_json(self) -> dict[str, object]:
        """Return the documented JSON shape."""
        return {
            "healthy": self.healthy,
            "deep": self.deep,
            "namespaces": {name: found.to_json() for name, found in self.namespaces.items()},
        }


@dataclass(slots=True)
class Findings:
    """Collects findings, each once.

    Args:
        on_file: Called for every file that was looked at.
        root: URI of the storage root, which paths are told without.
    """

    on_file: Callable[[], None] = field(default=lambda: None)
    format: Format | None = None
    found: dict[tuple[str, str], Finding] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    root: str = ""
    _known: dict[str, list[str]] = field(default_factory=dict)

    def add(self, path: str, problem: str, advice: str = _RESTORE) -> None:
        """Add a finding about a file."""
        path = self._key(path)
        if (path, problem) not in self.found:
            self.found[path, problem] = Finding(path, problem, advice, self.format)
            self._known.setdefault(path, []).append(problem)

    def note(self, text: str) -> None:
        """Add something that is no fault."""
        self.notes[text] = None

    def raised(self, error: ParqueDBError, path: str) -> None:
        """Add what an error says: what is wrong, and after its last semicolon what to do next."""
        if isinstance(error, FormatError) and error.parts:
            for part in error.parts:
                self.raised(part, path)
            return
        if isinstance(error, FormatError) and error.location is not None:
            path = error.location
        told, _, advice = str(error).rpartition("; ")
        problem, advice = (told, advice) if told else (str(error), _RESTORE)
        if any(problem in known for known in self._known.get(self._key(path), ())):
            return
        self.add(path, problem, advice)

    def about(self, path: str | None) -> bool:
        """Whether there is a finding about a file."""
        return path is not None and self._key(path) in self._known

    @contextmanager
    def reading(self, path: str, *, again: bool = False) -> Iterator[None]:
        """Turn an error in a ``with`` block into a finding about a file.

        Args:
            path: The file, if the error does not say which one it is about.
            again: Whether everything was looked at before: then errors about files of which
                something was found are no news.
        """
        try:
            yield
        except ParqueDBError as error:
            known = isinstance(error, FormatError) and self.about(error.location)
            if not (again and known):
                self.raised(error, path)

    def _key(self, path: str) -> str:
        return path.removeprefix(f"{self.root}/") if self.root else path
