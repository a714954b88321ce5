"""Variants that Spark 4.0 wrote (tests/data/variants), at every version, in other readers."""

import base64
import json
import re
import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from parquedb.backends import check_backend, create_backend, migrate_backend, verify_backend
from tests.support import duck
from tests.support.targets import metadata_file
from tests.support.variants import decode

STORED = Path(__file__).parents[1] / "data" / "variants"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "lake"


def copied(root, form):
    """Put a table of Spark's into a storage and return the rows of its versions."""
    shutil.copytree(STORED / form / "users", root / "users")
    versions = json.loads((STORED / "rows.json").read_text())[form].values()
    return distinct([known(row) for row in rows] for rows in versions)


def distinct(versions):
    """Return versions without those that repeat the one before: a change of columns shows none."""
    found = []
    for rows in versions:
        if not found or found[-1] != rows:
            found.append(rows)
    return found


def known(row):
    """Return a row of Spark's: variants as the JSON that they are."""
    texts = [row["v"], row["inner"], row["many"], row["pairs"], row.get("late")]
    return row["id"], row["x"], *map(parsed, texts)


def parsed(value):
    match value:
        case str():
            return json.loads(value, parse_float=Decimal, parse_int=Decimal)
        case list():
            return [parsed(item) for item in value]
        case dict():
            return {key: parsed(item) for key, item in value.items()}
        case _:
            return value


def of_parts(rows):
    """Return rows in which variants are their two parts, as Polars and Arrow show them."""
    found = []
    for row in rows:
        one, pairs = row["one"] or {}, row["pairs"]
        items = dict(pairs) if isinstance(pairs, list) else pairs
        values = [row["v"], one.get("inner"), row["many"], items, row.get("late")]
        found.append((row["id"], one.get("x"), *map(plain, values)))
    return sorted(found, key=lambda each: each[0])


def plain(value):
    match value:
        case {"metadata": bytes(), "value": bytes()}:
            return as_json(decode(value))
        case list():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case _:
            return value


def as_json(value):
    match value:
        case bool() | None | str():
            return value
        case int() | float():
            return Decimal(repr(value))
        case date():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case list():
            return [as_json(item) for item in value]
        case dict():
            return {key: as_json(item) for key, item in value.items()}
        case _:
            return value


def in_duckdb(scan):
    columns = [row["column_name"] for row in duck.query(f"DESCRIBE SELECT * FROM {scan}")]
    late = "late::JSON AS late" if "late" in columns else "NULL AS late"
    rows = duck.query(
        "SELECT id, one.x AS x, v::JSON AS v, one.inner::JSON AS inner, many::JSON[] AS many, "
        f"pairs::MAP(VARCHAR, JSON) AS pairs, {late} FROM {scan} ORDER BY id"
    )
    return [tuple(map(in_base64, known(row))) for row in rows]


def in_base64(value):
    """Return bytes, which DuckDB's JSON escapes, as Spark's has them."""
    if isinstance(value, str) and re.fullmatch(r"(\\x[0-9A-F]{2})+", value):
        return base64.b64encode(bytes.fromhex(value.replace(r"\x", ""))).decode()
    return value


def assert_versions(root, form, wanted):
    """Other readers find the rows of every version, and we do."""
    backend = create_backend(type=form, storage=root)
    history = [version.version for version in backend.history("users")]
    if form == "iceberg":
        where = metadata_file(root / "users")
        scans = [f"iceberg_scan('{where}', snapshot_from_id={version})" for version in history]
    else:
        scans = [f"delta_scan('{root / 'users'}', version={version})" for version in history]
        frames = (pl.read_delta(str(root / "users"), version=version) for version in history)
        assert distinct(of_parts(frame.to_dicts()) for frame in frames) == wanted
    assert distinct(map(in_duckdb, scans)) == wanted
    ours = (backend.to_arrow("users", version=version).to_pylist() for version in history)
    assert distinct(map(of_parts, ours)) == wanted


@pytest.mark.parametrize("files", ["auto", "rewrite"])
def test_every_version_is_carried_and_back(root, files):
    wanted = copied(root, "delta")
    options = {"storage": root, "files": files, "verify": "content"}
    migrate_backend(**options, from_="delta", to="iceberg", format_version=3)
    assert_versions(root, "iceberg", wanted)
    assert check_backend(root, ["users"], deep=True).namespaces["users"].findings == ()
    (root / "users" / "_delta_log").rename(root / "kept")
    migrate_backend(**options, from_="iceberg", to="delta")
    assert_versions(root, "delta", wanted)
    assert check_backend(root, ["users"], deep=True).namespaces["users"].findings == ()
    assert verify_backend(root, "users", against="iceberg", content=True)["equal"]


def test_we_read_every_version(root):
    assert_versions(root, "delta", copied(root, "delta"))
