"""Keys and URIs: the checks that keep every access below the storage root.

A key is checked once, where it enters a store; a URI found in somebody's metadata is turned into
a key here, or refused because it points elsewhere.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from parquedb.errors import InvalidInputError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")


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

    Args:
        root: The store's root URI.
        location: An absolute URI or an absolute local path (``file:/x``, ``file:///x``, ``/x``).
        encoded: Whether ``location`` is percent-encoded (Delta is, Iceberg is not).
    """
    base, path = _canonical(root), _canonical(unquote(location) if encoded else location)
    if not path.startswith(base + "/"):
        return None
    key = path[len(base) + 1 :]
    try:
        return check_key(key)
    except InvalidInputError:
        return None


def has_scheme(location: str) -> bool:
    """Whether a location is a URI and not a plain path."""
    return _SCHEME.match(location) is not None


def encode_path(path: str) -> str:
    """Percent-encode a relative path as Delta's ``add.path`` wants it.

    PROTOCOL.md, "Add File and Remove File": a URI as specified by RFC 2396.
    """
    return quote(path, safe="/=@!$&'()*+,;~-._")


def _canonical(location: str) -> str:
    """Reduce the ways to write a local location (``/x``, ``file:/x``, ``file:///x``) to one."""
    if location.startswith("/"):
        return location.rstrip("/")
    if location.startswith("file:"):
        return "/" + location[len("file:") :].lstrip("/").rstrip("/")
    if location.startswith(("s3a://", "s3n://")):
        location = "s3" + location[3:]
    return location.rstrip("/")
