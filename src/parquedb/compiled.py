"""What is compiled, where it could be compiled; Python does the same elsewhere, more slowly.

``parquedb._core`` is made of ``src/core/*.c`` when ParqueDB is installed, if there is a compiler.
Its functions decline what is not common, and Python decides then: so everything works without it.
The environment variable ``PARQUEDB_PURE_PYTHON`` has Python do all, to find out whether a fault is
in the compiled part.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

_PARTS = ("copy_document", "encode_document", "restore_document", "RowReader")

if TYPE_CHECKING:
    from parquedb import _core as core
    from parquedb._core import Column as Column  # noqa: PLC0414  (for whoever describes columns)
else:
    core = None
    if not os.environ.get("PARQUEDB_PURE_PYTHON"):
        try:
            from parquedb import _core as core
        except ImportError:  # no compiler, or one for another Python
            core = None
    if not all(hasattr(core, name) for name in _PARTS):  # or for what was here before
        core = None

is_compiled: bool = core is not None
"""Whether there is a compiled part, and it is used."""


def _declined(_given: object, /) -> Any:
    """Decide nothing."""
    return None


copy_document = core.copy_document if is_compiled else _declined
"""Return a document's checked copy and its approximate size in bytes, None where Python is to."""
encode_document = core.encode_document if is_compiled else _declined
"""Return a document's JSON, None where Python is to encode it."""
restore_document = core.restore_document if is_compiled else _declined
"""Return a document of its parsed JSON, which is used up, None where Python is to go on with it."""
RowReader: type[core.RowReader] | None = core.RowReader if is_compiled else None
"""Reads rows of Arrow columns; None where Python reads them."""
