"""The monty tier: limits, host tools, fresh sessions, what its start refuses."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest
import trio

from trioagent._config import SandboxLimits
from trioagent.sandbox import HostTool, _monty_supervisor
from trioagent.sandbox._monty_tier import MontyTier
from trioagent.sandbox._sandbox import TierStartError

from .monty_tier import open_monty

pytestmark = pytest.mark.real


async def test_parallel_blocks_up_to_the_limit(tmp_path: Path) -> None:
    running = most = 0

    async def enter() -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(0.01)
        running -= 1
        return running

    async with open_monty(SandboxLimits(parallel=2)) as (sandbox, tier):
        results: list[str] = []

        async def one(number: int) -> None:
            code = f"x = {number}\nimport time\ntime.sleep(0.01)\ncreate_file('n', str(x))\ny = read_file('n')"
            results.append((await sandbox.run(code, memory_path=tmp_path / str(number))).locals["y"])

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(one, number)
        assert sorted(results) == [repr(str(number)) for number in range(8)]
        assert 1 <= len(tier._idle) <= 2


async def test_nothing_of_one_block_is_in_the_next(tmp_path: Path) -> None:
    async with open_monty() as (sandbox, tier):
        pair = tier._idle[0][1]
        await sandbox.run(
            "SECRET = 'CANARY'\nimport json\njson.hidden = 1\ndef read_file(x): return 'HACKED'\nimport random\n"
            "random.seed(1)\nimport os\nos.mkdir('d')\nos.chdir('d')\ncreate_file('secret', 'CANARY')",
            memory_path=tmp_path / "one",
        )  # fmt: skip
        first = await sandbox.run("import json\nrandom = json\nt = read_file('secret')", memory_path=tmp_path / "two")
        assert "CANARY" not in repr(first)
        assert "HACKED" not in repr(first)
        for code in ("SECRET", "json.hidden", "import json\njson.hidden"):
            result = await sandbox.run(code)
            assert "CANARY" not in repr(result)
            assert result.error.startswith(("NameError", "AttributeError"))
        place = await sandbox.run("import os, random\nw = os.getcwd()\nn = [random.random() for _ in range(3)]")
        assert place.locals["w"] == "'/'"
        again = await sandbox.run("import random\nn = [random.random() for _ in range(3)]")
        assert place.locals["n"] != again.locals["n"]
        assert tier._idle[0][1] is pair  # all of that in one worker


async def test_times_out(tmp_path: Path) -> None:
    limits = SandboxLimits(wall_seconds=0.3, cpu_seconds=1)
    async with open_monty(limits) as (sandbox, _):
        for code in ("import time\ntime.sleep(5)", "create_file('a', 'x')\nwhile True: pass"):
            result = await sandbox.run(code, memory_path=tmp_path)
            assert result.error == (
                "TimeoutError: the block ran longer than 0.3 s and was stopped. Nothing was saved."
            )  # fmt: skip
        assert not list(tmp_path.iterdir())
    async with open_monty(SandboxLimits(cpu_seconds=1)) as (sandbox, _):
        result = await sandbox.run("x = 1\ntry:\n    while True: pass\nexcept BaseException:\n    y = 2")
        assert result.error == "TimeoutError: the block used more than 1 s of processor time and was stopped."
        assert result.locals == {}


async def test_limits_of_memory_and_size(tmp_path: Path) -> None:
    limits = SandboxLimits(
        memory_bytes=32 << 20, file_bytes=1000, view_bytes=5000, view_files=8, printed_chars=100, reply_bytes=20_000
    )
    async with open_monty(limits) as (sandbox, _):
        result = await sandbox.run("x = 'a' * 10**8", memory_path=tmp_path)
        assert result.error.startswith("MemoryError")
        result = await sandbox.run("t = create_file('a', 'x' * 1001)\nu = create_file('b', 'x' * 1000)")
        assert "it would be too large" in result.locals["t"]
        assert result.locals["u"] == "True"
        result = await sandbox.run("t = [create_file(str(i), 'x' * 900) for i in range(7)]")
        assert result.locals["t"].count("True") == 5
        assert "the space for this block's changes is used up" in result.locals["t"]
        result = await sandbox.run("t = [create_dir(str(i)) for i in range(9)]")
        assert result.locals["t"].count("True") == 8
        result = await sandbox.run("open('a', 'w').write('x' * 1001)")
        assert result.error.startswith("OSError: [Errno 27] File too large")
        result = await sandbox.run("print('x' * 1000)")
        assert result.printed == "x" * 100 + "… (901 more characters)"
        result = await sandbox.run("x = 'y' * 19000\nz = 'y' * 19000", memory_path=tmp_path)
        assert result.error == "the block's result is too large to send back Nothing was saved."


async def test_host_tools(tmp_path: Path) -> None:
    async def echo(*args: object, **kwargs: object) -> object:
        await trio.lowlevel.checkpoint()
        return {"args": list(args), "kwargs": kwargs}

    async def fails(x: int) -> object:
        raise ValueError(f"no {x}")

    async def odd() -> object:
        return object()

    tools: dict[str, HostTool] = {"echo": echo, "fails": fails, "odd": odd}
    async with open_monty() as (sandbox, _):
        result = await sandbox.run(
            "r = echo(1, 2.5, None, True, 'ü', [1, {'a': []}], key={'b': 'c'})\n"
            "try:\n    fails(3)\nexcept Exception as e:\n    t = str(e)",
            host_tools=tools,
        )
        assert result.error == ""
        assert (
            result.locals["r"] == "{'args': [1, 2.5, None, True, 'ü', [1, {'a': []}]], 'kwargs': {'key': {'b': 'c'}}}"
        )
        assert result.locals["t"] == "'ValueError: no 3'"
        for code, words in (
            ("fails(3)", "HostToolError: ValueError: no 3"),
            ("fails()", "missing 1 required positional argument"),
            ("odd()", "returned what is not JSON"),
            ("fails({1, 2})", "TypeError: fails() takes only None, bool, int, float, str, list and dict"),
            ("while True: echo()", "RuntimeError: the block called tools more than 1000 times."),
        ):
            assert words in (await sandbox.run(code, host_tools=tools)).error


async def test_waiting_for_a_tool_takes_no_time_and_no_place() -> None:
    async with open_monty(SandboxLimits(wall_seconds=1.0, parallel=1)) as (sandbox, _):

        async def outer() -> str:
            await trio.sleep(1.2)
            return (await sandbox.run("y = 2")).locals["y"]

        result = await sandbox.run("x = outer()", host_tools={"outer": outer})
        assert (result.error, result.locals) == ("", {"x": "'2'"})


async def test_what_a_block_has_read_is_known(tmp_path: Path) -> None:
    for name in "abcdef":
        (tmp_path / f"{name}.md").write_text(name)
    async with open_monty() as (_, tier):
        folder = os.open(tmp_path, os.O_RDONLY)
        try:
            outcome = await tier.execute(
                "read_file('a')\nopen('b.md').read()\nfrom pathlib import Path\nPath('c.md').read_text()\n"
                "open('d.md', 'w').write('x')\nlist_files()\nsearch('e')\ncheck_if_file_exists('nobody')",
                root_fd=folder,
                hide=False,
                host_tools={},
            )
        finally:
            os.close(folder)
    assert sorted(outcome.seen.reads) == ["a.md", "b.md", "c.md", "nobody", "nobody.md"]
    assert outcome.changes.writes == {"d.md": b"x"}


async def test_other_releases_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.5.0")
    with pytest.raises(TierStartError) as error:
        await MontyTier.start(SandboxLimits())
    assert (error.value.step, "needs 1.4.0" in error.value.detail) == ("monty", True)
    assert "pip install trioagent[monty]" in error.value.detail


async def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(TierStartError) as error:
        await MontyTier.start(SandboxLimits())
    assert error.value.step == "monty"
    assert "pip install trioagent[monty]" in error.value.detail


async def test_a_worker_that_does_not_run_is_a_failed_start() -> None:
    broken = _monty_supervisor.Installed("/bin/true", _monty_supervisor.find().folders)
    with pytest.raises(TierStartError) as error:
        await MontyTier.start(SandboxLimits(), broken)
    assert error.value.step == "worker"


async def test_only_offered_packages_are_imported_in_the_tool_server(tmp_path: Path) -> None:
    """Whatever else that process has loaded for itself is no block's to call."""
    async with open_monty() as (sandbox, _):
        for line in ("from shutil import rmtree", "from linecache import getline", "from socket import create_server"):
            name = line.rpartition(" ")[2]
            result = await sandbox.run(f"{line}\nx = {name}('/tmp')", memory_path=tmp_path)
            assert result.error and "x" not in result.locals, line
        code = "from offline_rules import update_notes\nx = update_notes([], tools=globals())"
        assert (await sandbox.run(code, memory_path=tmp_path)).error == ""
