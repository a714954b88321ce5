"""Every code block of the README and of docs/ runs, page by page, from top to bottom."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.support.prepared import prepared_command

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(<!-- not executed here: [^>]*-->\n)?```(\w*)\n(.*?)```", re.DOTALL)
PROSE = {"text", "json"}


def blocks(page):
    for match in BLOCK.finditer(page.read_text("utf-8")):
        if not match[1] and match[2] not in PROSE:
            yield match[2], match[3]


def with_blocks():
    return [page for page in PAGES if any(blocks(page))]


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A home where DuckDB's extensions are installed already, so that INSTALL needs no network."""
    home = tmp_path_factory.mktemp("home")
    for name in ("avro", "iceberg", "delta"):
        package = Path(importlib.util.find_spec(f"duckdb_extension_{name}").origin).parent
        (file,) = package.rglob(f"v{duckdb.__version__}/{name}.duckdb_extension")
        platform = duckdb.sql("PRAGMA platform").fetchone()[0]
        folder = home / ".duckdb" / "extensions" / f"v{duckdb.__version__}" / platform
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file.name).symlink_to(file)
    return home


@pytest.fixture(scope="session")
def prepared():
    with prepared_command() as folder:
        yield folder


@pytest.mark.timeout(900)  # a page starts some dozens of processes
@pytest.mark.parametrize("page", with_blocks(), ids=lambda page: page.name)
def test_every_block_runs(page, tmp_path, home, prepared):
    programs = [Path(sys.executable).parent, os.environ["PATH"]]
    if page.name != "README.md":  # whose commands are the installed program's
        programs.insert(0, prepared)
    environment = {
        **os.environ,
        "HOME": str(home),
        "PATH": os.pathsep.join(map(str, programs)),
    }
    environment.pop("PARQUEDB_STORAGE", None)
    script = ["import subprocess"]
    for language, code in blocks(page):
        assert language in ("python", "bash"), f"{page.name}: cannot run a block of {language!r}"
        if language == "python":
            script.append(code)
        else:
            command = f"set -euo pipefail\n{code}"
            script.append(f"subprocess.run(['bash', '-c', {command!r}], check=True)")
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", "\n".join(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_the_pages_have_blocks():
    assert {page.name for page in with_blocks()} >= {"README.md", "backend-migration.md"}


def test_every_command_and_option_of_the_command_line_is_documented():
    from typer.main import get_command

    from parquedb.cli.main import app

    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    missing = []
    for name, command in get_command(app).commands.items():
        options = [o for p in command.params for o in (*p.opts, *p.secondary_opts)]
        wanted = [name, *(o for o in options if o.startswith("--") and o != "--help")]
        missing += [f"{name} {word}" for word in wanted if word not in text]
    assert not missing


def test_the_support_matrix_is_up_to_date():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "matrix.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
