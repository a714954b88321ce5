"""Gathering what SQL returns, in the way of DuckDB 1 and in that of DuckDB 2."""

import duckdb
import pytest

from parquedb.query.duck import Duck, gather


@pytest.fixture(params=["installed", "2.0.1"])
def cursor(request, monkeypatch):
    if request.param != "installed":  # relations are asked, which DuckDB 1 has too
        monkeypatch.setattr(duckdb, "__version__", request.param)
    duck = Duck()
    with duck.cursor() as cursor:
        yield cursor
    duck.close()


def test_the_rows_of_the_last_statement(cursor):
    assert gather(cursor, "SELECT 1 AS a; SELECT 2 AS b").to_pylist() == [{"b": 2}]
    assert gather(cursor, "SELECT 1 AS a, 2 AS a").column_names == ["a", "a"]


@pytest.mark.parametrize(
    ("query", "params"), [("SELECT ? + 1 AS n", [1]), ("SELECT $a + 1 AS n", {"a": 1})]
)
def test_parameters(cursor, query, params):
    assert gather(cursor, query, params).to_pylist() == [{"n": 2}]


@pytest.mark.parametrize("query", ["", " ;", "-- nothing"])
def test_no_statement(cursor, query):
    assert gather(cursor, query) is None


@pytest.mark.parametrize("query", ["SELECT ?", "SELEC 1", "SELECT CAST('x' AS INTEGER)"])
def test_what_cannot_be_run(cursor, query):
    with pytest.raises(duckdb.Error):
        gather(cursor, query)


def test_a_copy_counts_its_rows(tmp_path):
    duck = Duck()
    with duck.cursor() as cursor:
        told = gather(cursor, f"COPY (SELECT 1 UNION ALL SELECT 2) TO '{tmp_path / 'a.csv'}'")
    duck.close()
    assert told.to_pylist() == [{"Count": 2}]
    assert (tmp_path / "a.csv").exists()
