"""Trio beside the thread that reads lines: neither waits for the other, and neither outlives the call."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import attrs
import pytest
import trio

from trioagent.cli._foreground import Foreground, run_beside_terminal

pytestmark = pytest.mark.real


@attrs.frozen
class Pipe:
    """Lines that come when a test writes them; reading blocks as it does on a terminal."""

    read_end: int
    write_end: int

    def read(self, prompt: str, *, kept: bool = True) -> str:
        data = os.read(self.read_end, 100)
        if not data:
            raise EOFError
        return prompt + data.decode()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    ends = os.pipe()
    yield Pipe(*ends)
    for fd in ends:
        os.close(fd)


def test_the_event_loop_goes_on_while_a_line_is_read(pipe: Pipe) -> None:
    async def main(foreground: Foreground[str]) -> str:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def type_a_line() -> None:
                await trio.sleep(0.01)
                os.write(pipe.write_end, b"hello")

            return await foreground.read_line("> ")

    assert run_beside_terminal(main, pipe) == "> hello"
    assert "trioagent chat" not in {thread.name for thread in threading.enumerate()}


def test_a_cancelled_read_ends_at_once_and_the_next_one_works(pipe: Pipe) -> None:
    async def main(foreground: Foreground[str]) -> str:
        with trio.move_on_after(0.05) as scope:
            await foreground.read_line("")
        assert scope.cancelled_caught
        os.write(pipe.write_end, b"next")
        return await foreground.read_line("")

    assert run_beside_terminal(main, pipe) == "next"


def test_sigint_during_a_read_is_raised_by_that_read(pipe: Pipe) -> None:
    async def main(foreground: Foreground[str]) -> str:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def interrupt() -> None:
                await trio.sleep(0.05)  # until the main thread reads
                os.kill(os.getpid(), signal.SIGINT)

            try:
                await foreground.read_line("")
            except KeyboardInterrupt:
                return "interrupted"
        raise AssertionError("nothing was typed")

    assert run_beside_terminal(main, pipe) == "interrupted"


def test_sigint_between_reads_goes_to_whoever_receives_interrupts(pipe: Pipe) -> None:
    async def main(foreground: Foreground[int]) -> int:
        with foreground.open_interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            return await interrupts.receive()

    assert run_beside_terminal(main, pipe) == signal.SIGINT


def test_sigint_that_nobody_receives_cancels_the_program(pipe: Pipe) -> None:
    ended = []

    async def main(foreground: Foreground[None]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_beside_terminal(main, pipe)
    assert ended == [True]
    assert signal.getsignal(signal.SIGINT) is handler


def test_errors_come_out_as_they_are(pipe: Pipe) -> None:
    async def main(foreground: Foreground[None]) -> None:
        raise ValueError("from Trio")

    with pytest.raises(ValueError, match="from Trio"):
        run_beside_terminal(main, pipe)
