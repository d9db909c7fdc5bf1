"""Programs as processes: Ctrl-C, fork, and the interpreter's end, with chats in flight. Nothing may be left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .support import HELLO, NOTED, STUCK, alive, descendants, ended, program, running_blocks, until

pytestmark = pytest.mark.real

late_threads = pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 3),
    reason="there Python starts no thread once the main one has ended, even if others go on",
)

START = f"""
import asyncio, os, signal, sys, threading, time, warnings
from trioagent.compat import Agent, AsyncAgent
from trioagent.testing import ScriptedModel
# Newer Pythons warn of a fork beside threads, and rightly.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
HELLO, NOTED, STUCK = {HELLO!r}, {NOTED!r}, {STUCK!r}

def make(kind, name, *answers, delay=0.0):
    return kind(memory_path=name, model=ScriptedModel(answers, delay=delay))

def say(*words):
    print(*words, flush=True)
"""


def stuck_child(process: subprocess.Popen[str]) -> set[int]:
    """The child in which a program's block runs forever."""
    found: set[int] = until(lambda: running_blocks(process.pid), "a block that runs")
    return found


def nothing_is_left(folder: Path, pids: set[int]) -> None:
    until(lambda: not alive(pids), "the end of all children")
    assert not list((folder / "memory").rglob("*.md")), "a torn note"


def test_ctrl_c_in_a_sync_chat(tmp_path: Path) -> None:
    source = (
        START
        + """
try:
    make(Agent, "m", STUCK).chat("Go")
except KeyboardInterrupt:
    say("interrupted")
say(make(Agent, "n", HELLO).chat("Hi").reply)
"""
    )
    with program(source, tmp_path) as process:
        (child,) = stuck_child(process)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "interrupted\n"
        assert not alive({child})  # dead before chat() raised
        assert time.monotonic() - began < 10
        assert process.stdout.readline() == "Hello.\n"  # it may lie in the same buffer, which ended() does not see
        assert ended(process) == (0, "", "")


def test_ctrl_c_uncaught_ends_as_python_does(tmp_path: Path) -> None:
    with program(START + 'make(Agent, "m", STUCK).chat("Go")\n', tmp_path) as process:
        pids = descendants(process.pid) | stuck_child(process)
        process.send_signal(signal.SIGINT)
        code, out, err = ended(process)
        assert (code, out) == (-signal.SIGINT, "")
        assert err.startswith("Traceback")
        assert err.endswith("KeyboardInterrupt\n")
        nothing_is_left(tmp_path, pids)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_in_asyncio_run(tmp_path: Path, times: int) -> None:
    source = (
        START
        + """
async def main():
    try:
        await make(AsyncAgent, "m", STUCK).chat("Go")
    finally:
        say("unwound")
try:
    asyncio.run(main())
except KeyboardInterrupt:
    say("interrupted")
"""
    )
    with program(source, tmp_path) as process:
        pids = descendants(process.pid) | stuck_child(process)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
        code, out, err = ended(process)
        assert (code, out, err) == (0, "unwound\ninterrupted\n", "")
        nothing_is_left(tmp_path, pids)


def test_a_program_may_end_while_a_daemon_thread_chats(tmp_path: Path) -> None:
    source = (
        START
        + """
threading.Thread(target=make(Agent, "m", STUCK).chat, args=["Go"], daemon=True).start()
sys.stdin.readline()
"""
    )
    with program(source, tmp_path) as process:
        pids = descendants(process.pid) | stuck_child(process)
        began = time.monotonic()
        assert ended(process) == (0, "", "")
        assert time.monotonic() - began < 10
        nothing_is_left(tmp_path, pids)


def test_a_program_may_end_while_a_loop_that_was_left_waits(tmp_path: Path) -> None:
    source = (
        START
        + """
loop = asyncio.new_event_loop()
task = loop.create_task(make(AsyncAgent, "m", STUCK).chat("Go"))
loop.run_until_complete(loop.run_in_executor(None, sys.stdin.readline))
task._log_destroy_pending = False  # asyncio's own words about tasks that are left
loop._default_executor.shutdown()
sys.exit(3)
"""
    )
    with program(source, tmp_path) as process:
        pids = descendants(process.pid) | stuck_child(process)
        code, out, err = ended(process)
        assert (code, out) == (3, "")
        assert "trioagent" not in err.replace("unclosed event loop", "")
        nothing_is_left(tmp_path, pids)


@late_threads
def test_other_threads_go_on_after_the_main_one(tmp_path: Path) -> None:
    """As in every Python program: their chats, the later ones too, come to their ends."""
    source = (
        START
        + """
from concurrent.futures import ThreadPoolExecutor
def work():
    agent = make(Agent, "m", HELLO, NOTED, HELLO, delay=0.1)
    say(agent.chat("Hi").reply)
    say(agent.chat("And?").reply)
threading.Thread(target=work).start()
ThreadPoolExecutor().submit(work)
"""
    )
    with program(source, tmp_path) as process:
        assert ended(process) == (0, "Hello.\n" * 4, "")
    assert (tmp_path / "memory" / "m" / "user.md").read_text() == "# Ada"


@late_threads
def test_a_thread_may_begin_to_chat_when_the_main_one_has_ended(tmp_path: Path) -> None:
    source = (
        START
        + """
def work():
    threading.main_thread().join()
    say(make(Agent, "m", NOTED, HELLO, delay=0.05).chat("Hi").reply)
threading.Thread(target=work).start()
"""
    )
    with program(source, tmp_path) as process:
        assert ended(process) == (0, "Hello.\n", "")


def test_too_late_to_chat(tmp_path: Path) -> None:
    source = (
        START
        + """
import atexit
from trioagent.compat import BridgeClosedError
def last():
    try:
        make(Agent, "m", HELLO).chat("Hi")
    except BridgeClosedError as error:
        say(error)
atexit.register(last)
if "before" in sys.argv:
    make(Agent, "m", HELLO).chat("Hi")
"""
    )
    with program(source, tmp_path, "before") as process:
        code, out, err = ended(process)
        assert (code, err) == (0, "")
        assert out == "trioagent.compat abandoned the call: the program is ending\n"


@late_threads
def test_a_loop_in_a_thread_goes_on_after_the_main_one(tmp_path: Path) -> None:
    source = (
        START
        + """
async def work():
    say((await make(AsyncAgent, "m", NOTED, HELLO, delay=0.1).chat("Hi")).reply)
threading.Thread(target=asyncio.run, args=[work()]).start()
"""
    )
    with program(source, tmp_path) as process:
        assert ended(process) == (0, "Hello.\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed(tmp_path: Path, number: signal.Signals) -> None:
    with program(START + 'make(Agent, "m", STUCK).chat("Go")\n', tmp_path) as process:
        pids = descendants(process.pid) | stuck_child(process)
        process.send_signal(number)
        assert ended(process) == (-number, "", "")
        nothing_is_left(tmp_path, pids)


FORK = (
    START
    + """
agent = make(Agent, "m", HELLO, HELLO, HELLO, HELLO)
say(agent.chat("Hi").reply)
stuck = make(Agent, "stuck", "<think>x</think>\\n<python>\\nimport time\\ntime.sleep(1.5)\\nx = 1\\n</python>", HELLO)
answers = []
thread = threading.Thread(target=lambda: answers.append(stuck.chat("Go")))
thread.start()
time.sleep(0.5)
"""
)


def test_fork(tmp_path: Path) -> None:
    """A child has a bridge of its own, takes over its copy of a conversation, and ends without harm to its parent."""
    source = (
        FORK
        + """
import gc
child = os.fork()
if child == 0:
    gc.collect()
    assert agent.chat("From the child").reply == "Hello."
    assert asyncio.run(make(AsyncAgent, "c", NOTED, HELLO).chat("Hi")).reply == "Hello."
    assert len(agent.messages) == 5
    sys.exit(5)
_, status = os.waitpid(child, 0)
say(os.waitstatus_to_exitcode(status))
thread.join()
say(answers[0].reply, answers[0].blocks_saved, len(agent.messages))
say(agent.chat("And again").reply)
"""
    )
    with program(source, tmp_path) as process:
        assert ended(process) == (0, "Hello.\n5\nHello. 0 3\nHello.\n", "")


def test_a_forked_child_keeps_nothing_of_its_parents_alive(tmp_path: Path) -> None:
    source = (
        START
        + """
agent = make(Agent, "m", HELLO, HELLO)
agent.chat("Hi")
child = os.fork()
if child == 0:
    os.close(0), os.close(1), os.close(2)
    time.sleep(60)
    os._exit(0)
say(child)
sys.stdin.readline()
"""
    )
    with program(source, tmp_path) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            pids = descendants(process.pid) - {child}
            assert len(pids) >= 2
            assert ended(process) == (0, "", "")
            until(lambda: not alive(pids))
            assert alive({child})
        finally:
            os.kill(child, signal.SIGKILL)


def test_multiprocessing_by_fork(tmp_path: Path) -> None:
    source = (
        FORK
        + """
import multiprocessing
def work(number):
    return make(Agent, f"w{number}", NOTED, HELLO).chat("Hi").reply
with multiprocessing.get_context("fork").Pool(2) as pool:
    say(*pool.map(work, range(4)))
thread.join()
say(answers[0].reply)
"""
    )
    with program(source, tmp_path) as process:
        assert ended(process) == (0, "Hello.\n" + "Hello. " * 3 + "Hello.\nHello.\n", "")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_that_multiprocessing_starts_anew_knows_agent(tmp_path: Path, method: str) -> None:
    source = f"""
import multiprocessing
import trioagent.compat
if __name__ == "__main__":
    trioagent.compat.install()
from agent.schemas import ChatMessage
from agent import Agent
def work(number):
    from agent.async_agent import AsyncAgent
    assert AsyncAgent.__module__ == "trioagent.compat.async_agent.async_agent"
    return ChatMessage(role="user", content=Agent(memory_path=f"w{{number}}", model="offline-rules").chat("Hi").reply)
if __name__ == "__main__":
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        print(*(said.role for said in pool.map(work, range(3))))
"""
    with program(source, tmp_path) as process:
        assert ended(process) == (0, "user user user\n", "")
    assert len(os.listdir(tmp_path / "memory")) == 3


def test_a_thread_that_cannot_run_trio_is_a_typed_error(tmp_path: Path) -> None:
    source = (
        START
        + """
import resource
from trioagent.compat import BridgeClosedError
agent = make(Agent, "m", HELLO)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
try:
    agent.chat("Hi")
except BridgeClosedError as error:
    say("Too many open files" in str(error), type(error.__cause__).__name__)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
say(agent.chat("Hi").reply)
"""
    )
    with program(source, tmp_path) as process:
        code, out, err = ended(process)
        assert (code, out) == (0, "True OSError\nHello.\n")
        assert err.startswith("the Trio thread of trioagent.compat failed")


def test_importing_starts_nothing(tmp_path: Path) -> None:
    source = """
import threading, os, sys, trioagent.compat
agent = trioagent.compat.Agent(model="offline-rules")
assert threading.active_count() == 1
assert "httpx" not in sys.modules
assert os.listdir("memory/memory_dir") == []
"""
    with program(source, tmp_path) as process:
        assert ended(process) == (0, "", "")
