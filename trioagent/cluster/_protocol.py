"""What a driver and a worker say to each other: one exchange at a time, an inbox for an outbox.

A worker holds nothing that cannot be lost. A task is a function of what it names: the messages of a conversation, or a
block's code and the notes that it may see. Texts and notes are named by their hash, and only those that the worker
lacks are sent along. The driver remembers what a worker has, and says what it may forget.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import attrs

from .._config import ModelConfig, SandboxLimits
from .._errors import ModelError
from .._messages import ChatMessage, Usage
from .._network import NetworkConfig
from .._reply_parser import ThoughtStyle
from .._server_behaviour import Change
from ..models import AnswerPart
from ..sandbox import Outcome
from ..tools import AccessRules


@attrs.frozen(kw_only=True)
class WorkerSetup:
    """What a worker is started with.

    Attributes:
        epoch: the worker's number in the run; every inbox and outbox names it.
        tier: the sandbox tier to insist on; None for the best that works there.
        silence: seconds without an exchange after which the worker takes the driver for gone, and ends.
    """

    epoch: int
    tier: str | None
    limits: SandboxLimits
    network: NetworkConfig
    silence: float


@attrs.frozen(kw_only=True)
class Handshake:
    """What a worker says of itself when it is ready.

    Attributes:
        node: the name of its machine.
        pid: its process.
        tier: the sandbox tier that runs its blocks, found by running one.
    """

    node: str
    pid: int
    tier: str


@attrs.frozen
class SendRequest:
    """Send one request.

    Attributes:
        task: its number.
        model: the key of a `ModelConfig` that the worker has been given, or of a pickled `Model`.
        messages: the conversation, by the names of its messages.
        changes: what the server does not take.
        style: how the model marks its thoughts, which tells where its answer can be stopped.
        headers: of this request alone, which name the driver's span that it belongs to; none if nothing is traced.
    """

    task: int
    model: str
    messages: tuple[str, ...]
    changes: frozenset[Change]
    style: ThoughtStyle
    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class CopyChange:
    """What makes the worker's copy of a memory what the memory is now.

    Attributes:
        fresh: drop what the copy held.
        folders: that are new, parents first.
        files: that are new or have changed: the name of their content, and their permissions.
        links: symbolic links that are new or have changed, with their targets.
        removed: files and links that are gone.
        removed_folders: that are gone, children first.
    """

    fresh: bool = False
    folders: tuple[str, ...] = ()
    files: Mapping[str, tuple[str, int]] = attrs.field(factory=dict)
    links: Mapping[str, str] = attrs.field(factory=dict)
    removed: tuple[str, ...] = ()
    removed_folders: tuple[str, ...] = ()


@attrs.frozen
class RunBlock:
    """Run a block over a copy of a memory, and say what it changed.

    Attributes:
        memory: its key; "" for an empty folder.
        tools: names of host tools that the block may call: the driver runs them (`ToolCall`).
        headers: as those of a request.
    """

    task: int
    memory: str
    change: CopyChange
    code: str
    rules: AccessRules
    tools: tuple[str, ...] = ()
    headers: Mapping[str, str] = attrs.field(factory=dict)


Task = SendRequest | RunBlock


@attrs.frozen
class ToolAnswer:
    """What a host tool came to: its value as JSON, or the kind and the words of its error."""

    value: str = "null"
    kind: str = ""
    error: str = ""


@attrs.frozen(kw_only=True)
class Inbox:
    """From the driver.

    Attributes:
        epoch: of the worker that it is meant for.
        number: of the exchange, from 1.
        models: that are new: a `ModelConfig`, or a pickled `Model`.
        messages: that are new, by name.
        contents: of notes, that are new, by name: all that the tasks need, and a part of what later ones will.
        tasks: in the order in which they are begun.
        cancelled: tasks whose result nobody wants any more.
        tool_answers: for the tasks whose blocks wait for one.
        forget_messages, forget_contents, forget_copies: what may be dropped; no task that is under way needs it.
        hold: seconds to wait for a result, if there is none.
        linger: seconds to wait for further ones, so that one exchange carries many.
    """

    epoch: int
    number: int
    models: Mapping[str, ModelConfig | bytes] = attrs.field(factory=dict)
    messages: Mapping[str, ChatMessage] = attrs.field(factory=dict)
    contents: Mapping[str, bytes] = attrs.field(factory=dict)
    tasks: tuple[Task, ...] = ()
    cancelled: tuple[int, ...] = ()
    tool_answers: tuple[tuple[int, ToolAnswer], ...] = ()
    forget_messages: tuple[str, ...] = ()
    forget_contents: tuple[str, ...] = ()
    forget_copies: tuple[str, ...] = ()
    hold: float = 0.0
    linger: float = 0.0


@attrs.frozen
class AnswerRead:
    """A server's answer, as far as it was wanted.

    Attributes:
        chars: of text and reasoning.
        usage, finish_reason: as the server gave them.
        ended: it was read to its end, not stopped where it was complete.
        error: why there is no answer, or no more of it; None as a rule.
    """

    text: str = ""
    reasoning: str = ""
    chars: int = 0
    usage: Usage | None = None
    finish_reason: str = ""
    ended: bool = False
    error: ModelError | None = None


@attrs.frozen
class ModelParts:
    """What a model that is no server said, part by part; it counts and retries for itself."""

    parts: tuple[AnswerPart, ...]


@attrs.frozen
class BlockRan:
    """A block's outcome, and the names of the contents that it has written, which the worker keeps."""

    outcome: Outcome
    kept: tuple[str, ...] = ()


@attrs.frozen
class ToolCall:
    """No result yet: the block calls a host tool, and waits for its answer."""

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@attrs.frozen
class CopyBroken:
    """The worker's disk refused the copy of a memory; the block has not run, and the copy is to be made afresh."""

    errno: int
    problem: str


@attrs.frozen
class TaskFailed:
    """A task's own error."""

    error: Exception


@attrs.frozen
class TaskCancelled:
    """It was cancelled, and nothing of it is left."""


Result = AnswerRead | ModelParts | BlockRan | ToolCall | CopyBroken | TaskFailed | TaskCancelled


@attrs.frozen(kw_only=True)
class Outbox:
    """From a worker: the results of tasks, by their number."""

    epoch: int
    number: int
    results: tuple[tuple[int, Result], ...] = ()


def name_of_message(message: ChatMessage) -> str:
    """What a message is called between driver and worker."""
    data = message.content.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16, person=message.role.encode()).hexdigest()


def name_of_content(version: str, mode: int) -> str:
    """What a note's content is called: two notes with the same may share it on a worker's disk."""
    return f"{version}-{mode:o}"


def describe(value: Any) -> str:
    """An error in one line of bounded length."""
    return " ".join(f"{type(value).__name__}: {value}".split())[:500]
