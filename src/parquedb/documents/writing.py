"""The half of a collection that writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from parquedb.documents.bulk import bulk_images, create_documents
from parquedb.documents.entity import Entity
from parquedb.documents.ids import Ulids
from parquedb.documents.image import (
    NOT_YET,
    as_mapping,
    changed_image,
    deleted_image,
    instant,
    new_image,
    replaced_image,
    restored_image,
)
from parquedb.documents.kinds import Now
from parquedb.documents.reading import Reading
from parquedb.documents.rules import CollectionRules
from parquedb.documents.transaction import Transactions
from parquedb.documents.unique import UniqueBatches, UniqueFields
from parquedb.documents.update import Update, apply_update, parse_update
from parquedb.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
)
from parquedb.namespace.entry import Write
from parquedb.namespace.layout import held_ids
from parquedb.namespace.live import LiveNamespace
from parquedb.query.filter import And, At, ContainsAll, Equals, Filter, In, Path
from parquedb.query.operand import describe
from parquedb.query.parse import parse_filter
from parquedb.query.view import owned
from parquedb.rows.jsonform import encode_document
from parquedb.rows.values import checked_copy

Document = dict[str, Any]
Spec = Mapping[str, Any]
Written = Mapping[str, Document | None]


class Writing:
    """Writes the documents of one namespace; what it does is told in :mod:`.collection`.

    Args:
        space: The namespace.
        rules: What the schema asks of the documents.
        reading: How it is read.
        ulids: Where ids come from.
        transactions: The transactions of the database.
        on_write: Called after each write.
    """

    def __init__(
        self,
        space: LiveNamespace,
        rules: CollectionRules,
        reading: Reading,
        ulids: Ulids,
        transactions: Transactions,
        on_write: Callable[[LiveNamespace], None],
    ) -> None:
        self.name = space.name
        self.space = space
        self._space = space
        self._rules = rules
        self._reading = reading
        self._ulids = ulids
        self._transactions = transactions
        self._on_write = on_write
        self._unique = UniqueFields(space, rules.indexed_paths(unique_only=True))
        self._timed = [rule.name for rule in rules.fields if isinstance(rule.default, Now)]

    def create(self, data: Spec, *, actor: str | None = None) -> Entity:
        """See :meth:`.collection.Collection.create`."""
        rules = self._rules
        data = as_mapping(rules, data)
        now = self._now() if rules.fields else NOT_YET
        image = new_image(rules, data, self._ulids, now, actor)
        key = image["$id"]
        is_made = rules.id_field is None and data.get("$id") is None

        # nothing is asked of most: what :meth:`_write` does besides would take a sixth of the time
        if is_made and not self._unique.paths and self._transactions.current is None:

            def write(at_us: int) -> Write:
                self._stamp(image, instant(at_us))
                return Write({key: encode_document(image)})

            self._space.write(write, is_brief=True, is_blind=True)
            self.written()
            return Entity(image)

        def build(now: datetime) -> Written:
            if not is_made:
                self._check_absent(key)
            self._stamp(image, now)
            return {key: image}

        written = self._write(build)[key]
        assert written is not None  # nothing was removed
        return Entity(written)

    def create_many(self, items: Iterable[Spec], *, actor: str | None = None) -> list[str]:
        """See :meth:`.collection.Collection.create_many`."""
        if not isinstance(items, Iterable):
            raise InvalidInputError(f"create_many takes documents, not {describe(items)}")
        chosen: list[str] = []
        images = bulk_images(self._rules, items, self._ulids, self._now(), actor, chosen)
        if self._transactions.current is not None:
            return self._put_all(list(images), chosen)
        ids = create_documents(
            self._space,
            images,
            chosen,
            lambda few: self._put_all(few, chosen),
            self._check_all_absent,
            self._batches() if self._unique.paths else None,
        )
        self.written()
        return ids

    def update(
        self,
        id: str,  # noqa: A002  (the field's name)
        update: Spec,
        *,
        actor: str | None = None,
        expected_version: int | None = None,
    ) -> Entity:
        """See :meth:`.collection.Collection.update`."""
        parsed = self._parse_update(update)
        return self._change(
            id, expected_version, lambda before, now: self._updated(before, parsed, now, actor)
        )

    def update_many(self, filter: Spec, update: Spec, *, actor: str | None = None) -> int:  # noqa: A002
        """See :meth:`.collection.Collection.update_many`."""
        parsed = self._parse_update(update)
        return self._change_many(
            filter, lambda before, now: self._updated(before, parsed, now, actor)
        )

    def replace(
        self,
        id: str,  # noqa: A002
        data: Spec,
        *,
        actor: str | None = None,
        expected_version: int | None = None,
    ) -> Entity:
        """See :meth:`.collection.Collection.replace`."""
        return self._change(
            id,
            expected_version,
            lambda before, now: replaced_image(self._rules, before, data, now, actor),
        )

    def upsert(self, filter: Spec, update: Spec, *, actor: str | None = None) -> Entity:  # noqa: A002
        """See :meth:`.collection.Collection.upsert`."""
        if isinstance(filter, Mapping) and isinstance(filter.get("$id"), str):
            filter = {**filter, "$id": self._reading.key(filter["$id"])}  # noqa: A001
        condition = parse_filter(filter)
        parsed = self._parse_update(update)

        def build(now: datetime) -> Written:
            found = self._reading.first_for_write(condition)
            if found is not None:
                return {found["$id"]: self._updated(found, parsed, now, actor)}
            seed = _equalities(condition)
            given: Document = {key: seed.pop(key) for key in ("$id", "$type") if key in seed}
            given |= apply_update(parsed, seed, now=now, inserting=True)
            image = new_image(self._rules, given, self._ulids, now, actor)
            self._check_absent(image["$id"])
            return {image["$id"]: image}

        written = self._write(build)
        image = next(iter(written.values()))
        assert image is not None  # nothing was removed
        return Entity(image)

    def delete(
        self,
        id: str,  # noqa: A002
        *,
        hard: bool = False,
        actor: str | None = None,
        expected_version: int | None = None,
    ) -> bool:
        """See :meth:`.collection.Collection.delete`."""
        key = self._reading.key(id)

        def build(now: datetime) -> Written:
            before = self._reading.for_write(key)
            if before is None or ("deletedAt" in before and not hard):
                return {}
            _check_version(before, expected_version)
            return {key: None if hard else deleted_image(before, now, actor)}

        return bool(self._write(build))

    def delete_many(self, filter: Spec, *, hard: bool = False, actor: str | None = None) -> int:  # noqa: A002
        """See :meth:`.collection.Collection.delete_many`."""
        return self._change_many(
            filter, lambda before, now: None if hard else deleted_image(before, now, actor)
        )

    def restore(self, id: str, *, actor: str | None = None) -> Entity:  # noqa: A002
        """See :meth:`.collection.Collection.restore`."""
        key = self._reading.key(id)

        def build(now: datetime) -> Written:
            before = self._reading.for_write(key)
            if before is None:
                raise self._reading.not_found(key)
            if "deletedAt" not in before:
                return {}
            return {key: restored_image(before, now, actor)}

        self._write(build)
        found = self._reading.for_write(key)
        if found is None:
            raise self._reading.not_found(key)
        return Entity(found)

    def check_unique(
        self, documents: Mapping[str, Document | None]
    ) -> Mapping[str, Document | None]:
        """Return documents as they are, if their unique fields are free."""
        return self._unique.checked(documents)

    def written(self) -> None:
        """Do what follows a write: a flush, if the journal has grown enough."""
        self._on_write(self._space)

    def _now(self) -> datetime:
        return instant(self._space.ambient.now_us())

    def _parse_update(self, update: Spec) -> Update:
        return parse_update(update, self._rules)

    def _updated(
        self, before: Document, update: Update, now: datetime, actor: str | None
    ) -> Document:
        after = apply_update(update, before, now=now)
        return changed_image(self._rules, before, after, update.touched, now, actor)

    def _put_all(self, images: Sequence[Document], chosen: list[str]) -> list[str]:
        by_id = by_distinct_id([checked_copy(image, image["$id"])[0] for image in images])

        def build(now: datetime) -> Written:
            self._check_all_absent(sorted(chosen))
            for image in by_id.values():
                self._stamp(image, now)
            return by_id

        self._write(build, are_many=True)
        return list(by_id)

    def _stamp(self, image: Document, now: datetime) -> None:
        """Give a new document the time of its write, which nobody else can precede any more."""
        for name in self._timed:
            if image.get(name) is image["createdAt"]:  # its default, the time of the write
                image[name] = now
        image["createdAt"] = image["updatedAt"] = now

    def _batches(self) -> UniqueBatches:
        return UniqueBatches(self._space, self._unique.paths)

    def _check_all_absent(self, ids: Sequence[str]) -> None:
        """Make sure that sorted ids are free."""
        view = self._reading.view()
        taken = next((id_ for id_ in ids if view.overlay.get(id_) is not None), None)
        for source in view.sources if taken is None else ():
            held = held_ids(self._space.blocks, source, ids)
            taken = min((id_ for id_ in held if id_ not in view.overlay), default=None)
            if taken is not None:
                break
        if taken is not None:
            self._check_absent(taken)

    def _check_absent(self, key: str) -> None:
        before = self._reading.for_write(key)
        if before is not None:
            deleted = "deletedAt" in before
            hint = "restore it, or delete it with hard=True" if deleted else "update or replace it"
            raise AlreadyExistsError(
                f"there is a document {key!r}{' that is deleted' if deleted else ''}; {hint}"
            )

    def _change(self, id_: str, expected_version: int | None, change: Any) -> Entity:
        key = self._reading.key(id_)

        def build(now: datetime) -> Written:
            before = self._reading.for_write(key)
            if before is None:
                raise self._reading.not_found(key)
            if "deletedAt" in before:
                raise NotFoundError(f"the document {key!r} is deleted; restore it first")
            _check_version(before, expected_version)
            return {key: change(before, now)}

        image = self._write(build)[key]
        assert image is not None  # changed, not removed
        return Entity(image)

    def _change_many(self, spec: Spec, change: Any) -> int:
        query, _ = self._reading.parse(spec)

        def build(now: datetime) -> Written:
            found = self._reading.documents_for_write(query)
            return {before["$id"]: change(before, now) for before in found}

        return len(self._write(build, are_many=True))

    def _write(self, build: Callable[[datetime], Written], *, are_many: bool = False) -> Written:
        """Write what ``build`` makes of the newest state; keep it for later in a transaction.

        Args:
            build: Returns the documents to be written, given the time that they carry.
            are_many: Whether they are more than one as a rule.

        Returns:
            What ``build`` did; nobody else keeps it.
        """
        transaction = self._transactions.joined(self)
        if transaction is not None:
            made = self._unique.checked(build(self._now()), transaction.pending)
            transaction.write(made)
            return {key: owned(image) for key, image in made.items()}
        written: Written = {}

        def write(at_us: int) -> Write:
            nonlocal written
            written = self._unique.checked(build(instant(at_us)))
            return Write(
                {
                    k: None if image is None else encode_document(image)
                    for k, image in written.items()
                }
            )

        self._space.write(write, is_brief=not are_many)
        self.written()
        return written


def by_distinct_id(images: Iterable[Document]) -> dict[str, Document]:
    """Return images by id.

    Raises:
        AlreadyExistsError: Two have the same.
    """
    by_id: dict[str, Document] = {}
    for image in images:
        if image["$id"] in by_id:
            raise AlreadyExistsError(f"two of the documents have the id {image['$id']!r}")
        by_id[image["$id"]] = image
    return by_id


def _check_version(before: Document, expected: int | None) -> None:
    if expected is not None and (isinstance(expected, bool) or not isinstance(expected, int)):
        raise InvalidInputError(
            f"expected_version is the document's version, an int, not {expected!r}"
        )
    found = before.get("version")
    if expected is not None and found != expected:
        raise ConflictError(
            f"{before['$id']!r} has version {found}, not {expected}: somebody else changed it; "
            "read it again and decide"
        )


def _equalities(condition: Filter) -> Document:
    """Return the fields that a filter asks to be equal to something (MongoDB's upsert).

    Raises:
        InvalidInputError: It asks so of a field twice, or of a field and a part of it.
    """
    wanted = sorted(_wanted(condition), key=lambda pair: pair[0])
    for (one, _), (other, _) in pairwise(wanted):
        if other[: len(one)] == one:
            raise InvalidInputError(
                f"there is no document to change, and none can be made of the filter: it says "
                f"twice what {'.'.join(one)!r} is; name each field once"
            )
    seed: Document = {}
    for path, value in wanted:
        inner = seed
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = value
    return seed


def _wanted(condition: Filter) -> Iterator[tuple[Path, Any]]:
    match condition:
        case At(path, Equals(value) | In((value,), ()) | ContainsAll((Equals(value),))):
            yield path, value
        case And(parts):
            for part in parts:
                yield from _wanted(part)
