"""Updates of documents in MongoDB's language.

An update maps operators to fields: ``{"$set": {"address.city": "Rome"}, "$inc": {"visits": 1}}``.
It is parsed once (:mod:`.update_parse`) into steps that do not overlap (:mod:`.update_steps`), and
applied to any number of documents (:mod:`.update_apply`), which are not changed themselves.
"""

from __future__ import annotations

from parquedb.documents.update_apply import apply_update
from parquedb.documents.update_parse import OPERATORS, parse_update
from parquedb.documents.update_steps import Update

__all__ = ["OPERATORS", "Update", "apply_update", "parse_update"]
