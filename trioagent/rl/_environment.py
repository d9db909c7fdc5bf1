"""`MemoryEnv`: episodes of an agent on a model that takes and returns token ids."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from .._errors import InvalidInputError
from .._files import remove_tree
from .._messages import AgentResponse, ChatMessage, Usage
from ..agent import Agent
from ..evals import copy_notes, read_notes, write_notes
from ..models import AnswerEnd, AnswerPart, Model, TextDelta
from ..runtime import Runtime
from ._rewards import Reward
from ._samples import TextConversation, TextTokenizer
from ._tokens import TokenModel
from ._trajectory import TokenSegment, Trajectory, TurnSample

STOP = ("</python>", "</reply>")
_MARK = "\N{MIDLINE HORIZONTAL ELLIPSIS}answer\N{MIDLINE HORIZONTAL ELLIPSIS}"


class MemoryEnv:
    """One task: a memory, messages, and how episodes are rewarded.

    Args:
        runtime: for its sandbox and limits; its model is not used.
        notes: texts by path, that every episode starts from.
        messages: the user's messages.
        rewards: by name, each with its weight.
        max_tool_turns, system_prompt, system_prompt_append: see `trioagent.AgentConfig`.

    Only the trajectory remains of an episode: its copy of the notes is removed, also when it is cancelled.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        notes: Mapping[str, str],
        messages: Sequence[str],
        rewards: Mapping[str, tuple[Reward, float]] | None = None,
        max_tool_turns: int | None = None,
        system_prompt: str | None = None,
        system_prompt_append: str | None = None,
    ) -> None:
        if isinstance(messages, str) or not messages:
            raise InvalidInputError("messages", f"must be a list of one message or more, not {messages!r:.60}")
        self._runtime, self._notes, self._messages = runtime, dict(notes), tuple(messages)
        self._rewards = dict(rewards or {})
        self._settings: dict[str, Any] = {
            "max_tool_turns": max_tool_turns,
            "system_prompt": system_prompt,
            "system_prompt_append": system_prompt_append,
        }

    async def rollout(self, model: TokenModel | Model, tokenizer: TextTokenizer | None = None) -> Trajectory:
        """One episode.

        Args:
            model: a server that takes and returns token ids; or, with a *tokenizer*, any `trioagent.Model`, for which
                the trajectory has `Trajectory.samples` in place of segments.
            tokenizer: the model's own, for a server that returns text only.

        Raises:
            ModelError: the server is unavailable, refuses, or returns no token ids.
            TrioAgentError: as raised by an agent's chat.

        Cancelling stops the generation and the running code.
        """
        (one,) = await self.group(model, 1, tokenizer)
        return one

    async def group(
        self, model: TokenModel | Model, count: int, tokenizer: TextTokenizer | None = None
    ) -> list[Trajectory]:
        """*count* concurrent episodes, each with a copy of the same notes; arguments, errors, cancelling as `rollout`.

        A failed episode stops the others.
        """
        if count < 1:
            raise InvalidInputError("count", f"must be 1 or more, not {count!r}")
        converse = _conversations(model, tokenizer)
        episodes: list[Trajectory | None] = [None] * count
        async with _folder() as root:
            start = root / "start"
            await trio.to_thread.run_sync(write_notes, start, self._notes)

            async def run(number: int) -> None:
                memory = root / str(number)
                await trio.to_thread.run_sync(copy_notes, start, memory)
                episodes[number] = await self._episode(converse(), memory)

            async with trio.open_nursery() as nursery:
                for number in range(count):
                    nursery.start_soon(run, number)
        return [episode for episode in episodes if episode is not None]

    async def _episode(self, tokens: _TokenConversation | TextConversation, memory: Path) -> Trajectory:
        agent = Agent(self._runtime, memory_path=memory, model=tokens, **self._settings)
        responses: list[AgentResponse] = [await agent.chat(message) for message in self._messages]
        repairs: dict[str, int] = {}
        for response in responses:
            for name, times in response.repairs.items():
                repairs[name] = repairs.get(name, 0) + times
        episode = Trajectory(
            segments=tuple(tokens.segments),
            samples=tuple(tokens.samples),
            messages=tuple(agent.messages),
            replies=tuple(response.reply for response in responses),
            stop_reasons=tuple(response.stop_reason for response in responses),
            repairs=repairs,
            notes_before=self._notes,
            notes_after=await trio.to_thread.run_sync(read_notes, memory),
            model=tokens.name,
        )
        # Graders are pure and process model-written text: not on the event loop.
        rewards = await trio.to_thread.run_sync(partial(self._rewarded, episode))
        total = sum(rewards[name] * weight for name, (_, weight) in self._rewards.items())
        return attrs.evolve(episode, rewards=rewards, reward=total)

    def _rewarded(self, episode: Trajectory) -> dict[str, float]:
        return {name: float(reward(episode)) for name, (reward, _) in self._rewards.items()}


def _conversations(
    model: TokenModel | Model, tokenizer: TextTokenizer | None
) -> Callable[[], _TokenConversation | TextConversation]:
    """Makes the conversation of an episode.

    Raises:
        InvalidInputError: the model returns text only, and there is no tokenizer; or there is one that is not needed.
    """
    if isinstance(model, TokenModel):
        if tokenizer is not None:
            raise InvalidInputError("tokenizer", f"is given, and {model.name!r} gives ids itself; leave it out")
        return partial(_TokenConversation, model)
    if tokenizer is None:
        problem = f"is needed for {model.name!r}, which gives text alone; or use a server that gives token ids"
        raise InvalidInputError("tokenizer", problem)
    return partial(TextConversation, model, tokenizer)


class _TokenConversation:
    """A `trioagent.Model` over a token model: each answer continues the exact ids of everything before it."""

    def __init__(self, model: TokenModel) -> None:
        self._model = model
        self._known: list[ChatMessage] = []
        self.segments: list[TokenSegment] = []
        self.samples: list[TurnSample] = []  # always empty: there are segments

    @property
    def name(self) -> str:
        return self._model.name

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
        """See `trioagent.Model.answer`."""
        said = await self._next_words(messages)
        ids = [token for segment in self.segments for token in segment.ids] + list(said.ids)
        written = await self._model.generate(ids, STOP)
        # Appended together, so that an interrupted generation leaves nothing behind.
        self.segments += [
            said,
            TokenSegment(
                by="model",
                ids=written.ids,
                logprobs=written.logprobs,
                text=written.text,
                finish_reason=written.finish_reason,
            ),
        ]
        self._known = list(messages)
        usage = Usage(prompt_tokens=len(ids), completion_tokens=len(written.ids), requests=1)
        async with aclosing(_parts(TextDelta(written.text), AnswerEnd(usage, written.finish_reason))) as parts:
            yield parts

    async def _next_words(self, messages: Sequence[ChatMessage]) -> TokenSegment:
        """The environment's text since the last answer, as ids: the only text that is tokenised."""
        if not self.segments:
            text = await self._model.render(messages)
            return TokenSegment(by="environment", ids=await self._model.tokenize(text, at_start=True), text=text)
        new = list(messages[len(self._known) + 1 :])  # the message before them is the last answer
        mark = ChatMessage("assistant", _MARK)
        rendered = await self._model.render([*self._known, mark, *new])
        text = rendered.rpartition(_MARK)[2]
        ids = await self._model.tokenize(text, at_start=False)
        last = self.segments[-1].ids
        if last and ids and last[-1] == ids[0]:  # the model has written the end-of-turn token that the template adds
            ids = ids[1:]
        return TokenSegment(by="environment", ids=ids, text=text)


async def _parts(*parts: AnswerPart) -> AsyncGenerator[AnswerPart, None]:
    for part in parts:
        yield part


@asynccontextmanager
async def _folder() -> AsyncIterator[Path]:
    """A temporary folder, removed however the block ends."""
    root = Path(await trio.to_thread.run_sync(partial(tempfile.mkdtemp, prefix="trioagent-rl-")))
    try:
        yield root
    finally:
        with trio.CancelScope(shield=True):  # bounded: a few local files
            await trio.to_thread.run_sync(remove_tree, root)
