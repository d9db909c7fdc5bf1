"""The changes to the notes, as plain data for the block. Pure.

An operation is ``{"op": …}``; its ``who`` is ``"me"``, a name, or ``{"rel": "Sister"}`` for a person known only by the
relation to the user.
"""

from __future__ import annotations

import re
from typing import Any

from ._phrases import NAME, RELATIONS, clean
from .library._words import stems

Op = dict[str, Any]
Who = str | dict[str, str]

_ONLY_ONE = frozenset(
    "mother father mom mum dad wife husband spouse partner girlfriend boyfriend fiance fiancee boss "
    "manager supervisor employer "
    "landlord company school".split()
)
_ORGANISATIONS = {"employer", "company", "school", "client"}
_KEYS = [
    [sorted(stems(key)) for key in row.split(",")]
    for row in """\
name,full name
lives in,city,home,residence,location,home city,current city,lives,residence city
occupation,profession,job,job title,position,employment title,role,current role
works at,employer,workplace,company,works for
languages spoken,languages,language,language spoken,speaks,fluent languages
hometown,home town,origin
birthday,date of birth,birth date,birthdate
pet,pets
hobbies,hobby,interests
likes,loves,enjoys
dislikes,hates
allergies,allergy,allergic to
children,kids,number of children,child count
marital status,family status,married,relationship status
diet,food preference,dietary preference
phone,phone number,contact number,telephone,mobile
email,email address
years of experience,experience years,years experience,experience
mother,mom,mum
father,dad
spouse,wife,husband
founded,founded year,year founded,established,established year,year established,founding year""".splitlines()
]


def title(key: str) -> str:
    """A key as written in notes: "favourite food" becomes "Favourite Food"."""
    words = re.sub(r"[^\w\s'/-]", " ", key).split()[:8]
    return " ".join(word if any(c.isupper() for c in word) else word[:1].upper() + word[1:] for word in words)


def same_keys(key: str) -> list[list[str]]:
    """The keys, as sorted stems, under which a note may already hold this fact."""
    own = sorted(stems(key))
    return next((row for row in _KEYS if own in row), [own])


def listed(value: str) -> str:
    """A list of several items with commas only: "a, b and c" becomes "a, b, c"."""
    return re.sub(r",? and (?=[^,]*$)", ", ", value) if "," in value else value


def put(who: Who, key: str, value: str, how: str = "set", section: str = "") -> Op:
    """Write ``key: value``, replacing the note's value under a key of the same meaning."""
    value = listed(clean(value)) if how == "add" else clean(value)
    made = {"op": "put", "who": who, "key": title(key), "value": value, "how": how, "alias": same_keys(key)}
    return made | ({"section": section} if section else {})


def link(who: Who, key: str, name: str, kind: str = "Person", back: str = "") -> Op:
    """Write a link to the note of *name*, and one back; adds another link if there may be several of the kind."""
    word = key.split()[-1].lower()
    how = "set" if back or word in _ONLY_ONE else "add"
    kind = "Organization" if word in _ORGANISATIONS else kind
    made = {"op": "link", "who": who, "key": title(key), "name": clean(name), "how": how, "alias": same_keys(key)}
    return made | {"type": kind, "back": back or f"{title(key)} Of"}


def people(who: Who, key: str, names: str) -> list[Op]:
    found = [n.strip() for n in re.split(r",\s*(?:and )?|\s+and\s+", names) if re.fullmatch(NAME, n.strip())]
    key = key.rstrip("s") if len(found) > 1 or (key.endswith("s") and key.rstrip("s").split()[-1] in RELATIONS) else key
    return [link(who, key, name) for name in found]
