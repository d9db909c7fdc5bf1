"""A turn on the terminal, as it happens: thoughts dim, code and its result compactly, the reply plain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._events import AgentEvent, Answered, CodeResult, CodeStarted, ContextTrimmed, Replied
from .._messages import AgentResponse
from .._parsed_reply import Delta, Kind
from ..models import Retrying
from ..sandbox import BlockResult
from ._spinner import Spinner
from ._terminal import one_line, safe, shortened
from ._word_wrap import WordWrap

if TYPE_CHECKING:
    from rich.console import Console

FIRST_LINES, LAST_LINES, LINE_CHARS = 3, 5, 120
"""The number of lines shown of long code: its beginning, and its end, which is usually the result."""
VALUES, VALUES_CHARS = 6, 360


class TurnView:
    """Shows the events of one turn, given to `show` in order.

    A reply beside code is held back until the code has run: if that fails, the reply does not stand.

    Args:
        console: the terminal.
        quiet: only the reply.
        spinner: shows what the program waits for meanwhile.
        model: the model's name, for the spinner.
    """

    def __init__(
        self, console: Console, *, quiet: bool = False, spinner: Spinner | None = None, model: str = "the model"
    ) -> None:
        self._console, self._quiet = console, quiet
        self._spinner = Spinner(console) if spinner is None else spinner
        self._model = model
        self._wrap = WordWrap(console.width) if console.is_terminal else None
        self._open: Kind | None = None  # the kind of text that the current line belongs to
        self._blank = ""  # white space held back: shown only if more text follows
        self._answer_over = False
        self._code_seen = False
        self._reply = ""

    def begin(self) -> None:
        """The turn begins."""
        self._spinner.wait_for(f"waiting for {self._model}")

    def pause(self) -> None:
        """Other output is about to be shown in the middle of the turn."""
        self._end()
        self._spinner.clear()

    def show(self, event: AgentEvent) -> None:
        match event:
            case Delta(kind, text):
                self._delta(kind, text)
            case Answered():
                self._end()
                self._answer_over = True
            case Retrying(error, delay):
                self._end()
                self._answer_over = True
                self._aside(f"({one_line(str(error))}; trying again in {delay:.1f} s)", "yellow")
                self._spinner.wait_for(f"waiting for {self._model}, asked again after {delay:.0f} s")
            case ContextTrimmed(left_out):
                self._aside(f"({self._model} is not shown any more: {left_out})", "yellow")
            case CodeStarted(code):
                self._code(code)
                self._spinner.wait_for("running the code")
            case CodeResult(result):
                self._aside(f"  = {_outcome(result)}", "red dim" if result.error else "dim")
                self._spinner.wait_for(f"waiting for {self._model}")
            case Replied(response):
                self.end(response)

    def end(self, response: AgentResponse) -> None:
        """Show the rest of the reply."""
        self.pause()
        if response.reply != self._reply.strip():
            self._console.print(self._wrapped(safe(response.reply)))
            self._end_wrap()

    def close(self) -> None:
        """The turn stopped early: finish the line."""
        self.pause()

    def _delta(self, kind: Kind, text: str) -> None:
        if self._answer_over:
            self._answer_over, self._code_seen, self._reply = False, False, ""
        if kind == "code":
            if not self._code_seen and text.strip():
                self._code_seen = True
                self._end()
                self._spinner.wait_for(f"{self._model} writes code")
        elif kind == "reply":
            if not self._code_seen:
                self._reply += text
                self._stream(kind, text, "")
        elif not self._quiet:
            self._stream(kind, text, "dim")

    def _stream(self, kind: Kind, text: str, style: str) -> None:
        if self._open != kind:
            self._end()
            text = text.lstrip()
            if not text:
                return
            self._spinner.clear()
            self._open = kind
        body = text.rstrip()
        if body:
            self._console.print(self._wrapped(safe(self._blank + body)), style=style, end="")
            self._blank = text[len(body) :]
        else:
            self._blank += text

    def _end(self) -> None:
        if self._open is not None:
            self._console.print()
            self._end_wrap()
        self._open, self._blank = None, ""

    def _wrapped(self, text: str) -> str:
        return text if self._wrap is None else self._wrap.feed(text)

    def _end_wrap(self) -> None:
        if self._wrap is not None:
            self._wrap.end()

    def _aside(self, text: str, style: str) -> None:
        self._spinner.clear()
        if not self._quiet:
            self._console.print(text, style=style)

    def _code(self, code: str) -> None:
        lines = safe(code).split("\n")
        if (cut_out := len(lines) - FIRST_LINES - LAST_LINES) > 1:
            lines[FIRST_LINES:-LAST_LINES] = [f"… {cut_out} lines …"]
        for line in lines:
            cut = line if len(line) <= LINE_CHARS else f"{line[: LINE_CHARS - 1]}…"
            self._aside(f"  > {cut}", "cyan dim")


def _outcome(result: BlockResult) -> str:
    """A block's result on one line."""
    if result.error:
        return f"failed, nothing saved: {shortened(result.error, LINE_CHARS)}"
    first = list(result.locals.items())[:VALUES]
    values = [
        f"{shortened(name, LINE_CHARS)} = {shortened(value, VALUES_CHARS // len(first))}" for name, value in first
    ]
    if len(result.locals) > VALUES:
        values.append(f"and {len(result.locals) - VALUES} more")
    return "; ".join([f"notes saved ({result.tier})" if result.saved else f"ok ({result.tier})", *values])
