"""From a plain statement to operations: the subject of each clause, and what it says about the subject. Pure."""

from __future__ import annotations

import re

from ._operations import Op, Who, link, people, put, title
from ._phrases import FILLER, NAME, RELATION, VERBS, clauses, expand
from ._predicates import DATES, said

_EMPLOYED = re.compile(r"(?:changed jobs|switched jobs|have a new job|got a new job)\b.*", re.IGNORECASE)
_NAMED = re.compile(
    r"(?:everyone |people |friends |please |you can |just )*(?:calls? me|my (?:full )?name is|i go by) (?P<v>.+)$",
    re.IGNORECASE,
)
_MY_LINK = re.compile(
    rf"(?i:my) (?P<rel>{RELATION}s?)(?:'s name)?(?: is| are| was)?(?: called| named)?,? "
    rf"(?P<names>{NAME}(?:(?:, and|,| and) {NAME})*)(?P<rest>$|,.*$)",
    re.DOTALL,
)
_MY_REL = re.compile(
    rf"(?i:my) (?P<rel>{RELATION}),? (?:(?P<name>{NAME}),? )?(?P<rest>(?:who )?(?:{VERBS}|[a-z]+s)\b .+)$"
)
_MY_RELS = re.compile(rf"my (?P<rel>{RELATION})'s (?P<key>[\w' -]{{2,50}}?) (?:is|are|was) (?P<v>.+)$", re.IGNORECASE)
_OF_MINE = re.compile(rf"(?P<name>{NAME}) is (?:my|our) (?P<rel>{RELATION})$")
_MY = re.compile(
    r"(?:my|our) (?P<key>[\w' /-]{2,60}?) (?:is|are|was|were|will be)(?P<not> not)? (?P<v>.+)$", re.IGNORECASE
)
_THEIRS = re.compile(rf"(?P<name>{NAME})'s? (?P<key>[\w' /-]{{2,50}}?) (?:is|are|was) (?P<v>.+)$")
_OTHER = re.compile(rf"(?P<name>{NAME}) (?P<rest>(?:{VERBS}|[a-z]+s)\b .+)$")
_NOT_NAMES = frozenset(
    "I It This That There These Those What Who Where When Why How He She They We You The A An My Our Today Tomorrow "
    "Yesterday If In On At But And So Please Yes No Well".split()
)


def _clause(text: str, last: Who | None) -> tuple[list[Op], Who | None]:
    """The operations of one clause, and whom "he" or "she" in the next one refers to."""
    if match := _NAMED.match(text):
        return [put("me", "Name", re.sub(r",.*", "", match["v"]))], last
    if match := _MY_LINK.match(text):
        ops = people("me", match["rel"], match["names"])
        more = re.match(r",? (?:an? )?(.+)", match["rest"] or "")
        name: Who = ops[0]["name"] if ops else match["names"]
        return ops + (said(name, "is a " + more[1]) if more and len(more[1].split()) < 6 else []), name
    if match := _MY_RELS.match(text):
        rel: Who = {"rel": title(match["rel"])}
        if match["key"] in ("name", "first name"):
            return people("me", match["rel"], match["v"]), match["v"]
        return [put(rel, match["key"], match["v"])], rel
    if match := _MY_REL.match(text):
        if match["name"]:
            ops = [link("me", match["rel"], match["name"])]
            return ops + said(match["name"], match["rest"]), match["name"]
        rel = {"rel": title(match["rel"])}
        if ops := said(rel, match["rest"]):
            return ops, rel
    if match := _OF_MINE.match(text):
        return [link("me", match["rel"], match["name"])], match["name"]
    if match := re.match(r"(?:he|she|they|it|who|which) (?P<rest>.+)$", text, re.IGNORECASE):
        return (said(last, match["rest"]) if last else []), last
    if match := re.match(
        r"(?:his|her|their|its) (?P<key>[\w' -]{2,50}?) (?:is|are|was) (?P<v>.+)$", text, re.IGNORECASE
    ):
        if last is None:
            return [], last
        made = people(last, match["key"], match["v"]) if re.fullmatch(RELATION, match["key"], re.IGNORECASE) else []
        return made or [put(last, match["key"], match["v"])], last
    if match := re.match(r"I (?P<rest>.+)$", text, re.IGNORECASE):
        if _EMPLOYED.match(match["rest"]):
            return [], last
        return said("me", match["rest"]), last
    if match := _MY.match(text):
        if match["not"]:
            return [], last
        return [
            put(
                "me",
                match["key"],
                match["v"],
                section=DATES if re.search(r"appointment|meeting|deadline|flight", match["key"], re.IGNORECASE) else "",
            )
        ], last
    if match := _THEIRS.match(text):
        if re.fullmatch(RELATION, match["key"], re.IGNORECASE) and (
            ops := people(match["name"], match["key"], match["v"])
        ):
            return ops, match["name"]
        return [put(match["name"], match["key"], match["v"])], match["name"]
    if (match := _OTHER.match(text)) and match["name"].split()[0] not in _NOT_NAMES:
        return said(match["name"], match["rest"]), match["name"]
    return [], last


def parse_facts(sentence: str, last: Who | None = None) -> tuple[list[Op], Who | None]:
    """The operations for a statement, and whom "he" or "she" after it refers to.

    There are no operations if no pattern matches the statement.

    Args:
        last: whom "he" or "she" in it refers to, from the sentence before.
    """
    ops: list[Op] = []
    for clause in clauses(FILLER.sub("", expand(sentence))):
        found, last = _clause(clause, last)
        ops += [op for op in found if op.get("value", op.get("name"))]
    return ops[:40], last
