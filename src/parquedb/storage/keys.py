"""Keys and URIs: the checks that keep every access below the storage root.

A key is checked once, where it enters a store; a URI found in somebody's metadata is turned into
a key here, or refused because it points elsewhere.
"""

from __future__ import annotations

import functools
import os
import re

from parquedb.errors import InvalidInputError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SLASHES = re.compile(r"//+")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")


@functools.lru_cache(maxsize=4096)
def check_key(key: str) -> str:
    """Return ``key`` if it is a relative path below the root.

    Raises:
        InvalidInputError: It is absolute, has an empty part, ``..`` or a control character.
    """
    parts = key.split("/")
    if _CONTROL.search(key) or "\\" in key or any(part in ("", ".", "..") for part in parts):
        raise InvalidInputError(
            f"{key!r} is not a key inside the storage root: use a relative path such as "
            "'users/data/x.parquet' without '..', empty parts, backslashes or control characters"
        )
    return key


def join(*parts: str) -> str:
    """Join parts of a key, leaving out the empty ones."""
    return "/".join(part for part in parts if part)


def uri_of(root: str, key: str) -> str:
    """Return the full literal URI of a key, as Iceberg writes it (nothing percent-encoded)."""
    return f"{root}/{key}"


def key_of(root: str, location: str, *, encoded: bool = False) -> str | None:
    """Return the key of a location found in metadata, or None if it lies outside the root.

    A local location may reach the root through symbolic links (``/tmp`` where the root is
    ``/private/tmp``); links below the root are part of the key.

    Args:
        root: The store's root URI.
        location: An absolute URI or an absolute local path (``file:/x``, ``file:///x``, ``/x``).
        encoded: Whether ``location`` is percent-encoded (Delta is, Iceberg is not).
    """
    if encoded:
        from urllib.parse import unquote  # noqa: PLC0415  (a get does without)

        location = unquote(location)
    base, path = _canonical(root), _canonical(location)
    if path.startswith(base + "/"):
        key: str | None = path[len(base) + 1 :]
    elif base.startswith("/") and path.startswith("/"):
        folder, _, name = path.rpartition("/")
        below = _below(base, folder)
        key = None if below is None else join(below, name)
    else:
        return None
    try:
        return None if key is None else check_key(key)
    except InvalidInputError:
        return None


def local_path_of(location: str) -> str | None:
    """Return the path of a ``file:`` URI, None for anything else. Literal, not decoded.

    ``file:/x``, ``file:///x`` and ``file://localhost/x`` are the same; another host, or a path
    that is not absolute, is nobody's path here.
    """
    if not location.startswith("file:"):
        return None
    path = location.removeprefix("file:").removeprefix("//localhost").removeprefix("//")
    return "/" + path.lstrip("/") if path.startswith("/") else None


def has_scheme(location: str) -> bool:
    """Whether a location is a URI and not a plain path."""
    return _SCHEME.match(location) is not None


def encode_path(path: str) -> str:
    """Percent-encode a relative path as Delta's ``add.path`` wants it.

    PROTOCOL.md, "Add File and Remove File": a URI as specified by RFC 2396.
    """
    from urllib.parse import quote  # noqa: PLC0415

    return quote(path, safe="/=@!$&'()*+,;~-._")


def _canonical(location: str) -> str:
    """Reduce the ways to write a local location (``/x``, ``file:/x``, ``file:///x``) to one."""
    path = location if location.startswith("/") else local_path_of(location)
    if path is not None:
        return _SLASHES.sub("/", path).rstrip("/")
    if location.startswith(("s3a://", "s3n://")):
        location = "s3" + location[3:]
    return location.rstrip("/")


@functools.lru_cache(maxsize=1024)
def _below(base: str, folder: str) -> str | None:
    """Return what follows the part of a local path that is another name of the root."""
    above, rest = folder, ""
    while above:
        if os.path.realpath(above) == base:
            return rest
        above, _, name = above.rpartition("/")
        rest = join(name, rest)
    return None
