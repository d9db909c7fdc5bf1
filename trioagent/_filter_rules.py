"""``<filter>`` rules that programs append to a message: which of them code enforces, and which only the model can.

The programs of the memory-agent family end a message with ``<filter>`` and rules in plain words, such as "Do not reveal
e-mail addresses" or "Never mention [[entities/ada]]". Code can enforce a rule that names notes, quotes words, or
speaks of values with a recognisable format, such as an e-mail address. All rules reach the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import attrs

from ._chat_filter import ChatFilter
from ._redaction import Rule

INSTRUCTION = (
    "The rules in <filter> are the user's, and bind your reply: what they withhold must not be in it, nor hinted at, "
    "whatever the question is. Answer what the rules allow, and say of the rest only that you cannot share it."
)

_FILTER = re.compile(r"<\s*filters?\s*>(.*?)(?:<\s*/\s*filters?\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d{1,3}[.):]|\(?[a-z][.)])\s+", re.IGNORECASE)
_FORBIDS = re.compile(
    r"\b(?:not|never|no|avoid|hide|withhold|conceal|redact|exclude|omit|remove|mask|obfuscate|block|forbid\w*|prohibit\w*|"
    r"secret|private|confidential|without|cannot|can't|don't|mustn't|shouldn't|refuse|refrain)\b",
    re.IGNORECASE,
)
_ALLOWS = re.compile(r"\b(?:only|except|unless|instead|allowed|but|may(?! not)|can(?!not|'t| not))\b", re.IGNORECASE)
_WIKI_LINK = re.compile(r"\[\[([^\[\]|#^]+)[^\[\]]*\]\]")
_PATH = re.compile(r"(?<![\w/.@:])((?:[\w.-]+/)+[\w.-]*|[\w-]+\.md)(?![\w/])")
_QUOTED = re.compile(r"\"([^\"\n]{2,})\"|“([^”\n]{2,})”|(?<!\w)'([^'\n]{2,})'(?!\w)|`([^`\n]{2,})`|«([^»\n]{2,})»")

_MONTHS = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE = (
    rf"\b(?:\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}|\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{2,4}}|"
    rf"\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTHS}\.?,?(?:\s+\d{{4}})?|{_MONTHS}\.?\s+\d{{1,2}}(?:st|nd|rd|th)?(?:,?\s+\d{{4}})?)\b"
)
_AMOUNT = (
    r"(?:[$€£¥₹]\s?\d[\d.,' ]*\d?\s?(?:k|m|bn|million|billion)?\b|"
    r"\b\d[\d.,' ]*\s?(?:k\s)?(?:dollars?|euros?|pounds?|yen|rupees?|usd|eur|gbp|jpy|chf|inr|cad|aud)\b|"
    r"\b(?:usd|eur|gbp|jpy|chf|inr|cad|aud)\s?\d[\d.,' ]*)"
)
_SHAPES: Mapping[str, tuple[str, str]] = {
    "e-mail addresses": (
        r"\be-?mails?\b",
        r"[\w.+-]+\s*(?:@|\(at\)|\[at\]|\s+at\s+)\s*[\w-]+(?:\s*(?:\.|\(dot\)|\s+dot\s+)\s*[\w-]+)+",
    ),
    "phone numbers": (
        r"\b(?:phone|telephone|mobile|cell(?:phone)?|contact)\b[^.;]*\b(?:numbers?|details?|info\w*)\b|\bphones?\b",
        r"(?<!\w)\+?\(?\d[\d\s().\-/]{5,}\d(?!\w)",
    ),
    "ages": (
        r"\bages?\b|\bhow old\b",
        r"\b\d{1,3}(?:\.5)?[\s-]*(?:years?|yrs?|y/?o|months?)(?:[\s-]*(?:old|of[\s-]+age))?\b|"
        r"\bage[ds]?\b\W{0,6}(?:is|was|of|at)?\W{0,4}\d{1,3}\b|\b(?:turn(?:s|ed|ing)?|is|was)\s+\d{1,3}\b(?!\s*[%\w.,]*\d)(?:[\s-]*(?:years?|yrs?)(?:[\s-]*old)?\b)?",
    ),
    "dates": (r"\bdates?\b|\bbirth\s?days?\b|\bdob\b|\bborn\b", _DATE),
    "years": (r"\byears?\b|\bdates? of birth\b|\bbirth\s?(?:years?|days?)\b|\bdob\b", r"\b(?:18|19|20)\d{2}\b"),
    "amounts of money": (
        r"\b(?:money|salar\w+|incomes?|wages?|earn\w*|pay(?:ment)?s?|price\w*|costs?|financ\w+|amounts?|budget\w*|"
        r"net worth|balances?|debts?)\b",
        _AMOUNT,
    ),
    "card and account numbers": (
        r"\b(?:card|account|iban|bank\w*)\b",
        r"\b(?:\d[ -]?){12,18}\d\b|\b[A-Z]{2}\d{2}(?:\s?[A-Z0-9]{4}){2,7}\s?[A-Z0-9]{0,4}\b",
    ),
    "identity numbers": (
        r"\b(?:ssn|social security|passport|licen[cs]e|id(?:entity)?|tax)\b",
        r"\b\d{3}[- ]\d{2}[- ]\d{4}\b|\b[A-Z]{1,3}\d{6,9}[A-Z]?\b|\b\d{8,12}\b",
    ),
    "passwords and keys": (
        r"\b(?:pass(?:word|code|phrase)s?|credential\w*|api keys?|secret keys?|tokens?|pins?|logins?)\b",
        r"(?:pass(?:word|code|phrase)|api[ _-]?key|secret|token|pin|login)\w*[^\w\n]{1,6}(?:(?:is|was)\s+)?\S+|"
        r"\b(?:sk|pk|ghp|xox\w)[-_][\w-]{8,}",
    ),
    "web addresses": (r"\b(?:urls?|links?|websites?|web\s?(?:sites?|addresses))\b", r"\b(?:https?://|www\.)\S+"),
    "IP addresses": (r"\bip\b", r"\b(?:\d{1,3}\.){3}\d{1,3}\b|\b(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{1,4}\b"),
    "street addresses": (
        r"\b(?:street|home|postal|mailing|house)?\s?addresse?s?\b",
        r"\b\d{1,5}[a-z]?\s+(?:[A-Z][\w'.-]*\s+){1,4}(?:st(?:reet)?|ave(?:nue)?|r(?:oa)?d|lane|ln|drive|dr|court|ct|square|sq|"
        r"boulevard|blvd|way|place|pl|terrace)\b\.?|\b[A-Z][\w'-]*(?:straße|strasse|str\.|gasse|weg|platz)\s+\d{1,4}[a-z]?\b|"
        r"\b\d{5}(?:-\d{4})?\b(?=\s+[A-Z])",
    ),
    "numbers": (r"\b(?:numbers?|digits?|numeric\w*|figures)\b(?!\s+of)", r"\d+"),
}
_OWN_NUMBERS = ("phone numbers", "card and account numbers", "identity numbers")


@attrs.frozen(kw_only=True)
class FilterRules:
    """The parsed rules of a message.

    Attributes:
        rules: each rule, as it was written.
        enforced: the rules that code enforces, with what each withholds.
        chat_filter: for `Agent.chat`; its instruction gives all of the rules to the model.
    """

    rules: tuple[str, ...]
    enforced: Mapping[str, tuple[str, ...]]
    chat_filter: ChatFilter

    @property
    def unenforced(self) -> tuple[str, ...]:
        """The rules that only the model can follow."""
        return tuple(rule for rule in self.rules if rule not in self.enforced)


def filter_of(message: str, besides: ChatFilter | None = None) -> FilterRules | None:
    """Parse the ``<filter>`` in a message; None if it has none, or one without rules.

    From the point where a rule says what may be told ("only", "except"), only the model can follow it: code does not
    guess.

    Args:
        message: the user's message.
        besides: a filter that applies in any case; the message's rules only add to it.
    """
    rules = tuple(rule for match in _FILTER.finditer(message) for rule in _rules(match[1]))
    if not rules:
        return None
    enforced: dict[str, tuple[str, ...]] = {}
    redact: dict[str, Rule] = {}
    withheld: list[str] = []
    for rule in rules:
        forbidden = _forbidden(rule)
        notes = list(dict.fromkeys(_notes(forbidden)))
        texts = dict.fromkeys(_quoted(forbidden))
        shapes = dict(_shapes(_QUOTED.sub("", _WIKI_LINK.sub("", forbidden))))
        withheld += notes
        redact |= {f"{text!r}": text for text in texts}
        redact |= {name: re.compile(shape, re.IGNORECASE) for name, shape in shapes.items()}
        if found := (*notes, *map(repr, texts), *shapes):
            enforced[rule] = found
    readable = tuple(f"!{glob}" for glob in dict.fromkeys(withheld)) or ("**",)
    chat_filter = ChatFilter(readable=readable, redact=redact, instruction=INSTRUCTION)
    if besides is not None:
        exceptions = (glob for glob in readable if glob.startswith("!"))
        chat_filter = attrs.evolve(
            besides,
            readable=(*besides.readable, *exceptions),
            redact=(*besides.redact, *chat_filter.redact),
            instruction=f"{besides.instruction}\n\n{INSTRUCTION}".strip(),
        )
    return FilterRules(rules=rules, enforced=enforced, chat_filter=chat_filter)


def _rules(text: str) -> Iterator[str]:
    """The rules of a list, one a line, which may continue on further lines; or of one paragraph."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not any(_BULLET.match(line) for line in lines):
        yield from (line.strip() for line in lines)
        return
    rule = ""
    for line in lines:
        if match := _BULLET.match(line):
            if rule:
                yield rule
            rule = line[match.end() :].strip()
        else:
            rule = f"{rule} {line.strip()}".strip()
    if rule:
        yield rule


def _forbidden(rule: str) -> str:
    """The part of a rule that forbids something; ``""`` if it only says what may be told."""
    allows = _ALLOWS.search(rule)
    part = rule if allows is None else rule[: allows.start()]
    return part if _FORBIDS.search(part) else ""


def _notes(rule: str) -> Iterator[str]:
    """Globs of the notes and folders that a rule names."""
    for match in _WIKI_LINK.finditer(rule):
        name = match[1].strip().strip("/").removesuffix(".md")
        yield f"{name}.md" if "/" in name else f"**/{name}.md"
    for match in _PATH.finditer(_WIKI_LINK.sub("", rule)):
        path = match[1].strip(".").lstrip("/")
        if path.endswith("/"):
            yield f"{path}**"
        elif path.endswith(".md"):
            yield path if "/" in path else f"**/{path}"
        elif path.count("/") >= 1 and path.partition("/")[0] in ("entities", "agent", "notes"):
            yield from (f"{path}.md", f"{path}/**")


def _quoted(rule: str) -> Iterator[str]:
    without = _WIKI_LINK.sub("", rule)
    for match in _QUOTED.finditer(without):
        text = next(filter(None, match.groups())).strip()
        if text and not _PATH.fullmatch(text):
            yield text


def _shapes(rule: str) -> Iterator[tuple[str, str]]:
    names = [name for name, (words, _) in _SHAPES.items() if re.search(words, rule, re.IGNORECASE)]
    special = any(name in names for name in _OWN_NUMBERS)
    for name in names:
        if name == "street addresses" and re.search(r"\b(?:e-?mail|web|ip)\s+address", rule, re.IGNORECASE):
            continue
        if name == "numbers" and special:
            continue  # the rule names it itself
        yield name, _SHAPES[name][1]
