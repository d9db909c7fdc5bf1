"""Programs with low limits, small stacks, many threads, no signals: blocks run, or a text says what to do.

Also a program, ``python -m tests.sandbox.test_odd_hosts CONDITION``: such a host; prints as JSON what came of a few
blocks in each tier.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec

import pytest
import trio

from trioagent._config import SandboxLimits
from trioagent._errors import SandboxUnavailableError
from trioagent.sandbox import open_sandbox
from trioagent.sandbox._guest.syscalls import libc
from trioagent.sandbox._sandbox import TIERS

from .jails import MNT_DETACH, NEWNS, PRIVATE, REC, jail_call

pytestmark = pytest.mark.real

CODE = """
made = create_file("entities/{number}.md", "Grüße")
text = read_file("entities/{number}.md")
"""
VALUES = {"made": "True", "text": "'Grüße'"}
MIB = 1 << 20
LIMITS = SandboxLimits(memory_bytes=2048 * MIB)  # more than one of the hosts may have itself
TRIED = [tier for tier in TIERS if tier != "monty" or find_spec("pydantic_monty") is not None]


async def _blocks(tier: str) -> str:
    """ "" if all was well."""
    with tempfile.TemporaryDirectory() as memory:
        try:
            async with open_sandbox(tier, limits=LIMITS) as sandbox:
                for number in range(2):
                    result = await sandbox.run(CODE.format(number=number), memory_path=memory)
                    if result.locals != VALUES or not result.saved:
                        return repr(result)
        except SandboxUnavailableError as error:
            return str(error)
    return ""


def _report() -> None:
    print(json.dumps({tier: trio.run(_blocks, tier) for tier in TRIED}), flush=True)


def _limit(kind: int, most: int) -> None:
    resource.setrlimit(kind, (most, most))


def _no_signals() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _low_limits() -> None:
    """Each lower than what a process of ours would be given."""
    _limit(resource.RLIMIT_NOFILE, 64)
    _limit(resource.RLIMIT_CPU, 9)
    _limit(resource.RLIMIT_AS, 1536 * MIB)
    _limit(resource.RLIMIT_FSIZE, 100 * MIB)
    _limit(resource.RLIMIT_STACK, MIB // 2)


def _small_stack() -> None:
    """Among many other threads."""
    for _ in range(200):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    threading.stack_size(256 * 1024)
    thread = threading.Thread(target=_report)
    thread.start()
    thread.join()
    os._exit(0)


async def _with_a_fork() -> None:
    async with open_sandbox(TRIED[0]) as sandbox:
        await sandbox.run("x = 1")
        if (pid := os.fork()) == 0:
            # Not by trio.run, which a fork inside of one cannot call again: as a new program.
            os.execv(sys.executable, [sys.executable, "-m", "tests.sandbox.test_odd_hosts", "as it is"])
        await trio.to_thread.run_sync(os.waitpid, pid, 0)
        assert (await sandbox.run("x = 1")).locals == {"x": "1"}


def _forked() -> None:
    """A program that forks while it has a sandbox: the child gets one of its own, and both continue."""
    trio.run(_with_a_fork)
    os._exit(0)


def _without_proc() -> None:
    jail_call("unshare", NEWNS)
    libc.mount(None, b"/", None, REC | PRIVATE, None)
    jail_call("umount2", b"/proc", MNT_DETACH)


HOSTS: dict[str, Callable[[], object]] = {
    "as it is": lambda: None,
    "low limits": _low_limits,
    "no signals": _no_signals,
    "a thread with a small stack": _small_stack,
    "a fork": _forked,
    "files of 100 KiB": lambda: _limit(resource.RLIMIT_FSIZE, 100 * 1024),
    "no /proc": _without_proc,
}


def reported(host: str) -> dict[str, str]:
    run = subprocess.run(
        [sys.executable, "-m", "tests.sandbox.test_odd_hosts", host],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, str] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("host", list(HOSTS)[1:-2])
def test_blocks_run(host: str) -> None:
    assert reported(host) == dict.fromkeys(TRIED, "")


def test_files_too_small_for_the_library() -> None:
    """Monty has no use for one."""
    found = reported("files of 100 KiB")
    assert found.pop("monty", "") == ""
    for text in found.values():
        assert "the standard library is larger than a file may be (ulimit -f)" in text
        assert "raise the limit: ulimit -f unlimited" in text


@pytest.mark.skipif(os.getuid() != 0, reason="only root can take /proc away")
def test_no_proc() -> None:
    for text in reported("no /proc").values():
        assert "/proc must be mounted" in text


if __name__ == "__main__":
    HOSTS[sys.argv[1]]()
    _report()
