"""The zygote: process 1 of its own namespaces, with everything a block needs in memory, that forks one child per block.

Single-threaded all its life. A request on its SEQPACKET socket is one end of a child's own socket, no more: paths, code
and results go between host and child only, so that a child forked later holds nothing of another agent's.
"""

from __future__ import annotations

import _socket
import ctypes
import gc
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

from ...tools import Index, make_tools, quiet
from . import confine, library, shims, signals
from .channel import Channel
from .children import Children
from .descriptors import CHANNEL, ROOT, TOLD, release, reserve, set_aside
from .isolation import GROUNDS, Ground
from .lent import lent_bytes
from .message import Message
from .run_block import Reads, Stage, furnish, run
from .syscalls import PR_SET_PDEATHSIG, Script, libc, prctl
from .warm import warm_up
from .writes import Writes

CHILD_FILES = 64
FORKED, CONFINED = b"U", b"R"  # a child's first words: I am there, with the means to end me; my block may begin
ONE_DESCRIPTOR, TWO_DESCRIPTORS = struct.Struct("i"), struct.Struct("2i")
_libc = ctypes.PyDLL(None, use_errno=True)  # calls with the interpreter's lock held, as a fork must be

Settings = dict[str, Any]


class Ended(BaseException):  # internal
    """Asked to end by a signal."""


def main(control_text: str, settings_text: str) -> None:
    signals.set_defaults()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # the host's death, however sudden, is ours
    settings: Settings = json.loads(settings_text)
    channel = _socket.socket(fileno=set_aside(int(control_text)))
    reserve()
    ground: Ground | None = None
    children: Children | None = None
    hello: dict[str, object] = {}
    step = "environment"
    try:
        os.environ.clear()
        libc.clearenv()
        step = "ground"
        ground = GROUNDS[settings["tier"]](settings)
        step = ground.step
        if ground.keeps_views:
            signal.signal(signal.SIGTERM, _end)
        ground.settle()
        step = "landlock and seccomp"
        walls = confine.Walls(minimum_abi=ground.minimum_landlock, root=ground.root, chrooted=ground.changes_root)
        step = "library"
        library_started = time.perf_counter()
        shelf = library.Shelf()
        library.shelve_packages(shelf, settings["libraries"])
        library.import_up_front(whole=settings["whole"])
        library.shelve_rest(shelf)
        shims.install()
        _hide_own_modules()
        walls.settle()
        step = "warm-up"
        release()
        zygote = Zygote(settings, ground, walls)
        warm_up(ground, zygote.new_stage, zygote.reads, settings)
        step = "memory accounting"
        walls.plan(
            memory=confine.address_space() + settings["memory_bytes"],
            cpu=settings["cpu_seconds"],
            file_size=settings["file_bytes"],
            descriptors=CHILD_FILES,
            start=CONFINED,
        )
        poll = select.epoll()
        children = Children(ground, poll)
        hello = {
            "ok": True,
            "landlock": walls.landlock_abi,
            "all_ids": ground.all_ids,
            "changes_root": ground.changes_root,
            "scratch": ground.path,
            "modules": [name for name in sys.modules if name.partition(".")[0] in sys.stdlib_module_names],
            "library_ms": round((time.perf_counter() - library_started) * 1000),
        }
        channel.send(json.dumps(hello).encode())
        serve(channel, poll, zygote, children)
    except BaseException as error:  # noqa: BLE001  # told to the host, then the end
        if not hello:
            number = error.errno if isinstance(error, OSError) else None
            hello = {"ok": False, "step": step, "errno": number, "detail": f"{type(error).__name__}: {error}"}
            channel.send(json.dumps(hello).encode())
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if children is not None:
            children.end()
        if ground is not None:
            ground.leave()
        os._exit(0)


def _end(*_: object) -> None:
    raise Ended


def _hide_own_modules() -> None:
    """Everything of ours is loaded: a block's ``import trioagent`` is to fail as on any other path, not find a part."""
    for name in list(sys.modules):
        if name.partition(".")[0] == __name__.partition(".")[0]:
            del sys.modules[name]


class Zygote:
    def __init__(self, settings: Settings, ground: Ground, walls: confine.Walls) -> None:
        self._settings, self.ground, self._walls = settings, ground, walls
        self._pid = os.getpid()
        self.reads = Reads()
        self.reads.quiet = quiet
        self._index = Index()
        furnish()
        self._stage_at_root = self.new_stage("/")
        sys.addaudithook(self.reads.watch)
        sys.addaudithook(Writes(self._index, quiet).watch)
        self._close_all, self._introduce = Script(), Script()
        self._close_all.add("close_range", CHANNEL + 1, confine.ALL, 0)
        self._introduce.add("sendmsg", CHANNEL, Message(FORKED, ROOT, TOLD), 0, result=len(FORKED))
        self._introduce.add("close", ROOT)

    def new_stage(self, path: str) -> Stage:
        """For a block whose view of the memory is at *path*."""
        tools: dict[str, Callable[..., object]] = make_tools(path, self.reads.note, self._index)
        return Stage(tools, self._settings)

    def live(self, channel: int, name: str) -> None:
        """A child's whole life, from the fork to its reply."""
        step = "view"
        try:
            self.ground.tie(self._pid)
            # Of what the zygote has open, nothing stays, least of all the sockets of other children.
            os.dup2(channel, CHANNEL, inheritable=False)
            self._close_all.run()
            path = self.ground.prepare(name)
            # The host gets the means to kill us before it sends anything.
            own = os.pidfd_open(os.getpid())
            assert own == ROOT
            self._introduce.run()
            # As far as this there is no telling whose child this will be: a spare one waits here.
            order, lent = Channel(CHANNEL).read_with_descriptor()
            index = lent_bytes(lent) if lent is not None else None  # first: a view needs the descriptor's number
            self.ground.view(order)
            step = "root"
            self._walls.enter()
            owner = self.ground.owner(order)
            if owner is not None:
                step = "owner"
                confine.become(owner)
                self.ground.tie(self._pid)  # undone by becoming someone else
            step = "walls"
            self._walls.confine(spared=0 if index is None else len(index))
        except BaseException as error:  # noqa: BLE001  # no block has run yet: tell the host and end
            _tell(CHANNEL, f"{step}: {error}")
            return
        self._index.scanned = 0  # the zygote's own, at its warm-up
        if index is not None:
            self._index.lend(index, **order["index"])
        self.reads.root = path
        stage = self._stage_at_root if path == "/" else self.new_stage(path)
        run(Channel(CHANNEL), stage, self.reads, self._settings, self._index)


def _tell(descriptor: int, problem: str) -> None:
    """Report a failed set-up: on the child's socket, as the byte E and the text."""
    try:
        os.write(descriptor, b"E" + problem.encode("utf-8", "replace")[:2000])
    except OSError:
        pass  # the host has gone: nobody to tell


def serve(control: _socket.socket, poll: select.epoll, zygote: Zygote, children: Children) -> None:
    """Fork children until the host closes its end.

    After a fork, each page of memory that this loop writes to, if only to count a reference, is copied once more: so it
    goes without the ``socket`` module's Python and whatever else makes many objects.
    """
    poll.register(control.fileno(), select.EPOLLIN)
    space = _socket.CMSG_SPACE(ONE_DESCRIPTOR.size)
    gc.collect()
    gc.freeze()  # no collection in a child walks, and so copies, what was here before it
    while True:
        for descriptor, _ in poll.poll(children.patience()):
            if descriptor != control.fileno():
                children.on_event(descriptor)
                continue
            try:
                message, rights, _, _ = control.recvmsg(8, space)
            except ConnectionError:
                return
            if not message:
                return  # end of file: the host has closed the sandbox, or died
            if not rights:
                continue  # no descriptor was left to take it with; the host sees its end closed
            (channel,) = ONE_DESCRIPTOR.unpack(rights[0][2])
            name = os.urandom(8).hex()
            pid = _fork(zygote, children, channel, name)
            if pid is None:
                os.close(channel)
            else:
                children.add(pid, channel, name)
        children.look()


def _fork(zygote: Zygote, children: Children, channel: int, name: str) -> int | None:
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
            if zygote.ground.keeps_views:
                children.forget()  # their views' names, which are all that keeps them from being looked for
            zygote.live(channel, name)
        finally:
            os._exit(0)
    return int(pid)


assert ctypes.sizeof(ctypes.c_long) == 8
