"""The agent's turn as a state machine with no I/O: what to do next, given what has happened.

`Turn` covers one user message up to the reply. It keeps the conversation's new messages and decides every step;
whoever drives it (see `trioagent.agent`) awaits the model and the sandbox and tells it what came of that.

Rules, each a test in ``tests/test_turn.py``:

- An answer with code is a *tool turn*: the code runs, and the model gets its result, unless the answer also holds a
  reply and the code worked: then the reply stands.
- An answer with nothing usable is a tool turn too: the model gets one short hint.
- After ``max_tool_turns`` tool turns, an answer that still wants to run code ends the turn: its code is not run, and
  the history says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import attrs

from ._messages import AgentResponse, ChatMessage, StopReason, Usage
from ._parsed_reply import ParsedReply

HINT = (
    "Your answer could not be used. Answer with <think>your thoughts</think> and then either "
    "<python>code to run</python>, or <python></python> and <reply>your words for the user</reply>."
)
NOT_RUN = "This code was not run: no tool turn was left. Nothing was saved."
STOPPED = "The block was stopped before it ended. Nothing was saved."


def format_result(values: Mapping[str, str], error: str, printed: str = "") -> str:
    """What the model is told of a block: the shape that memory-agent models were trained on.

    ``<result>\\n({'name': 'value'}, '')\\n</result>``: a tuple of the variables (*values* are reprs already) and the
    error. Printed text, which that shape has no place for, is shown under a name that no variable can have.
    """
    items = [f"{name!r}: {value}" for name, value in values.items()]
    if printed:
        items.append(f"'(printed)': {printed!r}")
    return f"<result>\n({{{', '.join(items)}}}, {error!r})\n</result>"


@attrs.frozen
class AskModel:
    """Send *messages* to the model and give its answer to `Turn.on_answer`."""

    messages: Sequence[ChatMessage]


@attrs.frozen
class RunCode:
    """Run *code* and give what came of it to `Turn.on_result`."""

    code: str


@attrs.frozen
class Finish:
    """The turn is over."""

    response: AgentResponse


Step = AskModel | RunCode | Finish


class Turn:
    """One user message, up to the reply.

    Args:
        history: the conversation so far, with the user's message at its end. The turn appends to a copy, `messages`.
        max_tool_turns: how often the model may run code, or be given a hint.
        tool_turns_used: of those, how many are spent already (for a turn that goes on after a crash).
    """

    def __init__(self, history: Iterable[ChatMessage], *, max_tool_turns: int, tool_turns_used: int = 0) -> None:
        self.messages: list[ChatMessage] = list(history)
        self._left = max_tool_turns - tool_turns_used
        self._answer: ParsedReply | None = None
        self._usage = Usage()
        self.answers = 0
        self._repairs: Counter[str] = Counter()
        self._code = ""
        self._saved = 0
        self._tier = ""

    def start(self) -> Step:
        """The first step."""
        return AskModel(self.messages)

    def on_answer(self, answer: ParsedReply, usage: Usage = Usage()) -> Step:
        """The model answered."""
        self._answer = answer
        self.answers += 1
        self._usage += usage
        self._repairs.update(answer.repairs)
        self.messages.append(ChatMessage("assistant", answer.text))
        if answer.reply and not answer.code:
            return self._finish("reply", answer.reply)
        if self._left <= 0:
            if answer.code:
                self.messages.append(ChatMessage("tool", format_result({}, NOT_RUN)))
            return self._finish("max_tool_turns", "")
        self._left -= 1
        if answer.code:
            return RunCode(answer.code)
        self.messages.append(ChatMessage("tool", HINT))
        return AskModel(self.messages)

    def on_result(
        self, values: Mapping[str, str], error: str, printed: str = "", *, saved: bool = False, tier: str = ""
    ) -> Step:
        """The code ran; *error* is "" if it worked."""
        answer = self._running()
        self.messages.append(ChatMessage("tool", format_result(values, error, printed)))
        self._code, self._tier = answer.code, tier
        self._saved += saved
        if answer.reply and not error:
            return self._finish("reply", answer.reply)
        return AskModel(self.messages)

    def on_stopped(self) -> None:
        """The code was cancelled, or the sandbox broke: the history keeps the model's answer, and says so."""
        self._running()
        self.messages.append(ChatMessage("tool", format_result({}, STOPPED)))

    def _running(self) -> ParsedReply:
        if self._answer is None or not self._answer.code or self.messages[-1].role != "assistant":
            raise ValueError("no code is running in this turn")
        return self._answer

    def _finish(self, reason: StopReason, reply: str) -> Finish:
        assert self._answer is not None
        return Finish(
            AgentResponse(
                thoughts=self._answer.thoughts,
                python_block=self._code,
                reply=reply,
                usage=self._usage,
                turns=self.answers,
                stop_reason=reason,
                repairs=dict(self._repairs),
                blocks_saved=self._saved,
                tier=self._tier,
            )
        )
