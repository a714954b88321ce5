"""Names for Arrow objects whose type only the data knows.

The type stubs of pyarrow tell arrays apart by their value type; code that takes a column of any
type and asks at run time what it is cannot be written in them.
"""

from __future__ import annotations

from typing import Any

AnyArray = Any
"""A ``pyarrow.Array`` of any type."""
AnyType = Any
"""A ``pyarrow.DataType``."""
AnyField = Any
"""A ``pyarrow.Field`` of any type."""
