"""Run attacks where every sign of an escape is looked for: other memories with secrets, an outside folder, listeners, a
victim process, leftovers, and an innocent block after each attack.

Also a program, ``python -m tests.sandbox.arena TIER``, which runs all cases and prints what it found as JSON: the way
to run them as another user.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import resource
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from trioagent import _config
from trioagent.sandbox import BlockResult
from trioagent.sandbox._guest.limits import ERROR_CHARS
from trioagent.testing import LoopDelay
from trioagent.tools import NOTE_SUFFIXES, hidden_part

from .background import Background
from .corpus import CASES, Case
from .processes import descendants as descendants

LIMITS = _config.SandboxLimits(wall_seconds=1.2, cpu_seconds=1)
WALL_SECONDS = 8.0 if sys.gettrace() is None else 40.0  # a line tracer (coverage) slows the host, not the block
MAX_DELAY = WALL_SECONDS / 2  # what is to be seen are stalls for seconds, also on a busy machine
SLACK = 1000  # what is cut says so, and what was refused is named
HOST_TOKEN = "CANARY-HOST" + "MEM-" + secrets.token_hex(8)  # only in this process's memory
PROBE = """
x = 40 + 2
t = read_file("user.md")
s = "abc".upper()
l = len("four")
import json, re
j = json.dumps({"a": 1})
m = "LEFTOVER_MARK" in locals()
"""
PR_SET_CHILD_SUBREAPER = 36
State = dict[str, tuple[object, ...]]


class Arena:
    """Folders, listeners and bystanders around one sandbox.

    Args:
        run: runs a block over a folder of notes.
        probe: the innocent block after each attack, for a sandbox that does not run all of Python; it sets what PROBE
            does, to the same values.
        delay: of the event loop that it runs in.
    """

    def __init__(
        self, run: Callable[[str, Path], BlockResult], probe: str = PROBE, delay: LoopDelay | None = None
    ) -> None:
        self._run, self._probe, self._delay = run, probe, delay
        self.folder = Path(tempfile.mkdtemp(prefix="arena-"))
        self.folder.chmod(0o755)
        agents = self.folder / "agents"
        self.memory, self.prefix, self.sibling = agents / "mem", agents / "mem2", agents / "other"
        self.innocent, self.outside = agents / "innocent", self.folder / "outside"
        self.tokens = {name: f"CANARY-{name}-{secrets.token_hex(6)}" for name in ("sibling", "prefix", "environment")}
        self.signals: list[int] = []
        self.seen: list[str] = []
        self._stop = threading.Event()
        self._listeners: list[socket.socket] = []
        self._abstract = "sbx" + secrets.token_hex(4)
        self._victim: subprocess.Popen[bytes] | None = None

    @contextmanager
    def open(self) -> Iterator[Arena]:
        adopt_orphans(True)  # orphans of a block come to us, so that none can hide
        handlers = {number: signal.signal(number, self._on_signal) for number in (15, 10, 29, 1)}
        self._fresh()
        self._listen()
        self._crowd = self._count_processes()
        try:
            yield self
        finally:
            self._stop.set()
            adopt_orphans(False)
            for listener in self._listeners:
                listener.close()
            if self._victim is not None:
                self._victim.kill()
                self._victim.wait()
            for number, handler in handlers.items():
                signal.signal(number, handler)
            shutil.rmtree(self.folder, ignore_errors=True)

    def attack(self, case: Case) -> list[str]:
        """Run one case; returns the signs of an escape, none if it was contained."""
        self._fresh()
        victim = self._living_victim()
        before = self._outside()
        places = self._public_places()
        size = resident()
        self.seen.clear()
        self.signals.clear()
        if self._delay is not None:
            self._delay.reset()
        started = time.perf_counter()
        with KernelMemory() as kernel_memory:
            try:
                result = self._run(self._filled(case.code, victim.pid), self.memory)
            except Exception as error:  # noqa: BLE001  # whatever a block does is a result
                return [f"the sandbox raised {type(error).__name__}: {error}"]
        took = time.perf_counter() - started
        signs = self._result_signs(result) + kernel_memory.signs()
        if self._delay is not None and self._delay.worst > MAX_DELAY:
            signs.append(f"the event loop stood still for {self._delay.worst:.1f} s")
        if took > WALL_SECONDS:
            signs.append(f"took {took:.1f} s")
        signs += self._process_signs(victim)
        after = self._outside()
        signs += [
            f"outside changed: {path}" for path in before.keys() | after.keys() if before.get(path) != after.get(path)
        ]
        signs += [f"file {name} made" for name in self._public_places() - places if "SBXPWN" in name]
        signs += [f"a listener was reached: {name}" for name in self.seen]
        signs += [f"the host got signal {number}" for number in self.signals]
        if resident() - size > 200 << 20:
            signs.append("the host grew by more than 200 MB")
        signs += self._memory_signs()
        if self._run("x = 6 * 7", self.memory).locals.get("x") != "42":
            signs.append("the memory can not be used any more")
        return signs + self._innocent_signs()

    # ------------------------------------------------------------------ set-up

    def _fresh(self) -> None:
        for folder in (self.memory, self.prefix, self.sibling, self.innocent, self.outside):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        for folder in (self.memory, self.innocent):
            (folder / "user.md").write_text("# User\n- name: Ana\n")
        (self.sibling / "secret.md").write_text(self.tokens["sibling"])
        (self.prefix / "secret.md").write_text(self.tokens["prefix"])
        (self.outside / "target.txt").write_text("untouched")
        self.outside.chmod(0o777)
        (self.outside / "target.txt").chmod(0o666)

    def _listen(self) -> None:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        unix, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        unix.bind(str(self.folder / "u.sock"))
        (self.folder / "u.sock").chmod(0o777)
        abstract.bind("\0" + self._abstract)
        self._tcp_port, self._udp_port = tcp.getsockname()[1], udp.getsockname()[1]
        self._listeners = [tcp, udp, unix, abstract]
        for name, listener in zip(("tcp", "udp", "unix", "abstract"), self._listeners, strict=True):
            if listener is not udp:
                listener.listen()
            threading.Thread(target=self._watch, args=(listener, name), daemon=True).start()

    def _watch(self, listener: socket.socket, name: str) -> None:
        listener.settimeout(0.2)
        while not self._stop.is_set():
            try:
                if name == "udp":
                    listener.recvfrom(100)
                else:
                    listener.accept()[0].close()
            except OSError:
                continue
            self.seen.append(name)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signals.append(number)

    def _living_victim(self) -> subprocess.Popen[bytes]:
        if self._victim is None or self._victim.poll() is not None:
            null = subprocess.DEVNULL
            self._victim = subprocess.Popen(["/bin/sleep", "1000"], env={}, stdin=null, stdout=null, stderr=null)
        return self._victim

    def _filled(self, code: str, victim: int) -> str:
        known = {
            "MEM": self.memory,
            "OUT": self.outside,
            "SECRET": self.sibling / "secret.md",
            "SECRET2": self.prefix / "secret.md",
            "PORT": self._tcp_port,
            "UDP": self._udp_port,
            "UNIX": self.folder / "u.sock",
            "ABS": self._abstract,
            "PPID": os.getpid(),
            "VICTIM": victim,
        }
        for name, value in known.items():
            code = code.replace(f"@{name}@", str(value))
        return code

    # ------------------------------------------------------------------ signs

    def _result_signs(self, result: BlockResult) -> list[str]:
        signs = []
        if not all(
            type(text) is str for text in (*result.locals, *result.locals.values(), result.error, result.printed)
        ):
            signs.append("the result is not plain text")
        text = repr(result)
        signs += [f"the {name} canary leaked" for name, token in self.tokens.items() if token in text]
        if HOST_TOKEN in text:
            signs.append("host memory leaked")
        if "root:x:0:0" in text:
            signs.append("passwd leaked")
        shown = sum(len(name) + len(value) for name, value in result.locals.items())
        for what, length, most in (
            ("variables", shown, LIMITS.values_chars),
            ("prints", len(result.printed), LIMITS.printed_chars),
            ("error", len(result.error), ERROR_CHARS),
        ):
            if length > most + SLACK:
                signs.append(f"{what} of {length} characters")
        if result.locals.get("escaped", "None") not in ("None", "False", "''"):
            signs.append(f"the block reports {result.locals['escaped'][:80]}")
        return signs

    def _process_signs(self, victim: subprocess.Popen[bytes]) -> list[str]:
        started = time.monotonic()
        # A dead child may not have been reaped yet, nor the next one made; where that is made only when it is needed,
        # there are fewer from now on.
        while (more := len(self._processes()) - self._crowd) and time.monotonic() < started + (5 if more > 0 else 0.5):
            time.sleep(0.01)
        signs = [f"{more} processes are left"] if more > 0 else []
        self._crowd += more  # told once
        if victim.poll() is not None:
            signs.append(f"the victim ended: {victim.returncode}")
        return signs

    def _processes(self) -> set[int]:
        """All that came of us, but for the victim."""
        return descendants(os.getpid()) - {self._living_victim().pid}

    def _count_processes(self) -> int:
        """How many there are when nothing runs: once they have not become more or fewer for a while."""
        self._run(self._probe, self.innocent)
        self._run("import statistics", self.innocent)  # a process with the whole library is made when one asks for it
        count, since = -1, time.monotonic()
        while time.monotonic() < since + 0.3:
            if (now := len(self._processes())) != count:
                count, since = now, time.monotonic()
            time.sleep(0.01)
        return count

    def _outside(self) -> State:
        """What is in the arena, apart from the attacked and the innocent memory."""
        state: State = {}
        for folder in (self.folder, self.sibling.parent, self.prefix, self.sibling, self.outside):
            for path in folder.iterdir():
                info = path.lstat()
                content = hashlib.sha1(path.read_bytes()).hexdigest() if stat.S_ISREG(info.st_mode) else ""
                plain = stat.S_ISREG(info.st_mode)
                state[str(path)] = (info.st_mode, info.st_uid, plain and (info.st_nlink, info.st_mtime_ns), content)
        return state

    @staticmethod
    def _public_places() -> set[str]:
        return {name for place in ("/dev/shm", "/tmp", "/") if os.path.isdir(place) for name in os.listdir(place)}

    def _memory_signs(self) -> list[str]:
        """What must not be in the attacked memory afterwards."""
        signs: list[str] = []
        secrets_here = {path.stat().st_ino for path in (self.sibling / "secret.md", self.prefix / "secret.md")}
        size = count = 0
        stack = [self.memory]
        while stack:
            for path in stack.pop().iterdir():
                info = path.lstat()
                count, size = count + 1, size + info.st_size
                if stat.S_ISDIR(info.st_mode):
                    stack.append(path)
                elif not stat.S_ISREG(info.st_mode):
                    signs.append(f"planted {path.name!r} with mode {info.st_mode:o}")
                if info.st_mode & 0o6000:
                    signs.append(f"set-id {path.name!r}")
                if info.st_ino in secrets_here:
                    signs.append(f"hard link {path.name!r}")
                if stat.S_ISREG(info.st_mode) and info.st_mode & 0o111:
                    signs.append(f"{path.name!r} can be run")
                other = stat.S_ISREG(info.st_mode) and path.suffix.lower() not in NOTE_SUFFIXES
                if other or hidden_part(path.name):
                    signs.append(f"outside of the policy: {path.name!r}")
                if path.name.startswith("late"):
                    signs.append("code ran after the answer")
                if path.name == ".trioagent":
                    signs.append("the commit's own folder was written")
        if size > 64 << 20 or count > 20_000:
            signs.append(f"the memory holds {count} files with {size} bytes")
        return signs

    def _innocent_signs(self) -> list[str]:
        result = self._run(self._probe, self.innocent)
        values = result.locals
        good = (values.get("x"), values.get("l"), values.get("m"), values.get("s")) == ("42", "4", "False", "'ABC'")
        if result.error or not good or "Ana" not in values.get("t", "") or "HACKED" in repr(result):
            return [f"a later block was damaged: {result}"]
        return []


class KernelMemory:
    """Looks, while an attack runs, for what no limit on a process counts: what the kernel itself keeps for it.

    It is the whole machine's, so other work shows too: hence the bounds are far above what that takes.
    """

    # A block may have as many page tables as memory, and a view that is far smaller.
    MOST = dict.fromkeys(("PageTables", "SUnreclaim", "Shmem"), 2 * LIMITS.memory_bytes)

    def __enter__(self) -> KernelMemory:
        self._before = self._most = self._look()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            now = self._look()
            self._most = {name: max(most, now[name]) for name, most in self._most.items()}

    def _look(self) -> dict[str, int]:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        found = {name: int(lines[name].split()[0]) * 1024 for name in self.MOST}
        found["Shmem"] -= files_in_memory()  # views, which kernel-lite bounds by a look now and then
        return found

    def signs(self) -> list[str]:
        grown = {name: self._most[name] - self._before[name] for name in self.MOST}
        return [f"{name} grew by {size >> 20} MiB" for name, size in grown.items() if size > self.MOST[name]]


def files_in_memory() -> int:
    """Bytes in files of the places where views lie, as far as these may be in memory."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    used = {}
    for place in ("/dev/shm", tempfile.gettempdir()):
        mounted, kind = max(
            (each for each in mounts if Path(place).is_relative_to(each[0])), key=lambda each: len(each[0])
        )
        if kind in ("tmpfs", "overlay"):
            disk = os.statvfs(mounted)
            used[mounted] = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    return sum(used.values())


def adopt_orphans(adopt: bool) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    """Run all cases in the tier that the first argument names, and print ``{name: signs}``."""
    os.environ["SBX_SECRET"] = "placeholder"
    with Background(LIMITS, sys.argv[1]) as background:
        arena = Arena(background.run, delay=background.delay)
        os.environ["SBX_SECRET"] = arena.tokens["environment"]
        with arena.open():
            print(json.dumps({"uid": os.getuid(), "signs": {case.name: arena.attack(case) for case in CASES}}))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
