"""A keeper's life: start the worker, confine itself, then serve one block after another over its socket.

Each block has a view, tools and a session of its own, and a thread of its own: Landlock binds a thread, so that each
block's tools read below its memory only.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import threading
from contextlib import ExitStack
from typing import Any

import pydantic_monty as monty

from ..channel import Channel
from .block import Block, session_of
from .changes import collect
from .view import View

DESCRIPTORS = 256
LINUX = sys.platform == "linux"


def live(channel: socket.socket, settings: dict[str, Any]) -> None:
    """From the fork to the end of the process."""
    talk = Channel(channel.fileno())
    step = "process"
    try:
        os.setsid()
        warden: int = settings["warden"]
        if LINUX:
            from ..syscalls import PR_SET_PDEATHSIG, prctl

            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != warden:
            os._exit(0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        binary: str = settings["binary"]
        step = "landlock"
        if LINUX:
            from . import walls
            from . import worker as launch

            binary = f"/proc/self/fd/{launch.program(settings | {'parent': os.getpid()})}"
            walls.settle(capabilities=walls.DAC_READ_SEARCH)
            if settings["landlock"]:
                walls.keep_from_writing(settings["landlock"])
        step = "worker"
        pool, worker = _start_worker(binary)
        step = "seccomp"
        if settings["seccomp"]:
            from . import filters

            filters.apply(worker=False)
    except BaseException as error:  # noqa: BLE001  # no block has run yet: tell the host and end
        talk.write({"ok": False, "step": step, "detail": f"{type(error).__name__}: {error}"})
        return
    talk.write({"ok": True, "worker": worker})
    Keeper(channel, pool, settings).serve()


def _start_worker(binary: str) -> tuple[monty.Monty, int | None]:
    """Start Monty's pool of one worker, and see that it answers. The worker is started by this very thread."""
    pool = monty.Monty(binary_path=binary, min_processes=1, max_processes=1).__enter__()
    with pool.checkout() as session:
        worker = session.worker_pid
        if session.feed_run("6 * 7") != 42:
            raise RuntimeError("the worker does not calculate")
    return pool, worker


class Keeper:
    def __init__(self, channel: socket.socket, pool: monty.Monty, settings: dict[str, Any]) -> None:
        self._channel, self._pool, self._settings = channel, pool, settings
        self._talk = Channel(channel.fileno())

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
            alive = bool(done) and done[0]

    def _serve_one(self, root: int | None) -> bool:
        """Run one block and answer; returns whether this pair can go on to another."""
        if self._settings["landlock"]:
            from . import walls

            walls.read_below(self._settings["landlock"], root)
        with ExitStack() as held:
            if root is not None:
                held.callback(os.close, root)
            try:
                with session_of(self._pool, self._settings) as session:
                    self._write(b"R")
                    return self._answer(session, root, held)
            except monty.MontyError:
                return False  # the worker died, while it was idle or after the block

    def _answer(self, session: monty.MontySession, root: int | None, held: ExitStack) -> bool:
        limits = self._settings
        request: dict[str, Any] = self._talk.read()
        view = View(
            root,
            file_bytes=limits["file_bytes"],
            view_bytes=limits["view_bytes"],
            view_files=limits["view_files"],
        )
        reply, alive = Block(view, self._talk, request["tools"], limits).run(session, request["code"])
        index: dict[str, Any] = {}
        contents: list[bytes] = []
        if root is not None and not reply["error"]:
            try:
                index, contents = collect(view)
            except OSError as error:
                reply["error"] = f"OSError: the memory could not be read: {error}"
        held.close()  # before the host goes on: nothing of the memory stays with us
        body = self._talk.encode(reply)
        if len(body) > limits["reply_bytes"]:
            reply.update(locals={}, printed="", reads=[])
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
