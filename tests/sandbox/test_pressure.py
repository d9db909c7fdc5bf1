"""Memory: what a block may take is counted, blocks wait where little is left, and the kernel takes them first."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioagent._config import SandboxLimits
from trioagent.sandbox import open_sandbox
from trioagent.sandbox._pressure import MemoryPressure, bytes_left, memory_groups

from .monty_tier import open_monty
from .processes import descendants

real = pytest.mark.real
MIB = 1 << 20


@real
@pytest.mark.parametrize("tier", ["kernel", "kernel-lite"])
async def test_memory_that_is_not_counted_is_refused(tier: str) -> None:
    """By an error that code is ready for; memory and files that are counted are mapped as before."""
    code = """
import mmap
try:
    mmap.mmap(-1, 4096)
except OSError as error:
    shared = str(error)
private = len(mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
with open("a.md", "w+b") as file:
    file.truncate(4096)
    mapped = mmap.mmap(file.fileno(), 4096)
    mapped[:5] = b"hello"
    mapped.close()
text = open("a.md").read()[:5]
numbers = list(range(300_000))
numbers += numbers
large = bytearray(50 << 20)
large.extend(b"x" * (20 << 20))
size = len(large)
del large, mapped, numbers
"""
    async with open_sandbox(tier) as sandbox:
        result = await sandbox.run(code)
    assert result.error == ""
    assert result.locals["shared"] == "'[Errno 12] Cannot allocate memory'"
    assert (result.locals["private"], result.locals["text"]) == ("4096", "'hello'")


SPARSE = """
import ctypes
C = ctypes.CDLL(None)
C.mmap.restype = ctypes.c_void_p
C.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
C.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
size, pages = {size}, 0
while size > 8192:
    at = C.mmap(None, size, 3, 0x4022, -1, 0)   # MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    if at in (None, 2**64 - 1):
        size //= 2
        continue
    ctypes.c_char.from_address(at).value = b"x"
    C.munmap(at + 4096, size - 4096)
    pages += 1
C = None
look()
"""
"""Keeps one page of each of many mappings, so that the next one finds no room beside it: a page table for each page."""


@real
@pytest.mark.parametrize("tier", ["kernel", "kernel-lite"])
@pytest.mark.parametrize("size", [2 * MIB, 24 * MIB])
async def test_page_tables_take_no_more_than_memory(tier: str, size: int) -> None:
    """The kernel puts a mapping where it finds room, and each page table covers a page of the block's that counts.

    So the worst is a table for each page, and one more for some hundred MiB of addresses between them.
    """
    most = 64 * MIB
    found: list[dict[str, int]] = []

    async def look() -> None:
        for pid in descendants(sandbox._executor.pid):  # type: ignore[attr-defined]
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            found.append(
                {name: int(value.split()[0]) * 1024 for name, _, value in (line.partition(":") for line in lines)
                 if name in ("VmPTE", "VmRSS")}
            )  # fmt: skip

    async with open_sandbox(tier, limits=SandboxLimits(memory_bytes=most)) as sandbox:
        result = await sandbox.run(SPARSE.format(size=size), host_tools={"look": look})
    assert result.error == ""
    tables = max(each["VmPTE"] for each in found)
    assert most // 2 < tables < 1.25 * most + 4 * MIB
    assert max(each["VmPTE"] + each["VmRSS"] for each in found) < 2.25 * most + 24 * MIB


@real
@pytest.mark.parametrize("tier", ["kernel", "kernel-lite"])
async def test_the_kernel_takes_blocks_first(tier: str) -> None:
    async with open_sandbox(tier) as sandbox:
        await sandbox.run("x = 1")
        pid: int = sandbox._executor.pid  # type: ignore[attr-defined]
        scores = {}
        for each in (pid, *descendants(pid)):
            with suppress(FileNotFoundError, ProcessLookupError):  # The block's own process may have ended since.
                scores[each] = Path(f"/proc/{each}/oom_score_adj").read_text()
        assert pid in scores and set(scores.values()) == {"1000\n"}
    assert Path("/proc/self/oom_score_adj").read_text() != "1000\n"


@real
async def test_a_tool_server_has_the_blocks_limits() -> None:
    async with open_monty() as (sandbox, tier):
        await sandbox.run("x = 1")
        ((_, pair),) = tier._idle
        for pid in (tier.pid, pair.tool_server, pair.worker):
            assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"
        soft, hard = resource.prlimit(pair.tool_server, resource.RLIMIT_CPU)
        assert tier.limits.cpu_seconds + 2 <= soft <= tier.limits.cpu_seconds + 10 and hard == soft + 1
        data = resource.prlimit(pair.tool_server, resource.RLIMIT_DATA)[0]
        assert 0 < data - (tier.limits.memory_bytes + 64 * MIB) < 512 * MIB


@real
@pytest.mark.parametrize("tier", ["kernel", "monty"])
async def test_a_call_with_too_many_values(tier: str) -> None:
    """Lists that share their items are small in a block, and large as JSON."""
    calls: list[object] = []

    async def tool(value: object) -> str:
        calls.append(value)
        return "ok"

    code = """
x = [0] * 1000
y = [x] * 400
try:
    r = tool(y)
except Exception as error:
    r = str(error)
s = tool([x] * 50)
del x, y
"""
    if tier == "monty":
        code = code.replace("del x, y\n", "")
    async with open_sandbox(tier) as sandbox:
        result = await sandbox.run(code, host_tools={"tool": tool})
    assert result.error == ""
    assert "takes no more than 100000 values" in result.locals["r"]
    assert result.locals["s"] == "'ok'" and len(calls) == 1


async def test_blocks_wait_where_little_is_left(autojump_clock: MockClock) -> None:
    """Each of these may take more than any machine has: so one runs at a time, and no more than that."""
    pressure, order = MemoryPressure(1 << 59), []

    async def run(number: int) -> None:
        await pressure.begin()
        order.append(("begin", number))
        await trio.sleep(1)
        order.append(("end", number))
        pressure.end()

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(run, number)
            await wait_all_tasks_blocked(0.01)
    assert [what for what, _ in order] == ["begin", "end"] * 3
    assert trio.current_time() < 3.5


@pytest.mark.parametrize(("left", "together"), [(100, 1), (199, 1), (200, 2), (399, 3), (1000, 5)])
async def test_those_begin_that_have_room(left: int, together: int, autojump_clock: MockClock) -> None:
    """The memory of all of them is there when the last one begins, though none has touched its own yet."""
    pressure, running, most = MemoryPressure(100, lambda: left), 0, 0

    async def run() -> None:
        nonlocal running, most
        await pressure.begin()
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1
        pressure.end()

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(run)
    assert most == together


async def test_none_waits_where_there_is_enough(autojump_clock: MockClock) -> None:
    pressure = MemoryPressure(4096)
    for _ in range(10):
        await pressure.begin()
    assert trio.current_time() == 0


def test_what_is_left_in_control_groups(tmp_path: Path) -> None:
    """Of both versions, with what is above; the cache that gives way is not counted as taken."""
    own = tmp_path / "cgroup"
    own.write_text("3:cpu,memory:/a/b\n2:pids:/a\n0::/x/y\n")
    first, second = tmp_path / "memory" / "a", tmp_path / "x" / "y"
    for group in (first / "b", second):
        group.mkdir(parents=True)
    for group, limit in ((first, 100 * MIB), (first / "b", 1 << 63)):
        (group / "memory.limit_in_bytes").write_text(f"{limit}\n")
        (group / "memory.usage_in_bytes").write_text(f"{60 * MIB}\n")
        (group / "memory.stat").write_text(f"cache 5\ntotal_inactive_file {10 * MIB}\n")
    (second / "memory.max").write_text("max\n")
    groups = list(memory_groups(own, tmp_path))
    assert set(groups) == {first, first / "b", second}
    assert bytes_left(groups) == 50 * MIB
    (second / "memory.max").write_text(f"{64 * MIB}\n")
    (second / "memory.current").write_text(f"{40 * MIB}\n")
    (second / "memory.stat").write_text(f"anon 1\ninactive_file {4 * MIB}\n")
    assert bytes_left(groups) == 28 * MIB
    assert bytes_left([]) > 28 * MIB
    assert list(memory_groups(tmp_path / "none", tmp_path)) == []
