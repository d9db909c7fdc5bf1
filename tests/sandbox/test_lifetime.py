"""Nothing outlives its scope: children, zygote, descriptors, temporary files; however it ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import trio

from trioagent._config import SandboxLimits
from trioagent.sandbox import Sandbox, open_sandbox

from ..open_files import open_files
from .arena import adopt_orphans
from .processes import alive, descendants, spares

pytestmark = pytest.mark.real

PATIENCE = 8.0  # less than the processor time after which an endless block would end by itself


async def settled(before: set[int]) -> bool:
    """Wait some seconds for no more processes to be there than *before*, and no new zombie.

    The same number, not the same ones: a spare child may have been used up and replaced.
    """
    for _ in range(int(PATIENCE / 0.005)):
        now = descendants(os.getpid())
        if len(now) <= len(before) and now - alive(now) <= before:
            return True
        await trio.sleep(0.005)
    return False


async def test_leaving_ends_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before, descriptors = descendants(os.getpid()), open_files()
    async with open_sandbox() as sandbox:
        await sandbox.run("x = 1")
        assert descendants(os.getpid()) > before
    assert descendants(os.getpid()) == before
    assert open_files() == descriptors
    assert os.listdir(tmp_path) == []


async def test_a_host_that_adopts_orphans_is_left_no_zombie() -> None:
    """As process 1 of a container does."""
    before = descendants(os.getpid())
    adopt_orphans(True)
    try:
        async with open_sandbox() as sandbox:
            await sandbox.run("x = 1")
        with trio.move_on_after(0.05):  # cancelled while it starts
            async with open_sandbox():
                pass
        assert await settled(before)
    finally:
        adopt_orphans(False)


async def test_cancelling_at_any_time_leaves_nothing(sandbox: Sandbox, memory: Path) -> None:
    """80 cancels at random instants, of blocks that run forever and of blocks that are about to end."""
    rng = random.Random(7)
    await spares(sandbox)
    before, descriptors = descendants(os.getpid()), open_files()
    saved = 0
    for _ in range(80):
        endless = rng.random() < 0.5
        code = f"create_file('n{saved}.md', 'x')\n" + ("while True: pass" if endless else "y = 1")
        with trio.move_on_after(rng.uniform(0, 0.02)):
            result = await sandbox.run(code, memory_path=memory)
            saved += result.saved
        names = {path.name for path in memory.iterdir()}
        saved = max(saved, len(names - {"user.md"}))  # a commit that had begun ends, even when cancelled
        assert names == {"user.md", *(f"n{i}.md" for i in range(saved))}
    assert await settled(before)
    # A spare child has been replaced by another, with other numbers, or not yet, if there was no room to ask for it.
    assert len(open_files()) <= len(descriptors)
    assert (await sandbox.run("x = 1", memory_path=memory)).error == ""


async def test_cancelling_many_at_once(sandbox: Sandbox) -> None:
    await spares(sandbox)
    before = descendants(os.getpid())
    with trio.move_on_after(0.1):
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(sandbox.run, "while True: pass")
    assert await settled(before)
    assert (await sandbox.run("x = 1")).error == ""


async def test_twenty_at_once(sandbox: Sandbox, tmp_path: Path) -> None:
    results: dict[int, str] = {}

    async def one(number: int) -> None:
        folder = tmp_path / str(number)
        for turn in range(3):
            result = await sandbox.run(f"create_file('{turn}.md', '{number}')\nn = list_files()", memory_path=folder)
            assert result.error == ""
            results[number] = result.locals["n"]

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(one, number)
    assert results == dict.fromkeys(range(20), "['0.md', '1.md', '2.md']")


_HOST = """
import sys, trio
from trioagent.sandbox import open_sandbox
async def main():
    begun, at_work = trio.open_memory_channel(3)
    async def run():
        await sandbox.run("begin(1)\\nwhile True: pass", host_tools={"begin": begun.send})
    async with open_sandbox(sys.argv[1]) as sandbox, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(run)
        for _ in range(3):
            await at_work.receive()
        print(sandbox._executor.handshake["scratch"], flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


@pytest.mark.parametrize(
    ("tier", "number"),
    [
        ("kernel", signal.SIGKILL),
        ("kernel", signal.SIGTERM),
        ("kernel", signal.SIGINT),
        ("kernel-lite", signal.SIGKILL),
        ("kernel-lite", signal.SIGTERM),
    ],
)
def test_the_hosts_death_ends_everything(tier: str, number: signal.Signals, tmp_path: Path) -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", _HOST, tier],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert host.stdout is not None
    views = host.stdout.readline().decode().strip()  # the folder of copied views; the kernel tier has none
    assert os.path.isdir(views) if tier == "kernel-lite" else views == "None"
    family = descendants(host.pid)
    assert len(family) >= 4  # zygote, three blocks
    host.send_signal(number)
    host.wait()
    host.stdout.close()
    deadline = time.monotonic() + PATIENCE
    while (alive(family) or os.path.exists(views)) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert alive(family) == set()
    assert not os.path.exists(views)
    assert os.listdir(tmp_path) == []


async def test_a_block_that_ends_the_sandbox_scope() -> None:
    before = descendants(os.getpid())
    with pytest.raises(ValueError, match="mine"):
        async with open_sandbox(limits=SandboxLimits(parallel=2)):
            raise ValueError("mine")
    assert descendants(os.getpid()) == before
