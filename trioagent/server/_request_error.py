"""Errors for clients: one JSON format, with advice, and never a traceback.

``{"error": {"type": "memory_conflict", "message": "…", "advice": "…", "status": 409}}``
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException

from .. import _errors
from .._errors import TrioAgentError
from .._exceptions import leaves

log = logging.getLogger("trioagent.server")

# By class of error, the most specific first: the status, and what a client can do.
_KNOWN: tuple[tuple[type[TrioAgentError], int, str], ...] = (
    (_errors.InvalidInputError, 400, "correct what the message names, and send the request again"),
    (_errors.MemoryPathError, 409, "repair the folder on the server"),
    (_errors.MemoryConflictError, 409, "read the note again, and apply the change to what it says now"),
    (_errors.MemoryUnreadError, 409, "read the note first"),
    (_errors.MemoryLimitError, 413, "store less: split the note, or delete others"),
    (_errors.MemoryRejectedError, 403, "change another note"),
    (_errors.RevisionNotFoundError, 404, "list the revisions, and name one of these"),
    (_errors.MemoryHistoryError, 503, "repair the history on the server; the notes are untouched"),
    (_errors.AgentBusyError, 409, "wait until the present answer has ended, or cancel it"),
    (_errors.EndpointHeldError, 503, "the model's server is unavailable; try again later"),
    (_errors.ModelError, 502, "the model's server failed; try again, or choose another model"),
    (_errors.SandboxUnavailableError, 503, "run `trioagent doctor` on the server"),
    (_errors.SandboxError, 500, "try again; nothing was saved"),
)
_PLAIN: Mapping[int, tuple[str, str]] = {
    404: ("not_found", "see /api/openapi.json for what is served"),
    405: ("method_not_allowed", "see the Allow header for what is served at this address"),
}


class RequestError(TrioAgentError):
    """A request that the server refuses.

    Attributes:
        status: the HTTP status.
        type: the error's type, for programs.
        problem: what is wrong, with the value.
        advice: what to do.
        param: the parameter of the request that is wrong, if it is one.
    """

    def __init__(self, status: int, type: str, problem: str, advice: str, param: str | None = None) -> None:
        super().__init__(status, type, problem, advice, param)
        self.status: int = status
        self.type: str = type
        self.problem: str = problem
        self.advice: str = advice
        self.param: str | None = param

    def __str__(self) -> str:
        return f"{self.problem}; {self.advice}"

    @property
    def body(self) -> dict[str, Any]:
        """The error as JSON values."""
        return {"type": self.type, "message": self.problem, "advice": self.advice, "status": self.status}

    def json(self) -> bytes:
        """The body of the response."""
        return json.dumps({"error": self.body}).encode()


def as_request_error(error: BaseException) -> RequestError:
    """*error* as clients see it. Other exceptions are logged, and their texts are not shown."""
    first = next(leaves(error))
    match first:
        case RequestError():
            return first
        case HTTPException(status_code=status, detail=detail):
            kind, advice = _PLAIN.get(status, ("http_error", "correct the request"))
            return RequestError(status, kind, str(detail), advice)
        case _errors.MemoryStorageError():
            status = 507 if first.disk_full else 500
            return RequestError(status, "memory_storage", _words(first), "free some space on the server, and try again")
        case TrioAgentError():
            for kind_of_error, status, advice in _KNOWN:
                if isinstance(first, kind_of_error):
                    return RequestError(status, type_name(first), _words(first), advice)
    log.error("a request failed", exc_info=error)
    return RequestError(500, "internal", "internal error of the server", "see the server's log, and report it")


def _words(error: TrioAgentError) -> str:
    """The text of *error* without the server's paths: clients know memories by their names."""
    words = str(error)
    for argument in error.args:
        if isinstance(argument, str) and os.path.isabs(argument):
            words = words.replace(argument, os.path.basename(argument) or "/")
    return words


def type_name(error: TrioAgentError) -> str:
    """`MemoryConflictError` is ``memory_conflict``."""
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
