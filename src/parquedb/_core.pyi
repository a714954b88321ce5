from collections.abc import Callable
from typing import Any, TypeAlias

from typing_extensions import Buffer

Column: TypeAlias = tuple[
    str | None,
    str,
    int,
    int,
    Buffer | None,
    Buffer | None,
    Buffer | None,
    Callable[[int], Any] | None,
    tuple[Column, ...],
]

def copy_document(document: object, /) -> tuple[dict[str, Any], int] | None: ...
def encode_document(document: object, /) -> bytes | None: ...
def restore_document(parsed: object, /) -> dict[str, Any] | None: ...

class RowReader:
    def __new__(cls, columns: tuple[Column, ...], rows: int) -> RowReader: ...
    def read(self, row: int, /) -> dict[str, Any]: ...
