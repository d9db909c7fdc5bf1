"""What tool server and worker are confined with: looked up in the kernel's own account, and tried."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from trioagent.sandbox import _monty_supervisor
from trioagent.sandbox._guest import seccomp
from trioagent.sandbox._guest.limits import MORE_THREADS, TOOL_SERVER_FILES, WORKER_FILES
from trioagent.sandbox._guest.monty import confine
from trioagent.sandbox._guest.monty import worker as launching
from trioagent.sandbox._guest.syscalls import AARCH64, X86_64

from .monty_tier import open_monty
from .plain_user import NOBODY, PlainUser
from .test_seccomp import GENERIC

OUR_ENVIRONMENT = {b"", b"PYTHONHASHSEED", b"LD_BIND_NOW", b"TRIOAGENT_SANDBOX_PROCESS"}
pytestmark = pytest.mark.real

PROGRAM = Path(launching.__file__).parent.parent / "__main__.py"
ALLOW = 0x7FFF0000


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def test_both_are_confined_by_the_kernels_own_account(tmp_path: Path) -> None:
    (tmp_path / "user.md").write_text("notes")
    async with open_monty() as (sandbox, tier):
        assert (await sandbox.run("t = read_file('user')", memory_path=tmp_path)).locals["t"] == "'notes'"
        assert tier.handshake["seccomp"] is True
        assert isinstance(tier.handshake["landlock"], int) and tier.handshake["landlock"] > 0
        ((_, pair),) = tier._idle
        for pid in (pair.tool_server, pair.worker):
            seen = status(pid)
            assert (seen["Seccomp"], seen["NoNewPrivs"]) == ("2", "1")
            effective = int(seen["CapEff"], 16)
            assert effective & ~(confine.DAC_READ_SEARCH if pid == pair.tool_server else 0) == 0
            try:
                environment = Path(f"/proc/{pid}/environ").read_bytes()
            except PermissionError:  # the tool server cannot be looked into, by its own user either
                assert os.geteuid() != 0 and pid == pair.tool_server
                continue
            assert {each.partition(b"=")[0] for each in environment.split(b"\0")} <= OUR_ENVIRONMENT
            assert os.getsid(pid) == pair.tool_server != os.getsid(0)
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert re.search(r"Max file size +0 +0 ", limits)
            assert re.search(r"Max core file size +0 +0 ", limits)
            most = WORKER_FILES if pid == pair.worker else TOOL_SERVER_FILES
            assert re.search(rf"Max open files +{most} +{most} ", limits)
            targets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            assert not [target for target in targets if str(tmp_path) in target]
        targets = [os.readlink(f"/proc/{pair.worker}/fd/{fd}") for fd in os.listdir(f"/proc/{pair.worker}/fd")]
        assert sorted(target.partition(":")[0] for target in targets) == ["/dev/null", "pipe", "pipe"]


async def test_what_they_may_start() -> None:
    """Nothing but threads, of those a bounded number, and none on behalf of a block."""
    async with open_monty() as (sandbox, tier):
        filters: list[int] = []

        async def look() -> None:
            threads = Path(f"/proc/{pair.tool_server}/task")
            filters.extend(int(status(int(each.name))["Seccomp_filters"]) for each in threads.iterdir())

        await sandbox.run("x = 1")
        ((_, pair),) = tier._idle
        for pid in (pair.tool_server, pair.worker):
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NPROC)
            assert MORE_THREADS < soft == hard
        assert int(status(tier.pid)["CapEff"], 16) & ~(confine.DAC_READ_SEARCH | confine.SETPCAP) == 0
        assert (await sandbox.run("look()", host_tools={"look": look})).error == ""
    assert filters.count(max(filters)) == 1 and set(filters) == {max(filters), max(filters) - 1}


def test_a_thread_that_may_start_no_others() -> None:
    code = """
import threading
from trioagent.sandbox._guest.monty.confine import no_more_threads, prctl, PR_SET_NO_NEW_PRIVS
prctl(PR_SET_NO_NEW_PRIVS, 1)
def start():
    try:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        print("started")
    except RuntimeError as error:
        print(error)
def confined():
    no_more_threads().apply()
    start()
for target in (start, confined, start):
    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["started", "can't start new thread", "started"]


def launch(folder: Path, *, landlock: int, seccomp: bool) -> subprocess.CompletedProcess[bytes]:
    """Start another program the way the worker is: ``cat`` shows the file ``subprocess``, if it can."""
    (folder / "subprocess").write_text("CANARY")
    settings = {
        "parent": os.getpid(),
        "memory_bytes": 1 << 28,
        "binary": os.path.realpath("/bin/cat"),
        "landlock": landlock,
        "seccomp": seccomp,
        "libraries": launching.libraries(),
    }
    return subprocess.run(
        [sys.executable, "-ISB", PROGRAM, "monty.worker", json.dumps(settings)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )


def test_a_launched_program_opens_no_file(tmp_path: Path) -> None:
    assert launch(tmp_path, landlock=0, seccomp=False).stdout == b"CANARY"  # as a check of the check
    refused = launch(tmp_path, landlock=confine.landlock_abi(), seccomp=False)
    assert refused.stdout == b""
    assert b"Permission denied" in refused.stderr
    assert launch(tmp_path, landlock=confine.landlock_abi(), seccomp=True).stdout == b""


def test_a_launched_program_dies_with_its_keeper(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "subprocess")
    settings = {"memory_bytes": 1 << 28, "binary": os.path.realpath("/bin/cat"), "landlock": 0, "seccomp": False}
    tool_server = (
        "import json, os, subprocess, sys, time\n"
        f"settings = {settings!r} | {{'parent': os.getpid(), 'libraries': []}}\n"
        f"child = subprocess.Popen([sys.executable, '-ISB', {str(PROGRAM)!r}, 'monty.worker', json.dumps(settings)])\n"
        "print(child.pid, flush=True)\ntime.sleep(100)"
    )
    process = subprocess.Popen([sys.executable, "-c", tool_server], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        child = os.pidfd_open(int(process.stdout.readline()))
        process.kill()
        process.wait()
        process.stdout.read()  # to the end: the child had it, too
    os.close(child)


_TOOL_SERVER = """
import ctypes, json, os, runpy, socket, sys, threading
main = runpy.run_path(sys.argv[1])
main["load_package"]("trioagent", os.path.dirname(os.path.dirname(os.path.dirname(sys.argv[1]))))
import importlib
confine = importlib.import_module("trioagent.sandbox._guest.monty.confine")
memory, outside = sys.argv[2:4]
abi = confine.landlock_abi()
confine.drop_privileges(capabilities=confine.DAC_READ_SEARCH)
confine.keep_from_writing(abi)
if sys.argv[4] == "seccomp":
    confine.apply(worker=False)
report = {}
def attempt(name, action):
    try:
        action()
        report[name] = "done"
    except OSError as error:
        report[name] = error.strerror
root = os.open(memory, os.O_RDONLY)
attempt("read before", lambda: open(outside + "/secret").read())
def block():
    confine.read_below(abi, root)
    attempt("read inside", lambda: os.close(os.open("note", os.O_RDONLY, dir_fd=root)))
    attempt("read outside", lambda: open(outside + "/secret").read())
    attempt("read above", lambda: os.open("../outside/secret", os.O_RDONLY, dir_fd=root))
    attempt("list outside", lambda: os.listdir(outside))
    attempt("write inside", lambda: open(memory + "/note", "w"))
thread = threading.Thread(target=block)
thread.start()
thread.join()
attempt("write", lambda: open(outside + "/secret", "w"))
attempt("make", lambda: os.mkdir(outside + "/folder"))
attempt("remove", lambda: os.unlink(outside + "/secret"))
if sys.argv[4] == "seccomp":
    attempt("fork", os.fork)
    attempt("exec", lambda: os.execv("/bin/true", ["true"]))
    attempt("signal", lambda: os.kill(os.getppid(), 0))
    attempt("socket", lambda: socket.socket())
    attempt("chmod", lambda: os.chmod(outside + "/secret", 0o777))
print(json.dumps(report))
"""


@pytest.mark.parametrize("with_filter", [True, False])
def test_a_keeper_reads_its_blocks_memory_only(tmp_path: Path, with_filter: bool) -> None:
    for folder, file in (("memory", "note"), ("outside", "secret")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text("CANARY")
    done = subprocess.run(
        [
            *(sys.executable, "-c", _TOOL_SERVER, str(PROGRAM), str(tmp_path / "memory"), str(tmp_path / "outside")),
            "seccomp" if with_filter else "landlock",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout)
    assert {name for name, result in report.items() if result == "done"} == {"read before", "read inside"}
    assert (tmp_path / "outside" / "secret").read_text() == "CANARY"


@pytest.mark.parametrize("worker", [True, False])
def test_the_filters_say_the_same_on_both_architectures(worker: bool) -> None:
    old_only = {"stat", "lstat", "access", "readlink", "poll", "time", "arch_prctl", "epoll_wait"}
    for machine in (X86_64, AARCH64):
        answers = confine.rules(worker=worker, machine=machine)
        assert len(confine.program(worker=worker, machine=machine)) < 4096
        for name in (*confine.COMMON, *(() if worker else confine.TOOL_SERVER)):
            number = seccomp.NUMBERS[name][machine]
            assert (number is None) == (machine == AARCH64 and name in old_only)
            assert number is None or answers[number][-1][3] == ALLOW
    for table in (
        confine.WORKERS_OWN,
        confine.TOOL_SERVERS_OWN,
        confine.OPENAT,
        confine.NAME_ONLY,
        confine.THREADS_ONLY,
        confine.PLAIN_FILTERS,
    ):
        assert all(numbers[AARCH64] is not None or name in old_only for name, numbers in table.items())
    assert [step[3] for step in confine.without_threads(AARCH64) if step[0] == seccomp.EQUAL] == [220, 435]
    plain = confine.rules(worker=False, machine=X86_64)[317]
    assert 317 not in confine.rules(worker=True, machine=X86_64) and len(plain) == 6


def test_numbers_are_the_kernels() -> None:
    headers = [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path(GENERIC)]
    tables = [confine.WORKERS_OWN, confine.TOOL_SERVERS_OWN, confine.OPENAT, confine.NAME_ONLY, confine.THREADS_ONLY]
    own = {
        name: numbers
        for table in (*tables, confine.PLAIN_FILTERS, confine.MMAP, confine.MPROTECT)
        for name, numbers in table.items()
    }
    for machine, header in enumerate(headers):
        if not header.exists():
            pytest.skip(f"no {header}")
        known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text()))
        for name, numbers in own.items():
            if numbers[machine] is not None and name in known:
                assert int(known[name]) == numbers[machine], name


def check(output: str, *, uid: int, landlock: bool, seccomp: bool) -> None:
    who, handshake, first, second, error, left = json.loads(output)
    assert (who, first, second, left) == (uid, {"y": "42"}, {"t": "'x'"}, ["a.md"])
    assert error.startswith("FileNotFoundError: [Errno 2] No such file or directory: '/etc/hostname'")
    assert (bool(handshake["landlock"]), handshake["seccomp"]) == (landlock, seccomp)


def test_a_kernel_that_has_neither(tmp_path: Path) -> None:
    """Then Monty's own confinement is all there is, and the tier says so."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.sandbox.monty_tier", "poor"], capture_output=True, text=True, check=True
    )
    check(done.stdout, uid=os.getuid(), landlock=False, seccomp=False)


def test_as_a_plain_user(plain_user: PlainUser) -> None:
    library, site = Path(plain_user.environment["PYTHONPATH"]), Path(sysconfig.get_path("purelib"))
    for source in (*site.glob("pydantic_monty*"), site / "typing_extensions.py"):
        target = library / source.name
        shutil.copytree(source, target, dirs_exist_ok=True) if source.is_dir() else shutil.copy(source, target)
    shutil.copy(_monty_supervisor.find().binary, library / "monty")
    (record,) = library.glob("pydantic_monty_runtime*/RECORD")
    record.write_text(re.sub(r"^[./]*bin/monty,", "monty,", record.read_text(), flags=re.MULTILINE))
    done = plain_user.run("tests.sandbox.monty_tier")
    assert done.returncode == 0, done.stderr
    check(done.stdout, uid=NOBODY, landlock=True, seccomp=True)
