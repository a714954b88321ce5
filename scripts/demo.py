"""The two main jobs on real data: documents that move, and tables that move with their history.

First the airports are documents: created, found, changed, and moved to Iceberg while a writer goes
on. Then native Parquet to Iceberg to Delta.

The world's airports start as one Parquet file. They move to Iceberg, pyiceberg commits to them,
and they move on to Delta Lake with every version. Then one question is asked of every version on
both sides, of pyiceberg for Iceberg and of delta-rs for Delta, and printed beside each other.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import airportsdata
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyiceberg.table import Table
from pyiceberg.types import BooleanType

from parquedb import DB
from parquedb.catalog import FilesystemCatalog

LAKE = Path(".demo/lake")
SHOP = Path(".demo/documents")
WRITER = f"""
import time
from parquedb import DB
with DB({str(SHOP)!r}) as db:
    written, end = 0, time.monotonic() + 3
    while time.monotonic() < end:
        db.Airports.create({{"name": f"new {{written}}"}})
        written += 1
        if written == 1:
            print("begun", flush=True)
    print(written, flush=True)
"""
QUESTION = """
    SELECT count(*) AS airports, count(DISTINCT country) AS countries,
           round(avg(elevation)) AS mean_elevation,
           count(*) FILTER (country = 'CH') AS in_switzerland
    FROM airports"""


def main() -> None:
    """Run the demo."""
    started = time.perf_counter()
    shutil.rmtree(LAKE.parent, ignore_errors=True)
    documents_move()
    airports = load_airports()

    say(f"{airports.num_rows:,} airports as one native Parquet file")
    native = LAKE / "data" / "airports" / "data.parquet"
    native.parent.mkdir(parents=True)
    pq.write_table(airports, native)
    parquedb("backend-status")

    say("Native Parquet to Iceberg: first the plan, then the migration")
    parquedb("migrate-backend", "--to=iceberg", "--dry-run")
    parquedb("migrate-backend", "--to=iceberg")

    say("Another program, pyiceberg, commits to the Iceberg table")
    commit_by_pyiceberg(airports)
    parquedb("history", "airports")

    say("Iceberg to Delta Lake, with the history and without copying data")
    parquedb("migrate-backend", "--from=iceberg", "--to=delta", "--verify=content")
    parquedb("backend-status")
    parquedb("history", "airports", "--format=delta")

    say("The same question AS OF every version: pyiceberg on Iceberg, delta-rs on Delta")
    ask_both()
    print(f"\nDone in {time.perf_counter() - started:.1f} s. The tables are in {LAKE}.")


def documents_move() -> None:
    """Keep the airports as documents, and move them to Iceberg while a writer goes on."""
    rows = list(airportsdata.load("ICAO").values())
    say(f"{len(rows):,} airports as documents")
    with DB(SHOP) as db:
        began = time.perf_counter()
        db.Airports.create_many({"$id": row["icao"], **row} for row in rows)
        print(f"created in {time.perf_counter() - began:.2f} s")
        high = db.Airports.find({"country": "CH", "elevation": {"$gt": 4000}}, sort="-elevation")
        for airport in high:
            print(f"  {airport.id:<15} {airport.elevation:>6.0f} ft  {airport.name}")
        db.Airports.update("LSZS", {"$set": {"runways": ["03/21"]}, "$inc": {"elevation": 1}})

        say("They move to Iceberg; another process goes on writing")
        writer = subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None  # as asked for
        writer.stdout.readline()  # it has begun
        parquedb("migrate-backend", "--to=iceberg", storage=SHOP)
        said, _ = writer.communicate()
        written = int(said)
        db.flush()
        found = db.Airports.count()
    print(f"{written} airports were added meanwhile, {found:,} are there")
    catalog = FilesystemCatalog("shop", warehouse=SHOP.resolve().as_uri())
    by_pyiceberg = catalog.load_table(("default", "airports")).scan().to_arrow().num_rows
    print(f"pyiceberg reads {by_pyiceberg:,}")
    if not len(rows) + written == found == by_pyiceberg:
        sys.exit("Some airports are missing.")


def load_airports() -> pa.Table:
    """Return the airports of the package airportsdata as a table."""
    rows = list(airportsdata.load("ICAO").values())
    return pa.Table.from_pylist(rows).cast(
        pa.schema(
            [
                (name, pa.float64() if name in ("elevation", "lat", "lon") else pa.string())
                for name in rows[0]
            ]
        )
    )


def commit_by_pyiceberg(airports: pa.Table) -> None:
    """Delete, append and evolve with pyiceberg, through ParqueDB's filesystem catalog."""
    catalog = FilesystemCatalog("demo", warehouse=LAKE.resolve().as_uri())
    table = catalog.load_table(("default", "airports"))
    before = airports.slice(0, 3)
    table.delete("country == 'AQ'")
    table.append(before.set_column(0, "icao", pa.array(["XX01", "XX02", "XX03"])))
    with table.update_schema() as update:
        update.add_column("has_tower", BooleanType())
    news = before.set_column(0, "icao", pa.array(["XX04", "XX05", "XX06"]))
    table.append(news.append_column("has_tower", pa.array([True, False, None])))


def ask_both() -> None:
    """Print the answers of both sides for every version, beside each other."""
    catalog = FilesystemCatalog("demo", warehouse=LAKE.resolve().as_uri())
    iceberg: Table = catalog.load_table(("default", "airports"))
    snapshots = sorted(iceberg.snapshots(), key=lambda snapshot: snapshot.timestamp_ms)
    print(f"{'Iceberg snapshot':>20}  {'pyiceberg says':<32}  {'delta-rs says':<32}  Delta")
    for version, snapshot in enumerate(snapshots):
        left = answer(iceberg.scan(snapshot_id=snapshot.snapshot_id).to_arrow())
        right = answer(pa.table(DeltaTable(LAKE / "airports", version=version).scan()))
        same = "=" if left == right else "DIFFERENT"
        print(f"{snapshot.snapshot_id:>20}  {left!s:<32}  {right!s:<32}  v{version} {same}")
        if left != right:
            sys.exit("The two sides do not agree.")


def answer(airports: pa.Table) -> tuple[object, ...]:
    """Answer the question over a table."""
    with duckdb.connect() as connection:
        connection.register("airports", airports)
        row = connection.execute(QUESTION).fetchone()
    assert row is not None
    return row


def parquedb(*arguments: str, storage: Path = LAKE) -> None:
    """Run the command line and show it."""
    print(f"$ parquedb {' '.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "parquedb", *arguments, f"--storage={storage}"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def say(text: str) -> None:
    """Print a heading."""
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    main()
