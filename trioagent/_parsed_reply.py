"""The parsed form of a model's answer, and the repairs that parsing it may need."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import attrs

REPAIRS: Mapping[str, str] = {
    "missing_think": "no thoughts at all",
    "missing_think_open": "no opening <think>, often removed by a chat template: all before the </think> are thoughts",
    "unclosed_think": "no </think>: the thoughts end where <python> or <reply> begins",
    "extra_think": "more than one <think>: they are joined",
    "unclosed_python": "no </python>, often removed by a stop sequence",
    "unclosed_reply": "no </reply>, often removed by a stop sequence",
    "tag_spelling": "a tag in other letter case or with spaces in it, or another word or token for it",
    "code_fence": "a code fence around the code",
    "language_tag": "a line 'python' before the code",
    "indented_code": "all of the code indented",
    "outside_text": "text outside of all tags, dropped",
    "cut_answer": "cut by a token limit or a content filter: what was left open is not run and no reply",
    "leaked_tokens": "tokens of the model's chat template at the end of open code or an open reply, dropped",
    "text_after_code": "text after the code's </python>, dropped: it was written without the result",
}

_FENCE = re.compile(r"\A[ \t]*(```+|~~~+)[ \t]*([\w+-]*)[ \t]*\n?")
_LANGUAGE_LINE = re.compile(r"\A[ \t]*(python3?|py)[ \t]*\r?\n", re.IGNORECASE)

Kind = Literal["think", "code", "reply"]

PARSER_VERSION = 4
"""Goes up whenever an answer may be read otherwise than before; journals keep it with each answer that they hold."""


@attrs.frozen
class Delta:
    """The next piece of thoughts, raw code or reply, for live display. `ParsedReply` is authoritative."""

    kind: Kind
    text: str


@attrs.frozen(kw_only=True)
class ParsedReply:
    """A parsed answer.

    Attributes:
        thoughts, code, reply: cleaned; "" if the answer has none.
        text: the answer up to its end (see `_reply_parser`); it goes into the history.
        repairs: how often each repair of `REPAIRS` was needed.
        partial: the text of a reply that was cut, or "".
    """

    thoughts: str
    code: str
    reply: str
    text: str
    repairs: Mapping[str, int]
    partial: str = ""

    @property
    def cut(self) -> bool:
        """Whether the answer was cut before it was complete."""
        return "cut_answer" in self.repairs

    @property
    def usable(self) -> bool:
        """Whether there is code to run or a reply; if not, the model gets a hint."""
        return bool(self.code or self.reply)

    @property
    def ends_turn(self) -> bool:
        """Whether it is the last answer to a message: a reply, and no code that has to run first."""
        return bool(self.reply and not self.code)


def _dedented(code: str) -> str:
    """As `textwrap.dedent`, in one pass over each line: its patterns take quadratic time for a long run of blanks."""
    lines = code.split("\n")
    filled = [line for line in lines if line.strip(" \t")]
    if not filled:
        return "\n" * (len(lines) - 1)
    shortest, longest = min(filled), max(filled)  # the common prefix of the first and the last in order is that of all
    margin = 0
    while margin < len(shortest) and shortest[margin] in " \t" and shortest[margin] == longest[margin]:
        margin += 1
    return "\n".join(line[margin:] if line.strip(" \t") else "" for line in lines)


def clean_code(raw: str) -> tuple[str, list[str]]:
    """The code without the fences and indentation that models put around it, and the names of the repairs applied."""
    repairs = []
    code = raw.replace("\r\n", "\n").strip("\n")
    if _LANGUAGE_LINE.match(code + "\n") and not _FENCE.match(code):
        code = _LANGUAGE_LINE.sub("", code + "\n", count=1)
        repairs.append("language_tag")
    code = code.lstrip("\n")
    if fence := _FENCE.match(code.lstrip()):
        code = code.lstrip()[fence.end() :].rstrip()
        code = code.removesuffix(fence[1]).rstrip() if code.endswith(fence[1]) else code
        repairs.append("code_fence")
    code = code.strip("\n").rstrip()
    if code[:1] in (" ", "\t"):
        code = _dedented(code)
        if code[:1] in (" ", "\t"):  # only the first line is indented: "<python> x = 1"
            code = code.lstrip(" \t")
        repairs.append("indented_code")
    return (code, repairs) if code.strip() else ("", [])
