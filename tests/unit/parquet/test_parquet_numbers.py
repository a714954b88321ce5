"""The numbers of Arrow are those of NumPy, whether pandas is there or not."""

import numpy as np
import pyarrow as pa
import pytest

from parquedb.parquet.numbers import number_type

KINDS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


@pytest.mark.parametrize("name", [*KINDS, "float16", "float32", "float64"])
def test_types(name):
    array = pa.array([1, 2], pa.type_for_alias(name))
    assert number_type(array.type) == np.dtype(name)
    assert np.frombuffer(array.buffers()[1], number_type(array.type), 2).tolist() == [1, 2]
