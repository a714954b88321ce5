"""Dataclasses with slots that are made in less time than the standard library takes.

That one writes six functions for each class and compiles each by itself, half a millisecond a
class; a get imports eighty of them. Here only ``__init__`` is compiled. What comes of it is a
dataclass as any other: ``replace``, ``fields``, ``asdict`` and pickle take it.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any, Literal, TypeVar, dataclass_transform

__all__ = ["dataclass"]

_Class = TypeVar("_Class", bound=type[Any])
_PLAIN = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True)


@dataclass_transform(field_specifiers=(dataclasses.field,))
def dataclass(
    *,
    slots: Literal[True],  # noqa: ARG001  (for type checkers, and for who reads it)
    frozen: bool = False,
) -> Callable[[_Class], _Class]:
    """Make a class a dataclass, as ``dataclasses.dataclass`` does.

    Fields given by keyword only, ``InitVar`` and inherited fields are not for here.

    Args:
        slots: Whether its instances have slots and nothing else.
        frozen: Whether they cannot be changed, and so can be hashed.
    """

    def make(cls: _Class) -> _Class:
        own = cls.__dict__
        written = {name for name in _GENERATED if name in own}
        if own.get("__hash__", own) is None and "__eq__" in own:  # as Python itself puts it there
            written.discard("__hash__")
        if cls.__doc__ is None:  # else it is made from the signature, which takes 2 ms
            cls.__doc__ = f"{cls.__name__}({', '.join(cls.__annotations__)})"
        made: Any = _PLAIN(cls)
        fields = dataclasses.fields(made)
        generated = {
            "__init__": _init_of(made, fields, frozen=frozen),
            "__repr__": _repr,
            **_comparing(tuple(f.name for f in fields if f.compare), frozen=frozen),
            **(_FROZEN if frozen else {}),
        }
        for name, function in generated.items():
            if name not in written:
                setattr(made, name, function)
        return made  # type: ignore[no-any-return]

    return make


def _init_of(
    cls: type[Any], fields: tuple[dataclasses.Field[Any], ...], *, frozen: bool
) -> Callable[..., None]:
    missing = dataclasses.MISSING
    known: dict[str, Any] = {"__missing": missing}
    parameters, body = ["self"], []
    for field in fields:
        name = value = field.name
        parameter = name
        if field.default is not missing:
            known[f"__default_{name}"] = field.default
            parameter = f"{name}=__default_{name}"
        elif field.default_factory is not missing:
            known[f"__make_{name}"] = field.default_factory
            parameter = f"{name}=__missing"
            value = f"__make_{name}() if {name} is __missing else {name}"
        if field.init:
            parameters.append(parameter)
        else:
            value = f"__make_{name}()" if value != name else f"__default_{name}"
        if field.init or parameter != name:
            if frozen:  # twice as fast as object.__setattr__, which has to find the slot
                known[f"__set_{name}"] = vars(cls)[name].__set__
            body.append(f"__set_{name}(self, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    head = f"def __make({', '.join(known)}):\n def __init__({', '.join(parameters)}):\n  "
    text = head + "\n  ".join(body or ["pass"]) + "\n return __init__"
    made: dict[str, Any] = {}
    exec(text, vars(sys.modules[cls.__module__]), made)
    init: Callable[..., None] = made["__make"](**known)
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__module__ = cls.__module__
    init.__annotations__ = {f.name: f.type for f in fields if f.init} | {"return": None}
    return init


def _comparing(names: tuple[str, ...], *, frozen: bool) -> dict[str, Any]:
    """Return how instances are compared and hashed by the fields of some names."""
    get: Any = attrgetter(*names) if names else None

    def values(self: Any) -> Any:
        return (get(self),) if names else ()

    if len(names) > 1:
        values = get  # a tuple, without a call of ours

    def equal(self: Any, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)

    def hashed(self: Any) -> int:
        return hash(values(self))

    return {"__eq__": equal, "__hash__": hashed if frozen else None}


@recursive_repr()
def _repr(self: Any) -> str:
    shown = [f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.repr]
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _refuse_set(_self: Any, name: str, _value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(_self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _state_of(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)


_FROZEN = {
    "__setattr__": _refuse_set,
    "__delattr__": _refuse_delete,
    "__getstate__": _state_of,
    "__setstate__": _set_state,
}
_GENERATED = ("__init__", "__repr__", "__eq__", "__hash__", *_FROZEN)
