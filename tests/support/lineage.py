"""What format version 3 asks of a table's row ids and deletion vectors, read with fastavro.

Nothing of ours is used: manifests by fastavro, Puffin footers by pyiceberg.
"""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import fastavro
from pyiceberg.table.puffin import PuffinFile

from tests.support.targets import metadata_file

EXISTING, ADDED, DELETED = 0, 1, 2


def path_of(location: str) -> Path:
    """Return the local path of a location."""
    return Path(urlparse(location).path)


def row_ids(folder: Path, snapshot_id: int | None = None) -> dict[str, range | None]:
    """Return the ids of the rows of each data file of a snapshot; None where they have none."""
    snapshot = _snapshot(_metadata(folder), snapshot_id)
    found: dict[str, range | None] = {}
    for manifest in _avro(snapshot["manifest-list"]):
        if manifest["content"]:
            continue
        next_id = manifest.get("first_row_id")
        for entry in _avro(manifest["manifest_path"]):
            if entry["status"] == DELETED:
                continue
            file = entry["data_file"]
            first = file.get("first_row_id")
            if first is None and next_id is not None:
                first, next_id = next_id, next_id + file["record_count"]
            ids = None if first is None else range(first, first + file["record_count"])
            found[path_of(file["file_path"]).name] = ids
    return found


def vectors(folder: Path, snapshot_id: int | None = None) -> dict[str, int]:
    """Return how many rows of each data file the vectors of a snapshot delete."""
    snapshot = _snapshot(_metadata(folder), snapshot_id)
    found: dict[str, int] = {}
    for manifest in _avro(snapshot["manifest-list"]):
        for entry in _avro(manifest["manifest_path"]) if manifest["content"] == 1 else ():
            file = entry["data_file"]
            if entry["status"] != DELETED and file["file_format"] == "PUFFIN":
                name = path_of(file["referenced_data_file"]).name
                assert name not in found
                found[name] = file["record_count"]
    return found


def assert_version_3(folder: Path, *, since: int = 0) -> None:
    """Fail unless a table keeps the rules of format version 3 in every snapshot.

    Args:
        folder: The table's folder.
        since: How many of its oldest snapshots are from before it was of that version.
    """
    metadata = _metadata(folder)
    assert metadata["format-version"] == 3
    end = 0
    for snapshot in sorted(metadata["snapshots"], key=lambda s: s["sequence-number"])[since:]:
        assert snapshot["first-row-id"] >= end
        end = snapshot["first-row-id"] + snapshot["added-rows"]
        _check_snapshot(snapshot)
        ranges = sorted(
            (ids.start, ids.stop)
            for ids in row_ids(folder, snapshot["snapshot-id"]).values()
            if ids is not None and len(ids)
        )
        assert len(ranges) == len(
            [n for n in row_ids(folder, snapshot["snapshot-id"]).values() if n]
        )
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(ranges))
        assert not ranges or ranges[-1][1] <= end
    assert metadata["next-row-id"] >= end


def _check_snapshot(snapshot: dict[str, Any]) -> None:
    data: dict[str, int] = {}
    about: dict[str, int] = {}
    for manifest in _avro(snapshot["manifest-list"]):
        assert (manifest["first_row_id"] is None) == (manifest["content"] == 1)
        mine = manifest["added_snapshot_id"] == snapshot["snapshot-id"]
        for entry in _avro(manifest["manifest_path"]):
            file, first = entry["data_file"], entry["data_file"].get("first_row_id")
            if manifest["content"] == 0:
                if mine:
                    assert (first is None) == (entry["status"] == ADDED), file
                if entry["status"] != DELETED:
                    data[file["file_path"]] = (
                        entry["sequence_number"] or manifest["sequence_number"]
                    )
                continue
            assert first is None
            if entry["status"] == DELETED:
                continue
            if entry["status"] == ADDED:
                assert file["file_format"] == "PUFFIN", "a new position delete file"
            if file["file_format"] == "PUFFIN":
                location = file["referenced_data_file"]
                assert location not in about, "two vectors of one data file"
                about[location] = entry["sequence_number"] or manifest["sequence_number"]
                _check_puffin(file)
    assert set(about) <= set(data), "a vector of a file that is gone"
    assert all(sequence >= data[location] for location, sequence in about.items())


def _check_puffin(file: dict[str, Any]) -> None:
    """The vector's place, file and count are those in the Puffin file's own footer."""
    raw = path_of(file["file_path"]).read_bytes()
    assert len(raw) == file["file_size_in_bytes"]
    blobs = {(b.offset, b.length): b for b in PuffinFile(raw).footer.blobs}
    blob = blobs[file["content_offset"], file["content_size_in_bytes"]]
    assert (blob.type, blob.snapshot_id, blob.sequence_number) == ("deletion-vector-v1", -1, -1)
    assert blob.properties == {
        "referenced-data-file": file["referenced_data_file"],
        "cardinality": str(file["record_count"]),
    }


def _metadata(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(metadata_file(folder).read_bytes())
    return found


def _snapshot(metadata: dict[str, Any], snapshot_id: int | None) -> dict[str, Any]:
    wanted = metadata["current-snapshot-id"] if snapshot_id is None else snapshot_id
    (found,) = (s for s in metadata["snapshots"] if s["snapshot-id"] == wanted)
    return dict(found)


def _avro(location: str) -> list[dict[str, Any]]:
    raw = path_of(location).read_bytes()
    return [dict(record) for record in fastavro.reader(io.BytesIO(raw))]  # type: ignore[arg-type]
