"""The events of `Agent.stream_chat`, in order, during a turn; and their JSON form, in one versioned schema."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_type_hints

import attrs

from . import _errors
from ._errors import InvalidInputError, ModelError
from ._messages import AgentResponse, LeftOut, Usage
from ._parsed_reply import Delta, ParsedReply
from ._wire import read_value, short, strict_converter
from .models import Retrying
from .sandbox import BlockResult


@attrs.frozen
class ContextTrimmed:
    """The conversation has outgrown the model's context: the next request leaves out a part that was shown before.

    Attributes:
        left_out: everything that is left out.
    """

    left_out: LeftOut


@attrs.frozen
class Answered:
    """The model's answer is complete; the deltas shown so far are now final.

    Attributes:
        finish_reason: as sent by the server ("stop", "length", …); "" if the generation was stopped early.
    """

    answer: ParsedReply
    usage: Usage
    finish_reason: str = ""


@attrs.frozen
class CodeStarted:
    """The answer's code begins to run."""

    code: str


@attrs.frozen
class CodeResult:
    """The code ended, and its changes are saved or dropped."""

    result: BlockResult


@attrs.frozen
class Replied:
    """The turn is over: always the last event."""

    response: AgentResponse


AgentEvent = Delta | Retrying | ContextTrimmed | Answered | CodeStarted | CodeResult | Replied

SCHEMA = 1  # of events as JSON: in streams to other processes, in journals and on pages
_KINDS: Mapping[str, type] = {
    "delta": Delta,
    "retrying": Retrying,
    "context_trimmed": ContextTrimmed,
    "answered": Answered,
    "code_started": CodeStarted,
    "code_result": CodeResult,
    "replied": Replied,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_ERRORS: Mapping[str, type[ModelError]] = {
    name: thing for name, thing in vars(_errors).items() if isinstance(thing, type) and issubclass(thing, ModelError)
}


def to_json(event: AgentEvent) -> dict[str, Any]:
    """*event* as plain JSON values: its fields, with ``schema`` and ``type``.

    `from_json` restores the same event. An error of a foreign class becomes a `ModelError` with its text.
    """
    return {"schema": SCHEMA, "type": _NAMES[type(event)], **_converter.unstructure(event)}


def from_json(value: object) -> AgentEvent:
    """Restore the event that `to_json` encoded as *value*.

    Raises:
        InvalidInputError: it is not an event, or has another schema; ``what`` names the wrong field.
    """
    if not isinstance(value, Mapping):
        raise InvalidInputError("event", f"must be an object, not {_shown(value)}")
    body = dict(value)
    schema, name = body.pop("schema", None), body.pop("type", None)
    if isinstance(schema, bool) or schema != SCHEMA:
        raise InvalidInputError("event.schema", f"must be {SCHEMA}, which this release reads, not {_shown(schema)}")
    if not isinstance(name, str) or name not in _KINDS:
        raise InvalidInputError("event.type", f"must be one of {', '.join(_KINDS)}, not {_shown(name)}")
    event: AgentEvent = read_value(_converter, body, _KINDS[name], "event")
    return event


def _error_to_json(error: ModelError) -> dict[str, Any]:
    name = type(error).__name__
    args = [_converter.unstructure(argument) for argument in error.args]
    if type(error) is ModelError:
        known = all(isinstance(argument, str) for argument in args)
    else:
        known = _ERRORS.get(name) is type(error) and all(map(_is_plain, args))
    if not known:
        name, args = ModelError.__name__, [str(error)]
    return {
        "type": name,
        "args": args,
        "attempts": error.attempts,
        "message": str(error),
    }


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | dict)


def _shown(value: object) -> str:
    """A short description of a value of any type, size and depth."""
    return short(value) if value is None or isinstance(value, str | int | float) else f"a {type(value).__name__}"


@attrs.frozen
class _ErrorRecord:
    type: str
    args: list[Any]
    attempts: int
    message: str


def _error_from_json(value: object, _: object) -> ModelError:
    record = _converter.structure(value, _ErrorRecord)
    kind = _ERRORS.get(record.type)
    if kind is None:
        raise ValueError(f"must be one of {', '.join(_ERRORS)}, not {short(record.type)}")
    if kind is ModelError:
        error = ModelError(*[_converter.structure(argument, str) for argument in record.args])
    else:
        hints = [hint for name, hint in get_type_hints(kind.__init__).items() if name != "return"]
        if len(record.args) > len(hints):
            raise ValueError(f"has {len(record.args)} arguments, and {record.type} takes {len(hints)}")
        arguments = zip(record.args, hints, strict=False)
        error = kind(*[_converter.structure(argument, hint) for argument, hint in arguments])
    error.attempts = record.attempts
    return error


def _finite(value: object, _: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"must be a finite number, not {_shown(value)}")
    return float(value)  # other languages write 1.0 as 1


_converter = strict_converter()
_converter.register_structure_hook(float, _finite)
_converter.register_structure_hook(ModelError, _error_from_json)
_converter.register_unstructure_hook(ModelError, _error_to_json)
