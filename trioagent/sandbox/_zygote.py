"""The host's side of zygotes: starts them, chooses the one for a block, requests children from them, ends them."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs
import trio

from .._config import SandboxLimits
from .._errors import SandboxError
from .._steps import STEP_BYTES
from . import _frames
from ._control_group import ControlGroup, new_group
from ._guest.copying import FOLDER
from ._guest.ready import FULL_MODULES
from ._guest.syscalls import PR_GET_CHILD_SUBREAPER, libc
from ._guest.views import remove_scratch
from ._indexes import SharedIndex
from ._note_grants import Grants
from ._sandbox import CodeNotSentError, NotAnsweredError, TierStartError, not_set_up

T = TypeVar("T")
_PROGRAM = Path(__file__).parent / "_guest" / "__main__.py"
NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
"""For sending: no SIGPIPE. If the flag does not exist, it is enough that Python ignores that signal."""
DEATH_SECONDS = 10.0  # SIGKILL cannot be refused; only a kernel stuck on a dead disk takes longer
ANSWER_SECONDS = 5.0
"""A fork takes milliseconds: a zygote that does not answer for so long hangs (stopped, frozen, out of memory)."""
START_SECONDS = 20.0
"""A zygote starts in some 0.2 s, with the full library in 1 s."""
STARTS = 5
"""The attempts at starting a zygote that dies or hangs on its start."""
SILENT = "start"
"""The step of a TierStartError for a process that died or hung without reporting why."""


def hung_up(channel: socket.socket) -> bool:
    """Whether the other end of *channel* is closed. False negatives are possible while a process is dying."""
    if channel.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(channel, 0)  # POLLHUP is always reported
    return bool(poll.poll(0))


def spawn(
    module: str, *, settings: Mapping[str, Any], kind: socket.SocketKind
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a bare interpreter on a module of `_guest`; returns it, and our end of a socket whose other end it gets.

    Args:
        module: its ``main`` gets the number of its descriptor of the socket, and *settings* as JSON.
        kind: of the socket.

    Raises:
        TierStartError: the interpreter cannot be started.
    """
    python = interpreter(settings.get("python"))
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    ours.setblocking(False)
    try:
        with theirs:
            # Not trio's run_process: it starts children from a worker thread, and PDEATHSIG ties this one to the thread
            # that started it. -I would ignore the hash seed, so its components are given one by one.
            process = subprocess.Popen(
                [
                    *(python, "-S", "-B", "-s", "-P", _PROGRAM),
                    *(module, str(theirs.fileno()), json.dumps(settings)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                cwd="/",
                start_new_session=True,  # Ctrl-C in the terminal must not reach it
            )
    except OSError as error:
        ours.close()
        raise TierStartError("interpreter", f"cannot start {python}: {error}", error.errno) from error
    return process, ours


@attrs.frozen(kw_only=True)
class ProcessSettings:
    """How a sandbox's own processes are started, and how many seconds they are waited for.

    Attributes:
        start_process: starts an interpreter on a module of `_guest`.
        make_group: makes the control group that they are in, where one can be had.
        start: for one to serve.
        answer: for one that serves to answer.
        death: for one to end.
    """

    start_process: Callable[..., tuple[subprocess.Popen[bytes], socket.socket]] = spawn
    make_group: Callable[..., ControlGroup | None] = new_group
    start: float = START_SECONDS
    answer: float = ANSWER_SECONDS
    death: float = DEATH_SECONDS


AS_USUAL = ProcessSettings()


def died_at_once(limits: SandboxLimits) -> str:
    """Why a process of ours may have died without a message."""
    return f"it died at once; is {interpreter(limits.python)} a Python interpreter?"


_MARK = "TRIOAGENT_SANDBOX_PROCESS"
_NAME_ONE = "name a Python interpreter in SandboxLimits.python"


def interpreter(named: str | None) -> str:
    """The interpreter for sandbox processes: *named*, else the one that runs this program.

    Raises:
        TierStartError: there is none; or this program was itself started as one.
    """
    if _MARK in os.environ:
        # Otherwise each of them would start the next.
        raise TierStartError(
            "interpreter",
            f"this program was itself started as an interpreter for a sandbox, and it is none; {_NAME_ONE}",
        )
    if not _PROGRAM.is_file():
        raise TierStartError("interpreter", f"{_PROGRAM.parent} lies in an archive; install trioagent unpacked")
    if named is not None:
        return named
    if getattr(sys, "frozen", False):
        raise TierStartError(
            "interpreter", f"{sys.executable} is a frozen program and no Python interpreter; {_NAME_ONE}"
        )
    if not sys.executable:
        raise TierStartError(
            "interpreter", f"sys.executable is empty: this Python is embedded in another program; {_NAME_ONE}"
        )
    return sys.executable


def _environment() -> dict[str, str]:
    """The environment that the interpreter needs to start, which is dropped before it forks anything.

    The mark is for a program that was started by mistake (see `interpreter`). A fixed hash seed makes the order of sets
    the same in every run. LD_BIND_NOW makes the linker resolve all symbols on the start: otherwise each child would
    resolve those that it is the first to use, on pages of its own.
    """
    wanted = {"PYTHONHASHSEED": "0", "LD_BIND_NOW": "1", _MARK: "1"}
    if "LD_LIBRARY_PATH" in os.environ:  # where a relocated interpreter finds its libpython
        wanted["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    if "TZ" in os.environ:  # the only variable that blocks keep: the user's time zone
        wanted["TZ"] = os.environ["TZ"]
    return wanted


# Whether a block needs more of the standard library than the common zygote has imported is guessed from its text. A
# wrong guess costs only time: a block sent to the full library without need runs there as well; one that misses a
# module fails, saves nothing, and is run again.
_NAME = re.compile(r"[^\W\d][\w.]*")
_BARE = re.compile(rf"(?<![\w.'\"/])(?:{'|'.join(FULL_MODULES)})\.[A-Za-z]")
_MISSING = re.compile(r"(?:ModuleNotFoundError: No module named|ImportError: cannot import name) '(\w+)")
_UNKNOWN_ENCODING = "LookupError: unknown encoding:"
# Packages of which only a part is imported: their bare name may mean any other.
_PARTLY_THERE = frozenset({"encodings", "importlib", "urllib"})


def needs_full_library(code: str, present: frozenset[str]) -> bool:
    """Whether *code* imports, or uses by its bare name, a module of the library that is not *present*."""
    if len(code) > STEP_BYTES:  # too long to search: the full library has everything it may need
        return True
    if _BARE.search(code):
        return True
    if "import" not in code:
        return False
    return any(
        name.partition(".")[0] in sys.stdlib_module_names and (name not in present or name in _PARTLY_THERE)
        for line in code.splitlines()
        if "import" in line
        for name in _NAME.findall(line)
    )


def lacks_module(error: str) -> bool:
    """Whether a block failed with this *error* because it needs the full library."""
    found = _MISSING.match(error)
    return error.startswith(_UNKNOWN_ENCODING) or (found is not None and found[1] in sys.stdlib_module_names)


_PACKAGE = Path(__file__).parent.parent
# Pure-Python packages that blocks may import besides the standard library: name and folder.
PACKAGES = {"offline_rules": str(_PACKAGE / "models" / "offline_rules" / "library")}
_NO_DESCRIPTORS = "too many open files: no descriptor is left for a child; raise the limit (ulimit -n)"


class NoDescriptorError(SandboxError):  # internal; outside it is a SandboxError
    """No descriptor is left for a child."""

    def __init__(self) -> None:
        super().__init__(_NO_DESCRIPTORS)
        self.errno = errno.EMFILE

    def __reduce__(self) -> tuple[type[SandboxError], tuple[str]]:
        return SandboxError, (self.problem,)


async def end_orphans(session: int, *, leader: bool = False) -> None:
    """Kill and reap processes of a session of ours that have become our children, as process 1 or as a subreaper.

    A process that starts another one in a new session, and is killed, leaves its children to init. In a container this
    program may be process 1, and would accumulate zombies. Nearly all of them die with it; one that was stopped before
    it had run at all is not tied to it yet.

    Args:
        leader: also reap the process that began the session, if we have not started it ourselves.
    """
    with trio.move_on_after(DEATH_SECONDS, shield=True):
        while orphans := _orphans(session, leader) if _adopts() else {}:
            for pid, is_dead in orphans.items():
                with contextlib.suppress(ChildProcessError, ProcessLookupError):
                    if is_dead:
                        os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it is dead
                    else:
                        os.kill(pid, signal.SIGKILL)  # still our child, so the number is still its own
            await trio.sleep(0.002)


def _adopts() -> bool:
    """Whether orphans become children of this process."""
    if sys.platform != "linux":
        return False
    is_subreaper = ctypes.c_int()
    libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(is_subreaper), 0, 0, 0)
    return os.getpid() == 1 or bool(is_subreaper.value)


def _orphans(session: int, leader: bool) -> dict[int, bool]:
    """Our children in a session, with or without its *leader*, and whether they are dead.

    The session's number is not reused while there are any.
    """
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
            state, parent, _, its_session, *_ = file.read().rpartition(") ")[2].split()
            if int(parent) == os.getpid() and int(its_session) == session and (leader or session != int(name)):
                found[int(name)] = state == "Z"
    return found


@attrs.frozen
class Child:
    """A child.

    Attributes:
        channel: our end of its socket.
        pidfd: its pidfd.
        upper: the folder with its block's changes: an overlay's upper layer, or the folder around a layered view.
        spare: it was forked ahead of time.
        grants: what was sent with its setup request.
    """

    channel: socket.socket
    pidfd: int
    upper: int
    spare: bool = False
    grants: Grants | None = None

    async def kill(self) -> bool:
        """Kill the child and wait until it is dead, even when cancelled.

        Returns:
            Whether it had already died.

        Raises:
            SandboxError: the kernel did not kill it within DEATH_SECONDS.
        """
        if self.is_dead():
            return True  # noqa: ASYNC910  # there is nothing to wait for
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        with trio.move_on_after(DEATH_SECONDS, shield=True) as waited:
            await trio.lowlevel.wait_readable(self.pidfd)
        if waited.cancelled_caught:
            raise SandboxError(f"a child did not end within {DEATH_SECONDS:.0f} s of being killed")
        return False

    def is_dead(self) -> bool:
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        self.channel.close()
        os.close(self.pidfd)
        os.close(self.upper)


class Zygote:
    """A running zygote. Started by :meth:`start`; it ends with :meth:`aclose`, or with this process."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        control: socket.socket,
        spare_children: int,
        settings: ProcessSettings = AS_USUAL,
    ) -> None:
        self._process, self._control, self._settings = process, control, settings
        self._spares: deque[socket.socket] = deque()
        self._spare_children = spare_children
        self._queue_full = trio.Lock()
        self._stalled = False
        self.handshake: dict[str, object] = {}
        self.pid = process.pid

    @property
    def alive(self) -> bool:
        """Whether it serves, as far as known.

        Only the forking process has the other end of the control socket, and the kernel closes a process's descriptors
        before it kills the children that die with it.
        """
        return not self._stalled and not hung_up(self._control)

    async def is_ending(self) -> bool:
        """After a child's socket closed without an exit status: whether the zygote is closing its descriptors.

        A zygote that was told to end kills its children itself, and closes their sockets and this one in any order.
        """
        for _ in range(100):
            if not self.alive:
                return True
            await trio.sleep(0.01)
        return False

    @classmethod
    async def start(
        cls,
        limits: SandboxLimits,
        tier: str,
        *,
        full: bool,
        layered: bool = False,
        group: ControlGroup | None = None,
        processes: ProcessSettings = AS_USUAL,
    ) -> Zygote:
        """Start a zygote for "kernel" or "kernel-lite" and wait until it serves.

        Args:
            full: with all C extensions of the standard library.
            layered: with layered views, also where an overlay could be mounted.
            group: the cgroup for it and its children.
            processes: how it is started, and waited for.

        Raises:
            TierStartError: with the step that failed.
        """
        settings = attrs.asdict(limits) | {
            "tier": tier,
            "full": full,
            "layered": layered,
            "libraries": PACKAGES,
            "temporary": tempfile.gettempdir(),
        }
        process, ours = processes.start_process("zygote", settings=settings, kind=socket.SOCK_SEQPACKET)  # 1 ms
        if group is not None:
            group.add(process.pid)  # before it has started anything: Python takes some 20 ms to start
        zygote = cls(process, ours, limits.spare_children, processes)
        try:
            message = await zygote._first_message()
            zygote.handshake = (
                json.loads(message) if message else {"ok": False, "step": SILENT, "detail": died_at_once(limits)}
            )
            if zygote.handshake.get("ok") is not True:
                number = zygote.handshake.get("errno")
                raise TierStartError(
                    str(zygote.handshake.get("step")),
                    str(zygote.handshake.get("detail")),
                    number if isinstance(number, int) else None,
                )
        except BaseException:
            await zygote.aclose()
            raise
        return zygote

    async def _first_message(self) -> bytes:
        """The zygote's report about itself; empty if it died.

        Raises:
            TierStartError: it sends nothing in time.
        """
        with trio.move_on_after(self._settings.start):
            await trio.lowlevel.wait_readable(self._control)
        try:
            return self._control.recv(65536)  # one packet
        except BlockingIOError:
            self._stalled = True
            raise TierStartError(SILENT, f"it said nothing within {self._settings.start:.0f} s") from None
        except ConnectionError:
            return b""

    async def aclose(self) -> None:
        """Kill the zygote, and with it every child, and wait until it is gone."""
        self._control.close()
        while self._spares:
            self._spares.pop().close()
        if self._process.poll() is None:
            await self._end()
        await end_orphans(self.pid)
        with trio.CancelScope(shield=True):  # bounded by the size of its views
            await trio.to_thread.run_sync(self._clear_away)

    def _clear_away(self) -> None:
        """Remove its views, if it was killed before it could do so."""
        scratch = self.handshake.get("scratch")
        if isinstance(scratch, str) and os.path.lexists(scratch):
            parent = os.open(os.path.dirname(scratch), FOLDER)
            try:
                remove_scratch(os.path.basename(scratch), parent)
            finally:
                os.close(parent)

    async def _end(self) -> None:
        try:
            pidfd = os.pidfd_open(self._process.pid)
        except ProcessLookupError:  # it has just exited, in a program that ignores SIGCHLD
            return
        try:
            # On SIGTERM it kills its children and removes its views; one that hangs cannot.
            gently = [] if self._stalled else [(signal.SIGTERM, 2.0)]
            for number, seconds in (*gently, (signal.SIGKILL, self._settings.death)):
                self._process.send_signal(number)
                with trio.move_on_after(seconds, shield=True) as waited:
                    await trio.lowlevel.wait_readable(pidfd)
                if not waited.cancelled_caught:
                    break
        finally:
            os.close(pidfd)
            self._process.poll()

    def prepare(self) -> None:
        """Request missing spare children; does nothing if that cannot be done at once."""
        while len(self._spares) < self._spare_children:
            try:
                ours, theirs = open_channel()
                with theirs:
                    self._spares.append(ours)
                    socket.send_fds(self._control, [b"F"], [theirs.fileno()])
            except SandboxError:
                return  # no free descriptors
            except OSError:
                self._spares.pop().close()
                return  # its queue is full, or it is gone: the next block will find out

    async def fork(
        self,
        root_fd: int | None,
        *,
        hide: Sequence[str] = (),
        may_be_spare: bool = True,
        index: SharedIndex | None = None,
        as_owner: bool = True,
        grants: Callable[[], Awaitable[Grants | None]] | None = None,
    ) -> Child:
        """Reuse a pre-forked child or fork one, and send its setup request.

        Args:
            hide: paths in the memory that the child must not see.
            index: the memory's index.
            as_owner: run as the memory's owner, if the zygote may; else as the user for other blocks.
            grants: called last, before the request is sent.

        Raises:
            CodeNotSentError: the zygote is gone, or did not answer, or could not make a child.
            NoDescriptorError: there is no descriptor left.
        """
        while may_be_spare and self._spares:
            child, problem = await self._made(self._spares.popleft(), spare=True)
            if child is not None:
                break
        else:
            ours, theirs = open_channel()
            try:
                with theirs:
                    await self._ask(theirs)
            except BaseException:
                ours.close()
                raise
            child, problem = await self._made(ours, spare=False)
            if child is None:
                raise NoDescriptorError() if problem == _NO_DESCRIPTORS else not_set_up(problem)
        given = None
        try:
            given = None if grants is None else await grants()
            self._send_request(child, root_fd, hide, index, as_owner, given)
        except BaseException:
            if given is not None:
                given.done(False)
            child.close()  # which kills it
            raise
        return attrs.evolve(child, grants=given)

    def _send_request(
        self,
        child: Child,
        root_fd: int | None,
        hide: Sequence[str],
        index: SharedIndex | None,
        as_owner: bool,
        grants: Grants | None,
    ) -> None:
        request = _frames.encode(self._setup_request(root_fd, hide, index, as_owner, grants))
        descriptors = [] if index is None else [index.descriptor]
        if grants is not None:
            descriptors += grants.descriptors
        with contextlib.suppress(ConnectionError):  # it died; the data left to read says why
            # The first on its way, and smaller than any socket's room: but for a memory with a path of many kilobytes.
            sent = socket.send_fds(child.channel, [request], descriptors)
            if sent < len(request):
                raise CodeNotSentError(f"a setup request of {len(request)} bytes found no room", cost=20)

    async def _made(self, ours: socket.socket, *, spare: bool) -> tuple[Child | None, str]:
        """The child at the other end of *ours*, or None and the reason ("": it died)."""
        try:
            try:
                message, descriptors = _first_of(ours)  # a spare child has already sent it
            except BlockingIOError:
                message, descriptors = await self._first_in_time(ours)
            if message == b"U" and len(descriptors) == 2:
                return Child(ours, descriptors[0], descriptors[1], spare), ""
            for descriptor in descriptors:
                os.close(descriptor)
            problem = await set_up_problem(ours, message) if message != b"U" else _NO_DESCRIPTORS
        except BaseException:
            ours.close()
            raise
        ours.close()
        return None, problem

    async def _first_in_time(self, ours: socket.socket) -> tuple[bytes, list[int]]:
        with trio.move_on_after(self._settings.answer):
            await trio.lowlevel.wait_readable(ours)
        try:
            return _first_of(ours)
        except BlockingIOError:
            self._stalled = True
            raise NotAnsweredError(f"a zygote did not answer within {self._settings.answer:.0f} s") from None

    def _setup_request(
        self,
        root_fd: int | None,
        hide: Sequence[str],
        index: SharedIndex | None,
        as_owner: bool,
        grants: Grants | None,
    ) -> dict[str, object]:
        """What the child needs to make its view, and the layout of the index.

        The folder is passed as a path, with device and inode for the child to check: an overlay takes layers only from
        the mount namespace that it is made in, and our descriptors belong to another one.
        """
        extra: dict[str, object] = {} if index is None else {"index": index.layout}
        if root_fd is None:
            return {"memory": None, "hide": [], "owner": None, **extra}
        if grants is not None:
            hide, extra["grants"] = (), grants.changes
        info = os.fstat(root_fd)
        path = os.readlink(f"/proc/self/fd/{root_fd}".encode())
        return {
            "memory": path.decode("latin-1"),  # bytes as they are: a path need not be UTF-8
            "device": info.st_dev,
            "inode": info.st_ino,
            "hide": [os.fsencode(path).decode("latin-1") for path in hide],
            "owner": [info.st_uid, info.st_gid] if as_owner and self.handshake.get("all_ids") else None,
            **extra,
        }

    async def _ask(self, theirs: socket.socket) -> None:
        with trio.move_on_after(self._settings.answer):
            while True:
                try:
                    socket.send_fds(self._control, [b"F"], [theirs.fileno()])
                    return
                except BlockingIOError:
                    async with self._queue_full:  # only one task at a time may wait for a descriptor
                        await trio.lowlevel.wait_writable(self._control)
                except OSError as error:
                    raise CodeNotSentError(f"the zygote is gone ({error.strerror})") from error
        self._stalled = True
        raise NotAnsweredError(f"a zygote took no request within {self._settings.answer:.0f} s")


def _first_of(channel: socket.socket) -> tuple[bytes, list[int]]:
    """The first byte from a child, and its descriptors; b"" if it died.

    Raises:
        BlockingIOError: nothing has arrived yet.
    """
    try:
        message, descriptors, _, _ = socket.recv_fds(channel, 1, 2)
    except ConnectionError:
        return b"", []
    return message, descriptors


def receive(channel: socket.socket, size: int) -> bytes:
    """The data that has arrived, b"" at the end.

    Raises:
        BlockingIOError: nothing has arrived yet.
    """
    try:
        return channel.recv(size)
    except ConnectionError:
        # The child died with unread data: reported once, before the data that it has written can be read.
        try:
            return channel.recv(size)
        except ConnectionError:
            return b""


async def set_up_problem(channel: socket.socket, start: bytes) -> str:
    """Why a child could not be set up: the text that it sent before it exited, of which *start* has been read.

    Returns:
        "" if it just died.
    """
    text = start
    with trio.move_on_after(1):
        while len(text) < 4000 and _frames.death_status(text) is None:
            await trio.lowlevel.wait_readable(channel)
            part = receive(channel, 4096)
            if not part:
                break
            text += part
    if not text.startswith(b"E"):
        return ""
    return text[1:].partition(_frames.DEATH_MARK)[0].decode("utf-8", "replace")


def open_channel() -> tuple[socket.socket, socket.socket]:
    """Our end and the child's end of a child's socket.

    Raises:
        SandboxError: it cannot be created; `NoDescriptorError` if no descriptor is free.
    """
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise (NoDescriptorError() if error.errno == errno.EMFILE else SandboxError(f"no socket: {error}")) from error
    ours.setblocking(False)
    return ours, theirs


async def start_again(start: Callable[[], Awaitable[T]], what: str) -> T:
    """Start a replacement for a process that died; retried if it is killed or hangs before it serves.

    Raises:
        SandboxError: it reports why it cannot start, or all STARTS attempts failed.
    """
    for last in range(STARTS):
        try:
            return await start()
        except TierStartError as error:
            if error.step != SILENT or last == STARTS - 1:  # an error that it reports would recur
                raise SandboxError(f"{what} did not start: {error.step}: {error.detail}") from error
    raise AssertionError


class Zygotes:
    """The zygotes of one tier. Each is restarted if it was killed (by the kernel's out-of-memory killer, say)."""

    def __init__(
        self,
        limits: SandboxLimits,
        tier: str,
        common: Zygote,
        group: ControlGroup | None = None,
        processes: ProcessSettings = AS_USUAL,
    ) -> None:
        self._limits, self._tier, self.group, self._processes = limits, tier, group, processes
        self._started = {(False, False): common}  # by full, layered
        modules = common.handshake["modules"]
        assert isinstance(modules, list)
        self.present = frozenset(modules)
        """The modules of the standard library that the common zygote has imported."""
        self._starting = trio.Lock()

    @classmethod
    async def start(cls, limits: SandboxLimits, tier: str, processes: ProcessSettings = AS_USUAL) -> Zygotes:
        """Start the common zygote. Raises TierStartError."""
        group = processes.make_group(limits)
        try:
            common = await Zygote.start(limits, tier, full=False, group=group, processes=processes)
            return cls(limits, tier, common, group, processes)
        except BaseException:
            if group is not None:
                group.close()
            raise

    @property
    def common(self) -> Zygote:
        """The zygote that most blocks run in."""
        return self._started[False, False]

    @property
    def alive(self) -> int:
        """The number of live ones. One that has died is restarted when it is needed."""
        return sum(zygote.alive for zygote in self._started.values())

    async def get(self, *, full: bool, layered: bool = False) -> Zygote:
        """A live zygote.

        Args:
            full: with the whole library.
            layered: for memories over which no overlay can be mounted.

        Raises:
            SandboxError: it cannot be started.
        """
        key = full, layered
        if (zygote := self._started.get(key)) is not None and zygote.alive:
            return zygote
        async with self._starting:
            if (zygote := self._started.get(key)) is not None:
                if zygote.alive:
                    return zygote
                await zygote.aclose()
            zygote = await start_again(
                partial(
                    Zygote.start,
                    self._limits,
                    self._tier,
                    full=full,
                    layered=layered,
                    group=self.group,
                    processes=self._processes,
                ),
                "a zygote",
            )
            self._started[key] = zygote
            return zygote

    async def aclose(self) -> None:
        """Kill all of them, and with them every child."""
        async with contextlib.AsyncExitStack() as stack:
            if self.group is not None:
                stack.callback(self.group.close)  # last
            for zygote in self._started.values():
                stack.push_async_callback(zygote.aclose)
