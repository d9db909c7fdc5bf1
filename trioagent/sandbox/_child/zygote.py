"""The zygote: process 1 of its own namespaces, with everything a block needs in memory, that forks one child per block.

Single-threaded all its life. A request on its SEQPACKET socket is one end of a child's own socket, no more: paths, code
and results go between host and child only, so that a child forked later holds nothing of another agent's.
"""

from __future__ import annotations

import _socket
import ctypes
import fcntl
import gc
import importlib
import json
import os
import random
import select
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from . import confine, library, namespaces, shims, view
from .channel import Channel
from .run_block import Reads, run
from .syscalls import PR_SET_PDEATHSIG, call, libc, prctl
from .warm import warm_up

# After a child's death, the last thing on its socket: these four bytes and its wait status.
DEATH = struct.Struct("=4sI")
DEATH_MARK = b"\xffDIE"  # no UTF-8 and no plausible frame length, so it cannot be part of an honest reply
CHILD_FILES = 64
ONE_DESCRIPTOR, TWO_DESCRIPTORS = struct.Struct("i"), struct.Struct("2i")
CHANNEL, ROOT = 3, 4  # descriptors in the child
_libc = ctypes.PyDLL(None, use_errno=True)  # calls with the interpreter's lock held, as a fork must be

Settings = dict[str, Any]


def main(control: int, settings_text: str) -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # the host's death, however sudden, is ours
    settings: Settings = json.loads(settings_text)
    control = _settle_descriptors(control)
    hello: dict[str, object] = {}
    step = "environment"
    try:
        os.environ.clear()
        libc.clearenv()
        step = "namespaces"
        all_ids = namespaces.enter()
        namespaces.become_init()
        step = "landlock and seccomp"
        walls = confine.Walls()
        step = "library"
        library_started = time.perf_counter()
        shelf = library.Shelf()
        library.shelve_packages(shelf, settings["libraries"])
        library.import_common()
        tools = _load_tools(settings["tools"])
        library.shelve_rest(shelf)
        shims.install()
        walls.settle()
        step = "warm-up"
        zygote = Zygote(settings, walls, tools)
        warm_up(zygote.tools, zygote.reads, settings)
        step = "memory accounting"
        settings["base"] = confine.address_space()
        hello = {
            "ok": True,
            "landlock": walls.landlock_abi,
            "all_ids": all_ids,
            "library_ms": round((time.perf_counter() - library_started) * 1000),
        }
    except BaseException as error:  # noqa: BLE001  # told to the host, then the end
        number = error.errno if isinstance(error, OSError) else None
        hello = {"ok": False, "step": step, "errno": number, "detail": f"{type(error).__name__}: {error}"}
    channel = _socket.socket(fileno=control)
    channel.send(json.dumps(hello).encode())
    if hello["ok"]:
        serve(channel, zygote)
    os._exit(0)


def _settle_descriptors(control: int) -> int:
    """Keep the numbers that a child gives its socket and root free of anything else; returns *control*'s new number."""
    moved = fcntl.fcntl(control, fcntl.F_DUPFD_CLOEXEC, ROOT + 1)
    for descriptor in (CHANNEL, ROOT):
        os.dup2(0, descriptor, inheritable=False)
    if control > ROOT:
        os.close(control)
    return moved


def _load_tools(folder: str) -> Any:
    """The block's tools, imported by path: importing them as part of trioagent would bring trio and httpx along."""
    loader = sys.modules["__main__"]
    loader.load_by_path("_trioagent_tools", folder)
    assert "trio" not in sys.modules
    return importlib.import_module("_trioagent_tools")


class Zygote:
    def __init__(self, settings: Settings, walls: confine.Walls, tools: Any) -> None:
        self._settings, self._walls = settings, walls
        self.reads = Reads()
        self.reads.quiet = getattr(tools, "quiet", None)
        self.tools: dict[str, Callable[..., object]] = tools.make_tools(root="/", on_read=self.reads.note)
        sys.addaudithook(self.reads.watch)

    def live(self, channel: int) -> None:
        """A child's whole life, from the fork to its reply."""
        step = "view"
        try:
            limits = self._settings
            order: dict[str, Any] = Channel(channel).read()
            owner = order["owner"]
            root, upper = view.make(
                view.open_memory(order),
                hide=order["hide"],
                size=limits["view_bytes"],
                files=limits["view_files"],
                owner=owner,
            )
            # The host gets the means to kill us before it sends any code.
            own = os.pidfd_open(os.getpid())
            ours = _socket.socket(fileno=channel)
            ours.sendmsg([b"U"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, TWO_DESCRIPTORS.pack(own, upper))])
            ours.detach()
            step = "descriptors"
            os.dup2(channel, CHANNEL, inheritable=False)
            os.dup2(root, ROOT, inheritable=False)
            call("close_range", ROOT + 1, 0xFFFFFFFF, 0)
            step = "chroot"
            os.fchdir(ROOT)
            os.chroot(".")
            os.chdir("/")
            if owner is not None:
                step = "owner"
                confine.become(owner)
            step = "limits"
            confine.limit(
                memory=limits["base"] + limits["memory_bytes"],
                cpu=limits["cpu_seconds"],
                file_size=limits["file_bytes"],
                descriptors=CHILD_FILES,
            )
            step = "landlock"
            self._walls.landlock(ROOT)
            os.close(ROOT)
            step = "capabilities"
            self._walls.drop_capabilities()
            step = "seccomp"
            self._walls.filter_calls()
        except BaseException as error:  # noqa: BLE001  # no block has run yet: tell the host and end
            _tell(channel if step in ("view", "descriptors") else CHANNEL, f"{step}: {error}")
            return
        run(Channel(CHANNEL), self.tools, self.reads, limits)


def _tell(descriptor: int, problem: str) -> None:
    """Report a failed set-up: on the child's socket, as the byte E and the text."""
    try:
        os.write(descriptor, b"E" + problem.encode("utf-8", "replace")[:2000])
    except OSError:
        pass  # the host has gone: nobody to tell


def serve(control: _socket.socket, zygote: Zygote) -> None:
    """Fork children until the host closes its end.

    After a fork, each page of memory that this loop writes to, if only to count a reference, is copied once more: so it
    goes without the ``socket`` module's Python and whatever else makes many objects.
    """
    poll = select.epoll()
    poll.register(control.fileno(), select.EPOLLIN)
    space = _socket.CMSG_SPACE(ONE_DESCRIPTOR.size)
    children: dict[int, tuple[int, int]] = {}  # pidfd: pid, our copy of its socket
    gc.collect()
    gc.freeze()  # no collection in a child walks, and so copies, what was here before it
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in children:
                poll.unregister(descriptor)
                _bury(descriptor, *children.pop(descriptor))
                continue
            try:
                message, rights, _, _ = control.recvmsg(8, space)
            except ConnectionError:
                return
            if not message:
                return  # end of file: the host has closed the sandbox, or died
            (channel,) = ONE_DESCRIPTOR.unpack(rights[0][2])
            started = _fork(zygote, channel)
            if started is None:
                os.close(channel)
                continue
            pid, pidfd = started
            poll.register(pidfd, select.EPOLLIN)
            children[pidfd] = pid, channel


def _fork(zygote: Zygote, channel: int) -> tuple[int, int] | None:
    waiting = select.poll()
    waiting.register(channel, 0)  # POLLHUP needs no asking for
    if waiting.poll(0):
        return None  # cancelled while it waited here
    # Not os.fork: its hooks for threads, locks and the import system, none of which a process without threads needs,
    # cost a child 0.3 ms and 60 copied pages. What one of them did is done by hand: see random.seed.
    pid = _libc.fork()
    if pid < 0:
        _tell(channel, f"fork: {os.strerror(ctypes.get_errno())}")
        return None
    if pid == 0:
        try:
            random.seed()
            zygote.live(channel)
        finally:
            os._exit(0)
    return pid, os.pidfd_open(pid)


def _bury(pidfd: int, pid: int, channel: int) -> None:
    """Reap a dead child and say on its socket how it died, in case the host still waits for its reply."""
    _, status = os.waitpid(pid, 0)
    os.close(pidfd)
    os.set_blocking(channel, False)
    try:
        os.write(channel, DEATH.pack(DEATH_MARK, status))
    except OSError:
        pass  # nobody listens any more, as a rule (Python ignores SIGPIPE)
    os.close(channel)


assert ctypes.sizeof(ctypes.c_long) == 8
