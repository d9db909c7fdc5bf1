"""What works where there is no Linux: simulated in another interpreter (`simulated`), which is no other system."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.sandbox.plain_user import CHECKOUT

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(find_spec("pydantic_monty") is None, reason="the one tier for other systems is not installed"),
]


def simulated(code: str, *system: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "tests.elsewhere.simulated", code, *system],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_simulation_hides_what_it_says() -> None:
    code = """
import os, select, sys
import trioagent
print(sys.platform, os.path.exists("/proc/self"), hasattr(os, "pidfd_open"), hasattr(select, "epoll"))
"""
    assert simulated(code) == "darwin False False False\n"


def test_a_chat_in_trio_and_without_it(tmp_path: Path) -> None:
    code = f"""
import trio, trioagent
async def main():
    async with trioagent.open_runtime("offline-rules") as runtime:
        agent = trioagent.Agent(runtime, memory_path={str(tmp_path / "trio")!r})
        response = await agent.chat("I live in Rome.")
        print(response.tier, (await agent.chat("Where do I live?")).reply)
trio.run(main)
from trioagent.compat import Agent
agent = Agent(memory_path={str(tmp_path / "compat")!r})
agent.chat("I live in Paris.")
print(agent.chat("Where do I live?").reply)
"""
    printed = simulated(code)
    assert printed.startswith("monty ")
    assert "Rome" in printed and "Paris" in printed


def test_the_demo() -> None:
    code = "import runpy, sys\nsys.argv[:] = ['demo']\nrunpy.run_module('trioagent.cli.demo', run_name='__main__')"
    assert "4 blocks of code ran in sandbox tier 'monty'; 3 changed the notes" in simulated(
        f"try:\n    exec({code!r})\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )


def test_it_says_which_tiers_there_are_not() -> None:
    code = """
import trio, trioagent
async def main():
    try:
        async with trioagent.open_sandbox("kernel"):
            pass
    except trioagent.SandboxUnavailableError as error:
        print(error)
trio.run(main)
"""
    assert "this is darwin, not Linux" in simulated(code)


def test_windows_imports_and_is_refused_in_words() -> None:
    code = """
import trio, trioagent
from trioagent import Agent, ModelConfig, open_runtime
async def main():
    try:
        async with open_runtime("offline-rules"):
            pass
    except trioagent.SandboxUnavailableError as error:
        print(error)
trio.run(main)
"""
    assert "Windows: open_runtime needs POSIX" in simulated(code, "windows")
