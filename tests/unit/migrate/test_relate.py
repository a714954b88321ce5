from dataclasses import replace

from parquedb.log.commit import Origin
from parquedb.log.ports import Lineage
from parquedb.migrate.relate import Continues, Unrelated, relate
from parquedb.model.format import Format

ICE, DELTA = Format.ICEBERG, Format.DELTA


def lineage(format_, table, version, *, at, foreign=(), completed=1):
    return Lineage(Origin(format_, table, version), at, completed, foreign)


def test_a_target_without_records_is_unrelated():
    assert relate((DELTA, "d", None), (ICE, "i", None, 7)) == Unrelated()


def test_a_target_of_another_table_is_unrelated():
    other = lineage(DELTA, "another", 3, at=7)
    assert relate((DELTA, "d", None), (ICE, "i", other, 7)) == Unrelated()


def test_a_target_continues_after_its_cursor():
    record = lineage(DELTA, "d", 3, at=70)
    assert relate((DELTA, "d", None), (ICE, "i", record, 70)) == Continues(3, 70, False, True)


def test_an_unfinished_migration_says_so():
    record = lineage(DELTA, "d", 3, at=70, completed=None)
    assert relate((DELTA, "d", None), (ICE, "i", record, 70)) == Continues(3, 70, False, False)


def test_foreign_commits_to_the_target_are_noticed():
    record = lineage(DELTA, "d", 3, at=70, foreign=(71,))
    assert relate((DELTA, "d", None), (ICE, "i", record, 71)) == Continues(3, 70, True, True)


def test_the_way_back_continues_where_the_target_was_the_source():
    record = lineage(ICE, "i", 70, at=5, foreign=(6,))
    assert relate((DELTA, "d", record), (ICE, "i", None, 70)) == Continues(5, 70, False, True)


def test_the_way_back_notices_that_the_old_source_moved():
    record = lineage(ICE, "i", 70, at=5)
    assert relate((DELTA, "d", record), (ICE, "i", None, 71)) == Continues(5, 70, True, True)


def test_to_and_fro_takes_the_newer_meeting_point():
    ours = lineage(DELTA, "d", 3, at=70, foreign=(71,))  # delta 3 -> iceberg 70; 71 by others
    theirs = lineage(ICE, "i", 71, at=4, foreign=(5,))  # iceberg 71 -> delta 4; 5 by others
    found = relate((DELTA, "d", theirs), (ICE, "i", ours, 71))
    assert found == Continues(4, 71, False, True)


def test_versions_that_change_nothing_are_no_move():
    record = lineage(DELTA, "d", 3, at=70, foreign=(71,))
    found = relate((DELTA, "d", None), (ICE, "i", record, 71), lambda version: version != 70)
    assert found == Continues(3, 70, False, True)
    record = lineage(ICE, "i", 70, at=5)
    found = relate((DELTA, "d", record), (ICE, "i", None, 72), lambda version: version != 70)
    assert found == Continues(5, 70, False, True)


def moved_back(record, version, own):
    return replace(record, undone=(replace(record.origin, version=version), own))


def test_a_source_that_was_moved_back_is_not_behind():
    record = moved_back(lineage(DELTA, "d", 1, at=71), 3, 73)
    assert relate((ICE, "i", record), (DELTA, "d", None, 3)) == Continues(73, 3, False, True)
    assert relate((ICE, "i", record), (DELTA, "d", None, 4)).target_moved


def test_a_target_that_was_moved_back_has_moved():
    record = moved_back(lineage(DELTA, "d", 1, at=71), 3, 73)
    assert relate((DELTA, "d", None), (ICE, "i", record, 71)) == Continues(1, 71, True, True)


def test_of_two_meeting_points_the_later_one():
    """Iceberg 70 was made from Delta 3; later Delta 5 was made from it, after a rollback."""
    ours, theirs = lineage(DELTA, "d", 3, at=70), lineage(ICE, "i", 70, at=5)
    assert relate((DELTA, "d", theirs), (ICE, "i", ours, 70)) == Continues(5, 70, False, True)
    # Iceberg 72 was made from Delta 6 and changes nothing
    ours = lineage(DELTA, "d", 6, at=72)
    found = relate((DELTA, "d", theirs), (ICE, "i", ours, 72), lambda _: False)
    assert found == Continues(6, 72, False, True)
