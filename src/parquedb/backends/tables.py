"""Tables of one format, as the guide's functions hand them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from parquedb.ambient import SYSTEM, Ambient
from parquedb.documents.columns import ColumnSpec, TypeSpec, parse_column, parse_column_type
from parquedb.errors import InvalidInputError
from parquedb.log.ports import LogReader, Version
from parquedb.log.snapshot import Snapshot
from parquedb.maintain.check import check_namespaces
from parquedb.maintain.check_report import Checked
from parquedb.maintain.evolve import Evolved, evolve_table
from parquedb.migrate.report import MigrationReport
from parquedb.model.edit import (
    DropColumn,
    Edit,
    MakeOptional,
    RenameColumn,
    Reorder,
    SetDoc,
    WidenColumn,
)
from parquedb.model.format import Format
from parquedb.namespace.places import Places
from parquedb.namespace.tables import Namespace, discover_namespaces
from parquedb.parquet.arrow import arrow_schema_of
from parquedb.parquet.scan import read_batches
from parquedb.slotted import dataclass
from parquedb.storage.store import Store


@dataclass(frozen=True, slots=True)
class Backend:
    """Tables of one format in a storage.

    Args:
        type: The format.
        store: The storage.
        places: Where the formats' tables are kept.
        migration: What was migrated when the backend was opened, if anything.
        ambient: Clock and identities.
    """

    type: Format
    store: Store
    places: Places
    migration: MigrationReport | None = None
    ambient: Ambient = SYSTEM

    def namespaces(self) -> tuple[str, ...]:
        """Return the namespaces that have a table of this format."""
        names = discover_namespaces(self.store, self.places)
        return tuple(name for name in names if self._namespace(name).exists(self.type))

    def history(self, namespace: str) -> Sequence[Version]:
        """Return the versions of a namespace, oldest first.

        Raises:
            NotFoundError: It has no table of this format.
        """
        return self._reader(namespace).history()

    def snapshot(
        self, namespace: str, *, version: int | None = None, at_ms: int | None = None
    ) -> Snapshot:
        """Return the table at a version or time; the newest by default.

        Args:
            namespace: The namespace.
            version: A version.
            at_ms: A time, milliseconds since the epoch; not together with ``version``.

        Raises:
            NotFoundError: There is no such table or version.
        """
        if version is not None and at_ms is not None:
            raise InvalidInputError("give version or at_ms, not both")
        reader = self._reader(namespace)
        return reader.snapshot(reader.version_at(at_ms) if at_ms is not None else version)

    def scan(
        self, namespace: str, *, version: int | None = None, at_ms: int | None = None
    ) -> pa.RecordBatchReader:
        """Read the rows at a version or time in bounded memory.

        Args:
            namespace: The namespace.
            version: A version.
            at_ms: A time, milliseconds since the epoch; not together with ``version``.

        Raises:
            NotFoundError: There is no such table or version.
        """
        snapshot = self.snapshot(namespace, version=version, at_ms=at_ms)
        batches = (
            batch
            for file in snapshot.files.values()
            for batch in read_batches(
                self.store, file, snapshot.schema, snapshot.specs[file.spec_id]
            )
        )
        return pa.RecordBatchReader.from_batches(arrow_schema_of(snapshot.schema), batches)

    def to_arrow(
        self, namespace: str, *, version: int | None = None, at_ms: int | None = None
    ) -> pa.Table:
        """Read the rows at a version or time into memory.

        Args:
            namespace: The namespace.
            version: A version.
            at_ms: A time, milliseconds since the epoch; not together with ``version``.

        Raises:
            NotFoundError: There is no such table or version.
        """
        return self.scan(namespace, version=version, at_ms=at_ms).read_all()

    def check(self, namespace: str, *, deep: bool = False) -> Checked:
        """Check everything that the metadata of a namespace says, in all its formats.

        Args:
            namespace: The namespace.
            deep: Read all rows and deletion vectors too.

        Returns:
            What was found; ``.healthy`` where nothing is wrong.

        Raises:
            NotFoundError: It has no data.
        """
        report = check_namespaces(self.store, self.places, [namespace], deep=deep)
        return report.namespaces[namespace]

    def evolve_schema(
        self,
        namespace: str,
        *,
        add_column: ColumnSpec | Sequence[ColumnSpec] = (),
        make_optional: str | Sequence[str] = (),
        set_doc: Mapping[str, str | None] | None = None,
        reorder: Sequence[str] = (),
    ) -> Evolved:
        """Change the columns of a table by one commit; older versions keep theirs.

        Columns are named by their paths: ``address.city``, ``lines.element.sku``.

        Args:
            namespace: The namespace.
            add_column: ``{"name": …, "type": …}`` with ``"doc"`` and ``"nullable"`` at will, or
                several of these. The type is a notation (``"string"``, see docs/schemas.md), one
                of Arrow's names (``"int32"``), a Python type, or an Arrow type or field. Older
                rows read null in the column.
            make_optional: Columns that may hold null from now on.
            set_doc: Comments by column; None removes one.
            reorder: Columns of the table, or of one struct, that come first, in this order.

        Returns:
            What was done; nothing where the columns are so already.

        Raises:
            NotFoundError: There is no such table.
            InvalidInputError: A change cannot be done to these columns.
            UnsupportedError: The format or a collection of documents cannot have it.
            ConflictError: Others kept committing first.
        """
        if not isinstance(set_doc, Mapping | None):
            raise InvalidInputError(
                f"set_doc is {set_doc!r}; write a mapping of columns to their comments"
            )
        specs = [add_column] if isinstance(add_column, Mapping) else list(add_column or ())
        optional = [make_optional] if isinstance(make_optional, str) else make_optional or ()
        order = (reorder,) if isinstance(reorder, str) else tuple(reorder or ())
        edits: list[Edit] = [parse_column(spec) for spec in specs]
        edits += [MakeOptional(name) for name in optional]
        edits += [SetDoc(name, doc) for name, doc in (set_doc or {}).items()]
        edits += [Reorder(order)] if order else []
        if not edits:
            raise InvalidInputError(
                "evolve_schema was asked for nothing; give add_column, make_optional, set_doc or "
                "reorder"
            )
        return self._evolve(namespace, *edits)

    def rename_column(self, namespace: str, old: str, new: str) -> Evolved:
        """Rename a column by one commit; its values stay, and older versions keep the old name.

        Args:
            namespace: The namespace.
            old: The column, by its path.
            new: Its new name; it stays in its struct.

        Raises:
            NotFoundError: There is no such table.
            InvalidInputError: There is no such column, or the name is taken or no name.
            UnsupportedError: The format or a collection of documents cannot have it.
            ConflictError: Others kept committing first.
        """
        return self._evolve(namespace, RenameColumn(old, new))

    def drop_column(self, namespace: str, name: str) -> Evolved:
        """Drop a column by one commit; older versions still have it.

        Args:
            namespace: The namespace.
            name: The column, by its path.

        Raises:
            NotFoundError: There is no such table.
            InvalidInputError: There is no such column, or the table needs it.
            UnsupportedError: A collection of documents cannot have it.
            ConflictError: Others kept committing first.
        """
        return self._evolve(namespace, DropColumn(name))

    def widen_column(self, namespace: str, name: str, type: TypeSpec) -> Evolved:  # noqa: A002
        """Give a column a wider type by one commit; older versions keep the narrower one.

        Args:
            namespace: The namespace.
            name: The column, by its path.
            type: A wider integer or float, or a decimal of more digits before the point.

        Raises:
            NotFoundError: There is no such table.
            InvalidInputError: There is no such column, or the type is no wider one.
            UnsupportedError: The format does not have the type.
            ConflictError: Others kept committing first.
        """
        return self._evolve(namespace, WidenColumn(name, parse_column_type(name, type)))

    def _evolve(self, namespace: str, *edits: Edit) -> Evolved:
        return evolve_table(self._namespace(namespace), self.type, edits, ambient=self.ambient)

    def _namespace(self, name: str) -> Namespace:
        return Namespace(self.store, name, self.places)

    def _reader(self, namespace: str) -> LogReader:
        return self._namespace(namespace).reader(self.type)
