"""The events that a journal stores of a running job: one for each step that must not happen twice.

An event is a row with these columns; each holds JSON (in ASCII: a model may send a lone surrogate) or NULL.

==================  =====================================================================================
``raw``             answer: the text as the model wrote it, as far as it counts
``step``            answer: the parsed text (thoughts, code, reply, repairs)
``parser``          answer: the version of the parser (`PARSER_VERSION`), a number
``finish_reason``   answer: as sent by the server, "" if the stream was stopped early; NULL if unknown (a run of 0.1)
``usage``           answer: its tokens
``result``          result: a block's result, as shown to the model
``read``            result: versions of the notes that the block read; NULL if none are known (a run of 0.1)
``written``         result: versions of the notes that it changed, null for a deleted one; NULL as above
``images``          result: the old contents at the changed paths (`NoteImage`); paths that end in "/" are
                    folders; NULL if they were not kept
``body``            work: any other event of a kind of run
==================  =====================================================================================
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from .._errors import InvalidInputError
from .._events import Answered, CodeResult
from .._json_steps import decode_in_thread
from .._messages import Usage
from .._parsed_reply import PARSER_VERSION, ParsedReply
from .._wire import read_value, strict_converter
from ..sandbox import BlockResult

COLUMNS = (
    "kind",
    "raw",
    "step",
    "parser",
    "finish_reason",
    "usage",
    "result",
    "read",
    "written",
    "images",
    "body",
)
Versions = Mapping[str, str | None]
"""Versions of notes by path; None for no note."""


@attrs.frozen(kw_only=True)
class AnswerEvent:
    """A model's answer with its parsed form, so that an old answer is never parsed again by newer rules."""

    answer: ParsedReply
    usage: Usage
    finish_reason: str | None = None
    parser: int = PARSER_VERSION

    def replay(self) -> Answered:
        return Answered(self.answer, self.usage, self.finish_reason or "")


@attrs.frozen
class NoteImage:
    """The content at a path before a block changed it.

    Attributes:
        data: the note's content, b"" for a folder; None if nothing was there.
        mode: its permissions.
        lost: there was a note, which was too large to be kept.
    """

    data: bytes | None = None
    mode: int | None = None
    lost: bool = False


@attrs.frozen(kw_only=True)
class ResultEvent:
    """A block's result, and what its agent knows of the notes since; see the table above."""

    result: BlockResult
    read: Versions | None = None
    written: Versions | None = None
    images: Mapping[str, NoteImage] | None = None

    def replay(self) -> CodeResult:
        return CodeResult(self.result)


@attrs.frozen
class WorkEvent:
    """Any other event of a kind of run; plain JSON."""

    body: Mapping[str, Any]


Event = AnswerEvent | ResultEvent | WorkEvent

_PLAIN = frozenset({"kind", "parser"})  # columns without JSON
# One shared encoder: `json.dumps` takes as long to create its own as to encode an answer. Events have no cycles.
_to_json = json.JSONEncoder(check_circular=False).encode
_converter = strict_converter()
_converter.register_unstructure_hook(NoteImage, lambda image: _encoded_image(image))
_converter.register_structure_hook(NoteImage, lambda value, _: _decoded_image(value))


@attrs.frozen
class _StoredImage:
    """A `NoteImage` in JSON: contents that are not UTF-8 text in base64."""

    text: str | None = None
    base64: str | None = None
    mode: int | None = None
    lost: bool = False


def _encoded_image(image: NoteImage) -> dict[str, object]:
    stored: dict[str, object] = {}
    if image.data is not None:
        try:
            stored["text"] = image.data.decode()
        except UnicodeDecodeError:
            stored["base64"] = base64.b64encode(image.data).decode()
    if image.mode is not None:
        stored["mode"] = image.mode
    return {**stored, "lost": True} if image.lost else stored


def _decoded_image(value: object) -> NoteImage:
    stored = _converter.structure(value, _StoredImage)
    data = None if stored.text is None else stored.text.encode()
    if stored.base64 is not None:
        data = base64.b64decode(stored.base64, validate=True)
    return NoteImage(data, stored.mode, stored.lost)


def encode_event(event: Event) -> tuple[object, ...]:
    """The values of `COLUMNS`. Takes time proportional to the event: for a worker thread."""
    match event:
        case AnswerEvent():
            step = _converter.unstructure(event.answer)
            columns: dict[str, object] = {
                "kind": "answer",
                "raw": step.pop("text"),
                "step": step,
                "parser": event.parser,
                "finish_reason": event.finish_reason,
                "usage": _converter.unstructure(event.usage),
            }
        case ResultEvent():
            columns = {"kind": "result", **_converter.unstructure(event)}
        case WorkEvent(body):
            columns = {"kind": "work", "body": body}
    return tuple(
        [
            value if value is None or name in _PLAIN else _to_json(value)
            for name, value in [(name, columns.get(name)) for name in COLUMNS]
        ]
    )


def decode_event(row: Sequence[object], where: str) -> Event:
    """Inverse of `encode_event`.

    Raises:
        InvalidInputError: the row is damaged; *where*, the column and the value are named.
    """
    columns = {name: _decoded(name, value, where) for name, value in zip(COLUMNS, row, strict=True)}
    given = {name: value for name, value in columns.items() if value is not None}
    match kind := given.pop("kind", None):
        case "answer":
            if not isinstance(step := given.pop("step", None), dict):
                raise InvalidInputError(f"{where}.step", f"must be an object, not {step!r:.60}")
            answer = {**step, "text": given.pop("raw", None)}
            return read_value(_converter, {**given, "answer": answer}, AnswerEvent, where)
        case "result":
            return read_value(_converter, given, ResultEvent, where)
        case "work":
            return read_value(_converter, given, WorkEvent, where)
    raise InvalidInputError(f"{where}.kind", f"must be 'answer', 'result' or 'work', not {kind!r:.60}")


def _decoded(name: str, value: object, where: str) -> object:
    if name in _PLAIN or value is None:
        return value
    try:
        if not isinstance(value, str):
            raise TypeError(f"a text was expected, not {value!r:.60}")
        return decode_in_thread(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInputError(f"{where}.{name}", f"is not JSON: {error}") from error
