"""Namespaces of types and types of namespaces: ``User`` ↔ ``users``, ``BlogPost`` ↔ ``blog_posts``.

A name that begins with an upper-case letter is a type's or a collection's attribute: its words are
joined by ``_`` in lower case and the last is put in the plural, unless it is one (``db.User`` and
``db.Users`` are ``users``). Any other name is a namespace and is taken literally.
"""

from __future__ import annotations

_UNCOUNTABLE = frozenset(
    {
        "analytics",
        "audio",
        "data",
        "equipment",
        "feedback",
        "fish",
        "hardware",
        "information",
        "media",
        "metadata",
        "money",
        "news",
        "series",
        "sheep",
        "software",
        "species",
        "staff",
        "traffic",
    }
)
_IRREGULAR = {
    "alias": "aliases",
    "analysis": "analyses",
    "atlas": "atlases",
    "axis": "axes",
    "bias": "biases",
    "cache": "caches",
    "calorie": "calories",
    "canoe": "canoes",
    "canvas": "canvases",
    "child": "children",
    "cookie": "cookies",
    "crisis": "crises",
    "criterion": "criteria",
    "diagnosis": "diagnoses",
    "echo": "echoes",
    "foot": "feet",
    "gas": "gases",
    "goose": "geese",
    "half": "halves",
    "hero": "heroes",
    "hypothesis": "hypotheses",
    "knife": "knives",
    "leaf": "leaves",
    "lens": "lenses",
    "life": "lives",
    "man": "men",
    "mouse": "mice",
    "movie": "movies",
    "niche": "niches",
    "person": "people",
    "pie": "pies",
    "potato": "potatoes",
    "quiz": "quizzes",
    "shelf": "shelves",
    "shoe": "shoes",
    "synopsis": "synopses",
    "thesis": "theses",
    "tie": "ties",
    "tomato": "tomatoes",
    "tooth": "teeth",
    "use": "uses",
    "wolf": "wolves",
    "woman": "women",
    "zombie": "zombies",
}
_SINGULAR = {plural: singular for singular, plural in _IRREGULAR.items()}


def namespace_of(name: str) -> str:
    """Return the namespace of a type, a collection's attribute or a namespace.

    ``User`` and ``Users`` are ``users``, ``BlogPost`` is ``blog_posts``, ``Category`` is
    ``categories``; ``users`` and ``userProfiles`` stay as they are. Of ``sales/Order`` only the
    last part is looked at.
    """
    above, slash, last = name.rpartition("/")
    if not last[:1].isupper():
        return name
    words = [word.lower() for word in _words(last)]
    words[-1] = _plural(_singular(words[-1]))
    return f"{above}{slash}{'_'.join(words)}"


def type_of(namespace: str) -> str:
    """Return the type of a namespace's documents.

    ``users`` holds ``User``, ``blog_posts`` ``BlogPost``, ``addresses`` ``Address`` and
    ``sales/orders`` ``Order``.
    """
    words = _words(namespace.rpartition("/")[2]) or [namespace]
    words[-1] = _singular(words[-1])
    return "".join(word[:1].upper() + word[1:] for word in words)


def _words(name: str) -> list[str]:
    """Split at ``_``, ``-``, ``.`` and blanks and where a word begins with an upper-case letter."""
    words: list[str] = []
    start = 0
    for at in range(len(name) + 1):
        if at == len(name) or name[at] in "_-. ":
            words.append(name[start:at])
            start = at + 1
        elif at > start and name[at].isupper() and _begins_word(name, at):
            words.append(name[start:at])
            start = at
    return [word for word in words if word]


def _begins_word(name: str, at: int) -> bool:
    """Say whether an upper-case letter begins a word: after a lower-case one, or ``APIKey``."""
    if not name[at - 1].isupper():
        return True
    after = name[at + 1 : at + 3]
    return after[:1].islower() and not (after[0] == "s" and not after[1:].islower())


def _plural(word: str) -> str:
    if word in _UNCOUNTABLE:
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    return f"{word}s"


def _singular(word: str) -> str:
    lower = word.lower()
    if lower in _UNCOUNTABLE or lower in _IRREGULAR:
        return word
    if lower in _SINGULAR:
        return word[:1] + _SINGULAR[lower][1:]
    if not lower.endswith("s") or lower.endswith(("ss", "us", "is")):
        return word
    if lower.endswith("ies") and len(lower) > 4:
        return f"{word[:-3]}y"
    if lower.endswith(("sses", "ches", "shes", "xes", "zzes")):
        return word[:-2]
    if lower.endswith("uses") and lower[-5:-4] not in {"o", "a"}:
        return word[:-2]
    return word[:-1]
