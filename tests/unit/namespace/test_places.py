import pytest

from parquedb.errors import InvalidInputError
from parquedb.model.format import Format
from parquedb.namespace.places import Places, check_namespace


@pytest.mark.parametrize("name", ["users", "sales/orders", "a.b", "Ärger", "with space", "x-1_2"])
def test_good_names(name):
    assert check_namespace(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc",
        "../up",
        "a/../b",
        "a//b",
        ".",
        "_parquedb",
        ".git",
        "a/_b",
        "a\\b",
        "a\nb",
        " a",
        "a=1",
        "data",
        "metadata",
        "a\x00b",
        "users/",
    ],
)
def test_bad_names_say_what_is_wrong(name):
    with pytest.raises(InvalidInputError, match="is not a namespace name"):
        check_namespace(name)


def test_prefixes():
    places = Places(warehouse="/wh/", location="lake/delta")
    assert places.folder(Format.ICEBERG, "users") == "wh/users"
    assert places.folder(Format.DELTA, "users") == "lake/delta/users"
    assert places.folder(Format.NATIVE, "users") == "users"
