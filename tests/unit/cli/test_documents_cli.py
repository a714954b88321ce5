"""The commands for documents and upkeep as a user types them."""

import contextlib
import json
import os
import pty
import subprocess
import sys
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.cli.options import parse_duration
from parquedb.db import DB
from parquedb.errors import InvalidInputError
from tests.support import commands

PEOPLE = """\
{"name": "Ada", "age": 36, "born": {"$day": "1815-12-10"}}
{"name": "Grace", "age": 85, "tags": ["navy"]}
{"name": "Alan", "age": 41}
"""


@pytest.fixture
def root(tmp_path):
    return tmp_path / "lake"


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.ndjson"
    path.write_text(PEOPLE)
    return path


@pytest.fixture
def filled(root, people):
    assert run("import", "users", people, root=root).returncode == 0
    return root


def run(*arguments, root=None, data=b""):
    return commands.run(*arguments, *storage(root), data=data)


def process(*arguments, root, **options):
    return commands.process(*arguments, *storage(root), **options)


def storage(root):
    return () if root is None else ("--storage", root)


def as_json(*arguments, root, code=0):
    done = run(*arguments, "--json", root=root)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def lines(*arguments, root):
    done = run(*arguments, root=root)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def files(root):
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def test_the_modules_of_the_commands_are_light():
    code = (
        "import sys, parquedb.cli.main, parquedb.cli.database\n"
        "heavy = ('pyarrow', 'duckdb', 'numpy', 'orjson', 'rich.progress', 'parquedb.db')\n"
        "print([x for x in heavy if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command", ["query", "sql", "import", "export", "stats", "flush", "compact", "vacuum"]
)
def test_help(command):
    done = run(command, "--help")
    assert done.returncode == 0
    assert "--storage" in done.stdout
    assert command in run("--help").stdout


# query


def test_query(filled):
    found = lines("query", "users", root=filled)
    assert [each["name"] for each in found] == ["Ada", "Grace", "Alan"]
    assert found[0]["born"] == "1815-12-10"
    assert found[0]["createdAt"].endswith("Z")
    (grace,) = lines("query", "users", '{"tags": "navy"}', root=filled)
    assert grace["name"] == "Grace"
    assert lines("query", "users", '{"age": {"$gt": 900}}', root=filled) == []
    born = '{"born": {"$lt": {"$day": "1900-01-01"}}}'
    assert [each["name"] for each in lines("query", "users", born, root=filled)] == ["Ada"]


def test_query_options(filled):
    def names(*options):
        return [each["name"] for each in lines("query", "users", *options, root=filled)]

    assert names("--sort", "-age") == ["Grace", "Alan", "Ada"]
    assert names("--sort=name") == ["Ada", "Alan", "Grace"]
    assert names("--sort", "age", "--skip", "1", "--limit", "1") == ["Alan"]
    assert names("--limit", "0") == []
    (first, *_) = lines("query", "users", "--project", "name, age", root=filled)
    assert first.keys() == {"$id", "name", "age"}
    (first, *_) = lines("query", "users", "--project=-name,-age", root=filled)
    assert "name" not in first
    assert "born" in first


def test_query_in_other_forms(filled):
    shape = as_json("query", "users", "--sort", "name", root=filled)
    assert [each["name"] for each in shape["documents"]] == ["Ada", "Alan", "Grace"]
    assert as_json("query", "users", '{"a": 1}', root=filled) == {"documents": []}
    (ada,) = lines("query", "users", '{"name": "Ada"}', "--extended", root=filled)
    assert ada["born"] == {"$day": "1815-12-10"}
    done = run("query", "users", "--table", "--project", "name,age", root=filled)
    assert [line.split()[1:] for line in done.stdout.splitlines()][:2] == [
        ["name", "age"], ["Ada", "36"],
    ]  # fmt: skip
    assert run("query", "users", '{"a": 1}', "--table", root=filled).stdout == ""


def test_query_of_the_past_and_the_deleted(filled):
    with DB(filled) as db:
        ada = db.users.find_one({"name": "Ada"})
        db.users.delete(ada.id)
        db.users.update_many({}, {"$set": {"age": 1}})
    assert len(lines("query", "users", root=filled)) == 2
    assert len(lines("query", "users", "--include-deleted", root=filled)) == 3
    assert len(lines("query", "users", "--as-of", "2999-01-01", root=filled)) == 2
    done = run("query", "users", "--as-of", "2001-01-01", root=filled)
    assert done.returncode == 1
    assert "no version" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("query", "users", "{age}"), 2, "the filter is not valid JSON"),
        (("query", "users", "[]"), 2, "filter"),
        (("query", "users", '{"age": {"$gtt": 1}}'), 2, "did you mean '$gt'"),
        (("query", "users", '{"born": {"$date": "soon"}}'), 2, "'soon' is no value of '$date'"),
        (("query", "users", "--as-of", "soon"), 2, "neither a version nor a time"),
        (("query", "users", "--project", "a,-b"), 2, "do one of the two"),
        (("query", "users", "--table", "--json"), 2, "exclude each other"),
        (("query", "users", "--limit", "-1"), 2, "--limit"),
        (("query", "nobody"), 1, "No data found for namespace 'nobody'"),
        (("query", "../users"), 2, "is not a namespace name"),
        (("sql", "SELEC 1"), 2, "the SQL cannot be run"),
        (("stats", "nobody"), 1, "No data found for namespace 'nobody'"),
        (("flush", "nobody"), 1, "No data found for namespace 'nobody'"),
        (("compact", "nobody"), 1, "No data found for namespace 'nobody'"),
        (("vacuum", "nobody"), 1, "No data found for namespace 'nobody'"),
        (("schema", "show", "nobody"), 1, "No data found for namespace 'nobody'"),
        (("export", "nobody"), 1, "No data found for namespace 'nobody'"),
        (("export", "users", "-", "--json"), 2, "exclude each other"),
        (("vacuum", "--older-than", "soon"), 2, "write it like 7d"),
        (("vacuum", "--older-than", "5m"), 2, "--nobody-writes"),
        (("import", "users", "nowhere.json"), 1, "there is no file 'nowhere.json'"),
        (("import", "users", "-", "--batch", "0"), 2, "--batch"),
    ],
)
def test_what_goes_wrong(filled, arguments, code, said):
    before = files(filled)
    done = run(*arguments, root=filled)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert files(filled) == before


def test_reading_writes_nothing(filled):
    with DB(filled) as db:
        db.users.create({"name": "new"})
        db.close(flush=False)
    before = {name: (filled / name).read_bytes() for name in files(filled)}
    for command in (
        ("query", "users"), ("stats",), ("schema", "show", "users"), ("export", "users"),
        ("sql", "SELECT * FROM users"), ("vacuum", "--dry-run"),
    ):  # fmt: skip
        assert run(*command, root=filled).returncode == 0
    after = {name: (filled / name).read_bytes() for name in files(filled)}
    assert {n: b for n, b in after.items() if not n.endswith(".pqdb-lock")} == {
        n: b for n, b in before.items() if not n.endswith(".pqdb-lock")
    }


def test_sql(filled):
    query = "SELECT name, born, age / 2.0 AS half FROM users WHERE age < 50 ORDER BY name"
    assert lines("sql", query, root=filled) == [
        {"name": "Ada", "born": "1815-12-10", "half": 18.0},
        {"name": "Alan", "born": None, "half": 20.5},
    ]
    assert as_json("sql", "SELECT count(*) AS n FROM users", root=filled) == {"rows": [{"n": 3}]}
    done = run("sql", "SELECT 1 AS one", "--table", root=filled)
    assert done.stdout.split() == ["one", "1"]
    past = lines("sql", "SELECT count(*) AS n FROM users", "--as-of", "2999-01-01", root=filled)
    assert past == [{"n": 3}]


def test_a_reader_that_has_enough(filled):
    with DB(filled) as db:
        db.users.create_many([{"n": i, "filler": "x" * 100} for i in range(5000)])
    for command in ("query users", "query users --json", "export users"):
        pipe = f"{sys.executable} -m parquedb {command} --storage {filled} | head -n 1"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", pipe], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("{")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_output_that_cannot_be_written(filled):
    with open("/dev/full", "wb") as full:
        done = process(
            "query", "users", root=filled, capture_output=False, stdout=full,
            stderr=subprocess.PIPE,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "parquedb: the output cannot be written: No space left on device\n"


# import


def test_import(root, people):
    done = run("import", "users", people, root=root)
    assert done.returncode == 0
    assert done.stdout == f"users: 3 created, 0 replaced, 0 skipped, of 3 in '{people}'\n"
    assert done.stderr == ""
    shape = as_json("import", "users", people, root=root)
    assert shape == {
        "success": True, "namespace": "users",
        "documents": 3, "created": 3, "replaced": 0, "skipped": 0,
    }  # fmt: skip
    assert as_json("stats", root=root)["namespaces"]["users"]["documents"] == 6


def test_import_from_standard_input(root):
    done = run("import", "users", "-", root=root, data=PEOPLE.encode())
    assert "3 created, 0 replaced, 0 skipped, of 3 in standard input" in done.stdout
    csv = run(
        "import", "rows", "-", "--format", "csv", "--id-field", "k",
        root=root, data=b"k,v\na,1\n",
    )  # fmt: skip
    assert csv.returncode == 0
    assert lines("query", "rows", root=root)[0]["$id"] == "rows/a"
    bad = process("import", "users", "-", root=root, input="{}\n{")
    assert bad.returncode == 2
    assert "<stdin>, line 2: this is not valid JSON" in bad.stderr


def test_import_of_a_bad_file(root, tmp_path):
    path = tmp_path / "bad.ndjson"
    path.write_text(PEOPLE + '{"name": }\n')
    done = run("import", "users", path, root=root)
    assert done.returncode == 2
    assert f"parquedb: {path}, line 4: this is not valid JSON" in done.stderr
    assert done.stderr.rstrip().endswith("nothing was written")
    assert files(root) == []
    shape = as_json("import", "users", path, root=root, code=2)
    assert shape["success"] is False
    assert "line 4" in shape["error"]


def test_import_where_ids_are_taken(root, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("$id,age\na,1\nb,2\n")
    assert as_json("import", "users", path, root=root)["created"] == 2
    path.write_text("$id,age\na,9\nc,3\n")
    done = run("import", "users", path, root=root)
    assert done.returncode == 3
    assert f"{path}, row 2: there is a document 'users/a' already" in done.stderr
    counts = as_json("import", "users", path, "--on-conflict", "skip", root=root)
    assert (counts["created"], counts["replaced"], counts["skipped"]) == (1, 0, 1)
    counts = as_json("import", "users", path, "--on-conflict", "replace", root=root)
    assert (counts["created"], counts["replaced"], counts["skipped"]) == (0, 2, 0)
    assert [each["age"] for each in lines("query", "users", root=root)] == [9, 2, 3]


def test_a_large_import_says_how_far_it_is(root, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a\n" + "1\n" * 250_000)
    done = run("import", "users", path, root=root)
    assert done.returncode == 0
    told = done.stderr.splitlines()
    assert 1 <= len(told) <= 3
    assert all(line.startswith("users: read ") for line in told)


def test_a_bar_on_a_terminal(root, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a\n" + "1\n" * 30_000)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "parquedb", "import", "users", path, "--storage", root]
    environment = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, env=environment
    ) as running:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError), open(ours, "rb", buffering=0) as terminal:
            while part := terminal.read(1 << 16):
                shown += part
        assert running.stdout.read().startswith(b"users: 30000 created")
    assert running.returncode == 0
    assert b"users: read" in shown
    assert b"100%" in shown
    assert b"30000 documents" in shown


# export


@pytest.mark.parametrize("form", ["ndjson", "json", "parquet"])
def test_export_and_import_are_exact(filled, tmp_path, form):
    path = tmp_path / f"out.{form}"
    done = run("export", "users", path, root=filled)
    assert done.stdout.startswith("users: 3 documents, ")
    other = tmp_path / "other"
    assert run("import", "users", path, root=other).returncode == 0
    wanted = lines("query", "users", "--extended", root=filled)
    assert lines("query", "users", "--extended", root=other) == wanted


def test_export_to_standard_output(filled):
    extended = lines("export", "users", root=filled)
    assert extended == lines("query", "users", "--extended", root=filled)
    assert lines("export", "users", "-", "--plain", root=filled) == lines(
        "query", "users", root=filled
    )
    done = run("export", "users", "--format", "csv", root=filled)
    assert done.stdout.splitlines()[0].startswith("$id,$type,name,createdAt")
    done = run("export", "users", "--format", "json", root=filled)
    assert json.loads(done.stdout) == extended
    done = run("export", "users", "--format", "parquet", root=filled)
    assert pq.read_table(pa.BufferReader(done.raw)).num_rows == 3


def test_export_json(filled, tmp_path):
    path = tmp_path / "new" / "x.csv"
    shape = as_json("export", "users", path, root=filled)
    assert shape == {
        "success": True, "namespace": "users", "file": str(path), "format": "csv",
        "documents": 3, "bytes": path.stat().st_size,
    }  # fmt: skip


def test_export_does_not_overwrite(filled, tmp_path):
    path = tmp_path / "x.json"
    path.write_text("mine")
    done = run("export", "users", path, root=filled)
    assert done.returncode == 3
    assert "--force" in done.stderr
    assert path.read_text() == "mine"
    assert run("export", "users", path, "--force", root=filled).returncode == 0
    assert len(json.loads(path.read_text())) == 3
    done = run("export", "users", filled / "users.parquet", root=filled)
    assert done.returncode == 2
    assert "counts as data" in done.stderr


def test_export_of_the_deleted_and_the_past(filled):
    with DB(filled) as db:
        db.users.delete_many({})
    assert lines("export", "users", root=filled) == []
    assert len(lines("export", "users", "--include-deleted", root=filled)) == 3
    assert lines("export", "users", "--as-of", "2999-01-01", root=filled) == []


# upkeep


def test_stats(filled):
    done = run("stats", root=filled)
    heading, row = done.stdout.splitlines()
    assert heading.split() == [
        "namespace", "format", "documents", "deleted", "files", "bytes", "unflushed",
    ]  # fmt: skip
    assert row.split()[:5] == ["users", "native", "3", "0", "1"]
    one = run("stats", "users", root=filled).stdout
    assert "bytes per document" in one
    shape = as_json("stats", "users", root=filled)["namespaces"]["users"]
    assert shape["documents"] == 3
    assert shape["files"] == shape["row_groups"] == 1
    assert shape.keys() >= {"format", "version", "through", "columns", "table_bytes", "cache_bytes"}
    assert as_json("stats", root=filled.parent / "empty") == {"namespaces": {}}


def test_flush_and_compact(filled):
    with DB(filled) as db:
        db.users.create({"name": "new"})
        db.close(flush=False)
    done = as_json("flush", root=filled)["namespaces"]["users"]
    assert (done["format"], done["rows"], done["files"]) == ("native", 4, 1)
    assert as_json("flush", "users", root=filled) == {
        "success": True,
        "namespaces": {"users": None},
    }
    assert run("flush", root=filled).stdout == "users: nothing to flush\n"
    assert run("compact", "users", root=filled).stdout.startswith("users: native Parquet version ")
    assert as_json("compact", root=filled)["namespaces"]["users"]["rows"] == 4


def test_vacuum(filled):
    orphan = filled / "_parquedb" / "users" / "staged" / f"{uuid.uuid4().hex}.parquet"
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"x" * 2000)
    key = str(orphan.relative_to(filled))
    assert run("vacuum", root=filled).stdout == "users: deleted 0 files, 0 B\n"
    now = ("--older-than", "0", "--nobody-writes")
    done = run("vacuum", *now, "--dry-run", root=filled)
    assert done.stdout == f"users: would delete 1 files, 2.0 kB\n  {key}\n"
    shape = as_json("vacuum", "users", *now, root=filled)
    assert shape["dry_run"] is False
    assert shape["namespaces"]["users"]["files"] == [key]
    assert shape["namespaces"]["users"]["bytes"] == 2000
    assert not orphan.exists()
    assert len(lines("query", "users", root=filled)) == 3


def test_schema_show(filled):
    done = run("schema", "show", "users", root=filled)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["$id", "string", "required"] in rows
    assert ["age", "int64", "null"] in rows
    assert ["born", "date", "null"] in rows
    assert "native, 3 rows, 0.0% of them with values in $data" in done.stdout
    with DB(filled) as db:
        db.users.create({"name": "new", "age": "unknown"})
        db.users.create({"name": "new", "age": 7, "odd": [1, "x"]})
        db.users.create({"name": "later"})
        db.flush()
    shape = as_json("schema", "show", "users", root=filled)
    assert (shape["format"], shape["rows"], shape["rows_with_data"]) == ("native", 6, 2)
    assert shape["data_share"] == 0.3333
    assert {"name": "tags", "type": "list<string>", "nullable": True, "system": False} in shape[
        "columns"
    ]


def test_tables_of_other_places(tmp_path, people):
    backend = {"type": "iceberg", "warehouse": "wh"}
    with DB(tmp_path / "lake", backend=backend) as db:
        db.users.create_many([{"age": 1}, {"age": 2}])
    places = ("--warehouse", "wh", "--location", "dl")
    assert len(lines("query", "users", *places, root=tmp_path / "lake")) == 2
    assert run("import", "users", people, *places, root=tmp_path / "lake").returncode == 0
    shape = as_json("stats", *places, root=tmp_path / "lake")["namespaces"]["users"]
    assert (shape["format"], shape["documents"]) == ("iceberg", 5)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7d", 604_800), ("12h", 43_200), ("1.5m", 90), ("90s", 90), ("0", 0), (" 2 w ", 1_209_600)],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "-1d", "7 days", "1e3", "inf"])
def test_what_is_no_duration(text):
    with pytest.raises(InvalidInputError, match="write it like 7d"):
        parse_duration(text)


def test_history_of_documents_that_no_table_has_says_where_they_are(root):
    db = DB(root)
    db.Users.create({"name": "Ada"})
    db.close(flush=False)
    done = run("history", "users", root=root)
    assert done.returncode == 1
    assert "its documents are in the journal only; run 'parquedb flush users' first" in done.stderr
    assert run("flush", "users", root=root).returncode == 0
    assert run("history", "users", root=root).returncode == 0
