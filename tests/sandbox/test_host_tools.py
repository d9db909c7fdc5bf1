"""Async functions of the host's, called from a block."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from trioagent._config import SandboxLimits
from trioagent.sandbox import HostTool, Sandbox, open_sandbox

pytestmark = pytest.mark.real


async def test_values_go_both_ways(sandbox: Sandbox) -> None:
    async def echo(*args: object, **kwargs: object) -> object:
        await trio.lowlevel.checkpoint()
        return {"args": list(args), "kwargs": kwargs}

    code = (
        "r = echo(1, 2.5, None, True, 'ü', [1, {'a': []}], key={'b': 'c'})\ns = [echo(i)['args'][0] for i in range(50)]"
    )
    result = await sandbox.run(code, host_tools={"echo": echo})
    assert result.error == ""
    assert result.locals["r"] == "{'args': [1, 2.5, None, True, 'ü', [1, {'a': []}]], 'kwargs': {'key': {'b': 'c'}}}"
    assert result.locals["s"] == str(list(range(50)))


async def test_errors_are_the_blocks_to_handle(sandbox: Sandbox) -> None:
    async def fails(x: int) -> object:
        raise ValueError(f"no {x}")

    async def odd() -> object:
        return object()

    tools: dict[str, HostTool] = {"fails": fails, "odd": odd}
    result = await sandbox.run(
        "try:\n    fails(3)\nexcept Exception as e:\n    t = (type(e).__name__, str(e))", host_tools=tools
    )
    assert result.locals["t"] == "('HostToolError', 'ValueError: no 3')"
    assert "missing 1 required positional argument" in (await sandbox.run("fails()", host_tools=tools)).error
    assert "returned what is not JSON" in (await sandbox.run("odd()", host_tools=tools)).error
    unsendable = await sandbox.run("fails({1, 2})", host_tools=tools)
    assert unsendable.error.startswith("TypeError: fails() takes only None, bool, int, float, str, list and dict")
    assert (
        "HostToolError: there is no tool"
        in (
            await sandbox.run(
                "fails.__closure__\nfrom types import FunctionType as F\nc = fails.__closure__\n"
                "f = F(fails.__code__, fails.__globals__, closure=tuple("
                "type(x)('other') if x.cell_contents == 'fails' else x for x in c))\nf()",
                host_tools=tools,
            )
        ).error
    )


@pytest.mark.parametrize("tier", ["kernel", "kernel-lite"])
async def test_an_error_text_names_no_module_of_ours(tier: str) -> None:
    async def fails() -> None:
        raise ValueError("no")

    async with open_sandbox(tier) as sandbox:
        for code, error in (
            ("fails()", "HostToolError: ValueError: no (line 1: fails())"),
            ("import trioagent", "ModuleNotFoundError: No module named 'trioagent' (line 1: import trioagent)"),
            ("import trioagent.tools", "ModuleNotFoundError: No module named 'trioagent' "),
        ):
            result = await sandbox.run(code, host_tools={"fails": fails})
            assert result.error.startswith(error), result.error


async def test_waiting_for_a_tool_takes_no_time_and_no_place() -> None:
    limits = SandboxLimits(wall_seconds=1.0, parallel=1)
    async with open_sandbox(limits=limits) as sandbox:

        async def slow() -> object:
            await trio.sleep(1.2)
            inner = await sandbox.run("x = 6 * 7")  # the only place is free while the outer block waits
            return inner.locals["x"]

        result = await sandbox.run("a = slow()\nb = slow()", host_tools={"slow": slow})
        assert (result.error, result.locals) == ("", {"a": "'42'", "b": "'42'"})
        late = await sandbox.run("a = slow()\nwhile True: pass", host_tools={"slow": slow})
        assert late.error.startswith("TimeoutError: ")


async def test_calls_and_answers_are_bounded() -> None:
    async with open_sandbox(limits=SandboxLimits(reply_bytes=10_000)) as sandbox:

        async def big(size: int) -> object:
            return "x" * size

        assert "answered more than 10000 bytes" in (await sandbox.run("big(20_000)", host_tools={"big": big})).error
        flood = await sandbox.run("while True: big(1)", host_tools={"big": big})
        assert flood.error == "RuntimeError: the block called tools more than 1000 times."
        long = await sandbox.run("big('x' * 20_000)", host_tools={"big": big})
        assert "corrupted its own reply" in long.error


async def test_cancelling_during_a_tool(memory: Path, sandbox: Sandbox) -> None:
    with trio.CancelScope() as scope:

        async def stop() -> object:
            scope.cancel()
            await trio.sleep_forever()

        await sandbox.run("create_file('x.md', 'x')\nstop()", memory_path=memory, host_tools={"stop": stop})
    assert scope.cancelled_caught
    assert [path.name for path in memory.iterdir()] == ["user.md"]


async def test_a_tool_may_use_the_callers_nursery(sandbox: Sandbox) -> None:
    done: list[str] = []
    async with trio.open_nursery() as nursery:

        async def later(name: str) -> object:
            nursery.start_soon(record, name)
            return None

        async def record(name: str) -> None:
            done.append(name)

        await sandbox.run("later('a')\nlater('b')", host_tools={"later": later})
    assert sorted(done) == ["a", "b"]
