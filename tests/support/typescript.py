"""What the TypeScript ParqueDB wrote, and the documents that it must be read as."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data" / "typescript-native"
DUMP = json.loads((DATA / "native_dump.json").read_text())
NAMESPACES = ("posts", "users")
_AUDIT_TIMES = {"createdAt", "updatedAt", "deletedAt"}


def expected(value: Any, *, top: bool = False) -> Any:
    """Return what a dumped value can be read back as; at the top, times have become texts."""
    match value:
        case {"$date": text}:
            return text if top else datetime.fromisoformat(text)
        case {"$binary": text}:
            return base64.b64decode(text)
        case {"$bigint": text}:
            return int(text)
        case {"$float": "NaN"}:
            return None
        case {"$float": "-0"}:
            return 0
        case {"$float": text}:
            return float(text)
        case dict():
            return {key: expected(item) for key, item in value.items()}
        case list():
            return [expected(item) for item in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def expected_document(entity: dict[str, Any]) -> dict[str, Any]:
    """Return what a dumped entity is read as."""
    return {
        key: expected(value, top=key not in _AUDIT_TIMES)
        for key, value in entity.items()
        if value is not None or key not in {"name", "deletedAt"}
    }


def expected_documents(namespace: str) -> list[dict[str, Any]]:
    """Return the documents of a namespace, deleted ones included, in the order of their ids."""
    return sorted(map(expected_document, DUMP["all"][namespace]), key=lambda d: d["$id"])
