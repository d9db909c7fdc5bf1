"""The zygote: process 1 of its own namespaces, with everything a block needs in memory; it forks one child per block.

It is always single-threaded. A request on its SEQPACKET socket consists only of one end of a child's own socket: paths,
code and results are exchanged between host and child only, so a child forked later has nothing of another agent's.
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
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from ...tools import Access, Index, make_tools, quiet
from . import confine, library, os_view, syscalls
from .grants import StoredListings, settle
from .heap import fill_gaps, gather_code
from .index_access import Writes, map_file
from .isolation import BACKENDS, IsolationBackend
from .layers import Layers, paths_of, readable
from .limits import CHILD_FILES, HEADER_BYTES
from .run_block import BlockEnvironment, Reads, forget_source, install_builtins, run
from .syscalls import (
    BASE,
    CHANNEL,
    PR_SET_PDEATHSIG,
    ROOT,
    UPPER_FD,
    Script,
    Terminated,
    be_killed_first,
    libc,
    prctl,
    raise_terminated,
    release,
    reserve,
    set_aside,
)
from .wire import DEATH, DEATH_MARK, OVERFULL, ROOM, Channel, Message, SetupHeader

CHECK_SECONDS = 0.1  # between checks of running blocks' views
CHECK_SHARE = 10  # checking takes at most one part in this many of the time
STEPS = 256
"""Entries of views that are checked or removed per step, in some ms; between steps, children are forked on request."""

Child = tuple[int, int, str]  # its pid, our copy of its socket, the name of its view


class Children:
    """The zygote's children: reap them, report their wait status, and remove their views.

    If views are folders, a view is needed until the host has read the block's changes from it; then the host closes its
    end of the child's socket. If it does so earlier, the block was cancelled, and the child, which may still be
    copying, is killed at once.
    """

    def __init__(self, backend: IsolationBackend, poll: select.epoll) -> None:
        self._backend, self._poll = backend, poll
        self._living: dict[int, Child] = {}  # by pidfd
        self._views: dict[int, tuple[int | None, str]] = {}  # by socket: the child's pidfd while it lives, its view
        self._overfull: set[int] = set()
        self._removals: deque[Iterator[None]] = deque()
        self._check: Iterator[None] | None = None
        self._check_took = self._next_check = 0.0
        self._forking = self._terminated = False

    def terminate(self, *_: object) -> None:
        """A signal handler: end, but not while there is a child that `end` does not know.

        It would live on while its view is removed, and say that this is why it cannot be set up.
        """
        self._terminated = True
        if not self._forking:
            raise Terminated

    def begin_fork(self) -> None:
        """A child is about to be forked."""
        self._forking = True

    def end_fork(self) -> None:
        """It is added, or there is none."""
        self._forking = False
        if self._terminated:
            raise Terminated

    def add(self, pid: int, channel: int, name: str) -> None:
        pidfd = os.pidfd_open(pid)
        self._poll.register(pidfd, select.EPOLLIN)
        self._living[pidfd] = pid, channel, name
        if self._backend.keeps_views:
            self._views[channel] = pidfd, name
            self._poll.register(channel, 0)  # EPOLLHUP is always reported

    def forget(self) -> None:
        """In a child: drop the state of the other children."""
        self._living.clear()
        self._views.clear()
        self._removals.clear()
        self._check = None

    def on_event(self, descriptor: int) -> None:
        """A child has died, or the host has closed its end of a child's socket."""
        self._poll.unregister(descriptor)
        if descriptor in self._living:
            self._reap(descriptor, *self._living.pop(descriptor))
            return
        pidfd, name = self._views.pop(descriptor)
        if pidfd is None:
            self._drop(descriptor, name)
        else:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def _reap(self, pidfd: int, pid: int, channel: int, name: str) -> None:
        """Reap a dead child and write its wait status to its socket, in case the host still waits for its reply."""
        _, status = os.waitpid(pid, 0)
        os.close(pidfd)
        if pidfd in self._overfull:
            self._overfull.remove(pidfd)
            status |= OVERFULL
        os.set_blocking(channel, False)
        try:
            os.write(channel, DEATH.pack(DEATH_MARK, status))
        except OSError:
            pass  # usually the host has closed its end (Python ignores SIGPIPE)
        if channel in self._views:
            # The host still needs the view, but must not wait for the rest of a frame: end the stream here.
            libc.shutdown(channel, _socket.SHUT_WR)
            self._views[channel] = None, name
        else:
            self._drop(channel, name)

    def _drop(self, channel: int, name: str) -> None:
        os.close(channel)
        if self._backend.keeps_views:
            self._removals.append(self._backend.drop(name))

    def seconds_to_next_work(self) -> float | None:
        """Seconds until `work` has something to do; None: until something happens."""
        if self._removals or self._check is not None:
            return 0.0
        if not self._living or not self._backend.keeps_views:
            return None
        return max(0.0, self._next_check - time.monotonic())

    def work(self) -> None:
        """Continue removing views that are no longer needed, and checking the sizes of the others."""
        if self._removals and _advance(self._removals[0]):
            self._removals.popleft()
        if not self._backend.keeps_views or (started := time.monotonic()) < self._next_check:
            return
        if self._check is None:
            self._check, self._check_took = self._stop_overfull(), 0.0
        over = _advance(self._check)
        ended = time.monotonic()
        self._check_took += ended - started
        if over:
            self._check = None
            self._next_check = ended + max(CHECK_SECONDS, CHECK_SHARE * self._check_took)

    def _stop_overfull(self) -> Iterator[None]:
        """Kill children that have filled their views."""
        for pidfd, child in list(self._living.items()):
            # Its number may belong to another child by then, if it has died meanwhile.
            if (yield from self._backend.is_overfull(child[2])) and self._living.get(pidfd) is child:
                self._overfull.add(pidfd)
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def end(self) -> None:
        """Kill and reap all children."""
        for pidfd, (pid, _, _) in self._living.items():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.waitpid(pid, 0)


def _advance(job: Iterator[None]) -> bool:
    """Run STEPS steps of *job*; True if it is done."""
    for _ in range(STEPS):
        try:
            next(job)
        except StopIteration:
            return True
    return False


ROUNDS = 16  # a function specialises itself after 8 calls, and its caches settle within a few more
BLOCK = """
import json, re
made = create_file("a/b.md", "# A\\n- x: 1\\n")
text = read_file("a/b.md")
create_file("a/b.md", text + "more")
update_file("a/b.md", "x: 1", "x: 2")
with open("user.md", "w") as file:
    file.write("- key: value [[a/b]]\\n")
linked = go_to_link("[[a/b]]")
found = search("more"), list_files(), check_if_file_exists("c.md")
facts = {"k": [1, 2], "s": f"{len(text)}", "none": None}
def helper(count):
    return [number for number in range(count)]
numbers = helper(3)
missing = read_file("nothing.md")
print("done", len(numbers))
"""


def warm_up(maker: ChildMaker) -> None:
    """Do everything that a child does `ROUNDS` times in the zygote itself, before the first fork.

    A child pays for every page of memory that it is the first to write to after the fork, some 3 us each. Much of that
    is Python warming up: caches of method look-ups fill, functions count their calls and specialise themselves (PEP
    659). Done here once, little of it happens in the children.

    It runs our own constant code, over an empty view like any child's. Calls that cannot be undone are left out, and
    the zygote can return from that root, since it keeps a descriptor of its own; a child has none, and may not open
    one.
    """
    gather_code(lambda: _rehearse(maker, 0))
    gc.freeze()  # as in a child, which searches only its own objects for files that its block left open
    for number in range(1, ROUNDS):
        _rehearse(maker, number)


def _rehearse(maker: ChildMaker, number: int) -> None:
    setup = json.dumps({"memory": None, "hide": [], "owner": maker.backend.own_ids()}).encode()
    request = json.dumps({"code": BLOCK, "tools": []}).encode()
    # The ends' numbers must not be among a child's own.
    ours, theirs = (_socket.socket(fileno=set_aside(end.detach())) for end in _socket.socketpair())
    with _state_kept(maker.backend), maker.rehearsed():
        for body in (setup, request):
            ours.sendall(len(body).to_bytes(4, "big") + body)
        release()
        maker.run_child(theirs.fileno(), f"warm-up-{number}")
    _check_rehearsal(ours)
    ours.close()
    theirs.close()
    for _ in maker.backend.drop(f"warm-up-{number}"):
        pass


def _check_rehearsal(ours: _socket.socket) -> None:
    """Read the output of a rehearsed child.

    Raises:
        RuntimeError: something failed.
    """
    forked, rights, _, _ = ours.recvmsg(len(FORKED), _socket.CMSG_SPACE(TWO_DESCRIPTORS.size))
    for descriptor in TWO_DESCRIPTORS.unpack(rights[0][2]) if rights else ():
        os.close(descriptor)
    said = forked + ours.recv(1 << 20)
    start = FORKED + CONFINED
    problem = json.loads(said[len(start) + HEADER_BYTES :])["error"] if said.startswith(start) else said.decode()
    if problem:
        raise RuntimeError(problem)


@contextmanager
def _state_kept(backend: IsolationBackend) -> Iterator[None]:
    """Restore our own root afterwards, and what `run` replaces."""
    outside = set_aside(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    streams = sys.stdin, sys.stdout, sys.stderr
    main = sys.modules["__main__"]
    try:
        yield
    finally:
        os_view.current.view = None
        os.fchdir(outside)
        if backend.changes_root:
            os.chroot(".")
        os.chdir("/")
        os.close(outside)
        sys.stdin, sys.stdout, sys.stderr = streams
        sys.modules["__main__"] = main
        forget_source()
        os.dup2(0, CHANNEL, inheritable=False)
        release()


# First byte: U = forked, pidfd and upper layer attached; R = confined, ready. (E = set-up failed: the text follows.)
FORKED, CONFINED = b"U", b"R"
ONE_DESCRIPTOR, TWO_DESCRIPTORS = struct.Struct("i"), struct.Struct("2i")
AT_FDCWD = -100
_libc = ctypes.PyDLL(None, use_errno=True)  # calls with the GIL held, as a fork needs
# The seed function of the generator behind `random`'s functions, without the Python code around it.
_seed_random = super(random.Random, random._inst).seed

Settings = dict[str, Any]


def main(control_text: str, settings_text: str) -> None:
    syscalls.reset_signals()
    be_killed_first()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # we die with the host, however it dies
    settings: Settings = json.loads(settings_text)
    channel = _socket.socket(fileno=set_aside(int(control_text)))
    reserve()
    backend: IsolationBackend | None = None
    children: Children | None = None
    handshake: dict[str, object] = {}
    step = "environment"
    try:
        zone = os.environ.get("TZ")
        os.environ.clear()
        libc.clearenv()
        if zone is not None:  # only for the C library, which reads the zone's file now and keeps it
            os.putenv("TZ", zone)
            time.tzset()
        step = "backend"
        backend = BACKENDS[settings["tier"]](settings)
        step = backend.step
        if backend.keeps_views:
            signal.signal(signal.SIGTERM, raise_terminated)
        backend.set_up()
        step = "landlock and seccomp"
        confinement = confine.Confinement(
            minimum_abi=backend.minimum_landlock,
            root=backend.root,
            chrooted=backend.changes_root,
            layered=backend.layered,
        )
        step = "library"
        library_started = time.perf_counter()
        archive = library.Archive()
        library.archive_packages(archive, settings["libraries"])
        library.import_up_front(full=settings["full"])
        library.archive_library(archive)
        library.replace_functions(overlay=not backend.layered, room=settings["view_bytes"])
        if backend.layered:
            os_view.install()
        library.hide_places()
        _hide_own_modules()
        del settings["libraries"], settings["temporary"], settings_text
        confinement.drop_privileges()
        step = "warm-up"
        release()
        gc.collect()
        filling = fill_gaps()
        confinement.prepare(
            cpu=settings["cpu_seconds"], file_size=settings["file_bytes"], descriptors=CHILD_FILES, start=CONFINED
        )
        maker = ChildMaker(settings, backend, confinement)
        warm_up(maker)
        step = "memory accounting"
        confinement.limit_memory(confine.address_space() + settings["memory_bytes"])
        gc.collect()
        filling += fill_gaps()
        poll = select.epoll()
        children = Children(backend, poll)
        if backend.keeps_views:
            signal.signal(signal.SIGTERM, children.terminate)
        handshake = {
            "ok": True,
            "landlock": confinement.landlock_abi,
            "all_ids": backend.all_ids,
            "changes_root": backend.changes_root,
            "scratch": backend.path,
            "modules": [name for name in sys.modules if name.partition(".")[0] in sys.stdlib_module_names],
            "library_ms": round((time.perf_counter() - library_started) * 1000),
        }
        channel.send(json.dumps(handshake).encode())
        serve(channel, poll, maker, children)
    except Terminated:
        pass  # nothing is wrong that would be so with the next one
    except BaseException as error:  # noqa: BLE001  # reported to the host, then the end
        if not handshake:
            number = error.errno if isinstance(error, OSError) else None
            handshake = {"ok": False, "step": step, "errno": number, "detail": f"{type(error).__name__}: {error}"}
            channel.send(json.dumps(handshake).encode())
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if children is not None:
            children.end()
        if backend is not None:
            backend.clean_up()
        os._exit(0)


def _hide_own_modules() -> None:
    """Everything of ours is imported: a block's ``import trioagent`` must fail, not find a part of it."""
    for name in list(sys.modules):
        if name.partition(".")[0] == __name__.partition(".")[0]:
            del sys.modules[name]


_STEPS = ("view", "root", "owner", "confinement")  # of a child's set-up


class ChildMaker:
    """Everything that a child needs, made before the fork; `run_child` is what a child does after it."""

    def __init__(self, settings: Settings, backend: IsolationBackend, confinement: confine.Confinement) -> None:
        self._settings, self.backend, self._confinement = settings, backend, confinement
        self._pid = os.getpid()
        self._rehearsed = False
        self.reads = Reads()
        self.reads.quiet = quiet
        self._index, self._access = Index(), Access()
        install_builtins()
        self._environment_at_root = self.new_environment("/")
        # Not methods: on each event Python would look up an attribute that they lack, by raising an AttributeError.
        sys.addaudithook(partial(Reads.watch, self.reads))
        sys.addaudithook(partial(Writes.watch, Writes(self._index, quiet)))
        self._host, self._setup = Channel(CHANNEL), SetupHeader()
        self._close_all, self._introduce, self._receive = Script(), Script(), Script()
        self._close_all.add("close_range", CHANNEL + 1, confine.ALL, 0, final=True)
        # Standard input and output are the child's own: flags and locks belong to the open file, not to a descriptor.
        self._close_all.add("openat", AT_FDCWD, b"/dev/null", os.O_RDWR | os.O_CLOEXEC, 0, result=ROOT)
        for number in range(3):
            self._close_all.add("dup3", ROOT, number, 0, result=number)
        self._close_all.add("close", ROOT)
        self._introduce.add("sendmsg", CHANNEL, Message(FORKED, ROOT, UPPER_FD), 0, result=len(FORKED))
        self._introduce.add("close", ROOT)
        self._receive.add("recvmsg", CHANNEL, self._setup, 0, result=HEADER_BYTES)

    def new_environment(self, path: str) -> BlockEnvironment:
        """The environment of a block whose view is at *path*."""
        tools: dict[str, Callable[..., object]] = make_tools(path, self.reads, self._index, self._access)
        return BlockEnvironment(tools, self._access, self._settings)

    @contextmanager
    def rehearsed(self) -> Iterator[None]:
        """Inside the block, `run_child` does only what the zygote can undo, and it is undone afterwards."""
        self._rehearsed = True
        with self._close_all.rehearsed(), self._confinement.rehearsed():
            try:
                yield
            finally:
                self._rehearsed = False
                self._environment_at_root = self.new_environment("/")
                self.reads.clear()
                self.reads.root = ""

    def run_child(self, channel: int, name: str) -> None:
        """The life of a child, from the fork to its reply."""
        step, setup = 0, self._setup
        try:
            if not self._rehearsed:
                self.backend.die_with(self._pid)
            # None of the zygote's descriptors stays open, above all not the sockets of other children.
            os.dup2(channel, CHANNEL, inheritable=False)
            self._close_all.run()
            path = self.backend.prepare(name)
            # The host gets the means to kill this child before it sends anything.
            own = os.pidfd_open(os.getpid())
            assert own == ROOT
            self._introduce.run()
            # Up to here nothing depends on the block: a spare child waits here.
            setup.rights_length = ROOM
            self._receive.run()
            descriptors = setup.descriptors()
            request = self._host.read_body(setup.size)
            # First: a view needs the descriptors' numbers.
            index = map_file(descriptors.pop(0)) if "index" in request and descriptors else None
            granted = "grants" in request
            if granted:
                settle(*descriptors)
            listings = self.backend.view(request)
            step = 1
            self._confinement.enter(grants=granted)
            owner = self.backend.owner(request)
            if owner is not None:
                step = 2
                self._confinement.become(owner)
                if not self._rehearsed:
                    self.backend.die_with(self._pid)  # changing the user has reset it
            step = 3
            may_read: Iterable[tuple[str, bool]] | None = ()
            if self.backend.layered and request["memory"] is not None:
                may_read = readable(listings) if listings and not granted else None
            hidden, spared = paths_of(request["hide"]), 0 if index is None else len(index)
            if isinstance(listings, StoredListings):
                hidden, spared = listings.hidden, spared + listings.size
            self._confinement.confine(spared=spared, readable=may_read, grants=granted)
            if self.backend.layered:
                lower = None if request["memory"] is None else ROOT
                os_view.current.view = Layers(lower, BASE, hidden, listings)
        except BaseException as error:  # noqa: BLE001  # no block has run yet: tell the host and end
            _report_failure(CHANNEL, f"{_STEPS[step]}: {error}")
            return
        layout = request.pop("index", None)
        request.clear()  # a block can inspect the frames that it runs in
        self._index.scanned = 0  # the zygote's own, from its warm-up
        if index is not None:
            try:
                self._index.attach(index, **layout)
            except Exception:  # noqa: BLE001  # the block goes without: its tools look at every note
                self._index.lose()
        self.reads.root = path
        environment = self._environment_at_root if path == "/" else self.new_environment(path)
        run(self._host, environment, self.reads, self._settings, self._index)


def _report_failure(descriptor: int, problem: str) -> None:
    """Report a failed set-up: on the child's socket, as the byte E and the text."""
    try:
        os.write(descriptor, b"E" + problem.encode("utf-8", "replace")[:2000])
    except OSError:
        pass  # the host is gone


def serve(control: _socket.socket, poll: select.epoll, maker: ChildMaker, children: Children) -> None:
    """Fork children until the host closes its end.

    After a fork, each page of memory that this loop writes to, if only to a reference count, is copied once more. So it
    does not use the Python code of the ``socket`` module or anything else that creates many objects.
    """
    poll.register(control.fileno(), select.EPOLLIN)
    space = _socket.CMSG_SPACE(ONE_DESCRIPTOR.size)
    gc.collect()
    gc.freeze()  # so that no collection in a child traverses, and so copies, the objects that exist now
    while True:
        for descriptor, _ in poll.poll(children.seconds_to_next_work()):
            if descriptor != control.fileno():
                children.on_event(descriptor)
                continue
            try:
                message, rights, _, _ = control.recvmsg(8, space)
            except ConnectionError:
                return
            if not message:
                return  # end of file: the host has closed the sandbox, or is dead
            if not rights:
                continue  # no free descriptor to receive it with; the host sees its end closed
            (channel,) = ONE_DESCRIPTOR.unpack(rights[0][2])
            name = os.urandom(8).hex() if maker.backend.keeps_views else ""
            children.begin_fork()
            pid = _fork(maker, children, channel, name)
            if pid is None:
                os.close(channel)
            else:
                children.add(pid, channel, name)
            children.end_fork()
        children.work()


_waiting = select.poll()


def _fork(maker: ChildMaker, children: Children, channel: int, name: str) -> int | None:
    _waiting.register(channel, 0)  # POLLHUP is always reported
    hung_up = _waiting.poll(0)
    _waiting.unregister(channel)
    if hung_up:
        return None  # cancelled while it was queued
    # Not os.fork: its hooks for threads, locks and the import system, none of which a process without threads needs,
    # cost a child 0.3 ms and 60 copied pages. What one of them did is done by hand: see _seed_random.
    pid = _libc.fork()
    if pid < 0:
        _report_failure(channel, f"fork: {os.strerror(ctypes.get_errno())}")
        return None
    if pid == 0:
        try:
            _seed_random()
            if maker.backend.keeps_views:
                children.forget()  # the names of their views, which are secret
                signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the zygote's handler would raise in the block's code
            maker.run_child(channel, name)
        finally:
            os._exit(0)
    return int(pid)


assert ctypes.sizeof(ctypes.c_long) == 8
