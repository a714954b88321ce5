"""The delta dialect."""
