"""Nothing of the monty tier outlives its scope: tool servers, workers, supervisor, descriptors; however it ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from trioagent._config import SandboxLimits
from trioagent.sandbox import HostTool
from trioagent.sandbox._monty_tier import MontyTier
from trioagent.sandbox._zygote import ProcessSettings
from trioagent.testing import cancel_at_every_checkpoint

from ..open_files import open_files
from .arena import adopt_orphans
from .monty_tier import open_monty
from .processes import descendants

pytestmark = pytest.mark.real

PATIENCE = 8.0  # less than the processor time after which an endless block would end by itself


async def reap(pids: set[int]) -> None:
    for pid in pids:
        with trio.fail_after(PATIENCE):
            await trio.to_thread.run_sync(os.waitpid, pid, 0)


async def worker_of(tier: MontyTier) -> int:
    """The worker of the one idle pair."""
    ((_, pair),) = tier._idle
    return pair.worker


async def test_leaving_ends_everything() -> None:
    before, descriptors = descendants(os.getpid()), open_files()
    async with open_monty() as (sandbox, _):
        await sandbox.run("x = 1")
        assert len(descendants(os.getpid()) - before) == 3  # supervisor, tool server, worker
    assert descendants(os.getpid()) == before
    assert open_files() == descriptors


async def test_cancelling_the_start_leaves_nothing() -> None:
    before, descriptors = descendants(os.getpid()), open_files()
    adopt_orphans(True)  # so that none can hide
    try:
        for seconds in (0.001, 0.05, 0.15, 0.25):
            with trio.move_on_after(seconds):
                async with open_monty():
                    pass
            assert descendants(os.getpid()) == before
    finally:
        adopt_orphans(False)
    assert open_files() == descriptors


async def test_cancelling_at_every_checkpoint(tmp_path: Path) -> None:
    """A block that calls a host tool, cancelled wherever it waits: all or nothing saved, and both processes gone."""
    before, descriptors = descendants(os.getpid()), open_files()

    async def ask() -> int:
        await trio.lowlevel.checkpoint()
        return 2

    async with open_monty() as (sandbox, tier):
        code = "create_file('a.md', 'x')\ny = ask()\ncreate_file('b.md', str(y))"
        await sandbox.run("x = 1")
        tools: dict[str, HostTool] = {"ask": ask}
        idle = descendants(os.getpid())

        async def look() -> None:
            names = sorted(path.name for path in tmp_path.iterdir())
            assert names in ([], ["a.md", "b.md"])
            for name in names:
                (tmp_path / name).unlink()
            left = descendants(os.getpid()) - before
            assert len(left) in (1, 3)  # the supervisor, and a pair unless it was killed
            assert len(tier._idle) == (len(left) - 1) // 2

        cancelled = await cancel_at_every_checkpoint(
            partial(sandbox.run, code, memory_path=tmp_path, host_tools=tools), after_each=look
        )
        assert cancelled > 10
        assert (await sandbox.run("x = 1")).error == ""
        assert len(idle) == len(descendants(os.getpid()))
    assert descendants(os.getpid()) == before
    assert open_files() == descriptors


async def test_cancelling_endless_blocks_at_random_times() -> None:
    rng = random.Random(5)
    before = descendants(os.getpid())
    async with open_monty(SandboxLimits(parallel=4)) as (sandbox, _):
        waits = ("while True: pass", "import time\ntime.sleep(1000)", "while True: read_file('nobody')")
        for _ in range(6):
            with trio.move_on_after(rng.uniform(0.01, 0.2)) as scope:
                async with trio.open_nursery() as nursery:
                    for code in waits:
                        nursery.start_soon(sandbox.run, code)
            assert scope.cancelled_caught
            assert len(descendants(os.getpid()) - before) == 1
        assert (await sandbox.run("x = 1")).locals == {"x": "1"}


async def test_a_cancel_kills_at_once() -> None:
    async with open_monty() as (sandbox, tier):
        worker = await worker_of(tier)
        begun = trio.Event()

        async def begin() -> None:
            begun.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(sandbox.run, "begin()\nwhile True: pass", host_tools={"begin": begin}))
            await begun.wait()
            nursery.cancel_scope.cancel()
        assert not Path(f"/proc/{worker}").exists()


async def test_a_killed_worker_ends_its_block_only() -> None:
    async with open_monty() as (sandbox, tier):
        worker = await worker_of(tier)

        async def die() -> None:
            os.kill(worker, signal.SIGKILL)

        result = await sandbox.run("die()\nwhile True: pass", host_tools={"die": die})
        assert result.error == "RuntimeError: the block was killed, most likely for using too much memory."
        assert (await sandbox.run("x = 2")).locals == {"x": "2"}
        assert await worker_of(tier) != worker


async def test_an_idle_pair_that_died_is_replaced() -> None:
    async with open_monty() as (sandbox, tier):
        ((_, pair),) = tier._idle
        os.kill(pair.tool_server, signal.SIGKILL)
        assert (await sandbox.run("x = 1")).locals == {"x": "1"}
        os.kill(await worker_of(tier), signal.SIGKILL)
        assert (await sandbox.run("x = 1")).locals == {"x": "1"}


async def test_a_dead_supervisor_is_replaced() -> None:
    before = descendants(os.getpid())
    adopt_orphans(True)
    try:
        async with open_monty() as (sandbox, tier):
            os.kill(tier.pid, signal.SIGKILL)
            while tier._supervisor.alive:
                await trio.sleep(0.001)
            for _ in range(2):
                assert (await sandbox.run("x = 1")).locals == {"x": "1"}
        await reap(descendants(os.getpid()) - before)  # orphans of the killed supervisor, which are dead
    finally:
        adopt_orphans(False)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_supervisor_that_is_lost_while_a_block_runs(number: signal.Signals, tmp_path: Path) -> None:
    """The block is run again, and saves once; unless it has called a host tool, which it would call again."""
    adopt_orphans(True)
    before = descendants(os.getpid())
    try:
        async with open_monty(processes=ProcessSettings(answer=0.5, death=0.5)) as (sandbox, tier):
            lost: list[int] = []

            async def lose() -> None:
                lost.append(tier.pid)
                os.kill(tier.pid, number)
                if number == signal.SIGSTOP:
                    tier._idle.clear()

            async def at_random() -> None:
                await trio.sleep(0.1)
                await lose()

            code = "import time\ntime.sleep(0.4)\ncreate_file('a.md', read_file('a.md') and '' or 'once')"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(at_random)
                result = await sandbox.run(code, memory_path=tmp_path)
            assert (result.error, result.saved) == ("", True)
            assert (await sandbox.run("x = 1")).locals == {"x": "1"}
            if number == signal.SIGKILL:
                code = "create_file('b.md', 'x')\nlose()\nimport time\ntime.sleep(60)"
                result = await sandbox.run(code, memory_path=tmp_path, host_tools={"lose": lose})
                assert "killed from outside, after it had called a tool" in result.error and not result.saved
            assert len(lost) == (2 if number == signal.SIGKILL else 1)
            assert sorted(os.listdir(tmp_path)) == ["a.md"]
        await reap(descendants(os.getpid()) - before)
    finally:
        adopt_orphans(False)


_HOST = """
import sys, trio
sys.path[:0] = {path!r}
from tests.sandbox.monty_tier import open_monty
async def main():
    begun, at_work = trio.open_memory_channel(2)
    async def run(code):
        await sandbox.run("begin(1)\\n" + code, host_tools={{"begin": begun.send}})
    async with open_monty() as (sandbox, tier), trio.open_nursery() as nursery:
        for code in ("while True: pass", "import time\\ntime.sleep(1000)"):
            nursery.start_soon(run, code)
        for _ in range(2):
            await at_work.receive()
        print("running", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_the_hosts_death_ends_all(number: int) -> None:
    host = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", _HOST.format(path=sys.path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert host.stdout is not None
    adopt_orphans(True)
    try:
        assert await trio.to_thread.run_sync(host.stdout.readline) == b"running\n"
        family = descendants(host.pid)
        assert len(family) == 5
        host.send_signal(number)
        await trio.to_thread.run_sync(host.wait)
        with trio.fail_after(PATIENCE):
            while any(_runs(pid) for pid in family):
                await trio.sleep(0.005)
        await reap(family & descendants(os.getpid()))
    finally:
        adopt_orphans(False)
        host.stdout.close()
        host.kill()
        host.wait()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
