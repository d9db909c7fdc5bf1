"""A tool server: starts the worker, confines itself, then serves one block after another over its socket.

Each block has its own view, tools, session and thread: Landlock applies per thread, so each block's tools can read
only below its memory.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pydantic_monty as monty

from ....tools import Access, AccessRules, SeenLog, make_tools
from .. import values
from ..confine import set_limit
from ..limits import TOOL_SERVER_BYTES, TOOL_SERVER_CPU_SECONDS, TOOL_SERVER_FILES
from ..wire import Channel
from . import files
from .adapt import adapted
from .block import OFFERED, Block, session_of
from .view import View, collect

if TYPE_CHECKING:
    from ..seccomp import Filter

# What Monty's client imports when a value or an exception of such a type first passes through it.
CLIENT = """
binascii collections.abc contextvars csv dataclasses datetime decimal enum inspect io json pathlib re tomllib types uuid
zoneinfo
""".split()
BLOCK = """
if not check_if_file_exists("a.md") and read_file("b.md"):
    x = [y for y in list_files() if y] or None
"""


def warm_up() -> None:
    """Call each tool on an empty view, and run the other parts of a block that need no worker."""
    for name in CLIENT:
        importlib.import_module(name)
    view = View(None, file_bytes=1 << 20, view_bytes=1 << 20, view_files=100)
    tools = make_tools(view)
    for name, arguments in (
        ("create_file", ("entities/ada.md", "---\ntags: [a]\n---\n# Ada\n- sister: [[grace#Past|her]] ^block\n")),
        ("create_file", ("grace.md", "# Grace\n## Past\nwords, words\n- [[entities/ada]]\n")),
        ("update_file", ("grace.md", "words,", "more words,")),
        ("update_file", ("grace.md", "absent words here", "x")),
        ("write_to_file", ("grace.md", "@@ -1,2 +1,2 @@\n # Grace\n-## Past\n+## Then\n")),
        ("write_to_file", ("grace.md", "no diff")),
        ("read_file", ("grace",)),
        ("read_file", ("missing",)),
        ("check_if_file_exists", ("grace",)),
        ("check_if_dir_exists", ("entities",)),
        ("create_dir", ("places/far",)),
        ("list_files", ()),
        ("get_size", ()),
        ("go_to_link", ("[[ada]]",)),
        ("go_to_link", ("[[adda]]",)),
        ("search", ("more words",)),
        ("backlinks", ("entities/ada",)),
        ("delete_file", ("grace.md",)),
    ):
        tools[name](*arguments)
    calls = files.Files(view, SeenLog())
    calls(name="Path.read_text", args=("/entities/ada.md",), kwargs={})
    calls(name="Path.scan", args=("/",), kwargs={})
    collect(view)
    adapted(BLOCK)
    try:
        compile("x = (", values.BLOCK, "exec")
    except SyntaxError as error:
        values.error_text(error, "x = (")
        traceback.format_exception_only(error)


def load_package(name: str, folder: str) -> None:
    """Import an offered package with all of its modules: a tool server cannot open them later."""
    place = os.path.join(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location(name, place, submodule_search_locations=[folder])
    assert spec is not None and spec.loader is not None
    sys.modules[name] = OFFERED[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for file in sorted(os.listdir(folder)):
        if file.endswith(".py") and file != "__init__.py":
            importlib.import_module(f"{name}.{file[:-3]}")


LINUX = sys.platform == "linux"


def live(channel: socket.socket, settings: dict[str, Any]) -> None:
    """The life of the process, from the fork to its exit."""
    talk = Channel(channel.fileno())
    step = "process"
    try:
        os.setsid()
        supervisor: int = settings["supervisor"]
        if LINUX:
            from ..syscalls import PR_SET_PDEATHSIG, prctl

            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(0)
        set_limit(resource.RLIMIT_NOFILE, TOOL_SERVER_FILES)
        binary: str = settings["binary"]
        step = "landlock"
        if LINUX:
            from . import confine
            from . import worker as launch

            binary = f"/proc/self/fd/{launch.program(settings | {'parent': os.getpid()})}"
            confine.drop_privileges(capabilities=confine.DAC_READ_SEARCH)
            if settings["landlock"]:
                confine.keep_from_writing(settings["landlock"])
        step = "worker"
        pool, worker = _start_worker(binary)
        step = "limits"
        _limit(settings)
        step = "seccomp"
        if settings["seccomp"]:
            from . import confine

            confine.apply(worker=False)
    except BaseException as error:  # noqa: BLE001  # no block has run yet: tell the host and end
        talk.write({"ok": False, "step": step, "detail": f"{type(error).__name__}: {error}"})
        return
    talk.write({"ok": True, "worker": worker})
    ToolServer(channel, pool, settings).serve()


def _limit(settings: dict[str, Any]) -> None:
    """A block's limits for the work of its tools: beyond them the kernel kills this process, or memory runs out."""
    # Not of mapped memory, most of which the allocator of each thread only reserves, but of writable data.
    if LINUX:
        with open("/proc/self/status") as status:
            used = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
        set_limit(resource.RLIMIT_DATA, used + settings["memory_bytes"] + TOOL_SERVER_BYTES)
        from . import worker as launch

        launch.limit_processes()
    used_seconds = int(time.process_time()) + 1
    seconds = used_seconds + TOOL_SERVER_CPU_SECONDS + settings["cpu_seconds"]
    set_limit(resource.RLIMIT_CPU, seconds, seconds + 1)


def _start_worker(binary: str) -> tuple[monty.Monty, int | None]:
    """Start Monty's pool of one worker, and check that it answers. This very thread must start the worker."""
    pool = monty.Monty(binary_path=binary, min_processes=1, max_processes=1).__enter__()
    with pool.checkout() as session:
        worker = session.worker_pid
        if session.feed_run("6 * 7") != 42:
            raise RuntimeError("the worker does not calculate")
    return pool, worker


class ToolServer:
    def __init__(self, channel: socket.socket, pool: monty.Monty, settings: dict[str, Any]) -> None:
        self._channel, self._pool, self._settings = channel, pool, settings
        self._talk = Channel(channel.fileno())
        self._most_seconds = time.process_time() + TOOL_SERVER_CPU_SECONDS
        self._no_more_threads: Filter | None = None
        if settings["seccomp"]:
            from . import confine

            self._no_more_threads = confine.no_more_threads()

    def serve(self) -> None:
        alive = True
        while alive:
            message, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
            if not message:
                return  # the host has closed the sandbox, or is gone
            root = descriptors[0] if descriptors else None
            done: list[bool] = []
            thread = threading.Thread(target=lambda root=root, done=done: done.append(self._serve_one(root)))
            thread.start()
            thread.join()
            # The CPU limit is one for all of its blocks: each must find as much as it may use.
            alive = bool(done) and done[0] and time.process_time() < self._most_seconds

    def _serve_one(self, root: int | None) -> bool:
        """Run one block and answer; returns whether this pair can run another one."""
        if self._settings["landlock"]:
            from . import confine

            confine.read_below(self._settings["landlock"], root)
        with ExitStack() as held:
            if root is not None:
                held.callback(os.close, root)
            try:
                with session_of(self._pool, self._settings) as session:
                    if self._no_more_threads is not None:
                        self._no_more_threads.apply()
                    self._write(b"R")
                    return self._answer(session, root, held)
            except monty.MontyError:
                return False  # the worker died, while it was idle or after the block

    def _answer(self, session: monty.MontySession, root: int | None, held: ExitStack) -> bool:
        limits = self._settings
        request: dict[str, Any] = self._talk.read()
        access = Access()
        if "rules" in request:
            access.rules = AccessRules.from_data(request["rules"])
        view = View(
            root,
            access.rules,
            file_bytes=limits["file_bytes"],
            view_bytes=limits["view_bytes"],
            view_files=limits["view_files"],
        )
        reply, alive = Block(view, access, self._talk, request["tools"], limits).run(session, request["code"])
        index: dict[str, Any] = {}
        contents: list[bytes] = []
        if root is not None and not reply["error"]:
            try:
                index, contents = collect(view)
            except OSError as error:
                reply["error"] = f"OSError: the memory could not be read: {error}"
        held.close()  # before the host continues: we keep nothing of the memory
        body = self._talk.encode(reply)
        if len(body) > limits["reply_bytes"]:
            reply.update(locals={}, printed="", reads=[], complete=False)
            reply["error"] = reply["error"] or "the block's result is too large to send back"
            index, contents = {}, []
            body = self._talk.encode(reply)
        self._talk.write_encoded(body)
        self._talk.write_encoded(json.dumps({"alive": alive, "changes": index}).encode())
        for content in contents:
            self._write(content)
        return alive

    def _write(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._channel.fileno(), rest) :]
