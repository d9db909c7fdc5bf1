"""The agent's turn as a pure state machine: the next step, given the events so far.

`Turn` covers one user message up to the reply. It keeps the conversation's new messages and decides every step; its
driver awaits the model and the sandbox and reports their results.

Rules, each tested in ``tests/test_turn.py``:

- An answer with code is a *tool turn*: the code runs, and the model gets its result, unless the answer also holds a
  reply and the code worked: then the reply stands.
- An answer with nothing usable is a tool turn too: the model gets one short hint.
- So is an answer that was cut before it was complete: the model is told, and writes less. A block that was closed
  before the cut runs. If no tool turn is left, the turn ends with ``stop_reason="cut"``.
- The part of a conversation that exceeds its model's context is not shown to the model; see `_context`.
- After ``max_tool_turns`` tool turns, an answer that still wants to run code ends the turn: its code is not run, and
  the history says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from ._context import fit_context, page_result
from ._messages import AgentResponse, ChatMessage, LeftOut, StopReason, Usage
from ._model_profile import DEFAULT, ModelProfile
from ._parsed_reply import ParsedReply
from ._server_behaviour import is_cut_by_filter

HINT = (
    "Your answer could not be used. Answer with <think>your thoughts</think> and then either "
    "<python>code to run</python>, or <python></python> and <reply>your words for the user</reply>."
)
CUT = (
    "Your answer was cut after {tokens} tokens, before it was complete. Nothing of it was run, and the user has not "
    "seen it. Answer again and write less: think briefly, and split long code over several blocks."
)
FILTERED = (
    "Your answer was cut by the server's content filter, before it was complete. Nothing of it was run, and the user "
    "has not seen it. Answer again in other words."
)
NOT_RUN = "This code was not run: no tool turn was left. Nothing was saved."
STOPPED = "The block was stopped before it ended. Nothing was saved."


@attrs.frozen
class AskModel:
    """Send *messages* to the model and pass its answer to `Turn.on_answer`.

    Attributes:
        left_out: the part of the conversation that they lack.
        leaves_out_more: it is more than in the previous request.
    """

    messages: Sequence[ChatMessage]
    left_out: LeftOut = LeftOut()
    leaves_out_more: bool = False


@attrs.frozen
class RunCode:
    """Run *code* and pass its result to `Turn.on_result`."""

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
        profile: the format of results and hints.
        room: how many tokens of messages the model accepts; None for no limit. Older parts beyond it are left out, and
            long results are paged.
    """

    def __init__(
        self,
        history: Iterable[ChatMessage],
        *,
        max_tool_turns: int,
        profile: ModelProfile = DEFAULT,
        room: int | None = None,
    ) -> None:
        self.messages: list[ChatMessage] = list(history)
        self._profile = profile
        self._left = max_tool_turns
        self._room = room
        self._left_out = LeftOut()
        self._answer: ParsedReply | None = None
        self._usage = Usage()
        self.answers = 0
        self._repairs: dict[str, int] = {}
        self._code = ""
        self._saved = 0
        self._tier = ""
        self._finish_reasons: list[str] = []

    def start(self) -> Step:
        """The first step."""
        return self._ask_model()

    def on_answer(self, answer: ParsedReply, usage: Usage = Usage(), finish_reason: str = "") -> Step:
        """Record the model's answer."""
        self._finish_reasons.append(finish_reason)
        self._answer = answer
        self.answers += 1
        self._usage += usage
        for name, count in answer.repairs.items():
            self._repairs[name] = self._repairs.get(name, 0) + count
        self.messages.append(ChatMessage("assistant", answer.text))
        if answer.ends_turn:
            return self._finish("reply", answer.reply)
        if self._left <= 0:
            if answer.code:
                self.messages.append(ChatMessage("tool", self._profile.format_result({}, NOT_RUN)))
            return self._finish("cut" if answer.cut and not answer.code else "max_tool_turns", "")
        self._left -= 1
        if answer.code:
            return RunCode(answer.code)
        self.messages.append(ChatMessage("tool", self._profile.format_hint(_hint(answer, usage, finish_reason))))
        return self._ask_model()

    def on_result(
        self, values: Mapping[str, str], error: str, printed: str = "", *, saved: bool = False, tier: str = ""
    ) -> Step:
        """Record a block's result; *error* is "" if it succeeded."""
        answer = self._running()
        if self._room is not None:
            values, printed = page_result(values, printed, self._room)
        self.messages.append(ChatMessage("tool", self._profile.format_result(values, error, printed)))
        self._code, self._tier = answer.code, tier
        self._saved += saved
        if answer.reply and not error:
            return self._finish("reply", answer.reply)
        return self._ask_model()

    def on_stopped(self) -> None:
        """Record that the block was cancelled or the sandbox failed; the history says so."""
        self._running()
        self.messages.append(ChatMessage("tool", self._profile.format_result({}, STOPPED)))

    def _ask_model(self) -> AskModel:
        if self._room is None:
            return AskModel(self.messages)
        view = fit_context(self.messages, self._room, self._profile)
        self._left_out = view.left_out
        return AskModel(view.messages, view.left_out, view.is_more)

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
                partial=(self._answer.partial or self._answer.text) if reason == "cut" else "",
                finish_reasons=tuple(self._finish_reasons),
                left_out=self._left_out,
            )
        )


def _hint(answer: ParsedReply, usage: Usage, finish_reason: str) -> str:
    """The hint for an answer that cannot be used."""
    if not answer.cut:
        return HINT
    return FILTERED if is_cut_by_filter(finish_reason) else CUT.format(tokens=usage.completion_tokens)
