"""What a statement says about someone, from the verb on: "live in …", "have two …", "am allergic to …". Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from ._operations import Op, Who, link, people, put
from ._phrases import DATE, FILLER, NAME, NUMBER, RELATION

DATES = "Dates"
"""The section for appointments and the like."""

_BE = "(?:am|is|are|was|were) "
_I = re.IGNORECASE
_SIMPLE = [
    (r"(?:lives?|resides?|am living|is living) (?:in|at|on|near) (?P<v>.+)", "Lives In", "set"),
    (r"(?:have |has )?(?:moved|relocated)(?: back| permanently| house)?(?: from .+?)? to (?P<v>.+)", "Lives In", "set"),
    (r"(?:am moving|is moving|will move) to (?P<v>.+)", "Moving To", "set"),
    (r"(?:have |has )?(?:turned|am turning) (?P<v>\d{1,3})\b.*", "Age", "set"),
    (r"(?:comes?|hails?|originates?) from (?P<v>.+)", "Hometown", "set"),
    (r"grew up in (?P<v>.+)", "Grew Up In", "set"),
    (r"speaks? (?:fluent(?:ly)? )?(?P<v>(?-i:[^\W\d_a-z]).+)", "Languages Spoken", "add"),
    (r"(?:do not|does not|cannot) (?:like|stand|eat|enjoy|tolerate|drink) (?P<v>.+)", "Dislikes", "add"),
    (r"(?:likes?|loves?|enjoys?|adores?)(?: to)? (?P<v>.+)", "Likes", "add"),
    (r"(?:hates?|dislikes?|detests?|despises?)(?: to)? (?P<v>.+)", "Dislikes", "add"),
    (r"(?:would )?prefers? (?P<v>.+)", "Prefers", "add"),
    (r"(?:study|studies|am studying|is studying|studied|majored in|am majoring in) (?P<v>.+)", "Studies", "set"),
    (r"graduated (?:from|in) (?P<v>.+)", "Graduated", "set"),
    (r"plays? (?:the )?(?P<v>.+)", "Plays", "add"),
    (r"collects? (?P<v>.+)", "Collects", "add"),
    (r"owns? (?P<v>.+)", "Owns", "add"),
    (r"drives? (?P<v>.+)", "Drives", "add"),
    (r"teach(?:es)? (?P<v>.+)", "Teaches", "add"),
    (r"wears? (?P<v>.+)", "Wears", "add"),
    (r"weighs? (?P<v>.+)", "Weight", "set"),
    (r"(?:makes?|produces?|sells?|builds?) (?P<v>.+)", "Makes", "add"),
    (r"(?:have |has )?(?:started|joined) (?P<v>(?-i:[^\W\d_a-z]).+)", "Joined", "set"),
    (r"goes? by (?P<v>.+)", "Nickname", "set"),
    (_BE + r"(?P<v>\d{1,3})(?: years? old)?", "Age", "set"),
    (_BE + r"(?:very |deathly |severely |highly )?allergic to (?P<v>.+)", "Allergies", "add"),
    (_BE + r"(?P<v>(?:happily )?(?:married|single|divorced|widowed|engaged)(?! to\b)\b.*)", "Marital Status", "set"),
    (
        _BE + r"(?:an? )?(?P<v>(?:vegan|vegetarian|pescatarian|lactose intolerant|gluten free|coeliac)\b.*)",
        "Diet",
        "set",
    ),
    (_BE + r"(?:originally )?from (?P<v>.+)", "Hometown", "set"),
    (_BE + r"(?:interested in|into|fond of|keen on|passionate about|a (?:big )?fan of) (?P<v>.+)", "Likes", "add"),
    (_BE + r"(?:afraid|scared|terrified) of (?P<v>.+)", "Afraid Of", "add"),
    (_BE + r"known for (?P<v>.+)", "Known For", "set"),
    (_BE + r"(?:called|named) (?P<v>.+)", "Name", "set"),
    (_BE + r"(?:located|based|headquartered) (?:in|at|on) (?P<v>.+)", "Location", "set"),
    (_BE + r"(?P<v>\d[\d.,]* ?(?:cm|m|feet|ft|metres?|meters?))(?: (?:tall|high))?", "Height", "set"),
    (_BE + r"(?P<v>\d[\d.,]* ?(?:km|m|metres?|meters?|miles?)) long", "Length", "set"),
]  # pattern, key, and whether its value replaces the old one ("set") or is added to it ("add")
_PLAIN = [(re.compile(pattern + "$", _I), key, how) for pattern, key, how in _SIMPLE]
_PET = re.compile(
    r"(?:an? )?(?:\w+ )?(?:dog|cat|puppy|kitten|parrot|rabbit|hamster|horse|bird|turtle|pony|snake|guinea pig)s?\b.*",
    _I,
)
_EVENT = re.compile(rf"(?:an? |my )?(?P<what>[\w' -]{{3,60}}?) (?:is )?(?:on|at|in|for) (?P<date>{DATE}.*)$", _I)
_KIN = re.compile(
    rf"(?:an? |(?:{NUMBER}) )?(?P<rel>{RELATION}s?)(?:,| who is|:)? (?:called |named |whose name is )?"
    rf"(?P<names>{NAME}(?:(?:,| and|, and) {NAME})*)$"
)
_COUNT = re.compile(rf"(?P<n>{NUMBER}) (?:(?P<years>years? of )(?P<of>.+)|(?P<what>[a-z][\w' -]*))$", _I)
_PASSING = re.compile(
    r"(?:to|been|had|done|got|never|no idea|a (?:question|problem|great|nice|good|bad)|just|gone|seen|made|started)\b",
    _I,
)
_VAGUE = re.compile(r"\b(?:bit|lot|little|person|mess|fan|day|good|great|bad|same|one)\b", _I)


def _work(who: Who, m: re.Match[str]) -> list[Op]:
    """ "work as a … at … in …": the job, the employer (which gets its own note if it has a name), the place."""
    ops = [put(who, "Occupation", m["job"])] if m["job"] else []
    place = re.sub(r"^(?:the|an?) ", "", m["place"] or "")
    if re.match(r"[^\W\d_a-z]|\d", place):
        ops.append(link(who, "Works At", place, kind="Organization", back="Employee"))
    elif place:
        ops.append(put(who, "Works At", place))
    return [*ops, put(who, "Based In", m["city"])] if m["city"] else ops


def _have(who: Who, m: re.Match[str]) -> list[Op]:
    """ "have …": an appointment, relatives by name, a number of things, a pet, or a thing."""
    what = m["what"].strip()
    if found := _EVENT.match(what):
        return [put(who, found["what"], found["date"], section=DATES)]
    if found := _KIN.match(what):
        return people(who, found["rel"], found["names"])
    if found := _COUNT.match(what):
        thing = f"years of {found['of']}" if found["years"] else found["what"]
        return [put(who, "children" if thing in ("kids", "kid", "child") else thing, found["n"])]
    if _PET.match(what):
        return [put(who, "Pet", what, "add")]
    if not _PASSING.match(what) and len(what.split()) <= 6 and re.match(r"[\w' -]+$", what):
        return [put(who, "Has", what, "add")]
    return []


def _born(who: Who, m: re.Match[str]) -> list[Op]:
    """ "was born in … on …": year, date and place, as far as given."""
    ops = []
    for part in re.split(r" (?:on|in) ", m["v"]):
        if re.fullmatch(r"\d{4}", part):
            ops.append(put(who, "Birth Year", part))
        else:
            ops.append(put(who, "Birthday" if re.match(DATE + "$", part, _I) else "Birthplace", part))
    return ops


def _made(who: Who, m: re.Match[str]) -> list[Op]:
    """ "was founded in 1999", "is run by Carol": the participle is the key."""
    return [put(who, f"{m['verb']} By" if m["prep"] == "by" else m["verb"], m["v"])]


def _name_or_job(who: Who, m: re.Match[str]) -> list[Op]:
    """ "am Ada", "is a nurse at …", and for other people any short predicate."""
    what = m["what"]
    if who == "me" and re.fullmatch(NAME, what) and len(what.split()) <= 4:
        return [put(who, "Name", what)]
    if (job := _JOB.match(what)) and not _VAGUE.search(job["job"]):
        return _work(who, job)
    if who != "me" and re.match(r"[\w' -]{2,80}$", what) and len(what.split()) <= 8:
        return [put(who, "About", what, "add")]
    return []


_JOB = re.compile(
    rf"(?:working as )?(?:an? |the )(?P<job>[\w' /-]{{3,60}}?)(?: (?:at|for|with) (?P<place>.+?))?"
    rf"(?: in (?P<city>{NAME}))?$",
    _I,
)
_WORKS = (
    r"(?:(?:have |has )?(?:started |begun )?)(?:works?|working|am working|is working|am employed|is employed)"
    rf"(?: as (?:an? |the )?(?P<job>.+?))?(?: (?:at|for|with) (?P<place>.+?))?(?: in (?P<city>{NAME}))?"
)
_MADE = (
    _BE + r"(?P<verb>founded|established|built|created|opened|owned|made|run|managed) (?P<prep>in|by|at|on) (?P<v>.+)"
)
_SPECIAL: list[tuple[re.Pattern[str], Callable[[Who, re.Match[str]], list[Op]]]] = [
    (re.compile(_BE + r"born (?:and raised )?(?:on|in) (?P<v>.+)$", _I), _born),
    (re.compile(_BE + rf"(?:married|engaged) to (?P<v>{NAME})", _I), lambda who, m: [link(who, "Spouse", m["v"])]),
    (re.compile(_MADE + "$", _I), _made),
    (re.compile(_BE + r"not .*", _I), lambda who, m: []),
    (re.compile(_BE + r"(?P<what>.+)$", _I), _name_or_job),
    (re.compile(r"(?:have got|has got|have|has|got) (?P<what>.+)$", _I), _have),
]
_ANY_VERB = re.compile(r"(?P<verb>[a-z]+s)(?P<prep> (?:in|at|on|for|with|to|from|of|about|as))? (?P<v>.+)$")


def said(who: Who, rest: str) -> list[Op]:
    """The operations for what *who* does, is or has; *rest* begins with the verb."""
    rest = FILLER.sub("", re.sub(r"^who ", "", rest)).strip()
    if (match := re.fullmatch(_WORKS, rest, _I)) and (ops := _work(who, match)):
        return ops
    for pattern, key, how in _PLAIN:
        if match := pattern.match(rest):
            return [put(who, key, match["v"], how)]
    for pattern, make in _SPECIAL:
        if match := pattern.match(rest):
            return make(who, match)
    match = _ANY_VERB.match(rest)
    if who != "me" and match and len(rest.split()) <= 12:
        return [put(who, match["verb"] + (match["prep"] or ""), match["v"], "add")]
    return []
