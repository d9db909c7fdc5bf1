"""A hostile peer at the real end of a block's socket: whatever it sends, the host has an outcome, and in time."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from tests.faults.fuzzing import inputs
from trioagent._config import SandboxLimits
from trioagent.sandbox import _frames
from trioagent.sandbox._block_session import MAX_FULL_FRAMES, MAX_TOOL_CALLS, BlockSession, RunSlot
from trioagent.sandbox._kernel import KernelTier, _ConfinedSession
from trioagent.sandbox._sandbox import Outcome
from trioagent.sandbox._zygote import Child

pytestmark = pytest.mark.real

REPLY = {"locals": {"a": "1"}, "error": "", "printed": "", "reads": []}
LIMITS = SandboxLimits(reply_bytes=100_000)
FEW = "RuntimeError: the block "


def frame(body: bytes, *, claims: int | None = None) -> bytes:
    return (len(body) if claims is None else claims).to_bytes(4, "big") + body


def call(name: str = "double", *args: object) -> bytes:
    return frame(json.dumps({"call": name, "args": list(args), "kwargs": {}}).encode())


GOOD = frame(json.dumps(REPLY).encode())


async def double(number: int) -> int:
    await trio.lowlevel.checkpoint()
    return 2 * number


@asynccontextmanager
async def conversation(limits: SandboxLimits = LIMITS) -> AsyncIterator[tuple[BlockSession, trio.SocketStream]]:
    """The host's side, and the peer's end of its socket."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours:
        async with trio.SocketStream(trio.socket.from_stdlib_socket(theirs)) as peer:
            slot = RunSlot(trio.CapacityLimiter(1))
            await slot.acquire()
            yield BlockSession(Child(ours, -1, -1), limits, {"double": double}, slot), peer


async def outcome_of(*parts: bytes, limits: SandboxLimits = LIMITS, close: bool = True) -> Outcome:
    """What the host makes of a peer that sends *parts* and (unless not) hangs up; it must leave the bytes unread."""
    async with conversation(limits) as (talk, peer), trio.open_nursery() as nursery:

        async def send() -> None:
            try:
                for part in parts:
                    await peer.send_all(part)
                if close:
                    peer.socket.shutdown(socket.SHUT_WR)
                while await peer.receive_some(65536):
                    pass
            except trio.BrokenResourceError:
                pass

        nursery.start_soon(send)
        with trio.fail_after(20):
            outcome = await talk.run("pass")
        nursery.cancel_scope.cancel()
    assert not outcome.changes
    return outcome


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([GOOD], ""),
        ([bytes([byte]) for byte in GOOD], ""),
        ([GOOD + GOOD], ""),
        ([GOOD + _frames.DEATH.pack(_frames.DEATH_MARK, 9)], ""),
        ([GOOD, b"\xff" * 1_000_000], ""),
        ([call("double", 1), call("double", 2), GOOD], ""),
        ([], f"{FEW}ended without an answer."),
        ([GOOD[:-1]], f"{FEW}ended without an answer."),
        ([GOOD[:3]], f"{FEW}ended without an answer."),
        ([frame(b"", claims=0) + GOOD], f"{FEW}corrupted its own reply"),
        ([frame(b"{}", claims=LIMITS.reply_bytes + 1)], "where at most 100000 are taken"),
        ([b"\x7f\xff\xff\xff" + b"x" * 200_000], "where at most 100000 are taken"),
        ([frame(b"[" * 90_000)], f"{FEW}corrupted its own reply"),
        ([frame(b'{"locals":' * 9_000)], f"{FEW}corrupted its own reply"),
        ([frame(b"\xff\xfe\0{")], f"{FEW}corrupted its own reply"),
        ([frame(json.dumps(REPLY).encode("utf-16"))], f"{FEW}corrupted its own reply"),
        ([frame(b"9" * 99_000)], f"{FEW}corrupted its own reply"),
        ([frame(b"[" + b"0," * 40_000 + b"0]")], f"{FEW}corrupted its own reply"),
        ([frame(b"[" + b"{}," * 30_000 + b"0]")], f"{FEW}corrupted its own reply"),
        ([frame(b"[" + b"0." + b"1" * 90_000 + b"]")], f"{FEW}corrupted its own reply"),
        ([frame(json.dumps({**REPLY, "saved": True}).encode())], f"{FEW}corrupted its own reply"),
        ([frame(json.dumps({**REPLY, "changes": {"writes": {"a.md": "x"}}}).encode())], "corrupted its own reply"),
        ([frame(b'{"error": "", "error": "x"}')], f"{FEW}corrupted its own reply"),
        ([GOOD[:20] + _frames.DEATH.pack(_frames.DEATH_MARK, 9)], "was killed (SIGKILL)"),
        ([_frames.DEATH.pack(_frames.DEATH_MARK, 0x7F)], f"{FEW}"),
        ([_frames.DEATH_MARK], f"{FEW}ended without an answer."),
        ([call(), frame(b"{}")], f"{FEW}corrupted its own reply"),
        ([call("x" * 90_000), GOOD], ""),
        ([call("__class__"), call("double", {"a": [None]}), call("double", *range(1000)), GOOD], ""),
    ],
)
async def test_what_a_peer_may_send(parts: list[bytes], error: str) -> None:
    outcome = await outcome_of(*parts)
    assert error in outcome.error if error else not outcome.error, outcome.error
    assert outcome.locals == ({} if error else {"a": "1"})
    assert len(outcome.error) < 500


@pytest.mark.parametrize("status", [0, 0x7F, 0x80, 0xFF, 0x137F, 0xFFFF, 0xFFFFFFFF, 64, 127 << 8])
async def test_any_status_can_be_forged_and_none_breaks_the_host(status: int) -> None:
    outcome = await outcome_of(_frames.DEATH.pack(_frames.DEATH_MARK, status))
    assert outcome.error


async def test_a_flood_of_calls_ends() -> None:
    outcome = await outcome_of(call("double", 1) * (MAX_TOOL_CALLS + 500), GOOD)
    assert outcome.error == f"RuntimeError: the block called tools more than {MAX_TOOL_CALLS} times."


async def test_much_in_few_calls_ends_too() -> None:
    """What looking at it costs the host is bounded: by bytes, where their number is small."""
    large = call("no such tool", "x" * 90_000)
    outcome = await outcome_of(large * (MAX_FULL_FRAMES + 2), GOOD)
    assert outcome.error == f"{FEW}corrupted its own reply (more than {16 * LIMITS.reply_bytes} bytes in all)."
    assert not (await outcome_of(large * (MAX_FULL_FRAMES - 2), GOOD)).error


async def test_a_forged_answer_is_shown_within_the_limits() -> None:
    limits = attrs.evolve(LIMITS, value_chars=50, values_chars=200, printed_chars=10)
    forged = {"locals": {"a": "x" * 5000, "b": "y"}, "error": "", "printed": "p" * 5000, "reads": []}
    outcome = await outcome_of(frame(json.dumps(forged).encode()), limits=limits)
    assert outcome.locals == {"a": "x" * 50 + "… (5000 characters in all)", "b": "y"}
    assert outcome.printed == "p" * 10 + "… (5000 characters in all)"


async def test_a_peer_that_floods_and_never_listens_is_stopped_by_its_clock() -> None:
    """Its calls' answers fill the socket; the host waits no longer than the block may run."""
    limits = SandboxLimits(wall_seconds=0.3, reply_bytes=1_000_000)

    async with conversation(limits) as (talk, peer), trio.open_nursery() as nursery:

        async def send() -> None:
            try:
                while True:
                    await peer.send_all(call("no such tool", "x" * 1000))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

        nursery.start_soon(send)
        with trio.fail_after(20):
            outcome = await talk.run("pass" * 100_000)
        nursery.cancel_scope.cancel()
    assert "TimeoutError" in outcome.error or "called tools more than" in outcome.error


@pytest.mark.parametrize("part", [b"", b"\0", GOOD[:-1], frame(b"x" * 10, claims=50_000)])
async def test_a_peer_that_goes_silent_is_stopped_by_its_clock(part: bytes) -> None:
    outcome = await outcome_of(part, limits=SandboxLimits(wall_seconds=0.05), close=False)
    assert outcome.error.startswith("TimeoutError")


async def test_what_a_peer_sends_beyond_its_frame_is_not_kept() -> None:
    """The host reads no more than a frame and one buffer, however much is offered."""
    async with conversation(SandboxLimits(wall_seconds=0.2, reply_bytes=1_000_000)) as (talk, peer):
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                try:
                    while True:
                        await peer.send_all(frame(b"x" * 900_000, claims=999_999))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass

            nursery.start_soon(send)
            assert (await talk.run("pass")).error
            assert len(talk._received) <= 1_000_000 + 4 + 65536
            nursery.cancel_scope.cancel()


async def test_fuzzed_conversations() -> None:
    """Sequences of frames with everything bent: an outcome each time, never an exception."""
    chance, seeds = random.Random(11), [json.dumps(REPLY).encode(), call("double", 3)[4:]]
    bodies = inputs(seeds, 11)
    seen: set[str] = set()
    for _ in range(400):
        stream = b""
        for _ in range(chance.randrange(1, 4)):
            body = next(bodies)[0][:60_000]
            claims = chance.choice([None, None, None, None, len(body) + 1, max(0, len(body) - 1), 0, 2**32 - 1])
            stream += frame(body, claims=claims)
        cut = chance.randrange(len(stream) + 1) if chance.random() < 0.2 else len(stream)
        pieces = [stream[:cut]] if chance.random() < 0.5 else [stream[: cut // 2], stream[cut // 2 : cut]]
        outcome = await outcome_of(*pieces)
        seen.add(outcome.error.partition("(")[0])
    assert "" in seen and len(seen) > 3


def test_the_hosts_side_is_the_tiers_own() -> None:
    """These tests drive what the tier drives."""
    assert issubclass(_ConfinedSession, BlockSession)
    assert _ConfinedSession.__name__ in KernelTier._run_once.__code__.co_names
