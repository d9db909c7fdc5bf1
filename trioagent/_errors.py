"""The errors trioagent raises: one base, one leaf per cause.

    TrioAgentError
    ├── InvalidInputError            a setting, message or argument that cannot be used (also a ValueError)
    ├── MemoryPathError              the memory folder cannot be used as one
    ├── MemoryDeadlockError          a host tool needs the memory of the block that waits for it
    ├── MemoryStorageError           the disk refused: full, broken, read-only; the notes are unchanged
    ├── MemoryHistoryError           the history of a memory cannot be used: planted or damaged data, no git
    ├── RevisionNotFoundError        the history has no such revision, or the note does not exist in it
    ├── MemoryRejectedError          a block's changes were refused; the text goes to the model
    │   ├── MemoryLimitError         too large, too many, or not a plain note
    │   ├── MemoryConflictError      someone else changed a note since this agent read it
    │   ├── MemoryUnreadError        a note would be written over that this agent has never read
    │   └── MemoryProtectedError     a note or folder that may not be changed
    ├── WithheldError                an error of a filtered chat, whose text contains what is withheld
    ├── AgentBusyError               a second chat with one agent, while the first is running
    ├── ReplayMismatchError          a journaled event does not match the conversation at that place
    ├── DeadlineExceededError        a job's working time is used up
    ├── FatalError                   an error of the run itself, never of one job
    ├── SandboxUnavailableError      no sandbox tier works on this machine, or the requested one does not
    ├── SandboxError                 the sandbox broke (not: the block failed)
    ├── WrongContextError            a call of `trioagent.compat` from a context where it cannot wait
    ├── BridgeClosedError            the Trio thread of `trioagent.compat` ended during a call
    ├── CallCancelledError           an asyncio coroutine that Trio waited for was cancelled by other code
    └── ModelError
        ├── EndpointHeldError        the server is unavailable; a run waits for it and continues
        ├── ModelConnectionError     nothing answered, or the connection broke
        │   └── ModelCertificateError  the server's certificate is not trusted
        ├── ModelStatusError         an HTTP error status
        │   └── ModelRefusedError    the server refuses everything, so no request is sent for a while
        ├── ModelProtocolError       an answer that is not a chat completion
        └── StructuredOutputError    answers, none of which matches the schema

Every error's ``args`` are its constructor's arguments, so that it survives pickling; fields are for code, ``str()`` is
for people and says what happened, the value, and what to do. No error ever contains a credential.
"""

from __future__ import annotations

import errno

from ._messages import Usage

_SHOWN_PATHS, _SHOWN_CHARS = 20, 300


class TrioAgentError(Exception):
    """Base of every error that trioagent raises on purpose."""


class InvalidInputError(TrioAgentError, ValueError):
    """A setting, message or argument cannot be used.

    Attributes:
        what: the name of the setting or argument.
        problem: what is wrong with it, with the value, and what would be valid.
    """

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(what, problem)
        self.what: str = what
        self.problem: str = problem

    def __str__(self) -> str:
        return f"{self.what}: {self.problem}"


class MemoryPathError(TrioAgentError):
    """The memory folder cannot be used: it is a file or a symbolic link, or is not readable or writable."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path: str = path
        self.problem: str = problem

    def __str__(self) -> str:
        return f"the memory {self.path!r} cannot be used: {self.problem}"


class MemoryDeadlockError(TrioAgentError):
    """A host tool needs a memory that cannot become free before the tool has returned.

    Attributes:
        path: the memory folder.
        problem: who holds it, and what for.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path: str = path
        self.problem: str = problem

    def __str__(self) -> str:
        return (
            f"waiting for the memory {self.path!r} would never end: {self.problem}; "
            "let host tools work on other memories than the blocks that call them"
        )


DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers of a full disk or quota: the operation works again when there is room."""


class MemoryStorageError(TrioAgentError):
    """The disk refused while notes were being saved. Unless *pending*, every note is as it was before the block.

    Attributes:
        path: the memory folder.
        errno: the operating system's error number (``errno.ENOSPC`` for a full disk).
        detail: the operating system's message.
        pending: the disk refused in the middle of a commit, and refused to roll it back as well. Until one of them
            succeeds the memory can be read, and some notes show the change; the next lease recovers it.
    """

    def __init__(self, path: str, errno: int, detail: str, pending: bool = False) -> None:
        super().__init__(path, errno, detail, pending)
        self.path: str = path
        self.errno: int = errno
        self.detail: str = detail
        self.pending: bool = pending

    @property
    def disk_full(self) -> bool:
        """The disk, or a quota on it, is full."""
        return self.errno in DISK_FULL

    def __str__(self) -> str:
        if self.pending:
            return (
                f"a change of the memory {self.path!r} was interrupted and cannot be completed now: {self.detail}; "
                "it can be read, and the change is completed or rolled back when the disk allows it"
            )
        return f"could not save to the memory {self.path!r}: {self.detail}; its notes are unchanged"


class MemoryHistoryError(TrioAgentError):
    """The history of a memory cannot be used. The notes are as before the call.

    Attributes:
        path: the memory folder.
        problem: why, and what to do.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path: str = path
        self.problem: str = problem

    def __str__(self) -> str:
        return f"the history of the memory {self.path!r} cannot be used: {self.problem}"


class RevisionNotFoundError(TrioAgentError):
    """The history has no such revision, or the note does not exist in it.

    Attributes:
        path: the memory folder.
        revision: the requested revision.
        note: the note that does not exist in that revision; "" if the revision itself is unknown.
    """

    def __init__(self, path: str, revision: str, note: str = "") -> None:
        super().__init__(path, revision, note)
        self.path: str = path
        self.revision: str = revision
        self.note: str = note

    def __str__(self) -> str:
        if self.note:
            return f"there is no note {self.note!r} in the memory {self.path!r} at revision {self.revision!r}"
        return (
            f"the history of the memory {self.path!r} has no revision {self.revision!r}; give the first digits of an "
            "id, at least 4, or a time such as 2026-08-01T12:00"
        )


class MemoryRejectedError(TrioAgentError):
    """A block's changes were refused as a whole. ``str()`` tells a model what to do next."""


class MemoryLimitError(MemoryRejectedError):
    """A block's changes exceed a limit (see :class:`MemoryLimits`) or leave something that is not a plain note.

    Attributes:
        path: the note or folder, relative to the memory.
        problem: which limit is exceeded by how much, and what to do.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path: str = path
        self.problem: str = problem

    def __str__(self) -> str:
        return f"{_shown(self.path)}: {self.problem}"


class MemoryConflictError(MemoryRejectedError):
    """Someone else changed notes after this agent had read them, and the block would have overwritten that change.

    Attributes:
        paths: the notes concerned, relative to the memory, sorted.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        super().__init__(paths)
        self.paths = paths

    def __str__(self) -> str:
        return (
            f"someone else changed {_list_of(self.paths)} after you last read it; read it again, then redo your change"
        )


class MemoryUnreadError(MemoryRejectedError):
    """A block would have written over notes that its agent has never read in this conversation.

    Only with ``blind_overwrite="refuse"``, the default.

    Attributes:
        paths: the notes concerned, relative to the memory, sorted.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        super().__init__(paths)
        self.paths: tuple[str, ...] = paths

    def __str__(self) -> str:
        first = _shown(self.paths[0]) if self.paths else ""
        return (
            f"{_list_of(self.paths)} existed already, and you have not read it in this conversation; "
            f"read it first with read_file({first!r}), then write it again with what must be kept"
        )


class MemoryProtectedError(MemoryRejectedError):
    """A block would have changed a note or folder that the system, or the owner's policy, protects.

    Attributes:
        path: the note or folder, relative to the memory.
        problem: what protects it.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path: str = path
        self.problem: str = problem

    def __str__(self) -> str:
        return f"{_shown(self.path)} cannot be changed: {self.problem}"


def _list_of(paths: tuple[str, ...]) -> str:
    names = ", ".join(_shown(path) for path in paths[:_SHOWN_PATHS])
    return f"{names} and {len(paths) - _SHOWN_PATHS} more" if len(paths) > _SHOWN_PATHS else names


def _shown(path: str) -> str:
    """A path for people and models: a note's may have thousands of characters."""
    return path if len(path) <= _SHOWN_CHARS else f"{path[: _SHOWN_CHARS // 2]}…{path[-_SHOWN_CHARS // 2 :]}"


class ReplayMismatchError(TrioAgentError):
    """A journaled event does not match the conversation at that place: it was begun under other settings.

    Attributes:
        needed: what the conversation needs ("an answer", "a block's result").
        found: what the journal has.
    """

    def __init__(self, needed: str, found: str) -> None:
        super().__init__(needed, found)
        self.needed: str = needed
        self.found: str = found

    def __str__(self) -> str:
        return (
            f"the journal has {self.found} where the conversation needs {self.needed}: it was begun under other "
            "settings (fewer or more tool turns?); restore them, or begin the job again"
        )


class WithheldError(TrioAgentError):
    """A chat under a filter ended with an error whose text contains something that the filter withholds.

    Attributes:
        kind: the error's class.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind: str = kind

    def __str__(self) -> str:
        return f"the chat ended with a {self.kind}, whose text its filter withholds"


class AgentBusyError(TrioAgentError):
    """Another chat with this agent is running; an agent is one conversation.

    Attributes:
        memory_path: identifies the agent.
    """

    def __init__(self, memory_path: str) -> None:
        super().__init__(memory_path)
        self.memory_path = memory_path

    def __str__(self) -> str:
        return f"the agent on {self.memory_path!r} is already in a chat; wait for it, or make another agent"


class DeadlineExceededError(TrioAgentError):
    """A job used up its working time (waits for a rate limit or a retry do not count).

    Attributes:
        seconds: the working time it had.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"the job did not end within its {self.seconds:g} s of working time"


class FatalError(TrioAgentError):
    """An error of the run itself, never of one job: it stops all of them."""


class SandboxUnavailableError(TrioAgentError):
    """No sandbox tier works here, or the requested one does not. Model-written code never runs without one.

    Attributes:
        reasons: for each tier that was tried, what failed and what would help.
    """

    def __init__(self, reasons: tuple[tuple[str, str], ...]) -> None:
        super().__init__(reasons)
        self.reasons = reasons

    def __str__(self) -> str:
        tried = "; ".join(f"{tier}: {why}" for tier, why in self.reasons)
        return f"no sandbox for model-written code works on this machine ({tried}); run `trioagent doctor` for details"


class SandboxError(TrioAgentError):
    """The sandbox itself broke (its zygote died, or it could not make a child). No note was changed."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the sandbox failed: {self.problem}"


class WrongContextError(TrioAgentError):
    """A call of `trioagent.compat` from a context where it cannot wait for the answer.

    Attributes:
        call: what was called.
        problem: the context, and what to call instead.
    """

    def __init__(self, call: str, problem: str) -> None:
        super().__init__(call, problem)
        self.call: str = call
        self.problem: str = problem

    def __str__(self) -> str:
        return f"{self.call} {self.problem}"


class BridgeClosedError(TrioAgentError):
    """The Trio thread behind `trioagent.compat` ended before the call did; the call has been cleaned up.

    Attributes:
        problem: why it ended.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"trioagent.compat abandoned the call: {self.problem}"


class CallCancelledError(TrioAgentError):
    """An asyncio coroutine that Trio waited for was cancelled, and not by Trio.

    Attributes:
        call: the coroutine function.
    """

    def __init__(self, call: str) -> None:
        super().__init__(call)
        self.call = call

    def __str__(self) -> str:
        return f"{self.call} was cancelled in its own event loop, or by itself"


class ModelError(TrioAgentError):
    """The model gave no usable answer, after all retries that made sense.

    Attributes:
        attempts: how many requests were sent in all (set by the retry loop).
    """

    attempts: int = 1


class ModelConnectionError(ModelError):
    """Nothing answered at the model's address, or the connection broke before the answer was complete."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(url, problem)
        self.url: str = url
        self.problem: str = problem

    def __str__(self) -> str:
        return f"no answer from the model at {self.url}: {self.problem}; is the server running and the address right?"


class ModelCertificateError(ModelConnectionError):
    """The server's TLS certificate is not trusted; a further attempt would not change that."""

    def __str__(self) -> str:
        return (
            f"the certificate of the model's server at {self.url} is not trusted: {self.problem}; if it is your own "
            "server, set SSL_CERT_FILE to the file of its certificate authority, or pass ssl_context= to open_model"
        )


class EndpointHeldError(ModelError):
    """The model's server is unavailable, as this request and others have found, and the caller should wait for it.

    Raised only inside `Endpoints.hold_outages`, where a run waits.

    Attributes:
        endpoint: the model and its address.
        problem: the last failure, as text.
    """

    def __init__(self, endpoint: str, problem: str) -> None:
        super().__init__(endpoint, problem)
        self.endpoint: str = endpoint
        self.problem: str = problem

    def __str__(self) -> str:
        return f"the server of {self.endpoint} is unavailable: {self.problem}"


class ModelStatusError(ModelError):
    """The model's server answered with an error: an HTTP status, or an error reported inside its answer.

    Attributes:
        status: the HTTP status code, or the one that corresponds to the reported error.
        detail: the start of the server's own message, for people.
        retry_after: the server's ``Retry-After`` in seconds, or None.
        code: the fields of the server's error object: its code, type, status and reason.
        param: the parameter of the request that the error names.
    """

    def __init__(
        self, status: int, detail: str = "", retry_after: float | None = None, code: str = "", param: str = ""
    ) -> None:
        super().__init__(status, detail, retry_after, code, param)
        self.status: int = status
        self.detail: str = detail
        self.retry_after: float | None = retry_after
        self.code: str = code
        self.param: str = param

    def __str__(self) -> str:
        words = f"the model's server answered with status {self.status}"
        if self.status in (401, 403):
            words += " (check the API key)"
        elif self.status == 404:
            words += " (check the model's name and the base URL)"
        return f"{words}: {self.detail}" if self.detail else words


class ModelRefusedError(ModelStatusError):
    """The model's server refuses every request, so this one was not sent; a probe is sent from time to time."""

    def __str__(self) -> str:
        return f"{super().__str__()}; it refuses every request, so this one was not sent"


class ModelProtocolError(ModelError):
    """The model's server answered, but not with a chat completion.

    Attributes:
        problem: what was wrong with the answer.
        excerpt: the start of the answer, at most 200 characters.
        finish_reason: the server's finish reason, if that is the problem.
    """

    def __init__(self, problem: str, excerpt: str = "", finish_reason: str = "") -> None:
        super().__init__(problem, excerpt, finish_reason)
        self.problem: str = problem
        self.excerpt: str = excerpt
        self.finish_reason: str = finish_reason

    def __str__(self) -> str:
        words = f"the model's answer is not a chat completion: {self.problem}"
        return f"{words} (it starts {self.excerpt!r})" if self.excerpt else words


class StructuredOutputError(ModelError):
    """The model answered, but no answer matches the schema.

    Attributes:
        schema: the name of the schema's class.
        problems: what is wrong with the last answer, each with its place in it.
        excerpt: the start of the last answer, at most 200 characters.
        attempts: how many answers were requested.
        usage: the tokens of all of them.
    """

    def __init__(
        self, schema: str, problems: tuple[str, ...], excerpt: str = "", attempts: int = 1, usage: Usage = Usage()
    ) -> None:
        super().__init__(schema, problems, excerpt, attempts, usage)
        self.schema: str = schema
        self.problems: tuple[str, ...] = problems
        self.excerpt: str = excerpt
        self.attempts: int = attempts
        self.usage: Usage = usage

    def __str__(self) -> str:
        words = (
            f"no answer of the model is a valid {self.schema}, in {self.attempts} attempts: {'; '.join(self.problems)}"
        )
        return f"{words} (the last one starts {self.excerpt!r})" if self.excerpt else words


# Tracebacks, reprs and pickles name an error by its public module.
_OF_COMPAT = (WrongContextError, BridgeClosedError, CallCancelledError)
for _thing in list(vars().values()):
    if isinstance(_thing, type) and issubclass(_thing, TrioAgentError):
        _thing.__module__ = "trioagent.compat" if _thing in _OF_COMPAT else "trioagent"
