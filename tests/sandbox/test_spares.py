"""Children forked ahead: used once, holding nothing of anybody's, replaced when they are gone."""

from __future__ import annotations

import os
import resource
import secrets
import signal
from pathlib import Path

import pytest
import trio

from trioagent._config import SandboxLimits
from trioagent._errors import SandboxError
from trioagent.sandbox import Sandbox, open_sandbox

from ..open_files import open_files
from .processes import descendants, spares, zygote

pytestmark = pytest.mark.real

IN_A_CHILD = """
import os
environment = dict(os.environ)
descriptors = []
for number in range(64):
    try:
        os.fstat(number)
        descriptors.append(number)
    except OSError:
        pass
"""


@pytest.mark.parametrize("tier", ["kernel", "kernel-lite"])
async def test_each_is_used_once_and_replaced(tier: str, tmp_path: Path) -> None:
    async with open_sandbox(tier, limits=SandboxLimits(spare_children=2)) as sandbox:
        seen: set[int] = set()
        for number in range(4):
            waiting = await spares(sandbox, 2)
            seen |= waiting
            assert (await sandbox.run(f"create_file('{number}.md')", memory_path=tmp_path)).error == ""
            with trio.fail_after(10):  # the used one is dead, and the zygote is about to bury it
                while len(left := waiting & descendants(zygote(sandbox))) > 1:
                    await trio.sleep(0.002)
            assert len(left) == 1
        assert len(seen) == 5
        assert sorted(os.listdir(tmp_path)) == ["0.md", "1.md", "2.md", "3.md"]


@pytest.mark.parametrize("tier", ["kernel", "kernel-lite"])
async def test_nothing_of_an_earlier_block_is_in_one(tier: str, tmp_path: Path) -> None:
    """Forked while another agent's block runs, and inspected from inside and, if we may, from outside."""
    token = secrets.token_hex(12)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "user.md").write_text(token)
    async with open_sandbox(tier) as sandbox:

        async def meanwhile() -> object:
            inner = await sandbox.run(IN_A_CHILD, memory_path=tmp_path / "two")
            results.append(inner)
            return None

        results = []
        code = f"text = read_file('user.md')\nsecret = '{token}'\nmeanwhile()"
        outer = await sandbox.run(code, memory_path=tmp_path / "one", host_tools={"meanwhile": meanwhile})
        assert outer.locals["secret"] == repr(token)
        results.append(await sandbox.run(IN_A_CHILD, memory_path=tmp_path / "two"))
        for result in results:
            assert (result.error, result.locals["environment"]) == ("", "{}")
            assert result.locals["descriptors"] == "[0, 1, 2, 3]"
        if os.geteuid() == 0:
            (spare,) = await spares(sandbox, 1)
            assert not holds(spare, token.encode())
            assert not holds(zygote(sandbox), token.encode())
            assert holds(os.getpid(), token.encode())  # it would have been found


def holds(pid: int, token: bytes) -> bool:
    """Is *token* anywhere in the memory of a process?"""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, mode = line.split()[:2]
            if mode.startswith("rw"):
                start, end = (int(number, 16) for number in span.split("-"))
                memory.seek(start)
                try:
                    if token in memory.read(end - start):
                        return True
                except OSError:
                    continue  # a mapping of the kernel's own
    return False


@pytest.mark.parametrize("tier", ["kernel", "kernel-lite"])
async def test_a_zygote_is_after_hundreds_of_blocks_what_it_was(tier: str, tmp_path: Path) -> None:
    """So it needs no recycling: it keeps no memory, no descriptors and no processes of what it has forked."""
    async with open_sandbox(tier) as sandbox:

        async def state(blocks: int) -> tuple[int, int]:
            """After so many blocks, each of which saves something and one in ten of which fails: pages, descriptors."""
            for number in range(blocks):
                fails = "1 / 0" if number % 10 == 0 else "x = 1"
                await sandbox.run(f"create_file('n.md', '{number}' * 1000)\n{fails}", memory_path=tmp_path)
            await spares(sandbox)
            pid = zygote(sandbox)
            with trio.fail_after(10):
                while len(descendants(pid)) > 1:
                    await trio.sleep(0.002)
            resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            return resident, len(os.listdir(f"/proc/{pid}/fd")) if os.geteuid() == 0 else 0

        early, descriptors = await state(50)
        late, still = await state(250)
    assert still <= descriptors + 2  # of views that are about to be dropped
    assert late - early <= 64  # pages, of which a kilobyte kept from each block would be as many


async def test_a_dead_one_is_passed_over() -> None:
    async with open_sandbox() as sandbox:
        for _ in range(3):
            (spare,) = await spares(sandbox, 1)
            os.kill(spare, signal.SIGKILL)
            assert (await sandbox.run("x = 1")).locals == {"x": "1"}


async def test_none_at_all_and_more_blocks_than_spares() -> None:
    for count in (0, 1):
        async with open_sandbox(limits=SandboxLimits(spare_children=count, parallel=6)) as sandbox:
            results: list[str] = []

            async def one(number: int, sandbox: Sandbox = sandbox, results: list[str] = results) -> None:
                results.append((await sandbox.run(f"x = {number}")).locals["x"])

            async with trio.open_nursery() as nursery:
                for number in range(12):
                    nursery.start_soon(one, number)
            assert sorted(map(int, results)) == list(range(12))
            await spares(sandbox, count)


async def test_no_descriptors_left(tmp_path: Path) -> None:
    """The block fails with a typed error, and all is well again once there are descriptors."""
    async with open_sandbox(limits=SandboxLimits(spare_children=0)) as sandbox:
        await sandbox.run("x = 1")
        before = open_files()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(before), hard))
        try:
            with pytest.raises(SandboxError, match="too many open files"):
                await sandbox.run("x = 1")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert open_files() == before
        assert (await sandbox.run("x = 2")).locals == {"x": "2"}
