"""What a collection gives out: a dict whose keys can also be read as attributes."""

from __future__ import annotations

import reprlib
from typing import Any, NoReturn

_SHOWN_FIELDS = 4
_QUIET = frozenset({"$id", "$type", "createdAt", "updatedAt", "createdBy", "updatedBy", "version"})

_short = reprlib.Repr()
_short.maxstring = 40
_short.maxother = 40
_short.maxdict = 3
_short.maxlist = 4
_short.maxlevel = 3


class Entity(dict[str, Any]):
    """A document: a dict that can be read by attribute too (``alice.email``).

    A dict's own methods win (``items``, ``keys``, ``get``, ``update``, …): a field of such a name
    is read as ``alice["items"]``. ``alice.id`` is ``alice["$id"]`` and ``alice.type`` is
    ``alice["$type"]``, whatever fields of these names it has. Sub-documents are plain dicts.

    An entity is the caller's copy: changing its items changes nothing in the database.
    """

    __slots__ = ()

    @property
    def id(self) -> str:
        """The document's id, ``users/01JZ…``."""
        return str(self._system("$id"))

    @property
    def type(self) -> str:
        """The name of the document's type, ``User``."""
        return str(self._system("$type"))

    def __getattr__(self, name: str) -> Any:
        if name in ("id", "type"):  # the properties' own error leads here
            raise AttributeError(
                f"{self._label()} has no {name}: '${name}' is missing. Did `project` leave it out?"
            )
        try:
            return self[name]
        except KeyError:
            self._missing(name)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(
            f"{self._label()}: {name!r} cannot be assigned, an entity is a copy. "
            f'Write collection.update(entity.id, {{"$set": {{"{name}": …}}}}).'
        )

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"{self._label()}: {name!r} cannot be deleted, an entity is a copy. "
            f'Write collection.update(entity.id, {{"$unset": {{"{name}": ""}}}}).'
        )

    def __dir__(self) -> list[str]:
        fields = (key for key in self if isinstance(key, str) and key.isidentifier())
        return sorted({*super().__dir__(), *fields})

    def __repr__(self) -> str:
        fields = [key for key in self if key not in _QUIET]
        shown = [f"{key}={_short.repr(self[key])}" for key in fields[:_SHOWN_FIELDS]]
        if len(fields) > _SHOWN_FIELDS:
            shown.append(f"… {len(fields) - _SHOWN_FIELDS} more")
        return f"<{self._label()}{': ' if shown else ''}{', '.join(shown)}>"

    def copy(self) -> Entity:
        """Return a shallow copy, an entity again."""
        return Entity(self)

    def _system(self, key: str) -> Any:
        if self.get(key) is None:
            raise AttributeError(key)
        return self[key]

    def _label(self) -> str:
        return " ".join(str(self[key]) for key in ("$type", "$id") if key in self) or "Entity"

    def _missing(self, name: str) -> NoReturn:
        if name.startswith("_"):  # asked by pickle, copy, numpy, notebooks: nobody reads this
            raise AttributeError(name)
        keys = [key for key in self if isinstance(key, str)]
        import difflib  # noqa: PLC0415  (a get does without)

        near = difflib.get_close_matches(name, keys, n=3, cutoff=0.6)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise AttributeError(f"{self._label()} has no field {name!r}.{hint}")
