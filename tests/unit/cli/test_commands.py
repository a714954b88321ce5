"""The command line as a user types it: output, JSON shapes, exit codes."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from parquedb.cli.main import app
from tests.support.commands import process, run
from tests.support.histories import delta_plain, iceberg_plain, people


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def parquedb(*arguments, cwd=None, **environment):
    return run(*arguments, cwd=cwd, environment=environment)


def as_json(*arguments, code=0, **options):
    done = parquedb(*arguments, "--json", **options)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def native(root, name="users", rows=5):
    path = root / "data" / name / "data.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(people(0, rows), path)


def test_help_answers_at_once():
    started = time.process_time()
    done = process("--help")
    assert done.returncode == 0
    assert "migrate-backend" in done.stdout
    assert time.process_time() - started < 5  # a bound against hangs, no measurement


def test_help_imports_nothing_heavy():
    code = (
        "import sys, parquedb.cli.main as m\n"
        "print([x for x in ('pyarrow', 'duckdb', 'pyiceberg', 'deltalake', 'numpy', 'fastavro')"
        " if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_status_json(root):
    native(root)
    shape = as_json("backend-status", "--storage", str(root))
    users = shape["namespaces"]["users"]
    assert users["formats"] == ["native"]
    assert users["primary"] == "native"
    assert users["versions"] == {"native": 1}
    assert users["rows"] == 5
    assert users["journal"] is None
    assert shape["summary"] == {"native": 1}


def test_status_of_an_empty_storage(root):
    assert as_json("backend-status", "--storage", str(root)) == {"namespaces": {}, "summary": {}}


def test_migrate_json(root):
    native(root)
    shape = as_json("migrate-backend", "--to=iceberg", "--storage", str(root))
    assert shape["success"] is True
    assert isinstance(shape["duration_ms"], int)
    users = shape["namespaces"]["users"]
    assert {
        key: users[key] for key in ("from", "to", "action", "versions", "rows", "verified")
    } == {
        "from": "native",
        "to": "iceberg",
        "action": "migrated",
        "versions": 1,
        "rows": 5,
        "verified": "count",
    }
    assert users["files"] == {"shared": 0, "linked": 0, "copied": 1, "footer": 0, "rewritten": 0}
    assert users["bytes_written"] > users["bytes_referenced"] == 0
    assert users["lost"] == []
    assert "dry_run" not in shape
    status = as_json("backend-status", "--storage", str(root))["namespaces"]["users"]
    assert status["formats"] == ["native", "iceberg"]
    assert status["primary"] == "iceberg"


def test_dry_run_json(root):
    native(root)
    shape = as_json("migrate-backend", "--to=iceberg", "--dry-run", "--storage", str(root))
    assert shape["dry_run"] is True
    assert shape["namespaces"]["users"]["action"] == "migrated"
    assert sorted(p.name for p in root.iterdir()) == ["data"]


def test_history_json(root):
    known = delta_plain(root)
    shape = as_json("history", "users", "--storage", str(root))
    assert (shape["namespace"], shape["format"]) == ("users", "delta")
    assert [v["version"] for v in shape["versions"]] == [k.version for k in known]
    assert [v["rows"] for v in shape["versions"]] == [len(k.rows) for k in known]
    assert all(v["timestamp"].endswith("Z") for v in shape["versions"])
    assert all(isinstance(v["operation"], str) for v in shape["versions"])


def test_a_conflict_exits_with_3_and_says_what_to_do(root):
    native(root)
    delta_plain(root)
    done = process("migrate-backend", "--from=native", "--to=delta", "--storage", str(root))
    assert done.returncode == 3
    assert "Conflict with existing data" in done.stderr
    assert "--force" in done.stderr
    shape = as_json(
        "migrate-backend", "--from=native", "--to=delta", "--storage", str(root), code=3
    )
    assert shape["success"] is False
    assert shape["namespaces"]["users"]["action"] == "refused"


def test_a_loss_exits_with_3_and_lists_it(root):
    iceberg_plain(root)
    shape = as_json("migrate-backend", "--to=native", "--storage", str(root), code=3)
    users = shape["namespaces"]["users"]
    assert users["action"] == "refused"
    assert any("time travel" in line for line in users["lost"])
    as_json("migrate-backend", "--to=native", "--allow-lossy", "--storage", str(root))


@pytest.mark.parametrize(
    "arguments",
    [
        ["migrate-backend"],
        ["migrate-backend", "--to=hudi"],
        ["migrate-backend", "--to=delta", "--force", "--merge"],
        ["migrate-backend", "--to=delta", "--from=delta"],
        ["migrate-backend", "--to=delta", "--batch-size=0"],
        ["migrate-backend", "--to=delta", "--namespaces=../x"],
        ["migrate-backend", "--to=delta", "--namespaces="],
        ["migrate-backend", "--to=delta", "--key=id"],
        ["cleanup-backend", "--format=delta"],
        ["history"],
        ["no-such-command"],
    ],
)
def test_wrong_usage_exits_with_2(root, arguments):
    native(root)
    done = parquedb(*arguments, cwd=root)
    assert done.returncode == 2, done.stderr
    assert done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["migrate-backend", "--to=icebrg"],
            "'--to': 'icebrg' is not one of 'native', 'iceberg', 'delta'; did you mean 'iceberg'?",
        ),
        (["history", "x", "--format=y"], "'--format': 'y' is not one of"),
        (["import", "x", "y", "--on-conflict=Skip"], "did you mean 'skip'?"),
        (["query", "x", "--limit=-1"], "'--limit': '-1' is no whole number from 0 on"),
        (["query", "x", "--skip=many"], "'--skip': 'many' is no whole number from 0 on"),
        (
            ["migrate-backend", "--to=iceberg", "--format-version=x"],
            "'--format-version': 'x' is no whole number from 2 on",
        ),
    ],
)
def test_wrong_usage_is_told_in_our_words(arguments, told):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert told in done.stderr
    assert not re.search("Value error|Input should", done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ["migrate-backend", "--to=delta", "--namespaces=nobody"],
        ["history", "nobody"],
        ["backend-status", "--namespaces=nobody"],
        ["cleanup-backend", "--format=delta", "--namespaces=nobody"],
        ["verify", "nobody", "--against=delta"],
    ],
)
def test_nothing_there_exits_with_1(root, arguments):
    done = parquedb(*arguments, "--storage", str(root))
    assert done.returncode == 1
    assert "No data found for namespace" in done.stderr


def test_a_process_ends_as_the_command_did(root):
    native(root)
    assert process("history", "users", cwd=root).returncode == 0
    done = process("history", "nobody", cwd=root)
    assert (done.returncode, done.stdout) == (1, "")
    assert "No data found for namespace" in done.stderr
    done = process("no-such-command", cwd=root)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


def test_damage_exits_with_1_and_is_valid_json(root):
    delta_plain(root)
    (root / "users" / "_delta_log" / f"{3:020}.json").write_text("{")
    shape = as_json("migrate-backend", "--to=iceberg", "--storage", str(root), code=1)
    assert shape["namespaces"]["users"]["action"] == "failed"
    shape = as_json("backend-status", "--storage", str(root), code=1)
    assert "3.json" in shape["namespaces"]["users"]["error"]


def test_verify(root):
    delta_plain(root)
    as_json("migrate-backend", "--to=iceberg", "--storage", str(root))
    shape = as_json("verify", "users", "--against=delta", "--storage", str(root))
    assert shape["equal"] is True
    assert shape["versions"] == 7


def test_cleanup_as_printed_in_the_guide(root):
    native(root)
    done = parquedb("migrate-backend", "--to=iceberg", "--keep-source", cwd=root)
    assert done.returncode == 0
    done = parquedb("cleanup-backend", "--format=native", "--namespaces=users", cwd=root)
    assert done.returncode == 0, done.stderr
    assert not (root / "data").exists()


def test_storage_comes_from_option_environment_settings_then_here(root, tmp_path):
    native(root)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    found = as_json("backend-status", cwd=elsewhere, PARQUEDB_STORAGE=str(root))
    assert list(found["namespaces"]) == ["users"]
    (elsewhere / "parquedb.toml").write_text(f"storage = {str(root)!r}\n")
    assert list(as_json("backend-status", cwd=elsewhere)["namespaces"]) == ["users"]
    (elsewhere / "parquedb.toml").write_text("storage = 3\n")
    assert parquedb("backend-status", cwd=elsewhere).returncode == 2
    (elsewhere / "parquedb.toml").unlink()
    (elsewhere / "pyproject.toml").write_text("[tool]\nparquedb = 3\n")
    done = parquedb("backend-status", cwd=elsewhere)
    assert (done.returncode, done.stderr) == (
        2,
        "parquedb: 'pyproject.toml': parquedb is 3; it must be a table\n",
    )
    (elsewhere / "pyproject.toml").write_text(f"[tool.parquedb]\nstorage = {str(root)!r}\n")
    assert list(as_json("backend-status", cwd=elsewhere)["namespaces"]) == ["users"]
    assert as_json("backend-status", cwd=Path(tmp_path / "lake" / "data"))["namespaces"]


def test_plain_output_is_readable(root):
    native(root)
    done = parquedb("migrate-backend", "--to=delta", cwd=root)
    assert "users: migrated: carried 1 version of native" in done.stdout
    assert "1 copied" in done.stdout
    done = parquedb("backend-status", cwd=root)
    assert done.stdout.splitlines()[0].split() == ["namespace", "primary", "formats", "rows"]
    done = parquedb("history", "users", cwd=root)
    assert done.stdout.splitlines()[0].split() == ["version", "timestamp", "operation", "rows"]
