from __future__ import annotations

import copy
import pickle

import pytest

from parquedb.documents.entity import Entity

ALICE = {
    "$id": "users/1",
    "$type": "User",
    "name": "Alice",
    "version": 3,
    "email": "a@example.org",
    "items": [1, 2],
    "address": {"city": "Rome"},
}


def test_keys_are_attributes() -> None:
    alice = Entity(ALICE)
    assert alice.name == "Alice"
    assert alice.email == alice["email"] == "a@example.org"
    assert (alice.id, alice.type) == ("users/1", "User")
    assert alice.address == {"city": "Rome"}


def test_dict_methods_win() -> None:
    alice = Entity(ALICE)
    assert dict(alice.items()) == ALICE
    assert alice["items"] == [1, 2]
    assert alice.get("nothing") is None


def test_id_and_type_are_the_databases() -> None:
    entity = Entity({"$id": "users/1", "$type": "User", "id": 7, "type": "x"})
    assert (entity.id, entity.type, entity["id"], entity["type"]) == ("users/1", "User", 7, "x")


def test_a_missing_field_names_the_near_ones() -> None:
    alice = Entity(ALICE)
    with pytest.raises(AttributeError, match=r"User users/1 has no field 'emial'.*email"):
        _ = alice.emial
    with pytest.raises(AttributeError, match="has no id"):
        _ = Entity({"name": "x"}).id
    assert not hasattr(alice, "_repr_html_")
    assert not hasattr(alice, "__array__")


def test_attributes_cannot_be_assigned_or_deleted() -> None:
    alice = Entity(ALICE)
    with pytest.raises(AttributeError, match=r"collection\.update"):
        alice.email = "b"
    with pytest.raises(AttributeError, match=r"\$unset"):
        del alice.email
    alice["email"] = "b"
    assert alice.email == "b"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles(protocol: int) -> None:
    again = pickle.loads(pickle.dumps(Entity(ALICE), protocol))
    assert type(again) is Entity
    assert again == ALICE


def test_copies() -> None:
    alice = Entity(ALICE)
    for again in (copy.copy(alice), alice.copy()):
        assert type(again) is Entity
        assert again == alice
        assert again.address is alice.address
    deep = copy.deepcopy(alice)
    assert type(deep) is Entity
    assert deep == alice
    assert deep.address is not alice.address


def test_equality_is_a_dicts() -> None:
    assert Entity(ALICE) == ALICE
    assert Entity(ALICE) != {**ALICE, "name": "Bob"}


def test_repr_is_short() -> None:
    text = repr(Entity({**ALICE, **{f"field{n}": "x" * 1000 for n in range(100)}}))
    assert text.startswith("<User users/1: name='Alice', email='a@example.org', items=[1, 2], ")
    assert "… 100 more" in text
    assert len(text) < 300
    assert repr(Entity({})) == "<Entity>"


def test_names_are_completed() -> None:
    names = dir(Entity({**ALICE, "no identifier": 1}))
    assert {"email", "name", "keys", "id"} <= set(names)
    assert "no identifier" not in names
