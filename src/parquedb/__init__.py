"""ParqueDB: an embedded document database on Parquet, Apache Iceberg and Delta Lake.

::

    from parquedb import DB

    with DB("./data") as db:
        alice = db.Users.create({"name": "Alice"})

What is exported here is imported when it is first asked for, so that ``import parquedb`` costs
next to nothing. Type checkers read ``__init__.pyi``.
"""

from importlib import import_module

__version__ = "0.1.0"

__all__ = [
    "DB",
    "AlreadyExistsError",
    "Collection",
    "CommitUnknownError",
    "ConflictError",
    "Entity",
    "FormatError",
    "InvalidInputError",
    "LossyError",
    "NotFoundError",
    "ParqueDBError",
    "StateError",
    "StorageError",
    "UnsupportedError",
    "ValidationError",
    "VerificationError",
    "__version__",
]

_ELSEWHERE = {
    "DB": "parquedb.db",
    "Collection": "parquedb.documents.collection",
    "Entity": "parquedb.documents.entity",
}
"""Where exports are that are no errors."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_ELSEWHERE.get(name, "parquedb.errors")), name)
    globals()[name] = found  # asked for once
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
