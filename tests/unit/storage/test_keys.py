from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.errors import InvalidInputError
from parquedb.storage.keys import (
    check_key,
    encode_path,
    has_scheme,
    join,
    key_of,
    local_path_of,
    uri_of,
)

ROOT = "file:///srv/lake"


@pytest.mark.parametrize(
    "location",
    [
        "file:///srv/lake/users/a.parquet",
        "file:/srv/lake/users/a.parquet",
        "file://localhost/srv/lake/users/a.parquet",
        "/srv/lake/users/a.parquet",
        "file:////srv/lake//users/a.parquet",
    ],
)
def test_ways_to_write_a_location(location: str) -> None:
    assert key_of(ROOT, location) == "users/a.parquet"


@pytest.mark.parametrize("location", ["file:///srv/lake/users/", "/srv/lake/users"])
def test_a_slash_at_the_end_is_no_part(location: str) -> None:
    assert key_of(ROOT, location) == "users"
    assert key_of(ROOT + "/", location) == "users"


@pytest.mark.parametrize(
    "location",
    [
        "file:///srv/lake",
        "file:///srv/lake2/users",
        "file:///srv/lake/../secret",
        "file:///srv/lake/users/../../x",
        "file:///etc/passwd",
        "file://host/srv/lake/users",
        "file:srv/lake/users",
        "s3://srv/lake/users",
        "users/a.parquet",
        "",
        "file:///srv/lake/a\0b",
        "hdfs:///srv/lake/users",
    ],
)
def test_locations_outside(location: str) -> None:
    assert key_of(ROOT, location) is None


def test_other_schemes() -> None:
    for scheme in ("s3", "s3a", "s3n"):
        assert key_of("s3://bucket/lake", f"{scheme}://bucket/lake/users/a") == "users/a"
    assert key_of("s3://bucket/lake", "s3://bucket2/lake/users/a") is None
    assert key_of("memory://x", "memory://x/users/a") == "users/a"
    assert key_of("memory://x", "memory://xy/users/a") is None


def test_percent_signs_are_literal_unless_encoded() -> None:
    assert key_of(ROOT, f"{ROOT}/a%20b/50%25") == "a%20b/50%25"
    assert key_of(ROOT, f"{ROOT}/a%20b/50%25", encoded=True) == "a b/50%"
    assert key_of(ROOT, f"{ROOT}/%2e%2e/secret", encoded=True) is None
    assert key_of("file:///srv/a b", "file:///srv/a%20b/x", encoded=True) == "x"


def test_a_root_that_is_reached_through_links(tmp_path: Path) -> None:
    real = tmp_path / "private" / "lake"
    real.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "private")
    (real / "inner").symlink_to("/etc")
    root = f"file://{real}"
    assert key_of(root, f"file://{tmp_path}/link/lake/users/a") == "users/a"
    assert key_of(root, f"{tmp_path}/link/lake/users") == "users"
    # a link below the root is a name like others
    assert key_of(root, f"file:{tmp_path}/link/lake/inner/passwd") == "inner/passwd"
    assert key_of(root, f"{tmp_path}/link/other/x") is None
    assert key_of(root, f"{tmp_path}/link/lake/../x") is None


def test_local_paths() -> None:
    assert local_path_of("file:///a b#c?d%20") == "/a b#c?d%20"
    assert local_path_of("file:/a") == "/a"
    assert local_path_of("file://localhost/a") == "/a"
    assert local_path_of("file://localhostess/a") is None
    assert local_path_of("/a") is None


names = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/\\"), min_size=1
).filter(lambda name: name not in (".", ".."))


@given(st.lists(names, min_size=1, max_size=4))
def test_keys_survive_their_uri(parts: list[str]) -> None:
    key = check_key("/".join(parts))
    for root in ("file:///srv/lake", "memory://x", "s3://b/p"):
        assert key_of(root, uri_of(root, key)) == key
        if root != "file:///srv/lake":
            continue
        assert key_of(root, f"{root}/{encode_path(key)}", encoded=True) == key


@given(st.text())
def test_checked_keys_stay_below(key: str) -> None:
    try:
        checked = check_key(key)
    except InvalidInputError:
        return
    assert checked == key
    assert ".." not in key.split("/")
    assert not key.startswith("/")
    assert Path("/root", key).is_relative_to("/root")


def test_join() -> None:
    assert join("a", "", "b/c") == "a/b/c"
    assert join("", "") == ""


def test_has_scheme() -> None:
    assert has_scheme("s3://x")
    assert has_scheme("file:/x")
    assert not has_scheme("/a:b")
    assert not has_scheme("a/b:c")


def test_encoded_paths_are_uris() -> None:
    assert encode_path("a b/50%/k=v/ü#?") == "a%20b/50%25/k=v/%C3%BC%23%3F"
