# What `__init__.py` exports, for type checkers: there the names are imported when asked for.

from parquedb.db import DB as DB
from parquedb.documents.collection import Collection as Collection
from parquedb.documents.entity import Entity as Entity
from parquedb.errors import AlreadyExistsError as AlreadyExistsError
from parquedb.errors import CommitUnknownError as CommitUnknownError
from parquedb.errors import ConflictError as ConflictError
from parquedb.errors import FormatError as FormatError
from parquedb.errors import InvalidInputError as InvalidInputError
from parquedb.errors import LossyError as LossyError
from parquedb.errors import NotFoundError as NotFoundError
from parquedb.errors import ParqueDBError as ParqueDBError
from parquedb.errors import StateError as StateError
from parquedb.errors import StorageError as StorageError
from parquedb.errors import UnsupportedError as UnsupportedError
from parquedb.errors import ValidationError as ValidationError
from parquedb.errors import VerificationError as VerificationError

__version__: str
