"""``python -m parquedb``: the command line."""

from parquedb.cli.main import run

run()
