"""Filters of a chat: which notes may be read in it, and what is redacted from everything that leaves it.

They are enforced by this code and not by the model: notes that may not be read are in no view that a block gets, and
every text is scanned on its way out of the sandbox and out of the chat. So the model itself does not see what is
withheld. If it knows a withheld text from elsewhere, it cannot say it in any spelling that the rules find (see
`_redaction`).
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import attrs
import trio

from ._config import VaultPolicy
from ._driver import Emit, Show
from ._errors import InvalidInputError, ModelError, TrioAgentError, WithheldError
from ._events import AgentEvent, Answered, CodeStarted
from ._messages import AgentResponse, ChatMessage
from ._parsed_reply import Delta, Kind, ParsedReply
from ._redaction import REPLACEMENT, Redactor, Rule
from ._turn import Turn
from .memory import ChangeSet, SeenNotes
from .models import Retrying
from .sandbox import BlockResult
from .tools import AccessRules, is_shown

_log = logging.getLogger("trioagent.audit")
_ERROR_CHARS, _NAME_CHARS = 1900, 200  # errors and names of this length may have been cut
T = TypeVar("T")


@attrs.frozen(kw_only=True)
class AuditRecord:
    """What passed through the filter of a chat: with one block, or with one answer of the model.

    Attributes:
        memory: the folder of notes.
        kind: "block" for a block's result, "answer" for the model's text.
        read: the notes that the block read, as reported by the block; it could not read any that is not shown.
        written: the notes that were saved.
        not_shown: the notes that it tried to read and may not; it does not learn whether they exist.
        withheld: how often each rule redacted something, by the rule's name.
    """

    memory: str
    kind: Literal["block", "answer"]
    read: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    not_shown: tuple[str, ...] = ()
    withheld: Mapping[str, int] = attrs.field(factory=dict)


def _rules(value: Any) -> Any:
    """Rules by name: those of a mapping by its keys, others by their position."""
    if isinstance(value, Mapping):
        return tuple(value.items())
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return value
    rules = tuple(value)
    if all(isinstance(rule, tuple) and len(rule) == 2 for rule in rules):
        return rules
    return tuple((f"redact[{index}]", rule) for index, rule in enumerate(rules))


def _check_rules(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, tuple):
        raise InvalidInputError("redact", f"must be a list or mapping of rules, not {type(value).__name__}")
    for name, rule in value:
        if isinstance(rule, str) and not "".join(filter(str.isprintable, rule)).strip():
            raise InvalidInputError(str(name), "is empty")
        if not isinstance(name, str) or not (isinstance(rule, str) or hasattr(rule, "finditer") or callable(rule)):
            kind = type(rule).__name__
            raise InvalidInputError(
                str(name), f"must be a text, a compiled regular expression or a function, not {kind}"
            )


def _check_readable(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    VaultPolicy(readable=value)


def _texts(value: Any) -> Any:
    return value if isinstance(value, str) or not hasattr(value, "__iter__") else tuple(value)


@attrs.frozen(kw_only=True)
class ChatFilter:
    """What may be read in a chat, and what may not leave it.

    Attributes:
        readable: globs of the notes that blocks are shown, in addition to those of the memory's policy (see
            `VaultPolicy`). Messages of earlier chats with other globs are not shown to the model either.
        redact: rules for what is redacted from results, errors, replies, thoughts and code in events: a text, a
            compiled regular expression, or a function that gets a text and returns the redacted text, in a worker
            thread. A mapping names them. See `_redaction.Redactor` on how texts are found.
        replacement: the text in place of what was redacted.
        instruction: a text that the model gets with the message, for what no rule can find.
        audit: called with an `AuditRecord` for each block, and for each answer from which something was redacted;
            records are also logged to ``trioagent.audit``.
    """

    readable: tuple[str, ...] = attrs.field(default=("**",), converter=_texts, validator=_check_readable)
    redact: tuple[tuple[str, Rule], ...] = attrs.field(default=(), converter=_rules, validator=_check_rules)
    replacement: str = attrs.field(default=REPLACEMENT, validator=attrs.validators.instance_of(str))
    instruction: str = ""
    audit: Callable[[AuditRecord], object] | None = attrs.field(default=None, eq=False)


class FilteredChat:
    """One chat under a filter: what the model is shown, and what leaves the chat.

    Deltas of an answer are held back until the answer is complete, and are then emitted as one of each kind, so that
    a withheld text cannot leave in parts.

    Args:
        memory: the folder of notes.
        rules: what blocks may touch without the filter.
        emit, show: where events go to.
    """

    def __init__(self, chat_filter: ChatFilter, memory: str, rules: AccessRules, *, emit: Emit, show: Show) -> None:
        self.filter = chat_filter
        self._memory = memory
        self._rules = rules._replace(readable=(*rules.readable, chat_filter.readable))
        self._emit, self._show = emit, show
        self._redactor = Redactor(chat_filter.redact, chat_filter.replacement)
        self._held: list[Delta] = []
        self._settled: set[int] = set()  # messages by id; they live as long as the turn
        self._crossed: tuple[SeenNotes, ChangeSet] | None = None

    @property
    def readable(self) -> tuple[str, ...]:
        return self.filter.readable

    def history(self, messages: Sequence[ChatMessage], under: Mapping[str, ChatFilter]) -> list[ChatMessage]:
        """What the model is shown of earlier chats.

        Args:
            under: the filters that messages were made under, by their text.
        """
        if self.readable != ("**",):
            start = len(messages)
            while start and (other := under.get(messages[start - 1].content)) and other.readable == self.readable:
                start -= 1
            while start < len(messages) and messages[start].role != "user":  # of another chat with the same text
                start += 1
            messages = [*(each for each in messages[:start] if each.role == "system"), *messages[start:]]
        return [message if message.role in ("system", "user") else self._settle(message) for message in messages]

    def message(self, text: str) -> str:
        """The user's message, as the model gets it."""
        return f"{text}\n\n{self.filter.instruction.strip()}" if self.filter.instruction.strip() else text

    def show(self, event: Delta | Retrying) -> None:
        """Hold back a delta of an answer; deltas from before a retry are dropped."""
        if isinstance(event, Retrying):
            self._held.clear()
            self._show(self._retrying(event))
        elif self._held and self._held[-1].kind == event.kind:
            self._held[-1] = Delta(event.kind, self._held[-1].text + event.text)
        else:
            self._held.append(event)

    async def emit(self, event: AgentEvent, turn: Turn) -> None:
        """Emit an event, without what is withheld."""
        match event:
            case Answered(answer):
                held, self._held = self._held, []
                found: Counter[str] = Counter()
                deltas, answer = await _in_thread(partial(self._answered, held, event, found))
                self.settle(turn)
                if found:
                    self._record(AuditRecord(memory=self._memory, kind="answer", withheld=dict(found)))
                for delta in deltas:
                    self._show(delta)
                await self._emit(attrs.evolve(event, answer=answer))
            case CodeStarted(code):
                await self._emit(CodeStarted(await _in_thread(partial(self._text, code))))
            case _:  # results and responses are filtered where they are made
                await self._emit(event)

    def crossed(self, seen: SeenNotes, changes: ChangeSet) -> None:
        """Record what the block has read and changed, before its result is emitted."""
        self._crossed = seen, changes

    async def result(self, result: BlockResult) -> BlockResult:
        """A block's result, filtered for the model and for callers."""
        found: Counter[str] = Counter()
        result = await _in_thread(partial(self._result, result, found))
        seen, changes = self._crossed or (SeenNotes(), ChangeSet())
        self._crossed = None
        read = (path for path, version in seen.reads.items() if version is not None)
        asked = (path for path, version in seen.reads.items() if version is None)
        record = AuditRecord(
            memory=self._memory,
            kind="block",
            read=tuple(sorted(read)),
            written=tuple(sorted({*changes.writes, *changes.deletes})) if result.saved else (),
            not_shown=tuple(sorted(path for path in asked if not is_shown(path, self._rules))),
            withheld=dict(found),
        )
        self._record(record)
        return result

    async def response(self, response: AgentResponse) -> AgentResponse:
        """The chat's response, filtered."""
        return await _in_thread(partial(self._response, response))

    def settle(self, turn: Turn) -> None:
        """Redact the model's answers in the turn's messages."""
        for index, message in enumerate(turn.messages):
            if message.role == "assistant" and id(message) not in self._settled:
                turn.messages[index] = self._settle(message)

    def error(self, error: TrioAgentError) -> TrioAgentError:
        """The error to raise in place of one of the chat's: itself, if nothing in its text is withheld."""
        return error if self._text(str(error)) == str(error) else WithheldError(type(error).__name__)

    def _settle(self, message: ChatMessage) -> ChatMessage:
        text = self._text(message.content)
        settled = message if text == message.content else ChatMessage(message.role, text)
        self._settled.add(id(settled))
        return settled

    def _text(self, text: str, found: Counter[str] | None = None, *, cut: bool = False) -> str:
        text, counts = self._redactor.redact(text, cut=cut)
        if found is not None:
            found += counts
        return text

    def _answered(self, held: Iterable[Delta], event: Answered, found: Counter[str]) -> tuple[list[Delta], ParsedReply]:
        cut, answer = event.answer.cut, event.answer
        raw: dict[Kind, str] = {}
        for delta in held:
            raw[delta.kind] = raw.get(delta.kind, "") + delta.text
        deltas = [Delta(kind, self._text(text, cut=cut)) for kind, text in raw.items()]
        return deltas, attrs.evolve(
            answer,
            thoughts=self._text(answer.thoughts, found, cut=cut),
            code=self._text(answer.code, found),
            reply=self._text(answer.reply, found),
            text=self._text(answer.text, cut=cut),
            partial=self._text(answer.partial, cut=cut),
        )

    def _result(self, result: BlockResult, found: Counter[str]) -> BlockResult:
        values: dict[str, str] = {}
        for name, value in result.locals.items():
            shown = self._text(name, found, cut=len(name) >= _NAME_CHARS)
            while shown in values:
                shown += "_"
            values[shown] = self._text(value, found)
        return attrs.evolve(
            result,
            locals=values,
            error=self._text(result.error, found, cut=len(result.error) >= _ERROR_CHARS),
            printed=self._text(result.printed, found),
        )

    def _response(self, response: AgentResponse) -> AgentResponse:
        return attrs.evolve(
            response,
            thoughts=self._text(response.thoughts, cut=response.stop_reason == "cut"),
            python_block=self._text(response.python_block),
            reply=self._text(response.reply),
            partial=self._text(response.partial, cut=True),
        )

    def _retrying(self, event: Retrying) -> Retrying:
        words = str(event.error)
        if self._text(words) == words:
            return event
        return attrs.evolve(event, error=ModelError("an error whose text the chat's filter withholds"))

    def _record(self, record: AuditRecord) -> None:
        _log.info("%s", json.dumps(attrs.asdict(record), ensure_ascii=False))
        if self.filter.audit is not None:
            self.filter.audit(record)


async def _in_thread(work: Callable[[], T]) -> T:
    """Redact off the event loop: texts may be long, and rules slow."""
    return await trio.to_thread.run_sync(work)
