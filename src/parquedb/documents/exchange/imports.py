"""Import: the documents of a file into a collection, all of them or none.

A document that has the system fields of an export (``$id``, ``version`` and ``createdAt``) is
written exactly as it was. Any other gets an id, a name and system fields as if it was created.
Large imports go to staged Parquet files batch by batch, and one journal entry makes all of them
visible at once.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from parquedb.documents.bulk import STAGED_FROM, Stager, rare_collections
from parquedb.documents.exchange.files import (
    File,
    FileForm,
    Incoming,
    OnProgress,
    Progress,
    form_of,
    open_incoming,
)
from parquedb.documents.exchange.json_text import Placed, read_json
from parquedb.documents.ids import Ulids, check_document_id
from parquedb.documents.image import instant, new_image, replaced_image
from parquedb.documents.rules import CollectionRules
from parquedb.documents.unique import UniqueBatches
from parquedb.documents.validate import validate
from parquedb.errors import (
    AlreadyExistsError,
    CommitUnknownError,
    InvalidInputError,
    ParqueDBError,
)
from parquedb.namespace.entry import Write
from parquedb.namespace.layout import held_ids
from parquedb.namespace.live import LiveNamespace
from parquedb.rows.columns import SYSTEM_FIELDS
from parquedb.rows.values import check_document, plain
from parquedb.slotted import dataclass

Document = dict[str, Any]

BATCH_DOCUMENTS = 65_536
_BATCH_BYTES = 32 << 20
_MAX_VERSION = 2**31 - 1
_TIMES = ("createdAt", "updatedAt", "deletedAt")
_ACTORS = ("createdBy", "updatedBy", "deletedBy")
_MARKS = frozenset({"$id", "version", "createdAt"})
"""A document that has these is one that was exported."""


class OnExisting(StrEnum):
    """What happens to a document whose id is taken."""

    ERROR = "error"
    """Nothing is imported."""
    SKIP = "skip"
    """The document that is there stays, deleted or not."""
    REPLACE = "replace"
    """The imported one takes its place."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How a file is imported.

    Args:
        form: The file's form; by the ending of its name without one.
        id_field: The field whose value becomes the id of documents that have none.
        on_conflict: What happens to a document whose id is taken.
        actor: Who creates the documents that are not exact copies of exported ones.
        batch: Documents that are held in memory at a time, about; fewer where they are long.
        on_progress: Called now and then.
    """

    form: FileForm | None = None
    id_field: str | None = None
    on_conflict: OnExisting = OnExisting.ERROR
    actor: str | None = None
    batch: int = BATCH_DOCUMENTS
    on_progress: OnProgress | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Args:
        documents: Documents of the file.
        created: New ones.
        replaced: Those that took the place of another.
        skipped: Those whose id was taken.
    """

    documents: int
    created: int
    replaced: int
    skipped: int


class Importing(Protocol):
    """What an import needs of a collection."""

    @property
    def space(self) -> LiveNamespace:
        """Its namespace."""
        ...

    @property
    def rules(self) -> CollectionRules:
        """What its schema asks of documents."""
        ...


def import_file(collection: Importing, file: File, options: ImportOptions) -> Imported:
    """Create the documents of a file, all or none.

    Raises:
        InvalidInputError: The file or a document in it is not acceptable; the line is named.
        AlreadyExistsError: An id is taken, or twice in the file.
        NotFoundError: There is no such file.
    """
    options = _checked(options)
    form = form_of(file, options.form)
    with open_incoming(file) as incoming:
        return _Import(collection, incoming, options).run(_read(incoming, form))


def _checked(options: ImportOptions) -> ImportOptions:
    """Return options with their enumerations; a plain ``"skip"`` is taken too."""
    try:
        on_conflict = OnExisting(options.on_conflict)
    except ValueError:
        raise InvalidInputError(
            f"on_conflict is {', '.join(map(repr, map(str, OnExisting)))}, not "
            f"{options.on_conflict!r}"
        ) from None
    if options.batch < 1:
        raise InvalidInputError(f"batch is a number of documents from 1, not {options.batch!r}")
    return replace(options, on_conflict=on_conflict)


def _read(incoming: Incoming, form: FileForm) -> Iterator[Placed]:
    match form:
        case FileForm.NDJSON | FileForm.JSON:
            return read_json(incoming)
        case FileForm.CSV:
            from parquedb.documents.exchange.csv_rows import read_csv  # noqa: PLC0415

            return read_csv(incoming)
        case FileForm.PARQUET:
            from parquedb.documents.exchange.parquet_rows import read_parquet  # noqa: PLC0415

            return read_parquet(incoming)


@dataclass(frozen=True, slots=True)
class _Item:
    """A document of the file.

    Args:
        number: Its line or row.
        image: The image that it is stored as if its id is free.
        chosen: Whether its id was given, so that it may be taken.
        exact: Whether the image is stored as it is wherever it goes.
    """

    number: int
    image: Document
    chosen: bool
    exact: bool


class _Import:
    """One import."""

    def __init__(self, collection: Importing, incoming: Incoming, options: ImportOptions) -> None:
        self._collection = collection
        self._space = collection.space
        self._rules = collection.rules
        self._incoming = incoming
        self._options = options
        self._ulids = Ulids(self._space.ambient)
        self._now = instant(self._space.ambient.now_us())
        self._documents = self._created = self._skipped = 0
        self._replacing: dict[str, _Item] = {}
        self._chosen: list[str] = []
        self._numbers = array("q")
        self._taken: set[str] = set()
        paths = self._rules.indexed_paths(unique_only=True)
        self._unique = UniqueBatches(self._space, paths) if paths else None

    def run(self, placed: Iterator[Placed]) -> Imported:
        batches = self._batches(placed)
        first = next(batches, [])
        second = next(batches, None)
        if second is None and len(first) < STAGED_FROM:
            self._check_distinct()
            new = {image["$id"]: plain(image) for image in first}
            self._space.write(lambda _at_us: Write({**self._free(new), **self._replaced()}))
        else:
            rest = () if second is None else itertools.chain([second], batches)
            self._stage(itertools.chain([first], rest))
        self._tell()
        return Imported(self._documents, self._created, len(self._replacing), self._skipped)

    def _stage(self, batches: Iterator[list[Document]]) -> None:
        stager = Stager(self._space)
        with rare_collections():
            stager.write(batches)

        def build(_at_us: int) -> Write:
            stager.check()
            self._free({})
            covered = stager.covered(sorted(self._chosen))
            return Write({**covered, **self._replaced()}, tuple(stager.staged))

        try:
            self._check_distinct()
            self._space.write(build)
        except CommitUnknownError:
            raise  # the entry may refer to the files
        except ParqueDBError:
            stager.discard()
            raise

    def _batches(self, placed: Iterator[Placed]) -> Iterator[list[Document]]:
        """Yield the images of new documents; note the others."""
        items = self._items(placed)
        size = STAGED_FROM
        while batch := self._gather(items, size):
            fresh = [item.image for item in self._without_taken(batch)]
            if self._unique is not None:
                by_id = {image["$id"]: image for image in fresh}
                self._unique.check(by_id)
            self._created += len(fresh)
            self._tell()
            if fresh:
                yield fresh
            size = self._options.batch

    def _gather(self, items: Iterator[_Item], size: int) -> list[_Item]:
        """Return the next documents, fewer where they are long."""
        batch: list[_Item] = []
        end = self._incoming.read_bytes + _BATCH_BYTES
        for item in items:
            batch.append(item)
            if len(batch) >= size or self._incoming.read_bytes >= end:
                break
        return batch

    def _items(self, placed: Iterator[Placed]) -> Iterator[_Item]:
        for number, document in placed:
            self._documents += 1
            try:
                item = self._item(number, document)
            except InvalidInputError as error:
                where = self._incoming.where(number)
                problem = str(error).rstrip(".")
                raise InvalidInputError(f"{where}: {problem}; nothing was written") from error
            if item.chosen:
                self._chosen.append(item.image["$id"])
                self._numbers.append(number)
            yield item

    def _item(self, number: int, document: Document) -> _Item:
        if document.keys() >= _MARKS:
            return _Item(number, exact_image(self._rules, document), chosen=True, exact=True)
        given = {key: value for key, value in document.items() if key != "$id" or value is not None}
        if self._options.id_field is not None and "$id" not in given:
            given["$id"] = _id_text(self._options.id_field, given)
        image = new_image(self._rules, given, self._ulids, self._now, self._options.actor)
        chosen = "$id" in given or self._rules.id_field is not None
        return _Item(number, image, chosen=chosen, exact=False)

    def _without_taken(self, batch: list[_Item]) -> list[_Item]:
        """Return the documents whose id is free, and do as was asked with the others."""
        ids = sorted({item.image["$id"] for item in batch if item.chosen})
        taken = taken_ids(self._space, ids) if ids else set()
        if not taken:
            return batch
        self._taken |= taken
        fresh = []
        for item in batch:
            key = item.image["$id"]
            if key not in taken:
                fresh.append(item)
            elif self._options.on_conflict is OnExisting.ERROR:
                raise AlreadyExistsError(
                    f"{self._incoming.where(item.number)}: there is a document {key!r} already; "
                    "nothing was written: import with on_conflict skip or replace "
                    "(--on-conflict) to go on with the others"
                )
            elif self._options.on_conflict is OnExisting.SKIP:
                self._skipped += 1
            elif key in self._replacing:
                raise self._twice(key, item.number)
            else:
                self._replacing[key] = item
        return fresh

    def _check_distinct(self) -> None:
        """Make sure that no id is in the file twice."""
        if len(set(self._chosen)) == len(self._chosen):
            return
        seen: set[str] = set()
        for key, number in zip(self._chosen, self._numbers, strict=True):
            if key in seen:
                raise self._twice(key, number)
            seen.add(key)

    def _twice(self, key: str, number: int) -> AlreadyExistsError:
        return AlreadyExistsError(
            f"{self._incoming.where(number)}: the id {key!r} is in the file twice; nothing was "
            "written: remove one of the two"
        )

    def _free(self, new: dict[str, Document]) -> dict[str, Document]:
        """Return new documents, if nobody else took an id since it was looked up."""
        ids = sorted(key for key in self._chosen if key not in self._taken)
        taken = taken_ids(self._space, ids) if ids else set()
        if taken:
            raise AlreadyExistsError(
                f"somebody else wrote {min(taken)!r} during the import; nothing was written: "
                "import again"
            )
        return new

    def _replaced(self) -> dict[str, Document | None]:
        """Return the images of the documents that take the place of others."""
        images: dict[str, Document | None] = {}
        for key, item in self._replacing.items():
            before = None if item.exact else self._space.get(key)
            if before is None:
                images[key] = plain(item.image)
                continue
            kept = {k: v for k, v in before.items() if k not in ("deletedAt", "deletedBy")}
            images[key] = replaced_image(
                self._rules, kept, item.image, self._now, self._options.actor
            )
        if self._unique is not None:
            self._unique.check(images)
            self._unique.check_again()
        return images

    def _tell(self) -> None:
        if self._options.on_progress is not None:
            read, total = self._incoming.read_bytes, self._incoming.total_bytes
            self._options.on_progress(Progress(self._documents, read, total))


def taken_ids(space: LiveNamespace, ids: list[str]) -> set[str]:
    """Return which of some sorted ids belong to a document, deleted or not."""
    return space.retrying(lambda: _taken(space, ids))


def _taken(space: LiveNamespace, ids: list[str]) -> set[str]:
    view = space.view()
    taken = {id_ for id_ in ids if view.overlay.get(id_) is not None}
    for source in view.sources:
        held = held_ids(space.blocks, source, ids)
        taken.update(id_ for id_ in held if id_ not in view.overlay)
    return taken


def exact_image(rules: CollectionRules, document: Document) -> Document:
    """Return an exported document as the image that it was.

    Raises:
        InvalidInputError: A system field or a value is not acceptable.
    """
    key = _exact_id(rules.namespace, document["$id"])
    kind = document.get("$type", rules.type)
    if not isinstance(kind, str) or not kind:
        raise InvalidInputError(f"{key}: '$type' is the name of a type, not {kind!r}")
    image: Document = {"$id": key, "$type": kind}
    for name in SYSTEM_FIELDS[2:]:
        if name in document and (document[name] is not None or name == "name"):
            image[name] = _system_value(key, name, document[name])
    image.setdefault("updatedAt", image["createdAt"])
    fields = {name: value for name, value in document.items() if name not in SYSTEM_FIELDS}
    image.update(fields)
    check_document(image, key)
    if rules.fields or rules.strict:
        own = {"name": image["name"]} if "name" in image else {}
        validate(rules, plain(own | fields), creating=True, now=image["updatedAt"])
    return image


def _exact_id(namespace: str, given: object) -> str:
    """Return the id of an exported document; one of an older program may hold slashes."""
    if isinstance(given, str) and given.startswith(f"{namespace}/"):
        check_document_id(namespace, given.removeprefix(f"{namespace}/").replace("/", "-"))
        return given
    return check_document_id(namespace, given)


def _system_value(key: str, name: str, value: Any) -> Any:
    if name in _TIMES:
        return _instant(key, name, value)
    if name == "version" and not (type(value) is int and 0 <= value <= _MAX_VERSION):
        raise InvalidInputError(f"{key}: 'version' is a number from 0, not {value!r}")
    if name in _ACTORS and not isinstance(value, str):
        raise InvalidInputError(f"{key}: {name!r} is a string, not {value!r}")
    return value


def _instant(key: str, name: str, value: Any) -> datetime:
    """Return a time, also where it was written as text or without a zone."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise InvalidInputError(f"{key}: {name!r} is a time, not {value!r}") from error
    if not isinstance(value, datetime):
        raise InvalidInputError(f"{key}: {name!r} is a time, not {value!r}")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _id_text(field: str, document: Document) -> str:
    value = document.get(field)
    if value is None:
        raise InvalidInputError(f"the document has no {field!r}, of which its id is to be made")
    if isinstance(value, float) or not isinstance(value, str | int) or isinstance(value, bool):
        raise InvalidInputError(
            f"{field!r} is to become the id, but {value!r} is neither a text nor an int"
        )
    return str(value)
