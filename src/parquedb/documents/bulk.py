"""Create many documents at once: in the journal, or in Parquet files that the journal refers to."""

from __future__ import annotations

import contextlib
import gc
import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

import pyarrow as pa

from parquedb.documents.ids import Ulids
from parquedb.documents.image import GIVEN_NAMES, actor_of, new_image
from parquedb.documents.rules import CollectionRules
from parquedb.documents.unique import UniqueBatches
from parquedb.errors import AlreadyExistsError, CommitUnknownError, ConflictError, ParqueDBError
from parquedb.model.schema import Schema
from parquedb.namespace.base import staged_source
from parquedb.namespace.entry import Staged, Write
from parquedb.namespace.joined import goes_with, open_staged
from parquedb.namespace.live import LiveNamespace
from parquedb.parquet.write import Arrangement, write_parquet
from parquedb.query.view import own_copy
from parquedb.rows.columns import evolve
from parquedb.rows.shred import join_parts, shred_parts

Document = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")

STAGED_FROM = 20_000
"""So many documents at once go to a file of their own."""
_CHUNK = 65_536
_FILE_ROWS = 2_000_000
_FIRST_IDS, _IDS = 16, 4096
_FEW_COLLECTIONS = 1_000_000


class Stager:
    """Writes batches to staged files, the rows of one being written while the next is prepared.

    The batches are taken in the caller's own thread, where alone they may be readable.

    Args:
        space: The namespace.
    """

    def __init__(self, space: LiveNamespace) -> None:
        self._space = space
        self._schema: Schema | None = None
        self._start = space.view().schema
        self.staged: list[Staged] = []

    @property
    def schema(self) -> Schema:
        """The columns of the files."""
        return self._schema or self._start

    def write(self, batches: Iterable[list[Document]]) -> None:
        """Write all batches; the files are deleted again if one is not acceptable.

        A file is sorted by ``$id``: where a batch begins below the end of the one before it,
        another file begins.
        """
        self._rest = map(_in_order, batches)
        self._waiting = next(self._rest, None)
        try:
            while self._waiting is not None:
                self._write_file()
        except BaseException:
            self.discard()
            raise

    def check(self) -> None:
        """Make sure that the files are still there, and fit what other writers staged meanwhile.

        Raises:
            ConflictError: One was removed, or another file has a column of the same name and
                another type.
        """
        for staged in self.staged:
            info = self._space.store.head(staged.path)
            if info is None or info.size_bytes != staged.size_bytes:
                raise ConflictError(
                    f"{staged.path!r}, which holds documents that are being written to "
                    f"{self._space.name!r}, was removed meanwhile: a vacuum took it for what a "
                    "killed write left; nothing was written, write the documents again"
                )
        known = {field.name: field.type for field in self._space.view().schema.fields}
        for field in self.schema.fields:
            if not goes_with(known.get(field.name, field.type), field.type):
                raise ConflictError(
                    f"somebody else wrote {field.name!r} of {self._space.name!r} with another type "
                    "meanwhile; write the documents again"
                )

    def covered(self, ids: Iterable[str]) -> dict[str, Document]:
        """Return the staged documents of ids that the tail has something about.

        Where a document was removed and the base still has it, a note of that in the tail hides
        the rows of its id, those of the new files too: the entry must hold these itself.
        """
        space = self._space
        overlay = space.view().overlay
        wanted = [id_ for id_ in ids if id_ in overlay]
        found: dict[str, Document] = {}
        for staged in self.staged if wanted else ():
            file = open_staged(space.store, staged)
            source = staged_source(file.file, file.schema)
            documents = ((id_, space.blocks.get(source, id_)) for id_ in wanted)
            found |= {id_: document for id_, document in documents if document is not None}
        return found

    def discard(self) -> None:
        """Delete the files."""
        for staged in self.staged:
            self._space.store.delete(staged.path)

    def _write_file(self) -> None:
        space = self._space
        key = f"_parquedb/{space.name}/staged/{space.ambient.new_uuid().hex}.parquet"
        assert self._waiting is not None  # as the caller saw
        known = self.schema if self.schema.fields else None
        self._schema = evolve(known, self._waiting, space.options.declared)
        arrangement = Arrangement(_CHUNK, "$id", ("$id", *space.options.indexed))
        schema = self._schema
        file = hand_over(
            self._shredded(schema),
            lambda rows: write_parquet(
                space.store, key, map(join_parts, rows), schema, arrangement=arrangement
            ),
        )
        self.staged.append(Staged(key, file.size_bytes, file.rows or 0, fresh=True))

    def _shredded(self, schema: Schema) -> Iterator[list[pa.RecordBatch]]:
        """Yield the rows of batches, each in parts, as long as they follow each other."""
        rows, last = 0, ""
        while self._waiting is not None and rows < _FILE_ROWS:
            if self._waiting[0]["$id"] <= last:
                return
            last = self._waiting[-1]["$id"]
            rows += len(self._waiting)
            yield shred_parts(self._waiting, schema)
            self._waiting = next(self._rest, None)


def create_documents(
    space: LiveNamespace,
    images: Iterator[Document],
    chosen: list[str],
    put: Callable[[Sequence[Document]], object],
    check_free: Callable[[Sequence[str]], None],
    unique: UniqueBatches | None,
) -> list[str]:
    """Write new documents, all or none.

    Args:
        space: The namespace.
        images: Their images.
        chosen: Ids that were not made but chosen, filled as ``images`` is consumed.
        put: Writes a few of them through the journal.
        check_free: Raises if one of some ids is taken; called again at the very end.
        unique: Makes sure that unique values are free, if there are any.

    Returns:
        Their ids in the order given.

    Raises:
        AlreadyExistsError: An id or a unique value is taken; nothing was written.
    """
    first = list(itertools.islice(images, STAGED_FROM))
    if len(first) < STAGED_FROM:
        put(first)
        return [image["$id"] for image in first]
    with rare_collections():
        return _create_staged(space, first, images, chosen, check_free, unique)


def _create_staged(
    space: LiveNamespace,
    first: list[Document],
    images: Iterator[Document],
    chosen: list[str],
    check_free: Callable[[Sequence[str]], None],
    unique: UniqueBatches | None,
) -> list[str]:
    ids: list[str] = []
    stager = Stager(space)

    def batches() -> Iterator[list[Document]]:
        batch = first
        while batch:
            if unique is not None:
                unique.check({image["$id"]: image for image in batch})
            ids.extend([image["$id"] for image in batch])
            yield batch
            batch = list(itertools.islice(images, _CHUNK))

    stager.write(batches())
    ordered = sorted(chosen)
    for one, other in itertools.pairwise(ordered):
        if one == other:
            stager.discard()
            raise AlreadyExistsError(f"two of the documents have the id {one!r}")

    def build(_at_us: int) -> Write:
        stager.check()
        check_free(ordered)
        if unique is not None:
            unique.check_again()
        return Write(stager.covered(ordered), tuple(stager.staged))

    try:
        space.write(build)
    except CommitUnknownError:
        raise  # the entry may refer to the files
    except ParqueDBError:
        stager.discard()
        raise
    return ids


def bulk_images(
    rules: CollectionRules,
    items: Iterable[Mapping[str, Any]],
    ulids: Ulids,
    now: datetime,
    actor: str | None,
    chosen: list[str],
) -> Iterator[Document]:
    """Yield the stored images of new documents.

    Without a schema the values are checked only when they become rows. Until then an image shares
    the lists and sub-documents that the user gave; to copy them all would cost a sixth of the
    rate. A dict that a generator fills anew for each document is noticed, and copied whole.
    """
    if not rules.is_free:
        for data in items:
            image = new_image(rules, data, ulids, now, actor)
            if rules.id_field or (isinstance(data, Mapping) and "$id" in data):
                chosen.append(image["$id"])
            yield image
        return
    head: Document = {"$type": rules.type, "createdAt": now, "updatedAt": now}
    if (by := actor_of(actor)) is not None:
        head |= {"createdBy": by, "updatedBy": by}
    head["version"] = 1
    prefix = f"{rules.namespace}/"
    for data, ulid in zip(_apart(items), _made(ulids), strict=False):
        if type(data) is not dict or not GIVEN_NAMES.isdisjoint(data) or "name" not in data:
            image = new_image(rules, data, ulids, now, actor, checked=False)
            if isinstance(data, Mapping) and "$id" in data:
                chosen.append(image["$id"])
            yield image
            continue
        yield {"$id": prefix + ulid, **head, **data}


def _made(ulids: Ulids) -> Iterator[str]:
    count = _FIRST_IDS
    while True:
        yield from ulids.many(count)
        count = min(count * 2, _IDS)


def _apart(items: Iterable[Any]) -> Iterable[Any]:
    """Yield documents; where one dict is given again and again, copies of it."""
    last = None
    for data in items:
        yield _held(data) if last is None or data is last else data
        last = data


def _held(data: Any) -> Any:
    """Return a document that its giver may change."""
    if type(data) is not dict:
        return data
    try:
        return own_copy(data)
    except RecursionError:  # no document, as the check of its values will say
        return data


_rare = threading.Lock()
_rarely: list[tuple[int, int, int]] = []
"""The usual thresholds, once for each caller inside :func:`rare_collections`."""


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Let Python look for cyclic garbage less often: millions of new dicts are none."""
    with _rare:
        before = _rarely[0] if _rarely else gc.get_threshold()
        _rarely.append(before)
        gc.set_threshold(max(before[0], _FEW_COLLECTIONS), *before[1:])
    try:
        yield
    finally:
        with _rare:
            usual = _rarely.pop()
            if not _rarely:
                gc.set_threshold(*usual)


def _in_order(images: list[Document]) -> list[Document]:
    ids = [image["$id"] for image in images]
    return images if ids == sorted(ids) else sorted(images, key=lambda image: image["$id"])


class _GivenUpError(Exception):
    """Whoever hands things over has given up."""


def hand_over(items: Iterable[T], take: Callable[[Iterator[T]], R]) -> R:
    """Make things in this thread while another one takes those made before.

    Args:
        items: Makes them.
        take: Takes them, and returns what comes of it.

    Returns:
        What ``take`` does; what either raises is raised.
    """
    waiting: queue.Queue[T | None] = queue.Queue(1)
    given_up = False

    def taken() -> Iterator[T]:
        while True:
            with contextlib.suppress(queue.Empty):
                item = waiting.get(timeout=1)
                if item is None and not given_up:
                    return
                if item is not None:
                    yield item
            if given_up:
                raise _GivenUpError

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(take, taken())

        def put(item: T | None) -> bool:
            while not result.done():
                with contextlib.suppress(queue.Full):
                    waiting.put(item, timeout=1)
                    return True
            return False

        try:
            for item in items:
                if not put(item):
                    break
            put(None)
        except BaseException:
            given_up = True
            with contextlib.suppress(queue.Full):
                waiting.put_nowait(None)
            raise
        return result.result()
