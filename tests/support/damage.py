"""Damage tables as disks, programs and people do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import orjson


def seen(root: Path) -> dict[str, tuple[int, int]]:
    """Return all files of a folder with their sizes and times: what a check must leave alone."""
    return {
        str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def one(root: Path, pattern: str, index: int = 0) -> Path:
    """Return a file by a pattern below a folder; by name, the first one by default."""
    return sorted(root.glob(pattern))[index]


def cut(path: Path, size_bytes: int = 7) -> None:
    """Cut a file short."""
    path.write_bytes(path.read_bytes()[:-size_bytes])


def flip(path: Path, place: int) -> None:
    """Flip a bit of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(bytes(data))


def flip_in_footer(path: Path) -> None:
    """Flip a bit where a Parquet file's footer begins, so that it cannot be parsed."""
    data = path.read_bytes()
    flip(path, len(data) - 8 - int.from_bytes(data[-8:-4], "little"))


def edit_commit(log: Path, version: int, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the actions of a Delta commit."""
    path = log / f"{version:020d}.json"
    actions = [json.loads(line) for line in path.read_text().splitlines()]
    for action in actions:
        change(action)
    path.write_text("".join(json.dumps(action) + "\n" for action in actions))


def edit_stats(action: dict[str, Any], **stats: object) -> None:
    """Change the statistics of an ``add`` action."""
    if "add" in action:
        old = json.loads(action["add"]["stats"])
        action["add"]["stats"] = json.dumps({**old, **stats})


def newest_metadata(table: Path) -> Path:
    """Return the newest metadata file of an Iceberg table."""
    return max(
        table.glob("metadata/*.metadata.json"),
        key=lambda p: json.loads(p.read_text())["last-updated-ms"],
    )


def edit_metadata(table: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the newest metadata of an Iceberg table."""
    path = newest_metadata(table)
    metadata = orjson.loads(path.read_bytes())
    change(metadata)
    path.write_bytes(orjson.dumps(metadata))


def edit_avro(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the records of an Avro file; its length changes too."""
    with path.open("rb") as file:
        reader = fastavro.reader(file)
        schema, metadata = reader.writer_schema, dict(reader.metadata)
        records = list(reader)
    for record in records:
        change(record)
    metadata.pop("avro.schema"), metadata.pop("avro.codec", None)
    with path.open("wb") as file:
        fastavro.writer(file, schema, records, metadata=metadata)
