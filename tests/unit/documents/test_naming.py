from __future__ import annotations

import pytest

from parquedb.documents.naming import namespace_of, type_of


@pytest.mark.parametrize(
    ("name", "namespace", "type_name"),
    [
        ("User", "users", "User"),
        ("Users", "users", "User"),
        ("BlogPost", "blog_posts", "BlogPost"),
        ("BlogPosts", "blog_posts", "BlogPost"),
        ("Category", "categories", "Category"),
        ("Categories", "categories", "Category"),
        ("Address", "addresses", "Address"),
        ("Status", "statuses", "Status"),
        ("Box", "boxes", "Box"),
        ("Day", "days", "Day"),
        ("House", "houses", "House"),
        ("Database", "databases", "Database"),
        ("Movies", "movies", "Movie"),
        ("Person", "people", "Person"),
        ("Children", "children", "Child"),
        ("Series", "series", "Series"),
        ("Data", "data", "Data"),
        ("URLs", "urls", "Url"),
        ("APIKey", "api_keys", "ApiKey"),
        ("HTTPRequests", "http_requests", "HttpRequest"),
        ("Web3Event", "web3_events", "Web3Event"),
        ("Ärzte", "ärztes", "Ärzte"),
    ],
)
def test_types_and_namespaces(name: str, namespace: str, type_name: str) -> None:
    assert namespace_of(name) == namespace
    assert type_of(namespace) == type_name
    assert namespace_of(type_name) == namespace


@pytest.mark.parametrize("name", ["users", "user", "userProfiles", "sales/orders", "x", "_x", "42"])
def test_other_names_are_literal(name: str) -> None:
    assert namespace_of(name) == name


def test_only_the_last_part_counts() -> None:
    assert namespace_of("sales/Order") == "sales/orders"
    assert namespace_of("Sales/Order") == "Sales/orders"
    assert type_of("sales/orders") == "Order"
    assert type_of("user-profiles") == "UserProfile"
    assert type_of("userProfiles") == "UserProfile"
    assert type_of("___") == "___"
