"""Source tables, made without ParqueDB: Parquet by pyarrow, a Delta log by hand."""

from __future__ import annotations

import base64
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

COLUMNS = (
    ("id", "long"),
    ("name", "string"),
    ("score", "double"),
    ("n", "integer"),
    ("day", "date"),
)
START_MS = 1_600_000_000_000
ROWS = 100
_MAGIC = (1681511377).to_bytes(4, "little")
_TO_Z85 = str.maketrans(
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~",
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#",
)


def parquet_file(path: Path, rows: int = ROWS) -> Path:
    """Write a small Parquet file of five columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "id": pa.array(np.arange(rows), pa.int64()),
            "name": pa.array([f"name {i:06}" for i in range(rows)]),
            "score": pa.array(np.linspace(0, 1, rows)),
            "n": pa.array(np.arange(rows, dtype=np.int32)),
            "day": pa.array(np.arange(rows, dtype=np.int32), pa.date32()),
        }
    )
    pq.write_table(table, path)
    return path


def parquet_folder(folder: Path, files: int) -> None:
    """Fill a folder with Parquet files of equal content, each a file of its own."""
    first = parquet_file(folder / "part-00000.parquet").read_bytes()
    for i in range(1, files):
        (folder / f"part-{i:05}.parquet").write_bytes(first)


def big_file(path: Path, size_bytes: int) -> None:
    """Write one Parquet file of about a size, of numbers that do not compress."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    schema = pa.schema([(name, pa.float64()) for name in "abcdefgh"])
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        while path.stat().st_size < size_bytes:
            columns = [random.random(250_000) for _ in schema]
            writer.write_table(pa.table(columns, schema=schema))


def delta_table(folder: Path, commits: int, files_per_commit: int = 1) -> None:
    """Write a Delta table of appends, one log file a commit, a removal at every tenth."""
    log = folder / "_delta_log"
    log.mkdir(parents=True)
    first = parquet_file(folder / "part-000000.parquet")
    size = first.stat().st_size
    number = made = 0
    for version in range(commits):
        at = START_MS + version * 60_000
        actions: list[dict[str, object]] = [{"commitInfo": {"timestamp": at, "operation": "WRITE"}}]
        if version == 0:
            actions += _head(at)
        if version % 10 == 9 and files_per_commit == 1:
            actions.append(_remove(f"part-{version - 9:06}.parquet", size, at))
        for action in _adds(number, files_per_commit, size, at):
            path = folder / str(action["path"])
            if not path.exists():
                made += 1
                if made % 1000 == 0:  # a file may have 65,000 names only
                    first = shutil.copyfile(first, folder / f"copy-{made:06}")
                os.link(first, path)
            actions.append({"add": action})
        number += files_per_commit
        path = log / f"{version:020}.json"
        path.write_text("".join(json.dumps(action) + "\n" for action in actions))
        os.utime(path, ns=(at * 1_000_000, at * 1_000_000))


def delta_vectors(folder: Path, commits: int, files: int = 100, vectors: int = 10) -> None:
    """Write a Delta table each of whose commits deletes a row more in some of its files.

    Args:
        folder: The table's folder.
        commits: Commits after the first, which adds the files.
        files: Data files.
        vectors: Deletion vectors that a commit changes.
    """
    from pyroaring import BitMap64

    rows = 10_000
    delta_table(folder, 1, files)
    first = parquet_file(folder / "part-000000.parquet", rows)
    for i in range(1, files):
        path = folder / f"part-{i:06}.parquet"
        path.unlink()
        os.link(first, path)
    log, size = folder / "_delta_log", first.stat().st_size
    head = log / f"{0:020}.json"
    actions = [json.loads(line) for line in head.read_text().splitlines()]
    for action in actions:
        if "protocol" in action:
            features = ["deletionVectors"]
            action["protocol"] = {
                "minReaderVersion": 3, "minWriterVersion": 7,
                "readerFeatures": features, "writerFeatures": features,
            }  # fmt: skip
        if "metaData" in action:
            action["metaData"]["configuration"] = {"delta.enableDeletionVectors": "true"}
    stats = json.dumps({"numRecords": rows, "tightBounds": False})
    adds = {
        f"part-{i:06}.parquet": {
            "path": f"part-{i:06}.parquet", "partitionValues": {}, "size": size,
            "modificationTime": START_MS, "dataChange": True, "stats": stats,
        }
        for i in range(files)
    }  # fmt: skip
    actions = [a for a in actions if "add" not in a] + [{"add": add} for add in adds.values()]
    _write_commit(log, 0, START_MS, actions)
    deleted = {name: BitMap64() for name in adds}
    names = list(adds)
    for version in range(1, commits + 1):
        at = START_MS + version * 60_000
        actions = [{"commitInfo": {"timestamp": at, "operation": "DELETE"}}]
        name = uuid.UUID(int=version)
        text = base64.b85encode(name.bytes).decode().translate(_TO_Z85)
        blobs = bytearray(b"\x01")
        for place in range(vectors):
            path = names[(version * vectors + place) % files]
            add, positions = adds[path], deleted[path]
            actions.append({"remove": {**add, "deletionTimestamp": at}})
            positions.add((version * 7919 + place) % rows)
            body = _MAGIC + positions.serialize()
            vector = {
                "storageType": "u", "pathOrInlineDv": text, "offset": len(blobs),
                "sizeInBytes": len(body), "cardinality": len(positions),
            }  # fmt: skip
            blobs += len(body).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
            adds[path] = {**add, "deletionVector": vector}
            actions.append({"add": adds[path]})
        (folder / f"deletion_vector_{name}.bin").write_bytes(blobs)
        _write_commit(log, version, at, actions)


def _write_commit(log: Path, version: int, at: int, actions: list[dict[str, object]]) -> None:
    path = log / f"{version:020}.json"
    path.write_text("".join(json.dumps(action) + "\n" for action in actions))
    os.utime(path, ns=(at * 1_000_000, at * 1_000_000))


def _head(at: int) -> list[dict[str, object]]:
    fields = [
        {"name": name, "type": kind, "nullable": True, "metadata": {}} for name, kind in COLUMNS
    ]
    return [
        {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
        {
            "metaData": {
                "id": "6f1c34f2-8f0e-4c11-9d1e-0c6d64f3a001",
                "format": {"provider": "parquet", "options": {}},
                "schemaString": json.dumps({"type": "struct", "fields": fields}),
                "partitionColumns": [],
                "configuration": {},
                "createdTime": at,
            }
        },
    ]


def _adds(number: int, count: int, size: int, at: int) -> Iterator[dict[str, object]]:
    last = ROWS - 1
    stats = {
        "numRecords": ROWS,
        "minValues": {"id": 0, "name": "name 000000", "score": 0.0, "n": 0, "day": "1970-01-01"},
        "maxValues": {
            "id": last,
            "name": f"name {last:06}",
            "score": 1.0,
            "n": last,
            "day": "1970-04-10",
        },
        "nullCount": {name: 0 for name, _ in COLUMNS},
    }
    text = json.dumps(stats)
    for i in range(number, number + count):
        yield {
            "path": f"part-{i:06}.parquet",
            "partitionValues": {},
            "size": size,
            "modificationTime": at,
            "dataChange": True,
            "stats": text,
        }


def _remove(path: str, size: int, at: int) -> dict[str, object]:
    return {
        "remove": {
            "path": path,
            "deletionTimestamp": at,
            "dataChange": True,
            "extendedFileMetadata": True,
            "partitionValues": {},
            "size": size,
        }
    }
