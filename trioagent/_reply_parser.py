"""Incremental parser of model answers: text to thoughts, code and reply. Pure; it never raises.

The protocol is ``<think>…</think>`` and then ``<python>code</python>`` or ``<python></python><reply>…</reply>``.
Models deviate from it; the deviations that are repaired are those of `_parsed_reply.REPAIRS`, each counted on the
result, each tested in ``tests/test_reply_parser.py``.

Implementation: one buffer, one position, one state. A state consumes only text whose meaning no later text can change,
and otherwise waits for more, so that the result does not depend on how the text was split. Each state searches only for
the tags that are valid in it: inside ``<reply>`` only ``</reply>``, inside code only ``</python>`` outside string
literals.

The answer ends with the first complete ``</reply>``, or with the first ``</python>`` of a block with code unless a
``<reply>`` follows directly: what a model writes after its code, it writes without having seen the result. From there
on `ReplyParser.finished` is true and the caller may stop the generation.

Two kinds of answers are handled more carefully:

- The chat templates of some models consume the opening ``<think>``, and thoughts may contain code and replies that are
  only considered. So if code or a reply comes first, a later ``</think>`` turns everything before it into thoughts;
  until the end of the answer nothing is run and the generation is not stopped. This does not apply to a model that has
  been seen to write no thoughts at all (`ThoughtStyle`).
- An answer that was cut, by a token limit or a content filter, is never treated as complete: unclosed code is not run
  and an unclosed reply does not count.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from enum import IntEnum, auto
from typing import Literal

from ._parsed_reply import Delta, Kind, ParsedReply, clean_code

ThoughtStyle = Literal["unknown", "tagged", "none"]  # how a model marks its thoughts, as seen in its answers


class _State(IntEnum):
    START = auto()  # the opening <think> may be missing
    UNDECIDED = auto()  # code or a reply came first: they are thoughts if a </think> follows
    THINK = auto()
    BETWEEN = auto()  # after the thoughts; code or a reply may follow
    CODE = auto()
    AFTER_CODE = auto()  # only a <reply> that follows directly still counts
    REPLY = auto()
    FINISHED = auto()


# How models spell the tag of their thoughts, other than <think>: Claude, EXAONE, Seed; Magistral; Kimi.
_THINK_TAGS = ("think", "thinking", "thought", "seed:think")
_NAMES = "|".join((*_THINK_TAGS, "python", "reply"))
_TAG = re.compile(rf"(?:<(?=[^<>]{{1,14}}>)|\[(?=/?think\])|◁(?=/?think▷)) ?(/?) ?({_NAMES}) ?[>\]▷]", re.IGNORECASE)
_LONGEST_TAG = len("< / seed:think >")
_LONGEST_TOKEN = len('"""')
_PLAIN = frozenset(f"<{slash}{name}>" for slash in ("", "/") for name in ("think", "python", "reply"))
# The tokens that begin or end a string literal or comment, for each lexical mode of Python; escapes are skipped whole.
_CLOSE = r"< ?/ ?python ?>"
_LEX: Mapping[str, re.Pattern[str]] = {
    "": re.compile(rf"'''|\"\"\"|''|\"\"|'|\"|#|({_CLOSE})", re.IGNORECASE),
    "#": re.compile(rf"\n|({_CLOSE})", re.IGNORECASE),
    "'": re.compile(rf"\\.|'|\n|({_CLOSE})", re.IGNORECASE | re.DOTALL),
    '"': re.compile(rf"\\.|\"|\n|({_CLOSE})", re.IGNORECASE | re.DOTALL),
    "'''": re.compile(rf"\\.|'''|({_CLOSE})", re.IGNORECASE | re.DOTALL),
    '"""': re.compile(rf"\\.|\"\"\"|({_CLOSE})", re.IGNORECASE | re.DOTALL),
}


class ReplyParser:
    """Parses one answer: ``feed`` it pieces of any size, then ``close``; stop feeding when ``finished``.

    Args:
        style: how the model marks its thoughts; from an earlier answer's `style`, "unknown" for the first.
    """

    def __init__(self, style: ThoughtStyle = "unknown") -> None:
        self._style: ThoughtStyle = style
        self._cut = False
        self._partial = ""
        self._text = ""
        self._pos = 0  # everything before it has been parsed
        self._shown = 0  # everything before it has been emitted as deltas or dropped
        self._state = _State.START
        self._thoughts: list[str] = []
        self._code = ""
        self._reply = ""
        self._repairs: defaultdict[str, int] = defaultdict(int)
        self._end: int | None = None
        self._begin = 0  # where the current tag's contents begin
        self._mode = ""  # the lexical mode inside code: a key of _LEX
        self._doubtful: re.Match[str] | None = None  # a </python> inside a string literal that may be unterminated
        self._deltas: list[Delta] = []

    @property
    def finished(self) -> bool:
        """Whether no further text can change the result."""
        return self._state is _State.FINISHED

    def feed(self, piece: str) -> list[Delta]:
        """Parse the next piece of the answer; returns its deltas."""
        if piece and not self.finished:
            text, self._text = self._text, ""
            text += piece  # in place, since there is no other reference, so appending does not take quadratic time
            self._text = text
            del text
            self._run(final=False)
        return self._take_deltas()

    @property
    def style(self) -> ThoughtStyle:
        """How the model marks its thoughts, for the parser of its next answer; to be read after `close`."""
        return self._style

    def close(self, *, cut: bool = False, reasoning: str = "") -> tuple[ParsedReply, list[Delta]]:
        """Parse the rest at the end of the answer. Idempotent.

        Args:
            cut: the server ended the answer before the model did (see `trioagent._server_behaviour.is_cut`).
            reasoning: thoughts that the server sent apart from the text; used if the text has none.
        """
        if not self.finished:
            self._cut = self._cut or cut
            self._run(final=True)
            if self._cut and self._state not in (_State.AFTER_CODE, _State.FINISHED):
                self._repairs["cut_answer"] = 1
        if self._thoughts:
            self._style = "tagged"
        elif not reasoning.strip():
            self._repairs["missing_think"] = 1
        thoughts = "\n\n".join(text for text in map(str.strip, self._thoughts or [reasoning]) if text)
        text = self._text if self._end is None else self._text[: self._end]
        repairs = {name: count for name, count in sorted(self._repairs.items()) if count}
        parsed = ParsedReply(
            thoughts=thoughts, code=self._code, reply=self._reply, text=text, repairs=repairs, partial=self._partial
        )
        return parsed, self._take_deltas()

    def _take_deltas(self) -> list[Delta]:
        deltas, self._deltas = self._deltas, []
        return deltas

    def _run(self, *, final: bool) -> None:
        while self._state is not _State.FINISHED and _STEPS[self._state](self, final):
            pass

    # Each step returns True if it made progress, False if it needs more text (or, when final, if it is done).

    def _outside(self, final: bool) -> bool:
        match = _TAG.search(self._text, self._pos)
        if match is None:
            if final:
                self._drop(self._begin, len(self._text))
                self._begin = len(self._text)
            self._pos = self._undecided_from(self._pos)
            return False
        closing, name = match[1], _name(match)
        if name != "think" and self._state is _State.START and self._style != "none":
            self._state = _State.UNDECIDED  # from the beginning of the text, which may all be thoughts
            return True
        if closing and not (name == "think" and self._state is _State.START):
            self._repairs["outside_text"] += 1
            self._enter(self._state, match)
            return True
        self._spelled(match)
        if closing:  # </think> with no opening
            self._end_of_unopened_thoughts(match)
            return True
        self._drop(self._begin, match.start())
        if name == "think" and self._thoughts:
            self._repairs["extra_think"] += 1
        self._enter({"think": _State.THINK, "python": _State.CODE, "reply": _State.REPLY}[name], match)
        return True

    def _undecided(self, final: bool) -> bool:
        match = next((tag for tag in _TAG.finditer(self._text, self._pos) if _name(tag) == "think"), None)
        if match is not None and match[1]:
            self._spelled(match)
            self._end_of_unopened_thoughts(match)
            return True
        if match is None and not final:
            self._pos = self._undecided_from(self._pos)
            return False
        if match is None and self._cut:  # the code may only have been considered
            return False
        # No opening tag is missing: parse it again from its beginning.
        self._state, self._pos, self._style = _State.START, self._begin, "none"
        return True

    def _end_of_unopened_thoughts(self, match: re.Match[str]) -> None:
        self._repairs["missing_think_open"] += 1
        self._thoughts.append(self._text[self._begin : match.start()])
        self._show("think", self._begin, match.start())
        self._enter(_State.BETWEEN, match)

    def _in_think(self, final: bool) -> bool:
        for match in _TAG.finditer(self._text, self._pos):
            if match[1] and _name(match) == "think":
                self._spelled(match)
                self._thoughts.append(self._text[self._begin : match.start()])
                self._show("think", self._begin, match.start())
                self._enter(_State.BETWEEN, match)
                return True
        if not final:
            self._pos = self._undecided_from(self._pos)
            self._show("think", self._begin, self._pos)
            return False
        self._show("think", self._begin, len(self._text))
        self._repairs["unclosed_think"] += 1
        for match in () if self._cut else _TAG.finditer(self._text, self._begin):
            if not match[1] and _name(match) != "think":
                self._thoughts.append(self._text[self._begin : match.start()])
                self._state = _State.BETWEEN
                self._pos = self._begin = match.start()
                return True
        self._thoughts.append(self._text[self._begin :])
        self._pos = self._begin = len(self._text)
        self._state = _State.BETWEEN
        return False

    def _in_code(self, final: bool) -> bool:
        """Look for </python> outside of string literals, one lexical token at a time."""
        while (match := _LEX[self._mode].search(self._text, self._pos)) is not None:
            token = match[0]
            if match[1] is not None:
                if self._mode in ("", "#"):
                    return self._end_code(match.start(), match)
                self._doubtful = self._doubtful or match
            elif self._mode == "":
                if token in ("'", '"', "''", '""') and match.end() == len(self._text) and not final:
                    break  # the next character may make it a triple quote
                self._mode = "" if token in ("''", '""') else token
            elif token == "\n" and self._mode != "#":  # a single-quoted literal cannot span lines, so it was none
                if self._doubtful is not None:
                    return self._end_code(self._doubtful.start(), self._doubtful)
                self._mode = ""
            elif not token.startswith("\\"):
                self._mode, self._doubtful = "", None
            self._pos = match.end()
        if not final:
            self._pos = self._undecided_from(self._pos, also="'\"\\")
            self._show("code", self._begin, self._doubtful.start() if self._doubtful else self._pos)
            return False
        if self._cut:
            self._show("code", self._begin, len(self._text))
            return False
        if self._doubtful is not None:
            return self._end_code(self._doubtful.start(), self._doubtful)
        self._repairs["unclosed_python"] += 1
        reply = next(
            (m for m in _TAG.finditer(self._text, self._begin) if not m[1] and _name(m) == "reply"),
            None,
        )
        return self._end_code(len(self._text) if reply is None else reply.start(), None)

    def _end_code(self, end: int, match: re.Match[str] | None) -> bool:
        self._show("code", self._begin, end)
        code, repairs = clean_code(self._text[self._begin : end])
        for repair in repairs:
            self._repairs[repair] += 1
        if match is not None:
            self._spelled(match)
        self._mode, self._doubtful = "", None
        self._pos = self._shown = self._begin = end if match is None else match.end()
        if code:
            self._code, self._end = code, self._pos
            self._state = _State.AFTER_CODE
        else:
            self._state = _State.BETWEEN
        return True

    def _after_code(self, final: bool) -> bool:
        rest = self._text[self._pos :].lstrip()
        self._pos = len(self._text) - len(rest)  # so that blanks are not scanned again with each piece
        match = _TAG.match(rest)
        if match is not None and not match[1] and _name(match) == "reply":
            self._spelled(match)
            self._state = _State.REPLY
            self._pos = self._shown = self._begin = len(self._text) - len(rest) + match.end()
            self._end = None
            return True
        if rest and (final or not _may_become_tag(rest)):
            self._repairs["text_after_code"] += 1
            self._state = _State.FINISHED
        return False

    def _in_reply(self, final: bool) -> bool:
        for match in _TAG.finditer(self._text, self._pos):
            if match[1] and _name(match) == "reply":
                self._spelled(match)
                self._show("reply", self._begin, match.start())
                reply = self._text[self._begin : match.start()].strip()
                self._pos = self._begin = self._shown = match.end()
                if reply or self._code:
                    self._reply, self._end = reply, match.end()
                    self._state = _State.FINISHED
                else:  # an empty reply is ignored: code or a reply may follow
                    self._state = _State.BETWEEN
                return True
        if not final:
            self._pos = self._undecided_from(self._pos)
            self._show("reply", self._begin, self._pos)
            return False
        self._show("reply", self._begin, len(self._text))
        if self._cut:
            self._partial = self._text[self._begin :].strip()
            return False
        self._repairs["unclosed_reply"] += 1
        self._reply = self._text[self._begin :].strip()
        self._pos = self._begin = len(self._text)
        self._state = _State.BETWEEN
        return False

    def _enter(self, state: _State, match: re.Match[str]) -> None:
        self._state = state
        self._pos = self._begin = self._shown = match.end()

    def _spelled(self, match: re.Match[str]) -> None:
        if match[0] not in _PLAIN:
            self._repairs["tag_spelling"] += 1

    def _drop(self, start: int, end: int) -> None:
        if self._text[start:end].strip():
            self._repairs["outside_text"] += 1

    def _show(self, kind: Kind, begin: int, end: int) -> None:
        begin = max(begin, self._shown)
        if begin < end:
            self._deltas.append(Delta(kind, self._text[begin:end]))
            self._shown = end

    def _undecided_from(self, start: int, *, also: str = "") -> int:
        """The start of the tail that may become a tag, or a token of characters in *also*, with more text."""
        end = len(self._text)
        at = max(self._text.rfind(opening, max(start, end - _LONGEST_TAG)) for opening in "<[◁")
        if at >= 0 and _may_become_tag(self._text[at:]):
            return at
        # At most this much of such a token is undecided: whole tokens before it have been consumed.
        start = max(start, end - _LONGEST_TOKEN + 1)
        while end > start and self._text[end - 1] in also:
            end -= 1
        return end


_STEPS: Mapping[_State, Callable[[ReplyParser, bool], bool]] = {
    _State.START: ReplyParser._outside,
    _State.UNDECIDED: ReplyParser._undecided,
    _State.BETWEEN: ReplyParser._outside,
    _State.THINK: ReplyParser._in_think,
    _State.CODE: ReplyParser._in_code,
    _State.AFTER_CODE: ReplyParser._after_code,
    _State.REPLY: ReplyParser._in_reply,
}
_PREFIXES = (
    *("[think]", "[/think]", "◁think▷", "◁/think▷"),
    *(
        f"<{a}{slash}{b}{name}{c}>"
        for name in (*_THINK_TAGS, "python", "reply")
        for slash in ("", "/")
        for a in ("", " ")
        for b in ("", " ")
        for c in ("", " ")
    ),
)


def _name(tag: re.Match[str]) -> str:
    """ "think", "python" or "reply"."""
    name = tag[2].lower()
    return "think" if name in _THINK_TAGS else name


def _may_become_tag(tail: str) -> bool:
    """Whether *tail* is the beginning of a tag."""
    tail = tail.lower()
    return len(tail) < _LONGEST_TAG and any(tag.startswith(tail) for tag in _PREFIXES)


def after_thoughts(text: str) -> str | None:
    """The text after the thoughts in *text*, whose opening tag may be missing; None if they do not end."""
    last = None
    for tag in _TAG.finditer(text):
        last = tag if _name(tag) == "think" else last
    if last is None:
        return text
    return text[last.end() :] if last[1] else None


def parse_reply(text: str, *, cut: bool = False) -> ParsedReply:
    """Parse a whole answer at once; *cut* as in `ReplyParser.close`."""
    parser = ReplyParser()
    parser.feed(text)
    return parser.close(cut=cut)[0]
