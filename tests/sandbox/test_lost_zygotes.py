"""A zygote that is killed, or hangs, at any time: no block fails for it, and none is saved twice."""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent._config import SandboxLimits
from trioagent._errors import SandboxError
from trioagent.sandbox import BlockResult, Sandbox, open_sandbox
from trioagent.sandbox._block_session import MAX_ATTEMPTS, Attempts, BlockLostError
from trioagent.sandbox._guest.isolation import IsolationBackend
from trioagent.sandbox._guest.syscalls import Terminated
from trioagent.sandbox._guest.zygote import STEPS, Children
from trioagent.sandbox._sandbox import LOST_ZYGOTE_COST, CodeNotSentError, NotAnsweredError, Outcome, not_set_up
from trioagent.sandbox._zygote import START_SECONDS, STARTS, ProcessSettings, Zygote, Zygotes, spawn

from .arena import adopt_orphans
from .kernel_tier import open_kernel
from .processes import alive, descendants, spares, zygote

pytestmark = pytest.mark.real

TIERS = ["kernel", "kernel-lite"]


def lose(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


async def lose_whole(sandbox: Sandbox) -> None:
    """Kill the outer process, and wait until the one that forks, which it takes along, forks no more."""
    lose(sandbox._executor.pid)  # type: ignore[attr-defined]
    with trio.fail_after(10):
        while sandbox.zygotes:
            await trio.sleep(0.001)


@pytest.mark.parametrize("tier", TIERS)
async def test_kills_under_load_fail_nothing(tier: str, tmp_path: Path) -> None:
    """Kills of either process of a zygote at random times, under blocks that each append a line to a note."""
    rng = random.Random(3)
    kills, written = 0, dict.fromkeys("abcdef", "")
    async with open_sandbox(tier) as sandbox:
        done = trio.Event()

        async def kill() -> None:
            nonlocal kills
            while not done.is_set():
                await trio.sleep(rng.uniform(0.02, 0.3))
                pid: int = sandbox._executor.pid  # type: ignore[attr-defined]
                if descendants(pid):  # not dead yet from the last time
                    lose(rng.choice([pid, zygote(sandbox)]), rng.choice([signal.SIGKILL, signal.SIGTERM]))
                    kills += 1

        async def work(name: str) -> None:
            number = 0
            while kills < 8:
                number += 1
                code = (
                    f"import time\ntime.sleep(0.02)\nwith open('log.md', 'a') as log:\n    _ = log.write('{number}\\n')"
                )
                result = await sandbox.run(code, memory_path=tmp_path / name)
                assert (result.error, result.saved) == ("", True)
                written[name] += f"{number}\n"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            async with trio.open_nursery() as workers:
                for name in written:
                    workers.start_soon(work, name)
            done.set()
    assert {name: (tmp_path / name / "log.md").read_text() for name in written} == written


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_block_that_had_begun_is_run_again(tier: str, number: signal.Signals, memory: Path) -> None:
    async with open_sandbox(tier) as sandbox:
        result: list[BlockResult] = []

        async def run() -> None:
            code = "import time\nopen('user.md', 'a').write('more')\ntime.sleep(0.5)"
            result.append(await sandbox.run(code, memory_path=memory))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.sleep(0.2)
            lose(zygote(sandbox), number)
        assert (result[0].error, result[0].saved) == ("", True)
        assert (memory / "user.md").read_text() == "# User\n- name: Ana\nmore"


@pytest.mark.parametrize("tier", TIERS)
async def test_a_signal_to_the_block_alone(tier: str, memory: Path) -> None:
    """As by a service manager that ends each process: nothing of how we handle signals shows in the block."""
    async with open_sandbox(tier) as sandbox:
        result: list[BlockResult] = []

        async def run() -> None:
            result.append(await sandbox.run("open('user.md', 'a').write('more')\nwhile True: pass", memory_path=memory))

        before = await spares(sandbox)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.sleep(0.3)
            for pid in before:  # the spare child has become the block's
                lose(pid, signal.SIGTERM)
        assert result[0].error == (
            "RuntimeError: the block was ended from outside of the sandbox (SIGTERM). Nothing was saved."
        )


UNFINISHED = {
    "a frame": "os.write(3, (500).to_bytes(4, 'big') + b'{')",
    "a full socket": "os.write(3, (1 << 20).to_bytes(4, 'big') + b'x' * 900_000)",
    "a header": "os.write(3, bytes(2))",
    "nothing": "pass",
}


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("part", UNFINISHED)
async def test_a_block_that_ends_in_the_midst_of_its_answer_is_not_lost(tier: str, part: str) -> None:
    """It is told what it did, once and at once: not when its time is over, and not run again and again."""
    runs = 0

    class CountedZygotes(Zygotes):
        async def get(self, **options: bool) -> Zygote:
            """Asked for by each attempt at a block."""
            nonlocal runs
            runs += 1
            return await super().get(**options)

    limits = SandboxLimits(wall_seconds=60)
    async with open_kernel(tier, limits=limits, zygotes=CountedZygotes) as (sandbox, _):
        with trio.fail_after(50):
            result = await sandbox.run(f"import os\n{UNFINISHED[part]}\nos._exit(0)")
    assert result.error == "RuntimeError: the block ended its process itself (exit status 0)."
    assert runs == 1


@pytest.mark.parametrize("tier", TIERS)
async def test_nor_one_that_dies_while_it_is_sent_something(tier: str) -> None:
    """Its code, for which it has no memory, or the answer of a tool: the rest is nobody's to read."""
    limits = SandboxLimits(memory_bytes=66 << 20, wall_seconds=60)

    async def tool() -> str:
        return "y" * 900_000

    call = """b'{"call":"tool","args":[],"kwargs":{}}'"""
    async with open_sandbox(tier, limits=limits) as sandbox:
        with trio.fail_after(50):
            result = await sandbox.run("x = 1\n#" + "y" * (62 << 20))
            assert result.error == "MemoryError: the code is too large for the memory that a block may use"
            code = f"import os\nos.write(3, len({call}).to_bytes(4, 'big') + {call})\nos._exit(0)"
            result = await sandbox.run(code, host_tools={"tool": tool})
            assert result.error == "RuntimeError: the block ended its process itself (exit status 0)."


@pytest.mark.parametrize("tier", TIERS)
async def test_not_one_that_has_called_a_host_tool(tier: str, memory: Path) -> None:
    """What the tool did cannot be undone: the model is told."""
    calls: list[int] = []
    async with open_sandbox(tier) as sandbox:
        pid: int = sandbox._executor.pid  # type: ignore[attr-defined]

        async def die() -> None:
            calls.append(pid)
            lose(pid)

        code = "create_file('a.md', 'x')\ndie()\nimport time\ntime.sleep(60)"
        result = await sandbox.run(code, memory_path=memory, host_tools={"die": die})
        assert result.error == (
            "RuntimeError: the process that ran the block was killed from outside, "
            "after it had called a tool outside of the sandbox. Nothing was saved."
        )
        assert (await sandbox.run("x = 2")).locals == {"x": "2"}
        assert sandbox._executor.pid != pid  # type: ignore[attr-defined]
    assert calls == [pid] and sorted(os.listdir(memory)) == ["user.md"]


@pytest.mark.parametrize("tier", TIERS)
async def test_one_that_hangs_is_replaced(tier: str, memory: Path) -> None:
    """Stopped with all of its processes, as by a frozen cgroup, and again as it has been replaced."""
    adopt_orphans(True)
    try:
        async with open_kernel(tier, processes=ProcessSettings(answer=0.5)) as (sandbox, _):
            await sandbox.run("x = 1")  # a spare child is made beside the first block
            for _ in range(2):
                await spares(sandbox)
                stopped = {pid, *descendants(pid)} if (pid := zygote(sandbox)) else set()
                for each in stopped:
                    lose(each, signal.SIGSTOP)
                with trio.fail_after(15):
                    for number in range(2):
                        result = await sandbox.run(f"create_file('{number}.md')", memory_path=memory)
                        assert (result.error, result.saved) == ("", True)
                        (memory / f"{number}.md").unlink()
                assert zygote(sandbox) not in stopped
                for each in stopped:
                    lose(each, signal.SIGCONT)  # one that was stopped before it was tied to its zygote ends now
                with trio.fail_after(10):
                    while alive(stopped):
                        await trio.sleep(0.002)
    finally:
        adopt_orphans(False)


async def test_a_spare_child_that_hangs_is_passed_over() -> None:
    async with open_kernel(processes=ProcessSettings(answer=0.5)) as (sandbox, executor):
        await sandbox.run("x = 1")
        (spare,) = await spares(sandbox)
        (channel,) = executor._zygotes.common._spares
        await trio.lowlevel.wait_readable(channel)  # it waits for its setup request
        pid = zygote(sandbox)
        os.kill(spare, signal.SIGSTOP)
        assert (await sandbox.run("x = 1")).locals == {"x": "1"}
        assert zygote(sandbox) == pid  # nothing is wrong with it


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_one_that_is_lost_while_it_starts(number: signal.Signals) -> None:
    started: list[subprocess.Popen[bytes]] = []
    losses: set[int] = set()

    def spawn_and_lose(
        module: str, *, settings: Mapping[str, Any], kind: socket.SocketKind
    ) -> tuple[subprocess.Popen[bytes], socket.socket]:
        process, ours = spawn(module, settings=settings, kind=kind)
        started.append(process)
        if len(started) in losses:
            lose(process.pid, number)
        return process, ours

    # As many seconds go by before it is found that one says nothing.
    processes = ProcessSettings(start_process=spawn_and_lose, start=3.0 if number == signal.SIGSTOP else START_SECONDS)
    async with open_kernel(processes=processes) as (sandbox, _):
        losses |= {2} if number == signal.SIGSTOP else {2, 3}
        await lose_whole(sandbox)
        assert (await sandbox.run("x = 1")).locals == {"x": "1"}
        assert len(started) > 1 + len(losses)
        before = len(started)
        losses |= set(range(100))
        if number == signal.SIGKILL:
            await lose_whole(sandbox)
            with pytest.raises(SandboxError, match="a zygote did not start: start: it died at once"):
                await sandbox.run("x = 1")
            assert len(started) == before + STARTS


async def test_one_that_is_asked_to_end_while_it_starts() -> None:
    """It handles the signal already, and does not report it as what would be wrong with the next one too."""
    started: list[subprocess.Popen[bytes]] = []

    def spawn_and_end(
        module: str, *, settings: Mapping[str, Any], kind: socket.SocketKind
    ) -> tuple[subprocess.Popen[bytes], socket.socket]:
        process, ours = spawn(module, settings=settings, kind=kind)
        started.append(process)
        if len(started) == 2:
            while not handles(process.pid, signal.SIGTERM):
                pass
            lose(process.pid, signal.SIGTERM)
        return process, ours

    async with open_kernel("kernel-lite", processes=ProcessSettings(start_process=spawn_and_end)) as (sandbox, _):
        await lose_whole(sandbox)
        assert (await sandbox.run("x = 1")).locals == {"x": "1"}
        assert len(started) == 3


def handles(pid: int, number: signal.Signals) -> bool:
    """Has the process a handler for this signal?"""
    status = Path(f"/proc/{pid}/status").read_text()
    handled = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:")), 0)
    return bool(handled >> (number - 1) & 1)


def test_a_zygote_does_not_end_while_it_forks() -> None:
    """A child that it does not know yet would not be ended, and would find its view being removed."""
    poll = select.epoll()
    children = Children(_ManyEntries(1), poll)
    before = signal.signal(signal.SIGTERM, children.terminate)
    process = None
    try:
        children.begin_fork()
        process = subprocess.Popen(["sleep", "60"])
        os.kill(os.getpid(), signal.SIGTERM)
        ours, theirs = socket.socketpair()
        children.add(process.pid, theirs.detach(), "a-view")
        with pytest.raises(Terminated):
            children.end_fork()
        with ours, pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)  # else at once
        children.end()
        assert not alive({process.pid})
    finally:
        signal.signal(signal.SIGTERM, before)
        poll.close()
        if process is not None:
            process.kill()
            process.poll()


async def test_a_block_that_is_lost_every_time_is_given_up() -> None:
    attempts, tried = Attempts(), 0

    async def lost() -> Outcome:
        nonlocal tried
        tried += 1
        raise BlockLostError

    outcome = await attempts.run(lost)
    assert outcome.error == "RuntimeError: the process that ran the block was killed from outside, each time."
    assert tried == MAX_ATTEMPTS


async def test_nor_is_a_block_that_had_begun_the_agents_failure() -> None:
    """However the last attempt was lost, the model is told, and the conversation goes on."""
    attempts, tried = Attempts(), 0

    async def lost() -> Outcome:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise BlockLostError
        raise CodeNotSentError("a child died while it was set up")

    assert (await attempts.run(lost)).error.endswith("was killed from outside, each time.")
    assert tried == MAX_ATTEMPTS


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (CodeNotSentError("killed"), MAX_ATTEMPTS),
        (CodeNotSentError("died with its zygote", LOST_ZYGOTE_COST), 4 * MAX_ATTEMPTS),
        (NotAnsweredError("nothing within 5 s"), 10),
        (not_set_up("view: no such folder"), 2),
    ],
)
async def test_so_is_one_that_no_child_ever_gets(error: CodeNotSentError, tries: int) -> None:
    """What fails slowly, or says why, is tried less often."""
    tried = 0

    async def fail() -> Outcome:
        nonlocal tried
        tried += 1
        raise error

    with pytest.raises(SandboxError, match=error.problem):
        await Attempts().run(fail)
    assert tried == tries


class _ManyEntries(IsolationBackend):
    """Views that take many steps to look through and to remove."""

    keeps_views = True

    def __init__(self, entries: int) -> None:
        self._entries, self.steps = entries, 0

    def set_up(self) -> None: ...
    def prepare(self, name: str) -> str:
        return name

    def view(self, request: dict[str, Any]) -> dict[str, Any]:
        return {}

    def owner(self, request: dict[str, Any]) -> None: ...
    def drop(self, name: str):  # type: ignore[no-untyped-def]
        for _ in range(self._entries):
            self.steps += 1
            yield

    def is_overfull(self, name: str):  # type: ignore[no-untyped-def]
        yield from self.drop(name)
        return True


def test_views_are_checked_and_removed_in_steps() -> None:
    """A zygote asked for a child does not first look at 10,000 notes of somebody else's."""
    backend = _ManyEntries(10_000)
    poll = select.epoll()
    children = Children(backend, poll)
    process = subprocess.Popen(["sleep", "60"])
    ours, theirs = socket.socketpair()
    try:
        children.add(process.pid, theirs.detach(), "a-view")
        for _ in range(10_000 // STEPS):
            children.work()
            assert children.seconds_to_next_work() == 0.0
        assert backend.steps == 10_000 // STEPS * STEPS
        children.work()
        assert backend.steps == 10_000
        ((pidfd, _),) = poll.poll(5)  # stopped for its view
        children.on_event(pidfd)
        ours.close()
        ((channel, _),) = poll.poll(5)
        children.on_event(channel)
        backend.steps = 0
        children.work()
        assert backend.steps == STEPS and children.seconds_to_next_work() == 0.0
        while children.seconds_to_next_work() == 0.0:
            children.work()
        assert backend.steps == 10_000
    finally:
        poll.close()
        process.kill()
        process.poll()
