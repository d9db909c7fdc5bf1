"""Hostile bytes: whatever a child sends, decoding gives an answer or FrameError, nothing else."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagent._config import SandboxLimits
from trioagent._steps import STEP_BYTES, Steps, run_all_steps
from trioagent.sandbox import _frames, open_sandbox
from trioagent.sandbox._frames import (
    MAX_VALUES,
    Call,
    FrameError,
    Reply,
    bounded,
    death_status,
    encode,
    encode_code,
    frame_size,
)
from trioagent.sandbox._guest.limits import MAX_PATH_CHARS, MAX_READS
from trioagent.sandbox._guest.run_block import Reads


def decode(body: bytes) -> Reply | Call:
    return run_all_steps(_frames.decode(body))


READS = [["user.md", "0a", "read"]]
GOOD = {"locals": {"a": "1"}, "error": "", "printed": "p", "reads": READS}


def test_good_frames() -> None:
    assert decode(json.dumps(GOOD).encode()) == Reply({"a": "1"}, "", "p", READS)
    assert decode(json.dumps({**GOOD, "scanned": 7}).encode()) == Reply({"a": "1"}, "", "p", READS, 7)
    assert decode(b'{"call": "f", "args": [1, [2.5, null]], "kwargs": {"k": {}}}') == Call(
        "f", [1, [2.5, None]], {"k": {}}
    )
    assert encode({"a": "é"}) == b'\x00\x00\x00\x0b{"a": "\xc3\xa9"}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 100_000,
        b"NaN",
        json.dumps({**GOOD, "error": None}).encode(),
        json.dumps({**GOOD, "locals": {"a": 1}}).encode(),
        json.dumps({**GOOD, "locals": [["a", "1"]]}).encode(),
        json.dumps({**GOOD, "reads": "user.md"}).encode(),
        json.dumps({**GOOD, "reads": [None]}).encode(),
        json.dumps({**GOOD, "reads": ["user.md"]}).encode(),
        json.dumps({**GOOD, "reads": [["user.md", "0a"]]}).encode(),
        json.dumps({**GOOD, "reads": [["user.md", None, "read"]]}).encode(),
        json.dumps({**GOOD, "reads": [["user.md", "0a", "written"]]}).encode(),
        json.dumps({**GOOD, "reads": [["user.md", "0" * 65, "read"]]}).encode(),
        json.dumps({**GOOD, "reads": [["", "", "read"]] * (MAX_READS + 1)}).encode(),
        json.dumps({**GOOD, "reads": [["a" * (MAX_PATH_CHARS + 1), "", "read"]]}).encode(),
        json.dumps({**GOOD, "complete": 1}).encode(),
        json.dumps({**GOOD, "more": ""}).encode(),
        json.dumps({**GOOD, "scanned": "7"}).encode(),
        json.dumps({**GOOD, "scanned": True}).encode(),
        json.dumps({**GOOD, "scanned": 7, "more": ""}).encode(),
        json.dumps({key: value for key, value in GOOD.items() if key != "error"}).encode(),
        json.dumps(GOOD).encode() + b"x",
        json.dumps(GOOD).encode().replace(b'"a"', b'"\\ud800"'),
        json.dumps(GOOD).encode().replace(b'"p"', b'"\\udfff"'),
        json.dumps(GOOD).encode().replace(b'"1"', b'"1", "a": "2"'),
        b'{"call": "f", "args": [1e999], "kwargs": {}}',
        b'{"call": "f", "args": [Infinity], "kwargs": {}}',
        b'{"call": "f", "args": [' + b"[" * 100 + b"]" * 100 + b'], "kwargs": {}}',
        b'{"call": "f", "args": [' + b"0," * MAX_VALUES + b'0], "kwargs": {}}',
        b'{"call": "f", "args": {}, "kwargs": {}}',
        b'{"call": "f", "args": [], "kwargs": {}, "error": ""}',
    ],
)
def test_bad_frames(body: bytes) -> None:
    with pytest.raises(FrameError):
        decode(body)


LIMITS = SandboxLimits(value_chars=100, values_chars=300, printed_chars=50)


def test_what_is_shown_is_bounded_again() -> None:
    """A block may write its own answer, so that what the child cut is whole once more."""
    forged = Reply({"a": "x" * 5000, "b" * 5000: "y", "c": "z" * 5000, "d": "", "e": "1"}, "e" * 9000, "p" * 9000, [])
    shown = bounded(forged, LIMITS)
    assert shown.locals == {
        "a": "x" * 100 + "… (5000 characters in all)",
        "b" * 200 + "… (5000 characters in all)": "y",
        "...": "more variables than fit here",
    }
    assert shown.error == "e" * 2000 + "… (9000 characters in all)"
    assert shown.printed == "p" * 50 + "… (9000 characters in all)"
    many = bounded(Reply({str(number): "" for number in range(10_000)}, "", "", []), LIMITS)
    assert len(many.locals) < 150 and many.locals["..."]


@given(st.dictionaries(st.text(max_size=300), st.text(max_size=300), max_size=9), st.text(max_size=200))
def test_honest_answers_are_shown_as_they_are(values: dict[str, str], printed: str) -> None:
    """Those within the limits, that is; and the bounds hold for all."""
    reply = Reply(values, "", printed, READS)
    shown = bounded(reply, LIMITS)
    size = sum(len(name) + len(text) for name, text in values.items())
    if size <= 300 and all(len(name) <= 200 and len(text) <= 100 for name, text in values.items()):
        assert shown.locals == values
    assert sum(len(name) + len(text) for name, text in shown.locals.items()) < 300 + 200 + 250
    assert len(shown.printed) <= 50 + 100


def test_an_honest_child_lists_no_more_reads_than_the_host_takes() -> None:
    reads = Reads()
    for path in ("a" * (MAX_PATH_CHARS + 1), "\udcff" * MAX_PATH_CHARS, *map(str, range(MAX_READS + 1))):
        reads.read(path, None)
        reads.change(f"w{path}", "0a")
    reply = decode(json.dumps({**GOOD, "reads": reads.listed()}).encode())
    assert isinstance(reply, Reply)
    assert len(reply.reads) == MAX_READS - 4


@given(st.binary(max_size=300))
def test_any_bytes(body: bytes) -> None:
    try:
        decode(body)
    except FrameError:
        pass


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "call", "args", "kwargs"]), _json), st.integers(0, 400))
def test_any_json_whole_or_cut(frame: dict[str, object], size: int) -> None:
    body = json.dumps(frame).encode()
    for part in (body, body[:size]):
        try:
            decoded = decode(part)
        except FrameError:
            continue
        assert isinstance(decoded, Reply | Call)


@given(st.binary(min_size=4, max_size=4), st.integers(0, 2**32))
def test_sizes_are_bounded(header: bytes, limit: int) -> None:
    try:
        assert frame_size(header, limit) <= limit
    except FrameError:
        assert int.from_bytes(header, "big") > limit


@given(st.binary(max_size=40))
def test_death_notes(tail: bytes) -> None:
    status = death_status(tail)
    assert status is None or 0 <= status <= 0xFFFF
    assert death_status(tail + b"\xffDIE\x09\0\0\0") == 9


@pytest.mark.parametrize("code", ["", "x = 'é\\n\"\ud800'", '"\\' * STEP_BYTES, "\U0001f600" * STEP_BYTES + "x"])
def test_code_is_encoded_in_pieces(code: str) -> None:
    steps = encode_code(code, ["tool"])
    rounds = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            pieces: list[bytes] = end.value
            break
        rounds += 1
    frame = b"".join(pieces)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert json.loads(frame[4:]) == {"code": code.replace("\ud800", "?"), "tools": ["tool"]}
    assert rounds == max(0, -(-len(code) // STEP_BYTES) - 1)
    assert max(map(len, pieces)) <= 4 * STEP_BYTES


@pytest.mark.real
async def test_what_the_host_makes_of_a_reply_is_not_the_blocks_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a large reply takes the host longer than its block may run; that block has not timed out."""
    decode, decoded = _frames.decode, []

    def slowly(body: bytes) -> Steps[_frames.Reply | _frames.Call]:
        decoded.append(len(body))
        for _ in range(10):
            time.sleep(0.1)
            yield
        return (yield from decode(body))

    async with open_sandbox("kernel", limits=SandboxLimits(wall_seconds=0.6)) as sandbox:
        monkeypatch.setattr(_frames, "decode", slowly)
        assert (await sandbox.run("x = 1")).locals == {"x": "1"}
        assert len(decoded) == 1
        result = await sandbox.run("import time\ntime.sleep(10)")
        assert result.error.startswith("TimeoutError")
