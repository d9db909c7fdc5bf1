"""Controlling a running run from outside, over a Unix socket in its run directory.

One request, one answer, each a line of JSON: ``{"do": "pause"}`` is answered by ``{"ok": true, ...}``, or by
``{"error": "..."}``. Only the user who runs it, and root, may connect. The socket exists while the run is active. If
the file system has no sockets or is a network one, or the path would be too long, the socket is in the user's runtime
folder, and a file beside the journal says where.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs
import trio

from .._config import RateLimits
from .._errors import InvalidInputError, TrioAgentError
from .._peers import is_own_peer
from .._wire import read_value, strict_converter
from ._lock import is_running

if TYPE_CHECKING:
    from ._engine import Run

SOCKET = "control.sock"
POINTER = "control.path"
"""In the run directory: the path of the socket, if it is elsewhere."""
MAX_PATH_BYTES = 107  # of sockaddr_un.sun_path, without the NUL at its end
MAX_LINE = 64 * 1024
MAX_CONNECTIONS = 16
REQUEST_SECONDS = 10.0
"""Timeout for a client's request, which is local and ready to be sent, and for the run's answer."""
MAX_ANSWER = 4 * 1024 * 1024
_NO_SOCKETS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENAMETOOLONG, errno.ENODEV})

_ASKED = "requested by trioagent ctl"

_log = logging.getLogger("trioagent")


class RunNotReachedError(TrioAgentError):
    """No run that takes commands is active in that directory.

    Attributes:
        run_dir: the directory.
        problem: why not, and what to do.
    """

    def __init__(self, run_dir: str, problem: str) -> None:
        super().__init__(run_dir, problem)
        self.run_dir: str = run_dir
        self.problem: str = problem

    def __str__(self) -> str:
        return f"{self.run_dir!r}: {self.problem}"


ControlAction = Literal["status", "pause", "resume", "set", "cancel", "put_back", "stop", "stop_now"]


@attrs.frozen(kw_only=True)
class ControlRequest:
    """A command to a run.

    Attributes:
        do: "status"; "pause" (start no new job) and "resume"; "set" (the given numbers); "cancel" (stop the
            running job *job* and leave it to the next start); "put_back" (run the failed job *job* again); "stop"
            (start no new job, and let running ones reach their next checkpoint); "stop_now".
        job: the id of a job.
        max_concurrent: concurrent jobs.
        requests_per_minute, tokens_per_minute: of each model server, or of *endpoint* only; 0 for no limit.
        endpoint: the address of a model server.
    """

    do: ControlAction
    job: str | None = None
    max_concurrent: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    endpoint: str | None = None


class Control:
    """Carries out the commands to one run.

    Args:
        stop: set to end the run gracefully.
    """

    def __init__(self, run: Run[Any], stop: trio.Event) -> None:
        self._run, self._stop = run, stop

    def answer(self, request: ControlRequest) -> dict[str, Any]:
        """Carry it out; returns the run's state then.

        Raises:
            InvalidInputError: it cannot be done; nothing was changed.
        """
        run = self._run
        match request.do:
            case "pause":
                run.runner.pause()
            case "resume":
                run.runner.resume()
            case "set":
                self._set(request)
            case "cancel":
                if not run.runner.cancel(_job(request)):
                    raise InvalidInputError("job", f"{request.job!r} is not running; status names the jobs that are")
            case "put_back":
                run.put_back(_job(request))
            case "stop":
                run.end("asked", _ASKED)
                self._stop.set()
            case "stop_now":
                run.stop_now(_ASKED)
                self._stop.set()
        return self.status()

    def status(self) -> dict[str, Any]:
        """The run's state."""
        runner = self._run.runner.statistics()
        return {
            "ok": True,
            "paused": runner.paused,
            "max_concurrent": runner.max_concurrent,
            "running": list(self._run.runner.running[:MAX_RUNNING]),
            "progress": attrs.asdict(self._run.progress()),
        }

    def _set(self, request: ControlRequest) -> None:
        rates: dict[str, Any] = {
            name: None if value == 0 else value
            for name in ("requests_per_minute", "tokens_per_minute")
            if (value := getattr(request, name)) is not None
        }
        if not rates and request.max_concurrent is None:
            raise InvalidInputError("set", "nothing is given; give max_concurrent or a rate")
        attrs.evolve(RateLimits(), **rates)  # validates them
        limiters = self._run.runtime.rate_limiters
        known = ", ".join(url.partition("?")[0] for url in limiters) or "none yet"
        if request.endpoint is not None:
            limiters = {url: one for url, one in limiters.items() if url.startswith(request.endpoint)}
        if rates and not limiters:
            raise InvalidInputError("endpoint", f"no such model server is in use; in use: {known}")
        if request.max_concurrent is not None:
            self._run.runner.max_concurrent = request.max_concurrent
        if rates:
            for limiter in limiters.values():
                limiter.change(attrs.evolve(limiter.limits, **rates))


MAX_RUNNING = 1000
"""Ids of running jobs in an answer."""


def _job(request: ControlRequest) -> str:
    if not request.job:
        raise InvalidInputError("job", "is not given; name the id of a job")
    return request.job


async def serve_control(
    control: Control, run_dir: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Take commands until cancelled. Without a socket the run continues without commands; the log says so."""
    try:
        place = await trio.to_thread.run_sync(open_socket, run_dir)
    except OSError as error:
        _log.warning("%s: no commands can be taken while it runs (%s)", run_dir, error)
        task_status.started()
        return
    try:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(place.socket))
        places = trio.CapacityLimiter(MAX_CONNECTIONS)
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(trio.serve_listeners, partial(_serve_one, control, places), [listener], handler_nursery=nursery)
            )
            task_status.started()
            await trio.sleep_forever()
    finally:
        place.socket.close()
        with trio.CancelScope(shield=True):  # bounded: two local files
            await trio.to_thread.run_sync(place.remove)


async def _serve_one(control: Control, places: trio.CapacityLimiter, stream: trio.SocketStream) -> None:
    try:
        places.acquire_on_behalf_of_nowait(stream)
    except trio.WouldBlock:
        await trio.aclose_forcefully(stream)
        return
    try:
        async with stream:
            if not is_own_peer(stream.socket):
                return
            with trio.move_on_after(REQUEST_SECONDS):
                line = await _read_line(stream)
                if line is not None:
                    await stream.send_all(json.dumps(_answered(control, line)).encode() + b"\n")
    except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):  # the client has disconnected
        pass
    finally:
        places.release_on_behalf_of(stream)


def _answered(control: Control, line: bytes) -> dict[str, Any]:
    try:
        request = read_value(strict_converter(), json.loads(line), ControlRequest, "request")
        return control.answer(request)
    except (TrioAgentError, ValueError, RecursionError) as error:
        return {"error": str(error)}


async def _read_line(stream: trio.SocketStream) -> bytes | None:
    """One line without its end; None if the peer disconnects before, or sends too much."""
    data = bytearray()
    while b"\n" not in data:
        part = await stream.receive_some(MAX_LINE)
        if not part or len(data) > MAX_LINE:
            return None
        data += part
    return bytes(data.partition(b"\n")[0])


@attrs.frozen
class ControlSocket:
    """A listening socket, and the files that lead to it."""

    socket: socket.socket
    files: tuple[Path, ...]

    def remove(self) -> None:
        for file in self.files:
            with suppress(OSError):
                file.unlink(missing_ok=True)


def _on_network(folder: Path) -> bool:
    from ..memory import on_network  # imports ctypes

    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return on_network(fd)
    finally:
        os.close(fd)


def open_socket(run_dir: Path, is_on_network: Callable[[Path], bool] = _on_network) -> ControlSocket:
    """Listen in *run_dir*, or in the runtime folder. Synchronous; the caller holds the run lock.

    Args:
        is_on_network: whether a folder is on a network file system, where other machines could not connect.
    """
    for left in (_pointed_at(run_dir), run_dir / SOCKET, run_dir / POINTER):  # by a run that was killed
        with suppress(OSError):
            if left is not None:
                left.unlink(missing_ok=True)
    path = run_dir / SOCKET
    if len(os.fsencode(path)) <= MAX_PATH_BYTES and not is_on_network(run_dir):
        try:
            return ControlSocket(_listening(path), (path,))
        except OSError as error:
            if error.errno not in _NO_SOCKETS:
                raise
    elsewhere = _runtime_folder() / f"run-{os.getpid()}-{os.urandom(4).hex()}.sock"
    found = _listening(elsewhere)
    pointer = run_dir / POINTER
    try:
        pointer.write_text(f"{elsewhere}\n")
    except BaseException:
        ControlSocket(found, (elsewhere,)).remove()
        found.close()
        raise
    return ControlSocket(found, (elsewhere, pointer))


def _listening(path: Path) -> socket.socket:
    """A socket at *path* that only this user may ever connect to: its mode is set before it listens."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(os.fspath(path))
        try:
            path.chmod(0o600)
            made.listen(MAX_CONNECTIONS)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    except BaseException:
        made.close()
        raise
    return made


def _runtime_folder() -> Path:
    """A folder of this user alone, for sockets."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if base and os.path.isabs(base) and os.path.isdir(base) and len(os.fsencode(base)) < MAX_PATH_BYTES // 2:
        folder = Path(base) / "trioagent"
    else:
        folder = Path("/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()) / f"trioagent-{os.geteuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    state = folder.lstat()
    if state.st_uid != os.geteuid() or state.st_mode & 0o077 or not folder.is_dir() or folder.is_symlink():
        raise OSError(errno.EACCES, "belongs to somebody else, or others may use it; remove it", str(folder))
    return folder


def _pointed_at(run_dir: Path) -> Path | None:
    """The socket that the pointer names, which may be in a shared folder: followed only to a socket of this user."""
    with suppress(OSError, ValueError):
        elsewhere = Path((run_dir / POINTER).read_text().strip())
        if elsewhere.is_socket() and elsewhere.lstat().st_uid == os.geteuid():
            return elsewhere
    return None


def _socket_path(run_dir: Path) -> Path:
    """The path of the socket of the run in *run_dir*.

    Raises:
        RunNotReachedError: there is none.
    """
    path = run_dir / SOCKET
    if path.is_socket():
        return path
    if (elsewhere := _pointed_at(run_dir)) is not None:
        return elsewhere
    if not run_dir.is_dir():
        raise RunNotReachedError(str(run_dir), "there is no such run directory")
    if is_running(run_dir):
        raise RunNotReachedError(str(run_dir), "the run takes no commands (see its log); stop it by a signal")
    raise RunNotReachedError(str(run_dir), "no run is active there; the command that began it resumes it")


def takes_commands(run_dir: Path) -> bool:
    """Whether a run that takes commands is active there; a killed one may have left its socket. Synchronous."""
    return is_running(run_dir) and any((run_dir / name).exists() for name in (SOCKET, POINTER))


async def send_control(run_dir: Path, request: ControlRequest) -> Mapping[str, Any]:
    """Send a command to the run in *run_dir*; returns the run's state then.

    Raises:
        RunNotReachedError: no run that takes commands is active there.
        InvalidInputError: the run cannot do it; nothing was changed.
    """
    body = json.dumps(attrs.asdict(request, filter=lambda _, value: value is not None)).encode() + b"\n"
    path = await trio.to_thread.run_sync(_socket_path, run_dir)
    try:
        async with await _connect(path) as stream:
            if os.geteuid() and not is_own_peer(stream.socket):  # root may control everybody's runs
                raise RunNotReachedError(str(run_dir), "somebody else listens at its socket; nothing was asked")
            await stream.send_all(body)
            answer = await _read_answer(stream)
        said = json.loads(answer)
        if not isinstance(said, dict):
            raise ValueError("its answer is not an object")
    except (OSError, trio.BrokenResourceError, ValueError) as error:
        raise RunNotReachedError(str(run_dir), f"the run has just ended, or is busy ({error}); try again") from error
    if "error" in said:
        raise InvalidInputError("the run", f"refuses: {said['error']}")
    return said


async def _read_answer(stream: trio.SocketStream) -> bytearray:
    """The run's whole answer, until it hangs up; bounded, since another program may have created the socket."""
    answer = bytearray()
    with trio.move_on_after(REQUEST_SECONDS):
        async for part in stream:
            answer += part
            if len(answer) > MAX_ANSWER:
                raise ValueError(f"it answers more than {MAX_ANSWER:,} bytes")
        return answer
    raise ValueError(f"it does not answer within {REQUEST_SECONDS:g} s")


async def _connect(path: Path) -> trio.SocketStream:
    """Connect to a path of any length."""
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        return await trio.open_unix_socket(path)
    raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path))
