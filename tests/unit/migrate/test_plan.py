"""The plan is pure: situations in, decisions out."""

from dataclasses import replace

import pytest

from parquedb.errors import ConflictError, LossyError, UnsupportedError
from parquedb.log.change import AddFile, RemoveFile, SetSchema
from parquedb.log.commit import Commit, Operation
from parquedb.log.snapshot import Snapshot
from parquedb.migrate.carry import Carry, SourceVersion
from parquedb.migrate.names import NameCopies, Need
from parquedb.migrate.options import Files, MigrationOptions, OnConflict
from parquedb.migrate.plan import Situation, plan_migration
from parquedb.migrate.relate import Continues, Fresh, Unrelated
from parquedb.migrate.report import Action, Means
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.model.partition import (
    UNPARTITIONED,
)
from parquedb.model.schema import Identity, Schema
from parquedb.model.types import (
    Field,
    IntType,
    ListType,
    NullType,
    StringType,
    StructType,
    TimestampType,
    VariantType,
)
from parquedb.parquet.elements import Element
from parquedb.parquet.labels import columns_of

LONG = Schema((Field(1, "id", IntType(64)),), Identity.BY_ID)
FILE = DataFile("users/data/a.parquet", 1000, 10)


def situation(
    *,
    source=Format.ICEBERG,
    relation=None,
    schemas=(LONG,),
    specs=(UNPARTITIONED,),
    files=(FILE,),
    versions=1,
    can_link=True,
    unfit=(),
    commits=(),
    before=None,
    trees=None,
    narrow=(),
):
    by_key = {file.path: file for file in files}
    latest = Snapshot(
        versions, 0, schemas[-1], specs[-1], {s.spec_id: s for s in specs}, by_key, {}
    )
    carry = Carry(
        tuple(SourceVersion(n, n, 10) for n in range(versions)),
        by_key,
        schemas,
        specs,
        latest,
        (),
        commits,
        before,
    )
    return Situation(
        "users",
        source,
        "users",
        "users",
        relation or Fresh(),
        carry,
        5,
        2,
        can_link,
        frozenset(unfit),
        frozenset(narrow),
        trees=trees,
    )


def plan(target=Format.DELTA, *, at=None, **options):
    return plan_migration(at or situation(), MigrationOptions(target, **options))


def test_files_are_linked_where_the_store_can():
    assert plan().means == {FILE.path: Means.LINKED}


def test_files_are_shared_where_it_cannot_or_the_source_goes():
    assert plan(at=situation(can_link=False)).means == {FILE.path: Means.SHARED}
    assert plan(delete_source=True).means == {FILE.path: Means.SHARED}


def test_delta_cannot_address_files_outside_its_folder():
    far = DataFile("elsewhere/a.parquet", 1, 1)
    assert plan(at=situation(files=(far,), can_link=False)).means == {far.path: Means.COPIED}
    refused = plan(at=situation(files=(far,)), files=Files.SHARE)
    assert isinstance(refused.error, UnsupportedError)
    assert refused.action is Action.REFUSED


def test_native_files_are_copied_unless_the_source_goes():
    native = situation(source=Format.NATIVE)
    assert plan(at=native).means == {FILE.path: Means.COPIED}
    assert plan(at=native, delete_source=True).means == {FILE.path: Means.LINKED}


def test_files_with_other_field_ids_get_another_footer():
    unfit = situation(source=Format.DELTA, unfit=[FILE.path])
    assert plan(Format.ICEBERG, at=unfit).means == {FILE.path: Means.FOOTER}


def test_types_that_fit_only_by_rewriting_and_losing_are_refused_unless_allowed():
    schema = Schema((Field(1, "at", TimestampType("ns", utc=True)),))
    native = situation(source=Format.NATIVE, schemas=(schema,))
    refused = plan(Format.ICEBERG, at=native)
    assert isinstance(refused.error, LossyError)
    assert "nanoseconds" in refused.lost[0]
    allowed = plan(Format.ICEBERG, at=native, allow_lossy=True)
    assert allowed.means == {FILE.path: Means.REWRITTEN}
    assert allowed.lost == refused.lost


def test_types_without_an_equivalent_are_refused_by_name():
    schema = Schema((Field(1, "blob", NullType()),))
    refused = plan(at=situation(schemas=(schema,)))
    assert isinstance(refused.error, UnsupportedError)
    assert "'blob': void" in refused.reason


def test_variants_ask_for_version_3_and_not_for_native_files():
    schema = Schema((Field(1, "blob", VariantType()),))
    at = situation(source=Format.DELTA, schemas=(schema,))
    refused = plan(Format.ICEBERG, at=at)
    assert isinstance(refused.error, UnsupportedError)
    assert "'blob': variant has no equivalent" in refused.reason
    assert "--format-version 3 (format_version=3) keeps column 'blob' as it is" in refused.reason
    carried = plan(
        Format.ICEBERG, at=situation(source=Format.DELTA, schemas=(schema,)), format_version=3
    )
    assert carried.action is Action.MIGRATED
    for source, target in ((Format.NATIVE, Format.DELTA), (Format.DELTA, Format.NATIVE)):
        lone = plan(target, at=situation(source=source, schemas=(schema,)), allow_lossy=True)
        assert "'blob': variant has no equivalent" in lone.reason


def test_native_targets_lose_history():
    refused = plan(Format.NATIVE)
    assert isinstance(refused.error, LossyError)
    assert any("time travel" in line for line in refused.lost)
    assert plan(Format.NATIVE, allow_lossy=True).action is Action.MIGRATED


@pytest.mark.parametrize("relation", [Unrelated(), Continues(1, 1, True, True)])
def test_other_data_in_the_target_is_a_conflict(relation):
    refused = plan(at=situation(relation=relation))
    assert isinstance(refused.error, ConflictError)
    assert refused.reason.startswith("Conflict with existing data")
    assert "5 rows in 2 versions" in refused.reason
    forced = plan(at=situation(relation=relation), on_conflict=OnConflict.FORCE)
    assert forced.action is Action.MIGRATED
    assert forced.replaces


def test_a_target_that_moved_is_no_conflict_if_there_is_nothing_to_carry():
    moved = situation(relation=Continues(1, 1, True, True), versions=0)
    assert plan(at=moved).action is Action.SKIPPED


def named(id_=1, name="id", type_=None):
    return Schema((Field(id_, name, type_ or IntType(64)),), Identity.BY_ID)


def tree(name, id_=1):
    return Element("schema", None, b"\0", (Element(name, id_, b"\0"),))


def version(number, *changes, base=False):
    return Commit(number, number, Operation.APPEND, changes, base=base)


KEY, LATER = named(name="key"), replace(FILE, path="users/data/b.parquet", size_bytes=70)
TREES = {FILE.path: tree("id"), LATER.path: tree("key")}
ADD, ADD_LATER, REMOVE = AddFile(FILE), AddFile(LATER), RemoveFile(FILE)
START = Snapshot(0, 0, LONG, UNPARTITIONED, {0: UNPARTITIONED}, {FILE.path: FILE}, {})


@pytest.mark.parametrize(
    ("commits", "first", "copies", "size_bytes"),
    [
        ([version(0, SetSchema(LONG), ADD)], [], 0, 0),
        ([version(0, SetSchema(LONG), ADD), version(1, SetSchema(KEY), ADD_LATER)], [], 1, 1000),
        ([version(0, SetSchema(LONG), ADD), version(1, SetSchema(KEY), REMOVE)], [], 0, 0),
        ([version(0, SetSchema(KEY), ADD, ADD_LATER)], [FILE.path], 0, 0),
        ([version(0, SetSchema(LONG), ADD_LATER)], [LATER.path], 0, 0),
        (
            [
                version(0, SetSchema(LONG), ADD),
                version(1, SetSchema(KEY)),
                version(2, SetSchema(LONG)),
                version(3, SetSchema(KEY), REMOVE),
                version(4, ADD),
            ],
            [],
            3,
            3000,
        ),
        (  # a plain drop costs nothing, the same name again does
            [
                version(0, SetSchema(LONG), ADD),
                version(1, SetSchema(named(2, "other"))),
                version(2, SetSchema(named(3, "ID", StringType()))),
            ],
            [],
            1,
            1000,
        ),
        (  # what is written again anyway has the new names then
            [
                version(0, SetSchema(named(type_=IntType(32))), ADD),
                version(1, SetSchema(KEY)),
                version(2, SetSchema(LONG)),
            ],
            [],
            1,
            1000,
        ),
        ([version(0, SetSchema(KEY), ADD), version(1, SetSchema(KEY), ADD, base=True)],
         [FILE.path], 1, 1000),
    ],
)  # fmt: skip
def test_renames_cost_copies_of_the_files_that_hold_other_names(commits, first, copies, size_bytes):
    at = situation(commits=commits, trees=TREES, files=(FILE, LATER))
    made = plan(at=at)
    assert made.names == NameCopies(dict.fromkeys(first, Need.FOOTER), copies, 0, size_bytes)
    assert [key for key, means in made.means.items() if means is Means.FOOTER] == first
    report = made.to_report()
    assert report.files[Means.FOOTER] == copies + len(first)
    added = {FILE.path: 1000, LATER.path: 70}
    assert report.bytes_written == size_bytes + sum(added[key] for key in first)
    told = [line for line in report.warnings if "renamed" in line]
    assert bool(told) == bool(copies or first)
    assert all(f"{copies + len(first)} live file" in line for line in told)


def test_renames_cost_copies_of_files_from_before():
    commits = [version(1, SetSchema(KEY), ADD_LATER)]
    at = situation(commits=commits, trees=TREES, files=(LATER,), before=START)
    assert plan(at=at).names == NameCopies({}, 1, 0, 1000)


def listed(*names):
    inner = StructType(tuple(Field(10 + ord(name), name, IntType(64)) for name in names))
    return Schema((Field(1, "l", ListType(Field(2, "element", inner))),), Identity.BY_ID)


def test_structs_inside_lists_cost_a_rewrite_where_their_fields_change():
    trees = {FILE.path: columns_of(listed("x", "y")), LATER.path: columns_of(listed("y"))}
    commits = [
        version(0, SetSchema(listed("x", "y")), ADD),
        version(1, SetSchema(listed("y"))),
        version(2, SetSchema(listed("y", "z")), ADD_LATER),
    ]
    made = plan(at=situation(commits=commits, trees=trees, files=(FILE, LATER)))
    assert made.names == NameCopies({LATER.path: Need.REWRITE}, 0, 2, 2000)
    report = made.to_report()
    assert report.files[Means.REWRITTEN] == 3
    assert report.bytes_written == 2070
    assert "3 live files with structs inside lists" in report.warnings[0]


def test_files_that_are_written_again_get_the_names_on_the_way():
    commits = [version(0, SetSchema(KEY), ADD)]
    at = situation(commits=commits, trees=TREES, narrow=[FILE.path])
    assert plan(at=at).means == {FILE.path: Means.REWRITTEN}
    assert plan(at=at).names == NameCopies()
    at = situation(commits=commits, trees=TREES)
    assert plan(at=at, files=Files.REWRITE).names == NameCopies()


def test_a_plan_prints_as_the_report_of_a_dry_run():
    shape = plan(at=situation(versions=3)).to_report().to_json()
    assert shape["action"] == "migrated"
    assert shape["versions"] == 3
    assert shape["files"] == {"shared": 0, "linked": 1, "copied": 0, "footer": 0, "rewritten": 0}
    assert (shape["bytes_written"], shape["bytes_referenced"]) == (0, 1000)
