"""Splits a message into sentences, each a question, a request to forget, a statement, or other talk. Pure."""

from __future__ import annotations

import re
from typing import Literal

import attrs

Kind = Literal["question", "forget", "remember", "statement", "greeting", "thanks", "task", "identity"]

_ABBREVIATION = re.compile(
    r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof|St|Sgt|Capt|Lt|Jr|Sr|Inc|Ltd|Corp|Co|No|vs|etc|e\.g|i\.e)|\b[A-Z])\.$"
)
_BREAK = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n+")
_FORGET = re.compile(
    r"^(?:please |can you |could you |i want you to |you can |you should )*(?:forget|delete|remove|erase|"
    r"wipe|drop)\b(?! to)\s*(?P<what>.+)$",
    re.IGNORECASE | re.DOTALL,
)
_REMEMBER = re.compile(
    r"^(?:please |can you |could you |i want you to )*(?:remember|(?:make a )?note|keep in mind|write "
    r"down|do(?:n't| not) forget|save|store)"
    r"(?: this| down)?(?: that|:|,)?\s+(?P<what>.+)$",
    re.IGNORECASE | re.DOTALL,
)
_GREETING = re.compile(
    r"^(?:hi|hello|hey|hiya|howdy|greetings|good (?:morning|afternoon|evening|day)|yo|how are you|what's "
    r"up|how do you do)\b"
    r"[\w\s,!.?']{0,25}$",
    re.IGNORECASE,
)
_THANKS = re.compile(
    r"^(?:thanks?|thank you|thx|great|cool|nice|ok(?:ay)?|perfect|bye|goodbye|see you|good night)\b[\w\s,!.']{0,40}$",
    re.IGNORECASE,
)
_IDENTITY = re.compile(
    r"^(?:(?:and )?(?:who|what) are you\b|are you (?:an? )?(?:ai|llm|bot|robot|human|language model|"
    r"chatgpt|gpt)|what can you do|what(?:'s| is) your name"
    r"|help$|help me$|how do you work)",
    re.IGNORECASE,
)
_TASK = re.compile(
    r"^(?:please |can you |could you |would you |will you )*(?:write|compose|translate|calculate|compute|"
    r"solve|generate|draw|code|implement|"
    r"explain|summari[sz]e (?!what you know|my|me\b)|sing|tell me a (?:joke|story|poem)|tell a joke|joke|"
    r"make me|create|sort|convert|play|recommend|"
    r"suggest|imagine|pretend|search the web|browse|book|order|send|call|email|open|run|fix|debug|count)\b",
    re.IGNORECASE,
)
_SUM = re.compile(
    r"^(?:(?:what(?:'s| is)|how much is|"
    r"calculate)\s+)?[-+(]*\d[\d\s.,+\-*/x×÷^()%]*[+\-*/x×÷^%][\d\s.,()+\-*/]*\s*[=?]*$",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"^(?:(?:and|so|but|ok|okay|well|please|hey|hi|hello|true or false|yes or no)[\s,:]+)*(?:who|whom|"
    r"whose|what|which|where|when|why|how|is|are|am|was|"
    r"were|do|does|did|has|have (?:i|you|we|they)|can you tell|could you tell|tell me|remind me|do you "
    r"(?:know|remember)|"
    r"what's|who's|where's|when's|list|show|since when|in which|at which|on which|at what|in what|for "
    r"whom|with whom|describe)\b",
    re.IGNORECASE,
)


@attrs.frozen
class Sentence:
    """One sentence and its kind; ``text`` is without words that only mark the kind ("remember that")."""

    kind: Kind
    text: str


def normalise(text: str) -> str:
    """Straight quotes, no control characters, single blanks."""
    text = text.translate({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2013: "-", 0x2014: "-", 0xA0: " "})
    return re.sub(r"[^\S\n]+", " ", "".join(c if c.isprintable() or c == "\n" else " " for c in text)).strip()


def split_sentences(text: str) -> list[str]:
    """Sentences of *text*; a full stop after an abbreviation or an initial does not end one."""
    parts: list[str] = []
    for part in _BREAK.split(text):
        if parts and _ABBREVIATION.search(parts[-1]):
            parts[-1] += " " + part
        elif part and part.strip():
            parts.append(part.strip())
    return parts


def classify(sentence: str) -> Sentence:
    """Determine the kind of a sentence."""
    bare = sentence.strip().rstrip(".! ")
    if _GREETING.match(bare) and not re.search(r"\b(?:my|i|i'm)\b", bare, re.IGNORECASE):
        return Sentence("greeting", bare)
    if _THANKS.match(bare) and not re.search(r"\b(?:my|i|i'm)\b", bare, re.IGNORECASE):
        return Sentence("thanks", bare)
    if _IDENTITY.match(bare):
        return Sentence("identity", bare)
    if _SUM.match(bare) or (_TASK.match(bare) and not re.match(r"tell me (?!a\b)|remind me", bare, re.IGNORECASE)):
        return Sentence("task", bare)
    if (match := _REMEMBER.match(bare)) and not bare.endswith("?"):
        return Sentence("remember", match["what"].strip())
    if match := _FORGET.match(bare):
        return Sentence("forget", match["what"].strip())
    if sentence.rstrip().endswith("?") or _QUESTION.match(bare):
        return Sentence("question", sentence.strip())
    return Sentence("statement", bare)
