"""Namespaces as folders, and how identifiers become keys."""

from __future__ import annotations

import os
from abc import ABC
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyiceberg.catalog import MetastoreCatalog, PropertiesUpdateSummary
from pyiceberg.exceptions import (
    NamespaceAlreadyExistsError,
    NamespaceNotEmptyError,
    NoSuchNamespaceError,
    NoSuchViewError,
)
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.typedef import EMPTY_DICT, Identifier, Properties
from typing_extensions import override

from parquedb.errors import (
    InvalidInputError,
    StorageError,
    UnsupportedError,
)
from parquedb.formats.iceberg.paths import MetadataName, list_metadata
from parquedb.namespace.places import check_namespace
from parquedb.storage import LocalPaths, Store, open_store
from parquedb.storage.keys import join, uri_of

if TYPE_CHECKING:
    from pyiceberg.view import View

ROOT_NAMESPACE = "default"
"""The namespace of the tables right below the warehouse."""

_NOT_A_NAMESPACE = ("_", ".")
_FILE_IO = "py-io-impl"


class LiteralFileIO(PyArrowFileIO):
    """pyiceberg's file access with local locations taken literally, as Iceberg means them.

    pyiceberg cuts a ``file:`` location at ``#`` and ``?``.
    """

    @staticmethod
    def parse_location(location: str, properties: Properties = EMPTY_DICT) -> tuple[str, str, str]:
        """Return scheme, host and path of a location."""
        if location.startswith("file:"):
            return "file", "", "/" + location.removeprefix("file:").lstrip("/")
        return PyArrowFileIO.parse_location(location, properties)


class FolderNamespaces(MetastoreCatalog, ABC):
    """The part of the catalog that knows folders and not what is in a table.

    Args:
        name: Any name.
        properties: See :class:`~parquedb.catalog.FilesystemCatalog`.
    """

    def __init__(self, name: str, **properties: str) -> None:
        super().__init__(name, **{_FILE_IO: f"{__name__}.{LiteralFileIO.__name__}", **properties})
        warehouse = properties.get("warehouse")
        if not warehouse:
            raise InvalidInputError(
                f"the catalog {name!r} has no warehouse: give the folder of the tables, such as "
                "FilesystemCatalog('lake', warehouse='./lake')"
            )
        self._store: Store = open_store(warehouse)
        if not isinstance(self._store, LocalPaths):
            raise UnsupportedError(
                f"the warehouse {warehouse!r} is not a local folder, which pyiceberg cannot open "
                "through this catalog; use a local path or a file:// URI"
            )
        self._local: LocalPaths = self._store

    @override
    def list_tables(self, namespace: str | Identifier) -> list[Identifier]:
        """Return the tables right below a namespace.

        Raises:
            NoSuchNamespaceError: There is no such folder.
        """
        parts = self._existing(namespace)
        folders = ["", ROOT_NAMESPACE] if parts == (ROOT_NAMESPACE,) else [join(*parts)]
        names = {
            name
            for folder in folders
            for name in self._subfolders(folder)
            if self._numbered(join(folder, name))
        }
        return [(*parts, name) for name in sorted(names)]

    @override
    def list_namespaces(self, namespace: str | Identifier = ()) -> list[Identifier]:
        """Return the folders right below a namespace that are not tables themselves.

        Raises:
            NoSuchNamespaceError: There is no such folder.
        """
        parts = self._existing(namespace) if namespace else ()
        names = {
            name
            for name in self._subfolders(join(*parts))
            if not list_metadata(self._store, join(*parts, name))
        }
        if not parts:
            names = (names - {"data"}) | {ROOT_NAMESPACE}  # data/ holds native tables
        return [(*parts, name) for name in sorted(names)]

    @override
    def namespace_exists(self, namespace: str | Identifier) -> bool:
        """Whether a namespace's folder exists and is not a table."""
        parts = self.identifier_to_tuple(namespace)
        if parts == (ROOT_NAMESPACE,):
            return True
        key = check_namespace("/".join(parts))
        return os.path.isdir(self._local.local_path(key)) and not list_metadata(self._store, key)

    @override
    def create_namespace(
        self, namespace: str | Identifier, properties: Properties = EMPTY_DICT
    ) -> None:
        """Create a namespace's folder. Not needed: creating a table creates its folders.

        Raises:
            NamespaceAlreadyExistsError: The folder exists.
            UnsupportedError: ``properties`` are given; there is no place for them.
        """
        if properties:
            raise UnsupportedError("namespaces are folders and have no properties; leave them out")
        parts = self.identifier_to_tuple(namespace)
        if parts == (ROOT_NAMESPACE,) or self.namespace_exists(parts):
            raise NamespaceAlreadyExistsError(f"namespace {'.'.join(parts)!r} exists already")
        path = self._local.local_path(check_namespace("/".join(parts)))
        try:
            os.makedirs(path)
        except FileExistsError as error:
            raise NamespaceAlreadyExistsError(f"{path!r} exists and is a table") from error
        except OSError as error:
            raise StorageError(f"{path!r}: {error.strerror}") from error

    @override
    def drop_namespace(self, namespace: str | Identifier) -> None:
        """Remove a namespace's folder if it is empty.

        Raises:
            NoSuchNamespaceError: There is no such folder.
            NamespaceNotEmptyError: It is not empty, or is the root.
        """
        parts = self._existing(namespace)
        path = self._local.local_path("/".join(parts))
        if parts == (ROOT_NAMESPACE,) or os.listdir(path):
            raise NamespaceNotEmptyError(f"namespace {'.'.join(parts)!r} is not empty")
        os.rmdir(path)

    @override
    def load_namespace_properties(self, namespace: str | Identifier) -> Properties:
        """Return the location of a namespace, its only property.

        Raises:
            NoSuchNamespaceError: There is no such folder.
        """
        parts = self._existing(namespace)
        key = "" if parts == (ROOT_NAMESPACE,) else "/".join(parts)
        return {"location": self._uri(key)}

    @override
    def update_namespace_properties(
        self,
        namespace: str | Identifier,
        removals: set[str] | None = None,
        updates: Properties = EMPTY_DICT,
    ) -> PropertiesUpdateSummary:
        """Refuse: folders have no properties.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(f"namespace {namespace!r} is a folder and has no properties")

    # views: there are none

    @override
    def list_views(self, namespace: str | Identifier) -> list[Identifier]:
        """Return no views."""
        self._existing(namespace)
        return []

    @override
    def view_exists(self, identifier: str | Identifier) -> bool:
        """Return False."""
        return False

    @override
    def load_view(self, identifier: str | Identifier) -> View:
        """Raise ``NoSuchViewError``."""
        raise NoSuchViewError(f"a file system catalog has no views: {identifier!r}")

    @override
    def drop_view(self, identifier: str | Identifier) -> None:
        """Raise ``NoSuchViewError``."""
        self.load_view(identifier)

    @override
    def register_view(self, identifier: str | Identifier, metadata_location: str) -> View:
        """Raise ``UnsupportedError``."""
        raise UnsupportedError(f"a file system catalog cannot hold the view {identifier!r}")

    def _numbered(self, key: str) -> Sequence[MetadataName]:
        return [name for name in list_metadata(self._store, key) if not name.catalog]

    def _key(self, identifier: str | Identifier) -> str:
        parts = self.identifier_to_tuple(identifier)
        if len(parts) == 2 and parts[0] == ROOT_NAMESPACE:
            inner = check_namespace("/".join(parts))
            if list_metadata(self._store, parts[1]) or not list_metadata(self._store, inner):
                parts = parts[1:]
        return check_namespace("/".join(parts))

    def _existing(self, namespace: str | Identifier) -> Identifier:
        parts = self.identifier_to_tuple(namespace)
        if not parts or not self.namespace_exists(parts):
            raise NoSuchNamespaceError(f"there is no namespace {'.'.join(parts)!r}")
        return parts

    def _subfolders(self, folder: str) -> Sequence[str]:
        _, names = self._store.list_dir(folder)
        return [name for name in names if not name.startswith(_NOT_A_NAMESPACE)]

    def _uri(self, key: str) -> str:
        return uri_of(self._store.root, key) if key else self._store.root
