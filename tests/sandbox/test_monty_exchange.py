"""A tool server's last word, when it lies: whatever it says, nothing but a `FrameError` comes of it."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from trioagent._config import SandboxLimits
from trioagent._steps import run_all_steps
from trioagent.sandbox._block_session import RunSlot
from trioagent.sandbox._frames import FrameError
from trioagent.sandbox._guest.limits import MAX_CHANGES_BYTES, MAX_PATH_CHARS
from trioagent.sandbox._monty_tier import ToolServerSession, _decode
from trioagent.sandbox._zygote import Child

from ..examples import examples

LIMITS = SandboxLimits(view_bytes=1000, file_bytes=600, view_files=3)
HEADER = b"\0\0\0\0"
GOOD: dict[str, Any] = {"writes": [["a/b.md", 5]], "deletes": ["c.md"], "made_dirs": ["a"], "removed_dirs": []}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["writes", "deletes", "../x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "x"]), inner, max_size=5),
    max_leaves=12,
)


def decode(changes: object) -> dict[str, Any]:
    return run_all_steps(_decode(HEADER + json.dumps({"alive": True, "changes": changes}).encode(), LIMITS))


def test_an_honest_word() -> None:
    assert decode(GOOD)["writes"] == [("a/b.md", 5)]
    assert decode({}) == {"alive": True, "writes": [], "deletes": [], "made_dirs": [], "removed_dirs": []}


@pytest.mark.parametrize(
    "wrong",
    [
        {"writes": [["../x", 1]]},
        {"writes": [["/etc/passwd", 1]]},
        {"writes": [["a//b", 1]]},
        {"writes": [["", 1]]},
        {"writes": [[".trioagent/redo.json", 1]]},
        {"writes": [["a\0b", 1]]},
        {"writes": [["a\ud800", 1]]},
        {"writes": [["a", -1]]},
        {"writes": [["a", True]]},
        {"writes": [["a", 601]]},
        {"writes": [["a", 600], ["b", 401]]},
        {"writes": [["a", 1], ["a", 1]]},
        {"writes": [[str(i), 1] for i in range(4)]},
        {"writes": [["x" * (MAX_PATH_CHARS + 1), 1]]},
        {"writes": {"a": 1}},
        {"deletes": [".."]},
        {"deletes": [1]},
        {"made_dirs": "a"},
        {"removed_dirs": ["./a"]},
        {"more": []},
    ],
)
def test_a_lie_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(FrameError):
        decode(GOOD | wrong)


@settings(max_examples=examples(33), deadline=None)
@given(JSON | st.builds(lambda part: GOOD | part, st.dictionaries(st.sampled_from([*GOOD]), JSON)))
def test_any_json_is_either_taken_or_refused(changes: object) -> None:
    try:
        taken = decode(changes)
    except FrameError:
        return
    for kind in ("deletes", "made_dirs", "removed_dirs"):
        assert all(type(path) is str and ".." not in path.split("/") for path in taken[kind])
    assert sum(size for _, size in taken["writes"]) <= LIMITS.view_bytes


@settings(max_examples=examples(33), deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='[]{}":,0aletruchngs', max_size=60).map(str.encode))
def test_any_bytes_are_either_taken_or_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        run_all_steps(_decode(HEADER + body, LIMITS))


async def test_a_list_of_changes_is_bounded() -> None:
    """By what its header says, before any of it is read."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        theirs.sendall((MAX_CHANGES_BYTES + 1).to_bytes(4, "big"))
        exchange = ToolServerSession(Child(ours, -1, -1), LIMITS, {}, RunSlot(trio.CapacityLimiter(1)))
        with pytest.raises(FrameError, match=f"at most {MAX_CHANGES_BYTES} are taken"):
            await exchange.finish()


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(FrameError):
        run_all_steps(_decode(HEADER + b"[" * 100_000, LIMITS))
