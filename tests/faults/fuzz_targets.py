"""What the fuzzer is let loose on: everything pure that reads what a child, a server, a disk or a user wrote."""

from __future__ import annotations

import json
import math
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from trioagent._config import SandboxLimits
from trioagent._errors import InvalidInputError, ModelError
from trioagent._parsed_reply import REPAIRS
from trioagent._reply_parser import ReplyParser, parse_reply
from trioagent._retry_policy import parse_http_date, parse_retry_after
from trioagent._runs import Event
from trioagent._runs._episode import read_receipt_of, replay
from trioagent._runs._events import COLUMNS, decode_event, encode_event
from trioagent._runs._format1 import _events as old_events
from trioagent._runs._format1 import _ReadOtherwise as ReadOtherwise
from trioagent._runs._rows import _read_row
from trioagent._steps import run_all_steps
from trioagent.batch import BadRow, Job, JournalError
from trioagent.batch._jobs import job_from_row
from trioagent.memory import Knowledge
from trioagent.memory._paths import is_inside
from trioagent.memory._receipts import receipt_payload
from trioagent.memory._record import CommitRecord, Deletion, FolderChange, LegacyVersion, StagedWrite
from trioagent.memory._sizes import _Folder
from trioagent.models._decode import Joiner, decode_answer, decode_chunk, error_detail
from trioagent.models._http1 import ResponseReader
from trioagent.models._sse import SSEDecoder
from trioagent.sandbox._frames import Call, FrameError, Reply, bounded, death_status, decode
from trioagent.sandbox._monty_tier import _decode as decode_index

from .fuzzing import Target

NARROW = SandboxLimits(value_chars=20, values_chars=50, printed_chars=10, view_bytes=1000, view_files=3)
MAX_TOKENS = 10**12  # what any count from a server must be below


def _dumps(value: object) -> bytes:
    return json.dumps(value).encode()


def _pieces(data: bytes, chance: random.Random) -> list[bytes]:
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(6)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def frames(data: bytes, chance: random.Random) -> None:
    death_status(data)
    try:
        frame = run_all_steps(decode(data))
    except FrameError:
        return
    assert isinstance(frame, Reply | Call)
    if isinstance(frame, Reply):
        shown = bounded(frame, NARROW)
        assert sum(len(name) + len(text) for name, text in shown.locals.items()) < NARROW.values_chars + 500
        assert len(shown.printed) <= NARROW.printed_chars + 100 and len(shown.error) <= 2100
    json.dumps(attrs.asdict(frame), allow_nan=False, ensure_ascii=False).encode()  # plain, finite, and text


def indexes(data: bytes, chance: random.Random) -> None:
    try:
        index = run_all_steps(decode_index(b"\0\0\0\0" + data, NARROW))
    except FrameError:
        return
    paths = [path for path, _ in index["writes"]]
    assert sum(size for _, size in index["writes"]) <= NARROW.view_bytes and len(set(paths)) == len(paths)
    for path in (*paths, *index["deletes"], *index["made_dirs"], *index["removed_dirs"]):
        assert is_inside(path)


def replies(data: bytes, chance: random.Random) -> None:
    text = data.decode(errors="replace")
    whole, parser = parse_reply(text), ReplyParser()
    cut = chance.randrange(len(text) + 1)
    for piece in (text[:cut], text[cut:]):
        parser.feed(piece)
    assert parser.close()[0] == whole
    assert whole.repairs.keys() <= REPAIRS.keys()


def responses(data: bytes, chance: random.Random) -> None:
    def read(parts: list[bytes]) -> object:
        reader, body = ResponseReader(), b""
        try:
            for part in parts:
                body += b"" if reader.over else reader.feed(part)
        except ModelError as error:
            _can_be_shown(str(error))
            return type(error)
        return reader.status, reader.headers, body, reader.over

    assert read([data]) == read(_pieces(data, chance))


def event_streams(data: bytes, chance: random.Random) -> None:
    def feed(parts: list[bytes]) -> object:
        decoder, events = SSEDecoder(line_bytes=2000, event_bytes=5000), []
        try:
            for part in parts:
                events += decoder.feed(part)
        except ModelError as error:
            return type(error)
        return events

    assert feed([data]) == feed(_pieces(data, chance))


def answers(data: bytes, chance: random.Random) -> None:
    for whole in (True, False):
        try:
            piece = run_all_steps(decode_answer(data)) if whole else decode_chunk(data.decode(errors="replace"))
        except ModelError as error:
            _can_be_shown(str(error))
            continue
        if piece is None or isinstance(piece, str):
            Joiner().join(piece or "", final=True).encode()
            continue
        Joiner().join(piece.text, final=True).encode()
        assert isinstance(piece.finish_reason, str)
        if piece.usage is not None:
            assert 0 <= piece.usage.prompt_tokens < MAX_TOKENS and 0 <= piece.usage.completion_tokens < MAX_TOKENS
    detail = error_detail(data)
    for text in (detail.message, detail.code, detail.param):
        _can_be_shown(text)


def _can_be_shown(text: str) -> None:
    """On a terminal, in a log, in a file: no lone surrogates, nothing that moves the cursor."""
    text.encode()
    assert text.isprintable(), text


def headers(data: bytes, chance: random.Random) -> None:
    text = data.decode("latin-1")
    when, wait = parse_http_date(text), parse_retry_after(text, 1.0)
    assert when is None or math.isfinite(when)
    assert wait is None or 0 <= wait < math.inf


def journal_rows(data: bytes, chance: random.Random) -> None:
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError):
        return
    bodies = rows if isinstance(rows, list) else [rows]
    try:
        events = list(old_events([json.dumps(body) for body in bodies], "job"))
        assert [decode_event(encode_event(event), "job") for event in events] == events
        past = replay(events, Knowledge(), "journal.db", "job")
    except (JournalError, InvalidInputError, ReadOtherwise):
        return
    assert len(past) == len(bodies)


def event_columns(data: bytes, chance: random.Random) -> None:
    """Any column of any kind of event may be damaged."""
    kind = chance.choice(("answer", "result", "work"))
    columns: list[Any] = [None] * len(COLUMNS)
    columns[0] = kind
    for name in chance.sample(COLUMNS[1:], chance.randrange(1, len(COLUMNS))):
        columns[COLUMNS.index(name)] = chance.choice((data.decode(errors="replace"), "{}", '"x"', data))
    with suppress(InvalidInputError):
        assert isinstance(decode_event(columns, "job"), Event)


def receipts(data: bytes, chance: random.Random) -> None:
    payload = receipt_payload(data)
    for text in (payload, data):
        try:
            if text is not None:
                read_receipt_of(text, "journal.db", "job")
        except JournalError:
            pass


def commit_records(data: bytes, chance: random.Random) -> None:
    try:
        record = CommitRecord.decode(data)
    except ValueError:
        return
    notes: list[Deletion | StagedWrite] = [*record.deletes, *record.writes]
    assert all(is_inside(each.path) for each in (*notes, *record.removed, *record.made))
    assert all("/" not in note.file for note in notes) and "/" not in record.receipt
    if not any(isinstance(note.before, LegacyVersion) for note in notes):
        assert CommitRecord.decode(record.encode()) == record


def knowledge(data: bytes, chance: random.Random) -> None:
    try:
        known = Knowledge.from_json(json.loads(data))
    except (ValueError, RecursionError):
        return
    assert Knowledge.from_json(known.to_json()) == known


def marks(data: bytes, chance: random.Random) -> None:
    folder = _Folder._from_mark(data)
    assert folder is None or folder.notes >= 0


def jobs(data: bytes, chance: random.Random) -> None:
    found = _read_row(chance.randrange(1, 3), data, job_from_row)
    if isinstance(found, BadRow):
        _can_be_shown(found.problem.replace("\n", ""))
        assert len(found.problem) < 1000, len(found.problem)
        return
    assert isinstance(found, Job)
    json.dumps({"id": found.id, "metadata": dict(found.metadata), "messages": [[[found.messages]]]}, allow_nan=False)
    assert found.deadline is None or found.deadline + 1.5 > 0
    Path(found.memory).absolute()
    assert found.digest


_REPLY = {"locals": {"a": "1"}, "error": "", "printed": "p", "reads": [["user.md", "0a", "read"]], "complete": True}
_INDEX = {"writes": [["a/b.md", 5], ["c", 900]], "deletes": ["d.md"], "made_dirs": ["a"], "removed_dirs": ["e/f"]}
_DELTA = {"choices": [{"delta": {"content": "hi", "role": "assistant"}, "finish_reason": None, "index": 0}]}
_ANSWER = {
    "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "cost": 0.1},
}
_RESULT = {"locals": {"a": "1"}, "error": "", "printed": "", "saved": True, "tier": "kernel"}
_USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "estimated": False, "requests": 1, "cost": 0.0}
_KNOWN: dict[str, Any] = {"began": 5, "seen": {"user.md": [1, 2, 3], "gone.md": None}}
_SEEN = {"seen": {"user.md": "0" * 32, "gone.md": None}, "blind_overwrite": "refuse"}
_EVENTS: list[dict[str, Any]] = [
    {"text": "<think>a</think><python>x = 1</python>", "repairs": {}, "usage": _USAGE},
    {"result": _RESULT, "knowledge": _KNOWN},
]
_RECEIPT = _dumps({"event": 1, "result": _RESULT, "changed": ["a.md"]})
_RECORD = CommitRecord(
    (Deletion("a/b.md", "old-0123abcd-1", "0" * 32),),
    (FolderChange("a", 0o700),),
    (FolderChange("c"), FolderChange("c/d")),
    (
        StagedWrite("c/d/e.md", "new-0123abcd-0", None, "1" * 32),
        StagedWrite("f.md", "new-0123abcd-2", "2" * 32, "3" * 32),
    ),
).encode()
_OLD_WRITE = {"file": "new-0", "target": "c/d/e.md", "sha256": "0" * 64, "before": [4, 5, 6]}
_OLD_RECORD = {"format": 1, "moment": 7, "deletes": {"a/b.md": [1, 2, 3]}, "removed": ["a"], "made": ["c", "c/d"]}
_OLD_RECORD |= {"writes": [_OLD_WRITE], "receipt": "", "payload": ""}
_KEPT = CommitRecord(receipt="receipt-" + "0" * 64, payload="eyJldmVudCI6IDF9").encode()

TARGETS = [
    Target("frames", [_dumps(_REPLY), _dumps({"call": "f", "args": [1, [2.5, None]], "kwargs": {"k": {}}})], frames),
    Target(
        "monty's changes", [_dumps({"alive": True, "changes": _INDEX}), _dumps({"alive": 0, "changes": {}})], indexes
    ),
    Target(
        "reply parser",
        [
            b"<think>a</think>\n<python>\nx = '</python>'\n</python>",
            b"<think>a</think><python></python><reply>Hi.</reply>",
            b"a</think>```python\nprint(1)\n```<reply>x",
        ],
        replies,
    ),
    Target(
        "responses",
        [
            b"HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nabcd\r\n0\r\nX: y\r\n\r\n",
            b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 4, 4\r\nX: y\r\n z\r\n\r\nabcd",
        ],
        responses,
    ),
    Target(
        "event streams",
        [b"data: " + _dumps(_DELTA) + b"\n\ndata: [DONE]\n\n", b"event: x\r\ndata:\rdata: y\r\r"],
        event_streams,
    ),
    Target("answers", [_dumps(_DELTA), _dumps(_ANSWER), _dumps({"error": {"message": "no", "code": 503}})], answers),
    Target("headers", [b"Sun, 06 Nov 1994 08:49:37 GMT", b"120", b"1.5", b"Sunday, 06-Nov-94 08:49:37 GMT"], headers),
    Target("journal rows", [_dumps(_EVENTS), _dumps(_EVENTS[:1]), _dumps(_EVENTS[1:])], journal_rows),
    Target("event columns", [_dumps(column) for event in _EVENTS for column in event.values()], event_columns),
    Target("receipts", [_RECEIPT, _KEPT], receipts),
    Target("commit records", [_RECORD, _dumps(_OLD_RECORD), _KEPT], commit_records),
    Target("knowledge", [_dumps(_KNOWN), _dumps(_SEEN)], knowledge),
    Target("folder marks", [_dumps([5, 6, 7, ["a", "b"]])], marks),
    Target(
        "job rows",
        [
            _dumps({"id": "a", "memory": "m", "messages": ["x", "y"], "deadline": 5, "metadata": {"a": [1]}}),
            _dumps({"id": "a", "memory": "m", "messages": ["x"], "model": "vllm:x", "system_prompt": "s"}),
        ],
        jobs,
    ),
]
