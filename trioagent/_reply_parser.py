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

Some answers are read with more care:

- The chat templates of some models consume the opening ``<think>``, and thoughts may hold code and replies that are
  only considered, and whole answers that are drafted, with tags of thoughts of their own. So a ``</think>`` that has
  no opening tag makes all before it thoughts, as the chat templates of Qwen and DeepSeek read it, which take what
  stands behind the last one. Such a tag may come yet where code or a reply comes first, and where text outside of all
  tags stands before them: until the end of the answer nothing is run then, and the generation is not stopped. What
  follows thoughts at once, as the protocol has it, counts at once. How a model's earlier answers were
  (`ThoughtStyle`) decides what is waited for.
- A ``<think>`` that begins a line within thoughts begins a draft, which ends with a ``</think>`` of its own.
- Where a server passes on a model's tokens as they are, thoughts are marked as the model was trained to: those of
  gpt-oss (Harmony: all channels but ``final``, also where the tokens were dropped and their words are left), Gemma
  and Command. What began in the marks of one such format ends in them.
- An answer that was cut, by a token limit or a content filter, is never taken as complete: unclosed code is not run and
  an unclosed reply is no reply.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from enum import IntEnum, auto
from typing import Literal

from ._parsed_reply import Delta, Kind, ParsedReply, clean_code
from ._reply_tags import (
    BARE_END,
    BARE_START,
    END_TOKENS,
    FILLER,
    LONGEST_END,
    LONGEST_TAG,
    PLAIN_TAGS,
    TAG,
    begins_bare_channels,
    may_become_tag,
    read_tag,
    without_filler,
)

ThoughtStyle = Literal["unknown", "none", "tagged", "talks", "unopened"]
"""How a model marks its thoughts, as far as its answers have shown.

"none": it writes no thoughts. "tagged": between tags. "talks": between tags, and text outside of them is none.
"unopened": an opening tag was missing, which is never forgotten.
"""


def later_style(known: ThoughtStyle, seen: ThoughtStyle) -> ThoughtStyle:
    """What is known of a model after one more answer, which may have begun when less was *known*."""
    return known if known == "unopened" else seen


class _State(IntEnum):
    START = auto()  # the opening <think> may be missing
    UNDECIDED = auto()  # thoughts, if a </think> without an opening tag follows
    THINK = auto()
    BARE_CHANNELS = auto()  # Harmony without its tokens: thoughts until "assistantfinal"
    BETWEEN = auto()  # after the thoughts; code or a reply may follow
    CODE = auto()
    AFTER_CODE = auto()  # only a <reply> that follows directly still counts
    REPLY = auto()
    FINISHED = auto()


_OPENED: Mapping[str, _State] = {"think": _State.THINK, "python": _State.CODE, "reply": _State.REPLY}
_INDENTATION = 8  # of a draft's first tag
_LONGEST_TOKEN = len('"""')
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
        self._doubtful: re.Match[str] | None = None  # a </python> inside a string literal that may prove unterminated
        self._format = "tags"  # what the current thoughts are marked in
        self._depth = 0  # of drafts in thoughts
        self._closing: re.Match[str] | None = None  # the last closing tag that had an opening one; of drafts, the first
        self._undecided_since = _State.START
        self._settled = False  # nothing is undecided any more: the answer has been scanned to its end
        self._answered = False  # code or a reply has come, if an empty one
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
            self._style = self._style if self._style in ("talks", "unopened") else "tagged"
        elif not reasoning.strip():
            self._repairs["missing_think"] = 1
        thoughts = "\n\n".join(text for text in map(without_filler, self._thoughts or [reasoning]) if text)
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
        if self._pos == 0 and self._text.startswith(BARE_START[0]):
            if BARE_START.startswith(self._text) and not final:
                return False
            if begins_bare_channels(self._text):
                self._state, self._pos, self._begin = _State.BARE_CHANNELS, len(BARE_START), len(BARE_START)
                return True
        match = TAG.search(self._text, self._pos)
        if match is None:
            if final:
                self._drop(self._begin, len(self._text))
                self._begin = len(self._text)
            self._pos = self._undecided_from(self._pos)
            return False
        name, closing, format_ = read_tag(match)
        if not self._settled and self._may_be_thoughts(name, closing, match.start()):
            self._undecided_since, self._state = self._state, _State.UNDECIDED
            self._depth, self._closing = 0, None
            return True
        if closing and name == "think" and self._ends_thoughts(format_, match.start()):
            self._spelled(match)
            self._end_of_unopened_thoughts(match)
            return True
        if closing:
            self._repairs["outside_text"] += 1
            self._enter(self._state, match)
            return True
        self._spelled(match)
        self._drop(self._begin, match.start())
        if name == "think" and self._thoughts:
            self._repairs["extra_think"] += 1
        self._format, self._depth, self._closing = format_, 0, None
        self._enter(_OPENED[name], match)
        return True

    def _may_be_thoughts(self, name: str, closing: bool, start: int) -> bool:
        """Whether what stands before a tag, and what follows it, are thoughts if an unopened </think> follows."""
        if self._state is _State.START and name != "think":
            return self._style != "none"
        opens_or_answers = name != "think" or not closing
        return opens_or_answers and not self._answered and self._style != "talks" and self._has_text(start)

    def _ends_thoughts(self, format_: str, start: int) -> bool:
        """Whether a closing tag without an opening one has something to end."""
        if self._state is _State.START and format_ == "tags":
            return True
        return not self._answered and self._has_text(start)

    def _has_text(self, end: int) -> bool:
        return self._begin < end and FILLER.fullmatch(self._text, self._begin, end) is None

    def _undecided(self, final: bool) -> bool:
        for match in TAG.finditer(self._text, self._pos):
            name, closing, format_ = read_tag(match)
            if name != "think":
                continue
            self._pos = match.end()
            if not closing:
                self._depth += 1
            elif self._depth == 0 or format_ == "harmony":
                self._spelled(match)
                self._end_of_unopened_thoughts(match)
                return True
            else:
                self._depth -= 1
                self._closing = match
        if not final:
            self._pos = self._undecided_from(self._pos)
            return False
        if self._cut:  # it may have been considered only
            return False
        self._settled = True
        at_start = self._undecided_since is _State.START
        if self._style == "unopened" and at_start and self._closing is not None:
            self._end_of_unopened_thoughts(self._closing)  # an opening tag in the thoughts was only mentioned
            return True
        # No opening tag is missing: parse it again from its beginning.
        self._state, self._pos = self._undecided_since, self._begin
        if self._style != "unopened":
            first = TAG.search(self._text, self._begin)
            self._style = "none" if at_start and first and read_tag(first)[0] != "think" else "talks"
        return True

    def _end_of_unopened_thoughts(self, match: re.Match[str]) -> None:
        self._repairs["missing_think_open"] += 1
        self._style = "unopened"
        self._end_of_thoughts(match)

    def _end_of_thoughts(self, match: re.Match[str]) -> None:
        self._thoughts.append(self._text[self._begin : match.start()])
        self._show("think", self._begin, match.start())
        self._depth, self._closing = 0, None
        self._enter(_State.BETWEEN, match)

    def _in_think(self, final: bool) -> bool:
        for match in TAG.finditer(self._text, self._pos):
            name, closing, format_ = read_tag(match)
            if name != "think" or format_ != self._format:
                continue
            self._pos = match.end()
            if not closing:
                self._depth += self._format != "harmony" and self._begins_draft(match)
            elif self._depth == 0:
                self._spelled(match)
                self._end_of_thoughts(match)
                return True
            else:
                self._depth -= 1
                self._closing = self._closing or match
        if not final:
            self._pos = self._undecided_from(self._pos)
            self._show("think", self._begin, self._closing.start() if self._closing else self._pos)
            return False
        if self._closing is not None and not self._cut:  # it was no draft
            self._spelled(self._closing)
            self._end_of_thoughts(self._closing)
            return True
        self._show("think", self._begin, len(self._text))
        self._repairs["unclosed_think"] += 1
        ended_by_answer = not self._cut and self._format != "harmony"
        for match in TAG.finditer(self._text, self._begin) if ended_by_answer else ():
            name, closing, _ = read_tag(match)
            if name != "think" and not closing:
                self._thoughts.append(self._text[self._begin : match.start()])
                self._state = _State.BETWEEN
                self._pos = self._begin = match.start()
                return True
        self._thoughts.append(self._text[self._begin :])
        self._pos = self._begin = len(self._text)
        self._state = _State.BETWEEN
        return False

    def _begins_draft(self, match: re.Match[str]) -> bool:
        """Whether an opening tag within thoughts begins a line; behind blanks alone it is the same tag once more."""
        line = self._text.rfind("\n", max(self._begin, match.start() - _INDENTATION), match.start())
        if line < 0 or self._text[line : match.start()].strip():
            return False
        return FILLER.fullmatch(self._text, self._begin, line) is None

    def _in_bare_channels(self, final: bool) -> bool:
        end = self._text.find(BARE_END, self._pos)
        if end < 0 and not final:
            self._pos = max(self._pos, len(self._text) - len(BARE_END) + 1)
            self._show("think", self._begin, self._pos)
            return False
        self._repairs["tag_spelling" if end >= 0 else "unclosed_think"] += 1
        end, after = (end, end + len(BARE_END)) if end >= 0 else (len(self._text), len(self._text))
        self._thoughts.append(self._text[self._begin : end])
        self._show("think", self._begin, end)
        self._state = _State.BETWEEN
        self._pos = self._begin = self._shown = after
        return True

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
        replies = (m for m in TAG.finditer(self._text, self._begin) if read_tag(m)[:2] == ("reply", False))
        reply = next(replies, None)
        return self._end_code(self._end_of_text() if reply is None else reply.start(), None)

    def _end_of_text(self) -> int:
        """Where the text ends, without the tokens that end an answer for its model."""
        start = max(self._begin, len(self._text) - LONGEST_END)
        match = END_TOKENS.search(self._text, start)
        if match is None:
            return len(self._text)
        self._repairs["leaked_tokens"] += 1
        return match.start()

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
            self._answered = True
        return True

    def _after_code(self, final: bool) -> bool:
        rest = self._text[self._pos :].lstrip()
        self._pos = len(self._text) - len(rest)  # blanks are not scanned again with each piece
        match = TAG.match(rest)
        if match is not None and read_tag(match)[:2] == ("reply", False):
            self._spelled(match)
            self._state = _State.REPLY
            self._pos = self._shown = self._begin = len(self._text) - len(rest) + match.end()
            self._end = None
            return True
        if rest and (final or not may_become_tag(rest)):
            self._repairs["text_after_code"] += 1
            self._state = _State.FINISHED
        return False

    def _in_reply(self, final: bool) -> bool:
        for match in TAG.finditer(self._text, self._pos):
            if read_tag(match)[:2] == ("reply", True):
                self._spelled(match)
                self._show("reply", self._begin, match.start())
                reply = self._text[self._begin : match.start()].strip()
                self._pos = self._begin = self._shown = match.end()
                if reply or self._code:
                    self._reply, self._end = reply, match.end()
                    self._state = _State.FINISHED
                else:  # an empty reply is ignored: code or a reply may follow
                    self._state = _State.BETWEEN
                    self._answered = True
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
        self._reply = self._text[self._begin : self._end_of_text()].strip()
        self._pos = self._begin = len(self._text)
        self._state = _State.BETWEEN
        return False

    def _enter(self, state: _State, match: re.Match[str]) -> None:
        self._state = state
        self._pos = self._begin = self._shown = match.end()

    def _spelled(self, match: re.Match[str]) -> None:
        if match[0] not in PLAIN_TAGS:
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
        tail = max(start, end - LONGEST_TAG)
        at = max(self._text.rfind("<", tail), self._text.rfind("[", tail), self._text.rfind("◁", tail))
        if at >= 0 and may_become_tag(self._text[at:]):
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
    _State.BARE_CHANNELS: ReplyParser._in_bare_channels,
    _State.CODE: ReplyParser._in_code,
    _State.AFTER_CODE: ReplyParser._after_code,
    _State.REPLY: ReplyParser._in_reply,
}


def after_thoughts(text: str) -> str | None:
    """The text after the thoughts in *text*, whose opening tag may be missing; None if they do not end."""
    last = None
    for tag in TAG.finditer(text):
        last = tag if read_tag(tag)[0] == "think" else last
    if last is not None:
        if not read_tag(last)[1]:
            return None
        text = text[last.end() :]
    elif begins_bare_channels(text):
        _, ended, text = text.partition(BARE_END)
        if not ended:
            return None
    text = without_filler(text)
    end = END_TOKENS.search(text, max(0, len(text) - LONGEST_END))
    return text if end is None else text[: end.start()]


def parse_reply(text: str, *, cut: bool = False) -> ParsedReply:
    """Parse a whole answer at once; *cut* as in `ReplyParser.close`."""
    parser = ReplyParser()
    parser.feed(text)
    return parser.close(cut=cut)[0]
