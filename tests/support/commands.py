"""Commands of the command line, run in this process, as their entry point does, or in another."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from parquedb.cli import main


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str
    raw: bytes


def run(
    *arguments: object,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    data: bytes = b"",
) -> Done:
    """Run a command in this process.

    Args:
        arguments: After the program's name.
        cwd: The folder to run it in; where this process is by default.
        environment: Variables that it has besides.
        data: What it reads from its standard input.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    stdin = io.TextIOWrapper(io.BytesIO(data))
    stdin.buffer.name = "<stdin>"  # type: ignore[attr-defined]
    code: Any = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["parquedb", *map(str, arguments)])
        for name, file in (("stdin", stdin), ("stdout", out), ("stderr", err)):
            patch.setattr(sys, name, file)
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        if cwd is not None:
            patch.chdir(cwd)
        try:
            main.run()
        except SystemExit as ending:
            code = ending.code or 0
    raw = out.buffer.getvalue()  # type: ignore[attr-defined]
    told = err.buffer.getvalue().decode()  # type: ignore[attr-defined]
    return Done(code, raw.decode("utf-8", "replace"), told, raw)


def process(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, which takes half a second to begin.

    Args:
        arguments: After the program's name.
        options: Of ``subprocess.run``; ``env`` is what the process has besides.
    """
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "parquedb", *map(str, arguments)],
        **{"capture_output": True, "text": True, "env": environment, **options},
    )
