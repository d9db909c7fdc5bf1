"""The ring of a session's events: numbers, cursors, and what is kept for whom; and joined deltas."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trioagent._parsed_reply import Delta
from trioagent.server._delta_buffer import JOIN_SECONDS, DeltaBuffer
from trioagent.server._event_ring import EventRing, Subscription

BOUND, LAG = 1024, 16


def subscription(ring: EventRing, number: int | None) -> Subscription:
    def snapshot() -> bytes:
        return json.dumps({"type": "snapshot", "n": ring.next_number - 1}).encode()

    return Subscription(ring, number, snapshot=snapshot, closed=lambda: False)


def say(ring: EventRing, size: int) -> None:
    ring.append({"type": "x", "text": "y" * size})


def taken(reader: Subscription) -> list[tuple[str, int]]:
    return [(message["type"], message["n"]) for message in map(json.loads, reader._take())]


def test_the_latest_are_kept_and_the_last_in_any_case() -> None:
    ring = EventRing(BOUND)
    for _ in range(100):
        say(ring, 100)
    assert ring.kept_bytes <= BOUND
    assert ring.next_number - ring.first_number >= 6
    say(ring, 10 * BOUND)
    assert ring.first_number == ring.next_number - 1 == 101


def test_who_is_there_misses_nothing_of_a_burst() -> None:
    ring = EventRing(BOUND)
    reader = subscription(ring, 1)
    with ring.reading(reader):
        for _ in range(8):
            say(ring, BOUND)
        assert taken(reader) == [("x", number) for number in range(1, 9)]
        assert ring.kept_bytes <= 2 * BOUND


def test_who_does_not_read_pins_no_more_than_a_bound_and_gets_a_snapshot() -> None:
    ring = EventRing(BOUND)
    stalled, current = subscription(ring, 1), subscription(ring, 1)
    with ring.reading(stalled), ring.reading(current):
        for number in range(1, 101):
            say(ring, BOUND)
            assert taken(current) == [("x", number)]
            assert ring.kept_bytes <= BOUND * LAG + 2 * BOUND
        assert taken(stalled) == [("snapshot", 100)]
        say(ring, 10)
        assert taken(stalled) == taken(current) == [("x", 101)]


@pytest.mark.parametrize("number", [0, 3, 99])
def test_a_number_that_cannot_be_gets_a_snapshot(number: int) -> None:
    ring = EventRing(BOUND)
    say(ring, 1)
    assert taken(subscription(ring, number)) == [("snapshot", 1)]


@given(st.lists(st.one_of(st.integers(0, 3000), st.sampled_from("abc"))))
def test_every_reader_sees_numbers_without_gaps_but_behind_snapshots(steps: list[int | str]) -> None:
    ring = EventRing(BOUND)
    readers = {name: subscription(ring, 1) for name in "abc"}
    seen = dict.fromkeys(readers, 0)
    with ExitStack() as stack:
        for reader in readers.values():
            stack.enter_context(ring.reading(reader))
        for step in [*steps, *"abc"]:
            if isinstance(step, int):
                say(ring, step)
                continue
            for kind, number in taken(readers[step]):
                assert number == seen[step] + 1 or (kind == "snapshot" and number > seen[step])
                seen[step] = number
            assert seen[step] == ring.next_number - 1
    assert ring.kept_bytes <= BOUND or ring.first_number == ring.next_number - 1


async def test_a_message_for_one_reader_comes_before_what_is_new_for_all() -> None:
    ring = EventRing(BOUND)
    reader = subscription(ring, 1)
    got: list[bytes] = []

    async def read() -> None:
        got.extend(await reader.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        reader.send(b"direct")
        say(ring, 1)
    assert [got[0], json.loads(got[1])["n"]] == [b"direct", 1]


async def test_deltas_go_out_at_once_and_then_joined(autojump_clock: MockClock) -> None:
    out: list[tuple[float, Delta]] = []
    buffer = DeltaBuffer(lambda delta: out.append((round(trio.current_time() - began, 3), delta)))
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(buffer.run)
        for word in ("one ", "two ", "three "):
            buffer.add(Delta("think", word))
            await trio.sleep(JOIN_SECONDS / 10)
        buffer.add(Delta("reply", "four "))
        await trio.sleep(10)
        buffer.add(Delta("reply", "five"))
        buffer.add(Delta("reply", " six"))
        buffer.restart()
        buffer.add(Delta("reply", "seven"))
        nursery.cancel_scope.cancel()
    assert [delta for _, delta in out] == [
        Delta("think", "one "),
        Delta("think", "two three "),
        Delta("reply", "four "),
        Delta("reply", "five"),
        Delta("reply", " six"),
        Delta("reply", "seven"),
    ]
    assert out[0][0] == 0
    assert out[2][0] == pytest.approx(0.03 + JOIN_SECONDS)
