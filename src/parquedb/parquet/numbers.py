"""What NumPy calls the numbers of Arrow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


def number_type(type_: pa.DataType) -> np.dtype[Any]:
    """Return the type of an array of whole or floating numbers.

    Arrow's own ``to_pandas_dtype`` wants pandas to be there in versions up to 25.
    """
    letter = "f" if pa.types.is_floating(type_) else "i"
    if pa.types.is_unsigned_integer(type_):
        letter = "u"
    return np.dtype(f"{letter}{type_.bit_width // 8}")
