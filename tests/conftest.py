"""Fixtures of all tests."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support.transactions import compute_metadata_once

_LENIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", _LENIENT, derandomize=True, database=None)
settings.register_profile("other", _LENIENT)
settings.load_profile(os.environ.get("PARQUEDB_HYPOTHESIS", "same"))

# Readers of small tables need one thread: the other cores have tests of their own.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

compute_metadata_once()

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One Spark for the whole run; tests that use it are marked ``spark``."""
    from tests.support.spark import spark_session

    with spark_session(tmp_path_factory.mktemp("spark")) as session:
        yield session


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A folder that other users reach; pytest closes its own when another run of it begins."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def pytest_collection_finish() -> None:
    """What lives as long as the run, some 300,000 objects, is no garbage to be looked for."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spark's gateway leaves its sockets to the garbage collector: no error of ours."""
    for item in items:
        if item.get_closest_marker("spark"):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))
