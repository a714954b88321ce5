"""Upkeep of tables: compaction and the removal of what nothing refers to any more."""
