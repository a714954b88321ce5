"""A namespace as it was at a version or a time, to be read only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from parquedb.ambient import Ambient
from parquedb.errors import InvalidInputError, StateError
from parquedb.namespace.live import LiveNamespace
from parquedb.query.blocks import Blocks
from parquedb.query.view import Document, StaleError, View
from parquedb.storage.store import Store

if TYPE_CHECKING:
    from parquedb.query.find import Executor

T = TypeVar("T")


class ReadableNamespace(Protocol):
    """What reading a namespace takes, now or in the past."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def store(self) -> Store:
        """The storage."""
        ...

    @property
    def ambient(self) -> Ambient:
        """Clock, identities, randomness."""
        ...

    @property
    def blocks(self) -> Blocks:
        """Where rows are fetched from."""
        ...

    @property
    def executor(self) -> Executor:
        """Runs queries."""
        ...

    def view(self) -> View:
        """Return the namespace as it is read by default."""
        ...

    def view_at(self, *, version: int | None = None, at_us: int | None = None) -> View:
        """Return the namespace as it was (see :meth:`.live.LiveNamespace.view_at`)."""
        ...

    def get(self, id_: str) -> Document | None:
        """Return the document of an id, soft-deleted or not, None if there is none.

        It is the taker's own.
        """
        ...

    def retrying(self, read: Callable[[], T]) -> T:
        """Run something that reads."""
        ...


class PastNamespace:
    """One state of a namespace, which no write changes.

    Args:
        live: The namespace.
        version: A version of its table, without the tail; with ``at_us`` None too, as it is now.
        at_us: A time, microseconds since the epoch.

    Raises:
        NotFoundError: There is no such version, or none at that time any more.
    """

    def __init__(
        self, live: LiveNamespace, *, version: int | None = None, at_us: int | None = None
    ) -> None:
        self.name = live.name
        self.store = live.store
        self.ambient = live.ambient
        self.blocks = live.blocks
        self.executor = live.executor
        self._what = _name_of(version, at_us)
        self._live = live
        self._seen: object = None
        if version is None and at_us is None:
            now = live.now()
            self._view, self._seen = now.view, (now.head, now.mark)
        else:
            self._view = live.retrying(lambda: live.view_at(version=version, at_us=at_us))

    def is_newest(self) -> bool:
        """Whether nobody has written since it was taken as it was then."""
        now = self._live.now()
        return (now.head, now.mark) == self._seen

    def view(self) -> View:
        """Return the namespace as it was."""
        return self._view

    def view_at(self, *, version: int | None = None, at_us: int | None = None) -> View:
        """Refuse: it is one state already.

        Raises:
            InvalidInputError: Always.
        """
        raise InvalidInputError(
            f"{self.name!r} is read as it was at {self._what}, and cannot be read at "
            f"{_name_of(version, at_us)} here; ask the collection itself for that"
        )

    def get(self, id_: str) -> Document | None:
        """Return the document of an id, soft-deleted or not, None if there is none."""
        return self.retrying(lambda: self.executor.get(self._view, id_))

    def retrying(self, read: Callable[[], T]) -> T:
        """Run something that reads.

        Raises:
            StateError: Files of that state are gone.
        """
        try:
            return read()
        except StaleError as error:
            raise StateError(
                f"namespace {self.name!r} can no longer be read as it was at {self._what}, because "
                f"files were replaced since ({error}); native Parquet and the journal keep no "
                "history, Iceberg and Delta do"
            ) from error


def _name_of(version: int | None, at_us: int | None) -> str:
    if version is not None:
        return f"version {version}"
    return "the time it was opened" if at_us is None else f"{at_us} µs since the epoch"
