"""Golden tables, carried to the other format, from there back, and to native files."""

import re

import pytest

from parquedb.backends import check_backend, migrate_backend
from parquedb.errors import LossyError, UnsupportedError
from tests.golden.compare import (
    assert_ours_has,
    assert_table_has,
    changed,
    known_by_spark,
    native_rows,
    with_note,
)
from tests.golden.tables import Maker, all_tables
from tests.interop.test_migration import fingerprints

pytestmark = pytest.mark.spark
TABLES = all_tables()
REFUSALS = (LossyError, UnsupportedError)


@pytest.mark.parametrize("table", TABLES, ids=[table.name for table in TABLES])
def test_golden(spark, tmp_path, table):
    root = tmp_path / "lake"
    root.mkdir()
    maker = Maker(spark, root, table.format)
    known = table.build(maker) or known_by_spark(maker)
    assert len(known) > table.first
    source = known[table.first :]
    if table.refused is not None:
        assert_refused(root, table.refused, to=table.other)
    else:
        assert_ours_has(root, table.format, source)
        assert_healthy(root)
        there_and_back(spark, root, table, source)
    if table.refused_natively is not None:
        assert_refused(root, table.refused_natively, from_=table.format, to="native")
    else:
        to_native(root, table, source)


def there_and_back(spark, root, table, source):
    """Every version is in the other format, and back in a second table of the first."""
    if table.allow_lossy:
        assert_refused(root, ".", to=table.other, allow_lossy=False)
    before = fingerprints(root)
    into = {"format_version": table.format_version} if table.other == "iceberg" else {}
    done = migrate(root, to=table.other, verify="content", allow_lossy=table.allow_lossy, **into)
    assert done.versions == len(source)
    assert table.lost is None or any(re.search(table.lost, line) for line in done.lost)
    assert before.items() <= fingerprints(root).items()
    assert_healthy(root)
    there = changed(source, table.becomes)
    assert_table_has(spark, table, root, table.other, there)
    place = {"warehouse": "back"} if table.format == "iceberg" else {"location": "back"}
    way = {"from_": table.other, "to": table.format, **place}
    if table.refused_back is not None:
        assert_refused(root, table.refused_back, **way)
        return
    if table.format == "iceberg":
        way["format_version"] = table.format_version
    done = migrate(root, verify="content", allow_lossy=table.allow_lossy, **way)
    assert done.versions == len(source)
    back = changed(source, table.returns or table.becomes)
    assert_table_has(spark, table, root, table.format, back, place="back")


def to_native(root, table, source):
    """The newest rows are in one Parquet file."""
    migrate(root, from_=table.format, to="native", allow_lossy=True, verify="content")
    for name, rows in native_rows(root / "data" / "users" / "data.parquet"):
        with_note(name, rows, source[-1].rows)


def assert_healthy(root):
    """A check, rows included, finds nothing wrong with what Spark wrote and with its copies."""
    assert check_backend(root, ["users"], deep=True).namespaces["users"].findings == ()


def migrate(root, **options):
    return migrate_backend(storage=root, **options).namespaces["users"]


def assert_refused(root, words, *, allow_lossy=True, **options):
    """A refusal says why, a dry run says the same, and nothing is written."""
    before = fingerprints(root)
    with pytest.raises(REFUSALS, match=words):
        migrate_backend(storage=root, allow_lossy=allow_lossy, **options)
    planned = migrate_backend(storage=root, allow_lossy=allow_lossy, dry_run=True, **options)
    assert planned.namespaces["users"].action == "refused"
    assert re.search(words, planned.namespaces["users"].reason)
    assert fingerprints(root) == before
