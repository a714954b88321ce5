"""The names of the files of a Delta log, and what a listing of them says.

PROTOCOL.md, "Delta Log Entries", "Checkpoints", "Checkpoint Naming Scheme".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from posixpath import normpath

from parquedb.errors import FormatError, InvalidInputError, UnsupportedError
from parquedb.slotted import dataclass
from parquedb.storage.keys import check_key, encode_path, has_scheme, join, key_of
from parquedb.storage.store import ObjectInfo, Store

LOG_FOLDER = "_delta_log"

_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(
    r"(\d{20})\.checkpoint"
    r"(?:\.(?P<part>\d{10})\.(?P<parts>\d{10})\.parquet|\.(?P<uuid>[0-9a-fA-F-]{36})\."
    r"(?:json|parquet)|\.parquet)"
)
_NOT_PLAIN = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\x00-\x1f\x7f\\]|^[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint.

    Args:
        version: The version that it holds.
        files: Its files: one, or the parts of a multi-part checkpoint in order.
    """

    version: int
    files: tuple[ObjectInfo, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """What a log folder holds, by version.

    Args:
        commits: The JSON commit files.
        checkpoints: The complete checkpoints, the simplest kind where there are several.
        start: The oldest version from which all versions up to ``latest`` can be read.
        latest: The newest version.
    """

    commits: Mapping[int, ObjectInfo]
    checkpoints: Mapping[int, Checkpoint]
    start: int
    latest: int

    @property
    def has_base(self) -> bool:
        """Whether the log begins with a checkpoint, because older commits are gone."""
        return self.start > 0 or 0 not in self.commits

    def checkpoint_before(self, version: int) -> Checkpoint | None:
        """Return the newest checkpoint that is not after a version and not before the start."""
        fitting = [v for v in self.checkpoints if self.start <= v <= version]
        return self.checkpoints[max(fitting)] if fitting else None


def log_folder(folder: str) -> str:
    """Return the key of a table's log folder."""
    return join(folder, LOG_FOLDER)


def commit_key(folder: str, version: int) -> str:
    """Return the key of a commit file."""
    return join(folder, LOG_FOLDER, f"{version:020d}.json")


def checkpoint_key(folder: str, version: int) -> str:
    """Return the key of a classic checkpoint."""
    return join(folder, LOG_FOLDER, f"{version:020d}.checkpoint.parquet")


def last_checkpoint_key(folder: str) -> str:
    """Return the key of the hint at the newest checkpoint."""
    return join(folder, LOG_FOLDER, "_last_checkpoint")


def parse_commit_name(name: str) -> int | None:
    """Return the version of a commit file's name; None for any other name."""
    match = _COMMIT.fullmatch(name)
    return int(match[1]) if match else None


def parse_checkpoint_name(name: str) -> tuple[int, int, int] | None:
    """Return version, part and parts (1, 1 unless multi-part) of a checkpoint; else None."""
    match = _CHECKPOINT.fullmatch(name)
    if match is None:
        return None
    return int(match[1]), int(match["part"] or 1), int(match["parts"] or 1)


def is_log(infos: Iterable[ObjectInfo]) -> bool:
    """Whether files right in a log folder make a table."""
    names = (info.key.rsplit("/", 1)[-1] for info in infos)
    return any(
        parse_commit_name(name) is not None or parse_checkpoint_name(name) is not None
        for name in names
    )


def exists(store: Store, folder: str) -> bool:
    """Whether a folder holds a Delta table: commits or checkpoints in its ``_delta_log``.

    A long log is not listed where it has its first commit.
    """
    if store.head(commit_key(folder, 0)) is not None:
        return True
    return is_log(store.list_dir(log_folder(folder))[0])


def parse_listing(folder: str, infos: Iterable[ObjectInfo]) -> Listing | None:
    """Sort out a log folder's files; None if they make no table.

    Raises:
        FormatError: A version is missing and no checkpoint after the gap makes up for it.
    """
    commits: dict[int, ObjectInfo] = {}
    parts: dict[tuple[int, int, bool], dict[int, ObjectInfo]] = {}
    for info in infos:
        name = info.key.rsplit("/", 1)[-1]
        version = parse_commit_name(name)
        if version is not None:
            commits[version] = info
            continue
        parsed = parse_checkpoint_name(name)
        if parsed is not None:
            uuid_named = parsed[2] == 1 and not name.endswith(".checkpoint.parquet")
            parts.setdefault((parsed[0], parsed[2], uuid_named), {})[parsed[1]] = info
    checkpoints: dict[int, Checkpoint] = {}
    # classic before multi-part before UUID-named: False sorts before True, 1 before more
    for version, count, uuid_named in sorted(parts, key=lambda k: (k[2], k[1])):
        found = parts[version, count, uuid_named]
        if sorted(found) == list(range(1, count + 1)) and version not in checkpoints:
            files = tuple(found[part] for part in sorted(found))
            checkpoints[version] = Checkpoint(version, files)
    if not commits and not checkpoints:
        return None
    latest = max((*commits, *checkpoints))
    start = _find_start(folder, commits, checkpoints, latest)
    return Listing(commits, checkpoints, start, latest)


def _find_start(
    folder: str, commits: Mapping[int, object], checkpoints: Mapping[int, object], latest: int
) -> int:
    first = latest + 1
    while first - 1 in commits:
        first -= 1
    if first == 0:
        return 0
    bases = [version for version in checkpoints if version >= first - 1]
    if not bases:
        missing = commit_key(folder, first - 1)
        raise FormatError(
            f"{missing!r} is missing: the log goes on at version {first} and no checkpoint holds "
            f"version {first - 1} or a later one; restore the file or the folder from a backup",
            location=missing,
            section="Delta Log Entries",
        )
    return min(bases)


def parse_data_path(root: str, folder: str, path: str) -> str:
    """Return the key of a data file from its ``add.path`` or ``remove.path``.

    PROTOCOL.md, "Add File and Remove File": percent-encoded, relative to the table or absolute.

    Raises:
        UnsupportedError: The file lies outside the storage root.
    """
    if "%" in path:
        from urllib.parse import unquote  # noqa: PLC0415  (a get does without)

        plain = unquote(path)
    else:
        plain = path
    if _NOT_PLAIN.search(plain) is None:
        return f"{folder}/{plain}" if folder else plain
    if has_scheme(path) or path.startswith("/"):
        key = key_of(root, path, encoded=True)
    else:
        try:
            key = check_key(normpath(join(folder, plain)))
        except InvalidInputError:
            key = None
    if key is None:
        raise UnsupportedError(
            f"the Delta table {folder!r} refers to {path!r}, which lies outside the storage root "
            f"{root!r}; open a storage that holds both, or copy the file into the table"
        )
    return key


def encode_data_path(folder: str, key: str) -> str:
    """Return the ``add.path`` of a data file, relative and percent-encoded.

    Raises:
        UnsupportedError: The file does not lie in the table's folder, where alone all readers
            find it.
    """
    if folder and not key.startswith(f"{folder}/"):
        raise UnsupportedError(
            f"{key!r} lies outside the table's folder {folder!r}, where many Delta readers would "
            "not find it; link or copy it into the folder"
        )
    return encode_path(key[len(folder) + 1 :] if folder else key)
