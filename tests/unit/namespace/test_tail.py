"""The tail: documents come as dicts or as JSON and go out as dicts."""

from hypothesis import given
from hypothesis import strategies as st

from parquedb.namespace import tail as module
from parquedb.namespace.entry import Entry, Write
from parquedb.namespace.tail import Tail
from parquedb.rows.jsonform import encode_document

IDS = ("users/a", "users/b", "users/c")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.dictionaries(st.sampled_from(IDS), st.integers(-1, 5))),
        st.tuples(st.just("drop"), st.integers(0, 12)),
        st.tuples(st.sampled_from(("get", "overlay", "entries")), st.sampled_from(IDS)),
    ),
    max_size=12,
)


def kept(id_, n, *, as_text):
    """A document as it comes; none where ``n`` is negative."""
    if n < 0:
        return None
    document = {"$id": id_, "n": n, "tags": ["x"]}
    return encode_document(document) if as_text else document


def model(writes, *, through=0, until=1000):
    """What a tail of these writes holds."""
    found = {}
    for number, write in writes:
        if through < number <= until:
            found |= {id_: kept(id_, n, as_text=False) for id_, n in write.items()}
    return found


@given(STEPS, st.lists(st.booleans(), min_size=12, max_size=12), st.integers(0, 12))
def test_a_tail_holds_what_was_written(steps, as_text, until):
    tail, writes, dropped = Tail(), [], 0
    for (step, argument), text in zip(steps, as_text, strict=False):
        if step == "write":
            number = len(writes) + 1
            documents = {id_: kept(id_, n, as_text=text) for id_, n in argument.items()}
            tail.append(Entry(number, number, "", Write(documents)))
            writes.append((number, argument))
        elif step == "drop":
            tail.drop(argument)
            dropped = max(dropped, min(argument, len(writes)))
        elif step == "get":
            assert tail.get(argument) == model(writes, through=dropped).get(argument)
        elif step == "overlay":
            shown = tail.overlay()
            assert shown == model(writes, through=dropped)
        else:
            assert all(
                not isinstance(document, bytes)
                for entry in tail.entries
                for document in entry.body.documents.values()
            )
    wanted = model(writes, through=dropped)
    assert tail.until(until).overlay() == model(writes, through=dropped, until=until)
    assert tail.overlay() == wanted
    assert [entry.number for entry in tail.entries] == list(range(dropped + 1, len(writes) + 1))
    assert tail.documents == len(wanted)


def test_what_was_given_out_never_changes():
    tail = Tail()
    for number in (1, 2, 3):
        before = tail.overlay()
        held = dict(before)
        text = encode_document({"$id": "users/a", "n": number})
        tail.append(Entry(number, number, "", Write({"users/a": text})))
        assert before == held
        assert tail.get("users/a") == {"$id": "users/a", "n": number}
    assert tail.overlay() == {"users/a": {"$id": "users/a", "n": 3}}


def test_a_text_is_parsed_once(monkeypatch):
    parsed = []
    decode = module.decode_document
    monkeypatch.setattr(module, "decode_document", lambda t: parsed.append(t) or decode(t))
    tail = Tail()
    for number in range(1, 21):
        text = encode_document({"$id": f"users/{number}", "n": number})
        tail.append(Entry(number, number, "", Write({f"users/{number}": text})))
        assert not parsed
    for _ in range(3):
        assert len(tail.overlay()) == 20
        assert len(tail.until(10).overlay()) == 10
    assert len(parsed) == 20
