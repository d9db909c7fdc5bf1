"""The protocol between a driver and a worker: one exchange at a time, an inbox for an outbox.

A worker has no state that must not be lost. A task depends only on what it names: the messages of a conversation, or a
block's code and the notes that it may see. Texts and notes are named by their hash, and only those that the worker
lacks are sent. The driver keeps track of what a worker has, and tells it what to forget.
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
    """The parameters of a new worker.

    Attributes:
        epoch: the worker's number in the run; every inbox and outbox names it.
        tier: the required sandbox tier; None for the best that works there.
        silence: timeout in seconds without an exchange after which the worker considers the driver gone, and ends.
    """

    epoch: int
    tier: str | None
    limits: SandboxLimits
    network: NetworkConfig
    silence: float


@attrs.frozen(kw_only=True)
class Handshake:
    """A worker's description of itself when it is ready.

    Attributes:
        node: the name of its machine.
        pid: its process id.
        tier: its sandbox tier, determined by running a block.
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
        changes: adjustments for what the server does not support.
        style: how the model marks its thoughts, which determines where its answer can be cut off.
        headers: of this request alone; they name its parent span of the driver; none without tracing.
    """

    task: int
    model: str
    messages: tuple[str, ...]
    changes: frozenset[Change]
    style: ThoughtStyle
    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class CopyChange:
    """The changes that bring the worker's copy of a memory up to date.

    Attributes:
        fresh: discard the old copy first.
        folders: new ones, parents first.
        files: new or changed ones: the name of their content, and their permissions.
        links: new or changed symbolic links, with their targets.
        removed: removed files and links.
        removed_folders: removed folders, children first.
    """

    fresh: bool = False
    folders: tuple[str, ...] = ()
    files: Mapping[str, tuple[str, int]] = attrs.field(factory=dict)
    links: Mapping[str, str] = attrs.field(factory=dict)
    removed: tuple[str, ...] = ()
    removed_folders: tuple[str, ...] = ()


@attrs.frozen
class RunBlock:
    """Run a block over a copy of a memory, and report its changes.

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
    """The result of a host tool: its value as JSON, or the kind and the message of its error."""

    value: str = "null"
    kind: str = ""
    error: str = ""


@attrs.frozen(kw_only=True)
class Inbox:
    """From the driver.

    Attributes:
        epoch: the epoch of the worker that it is meant for.
        number: the number of the exchange, from 1.
        models: new ones: a `ModelConfig`, or a pickled `Model`.
        messages: new ones, by name.
        contents: new contents of notes, by name: all that the tasks need, and some that later ones will need.
        tasks: new ones, in the order in which they are to begin.
        cancelled: tasks whose results are no longer needed.
        tool_answers: for tasks whose blocks wait for one.
        forget_messages, forget_contents, forget_copies: what may be dropped; no running task needs it.
        hold: seconds to wait for a result, if there is none.
        linger: seconds to wait for further results, to batch them into one exchange.
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
    """A server's answer, as far as it was read.

    Attributes:
        chars: of text and reasoning.
        usage, finish_reason: as reported by the server.
        ended: it was read to its end, not cut off where it was complete.
        error: why there is no answer, or no more of it; usually None.
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
    """The parts of an answer of a model without a server; such a model counts and retries by itself."""

    parts: tuple[AnswerPart, ...]


@attrs.frozen
class BlockRan:
    """A block's outcome, and the names of the contents that it wrote, which the worker keeps."""

    outcome: Outcome
    kept: tuple[str, ...] = ()


@attrs.frozen
class ToolCall:
    """Not a result yet: the block calls a host tool, and waits for its answer."""

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@attrs.frozen
class CopyBroken:
    """The worker's disk failed while copying a memory; the block has not run, and the copy must be made again."""

    errno: int
    problem: str


@attrs.frozen
class TaskFailed:
    """The task raised an error."""

    error: Exception


@attrs.frozen
class TaskCancelled:
    """The task was cancelled, and nothing of it is left."""


Result = AnswerRead | ModelParts | BlockRan | ToolCall | CopyBroken | TaskFailed | TaskCancelled


@attrs.frozen(kw_only=True)
class Outbox:
    """From a worker: the results of tasks, by their number."""

    epoch: int
    number: int
    results: tuple[tuple[int, Result], ...] = ()


def name_of_message(message: ChatMessage) -> str:
    """The name of a message between driver and worker."""
    data = message.content.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16, person=message.role.encode()).hexdigest()


def name_of_content(version: str, mode: int) -> str:
    """The name of a note's content; notes with the same name may share a file on a worker's disk."""
    return f"{version}-{mode:o}"


def describe(value: Any) -> str:
    """An error in one line of bounded length."""
    return " ".join(f"{type(value).__name__}: {value}".split())[:500]
