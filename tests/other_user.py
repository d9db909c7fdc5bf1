"""Another user of this machine, who talks to a Unix socket."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


def need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("not root: nobody else can be acted")


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: nothing but system calls follows
        return os.fork()


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def ask_as_nobody(path: Path, request: bytes) -> bytes:
    """What a process of the user nobody is answered at *path*. Synchronous."""
    reading, writing = os.pipe()
    pid = _fork()
    if pid == 0:
        try:
            _become_nobody()
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(10)
                client.connect(os.fspath(path))
                client.sendall(request)
                while part := client.recv(65536):
                    os.write(writing, part)
        except OSError as error:
            os.write(writing, f"[{type(error).__name__}]".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said


@contextmanager
def listening_as_nobody(path: Path, answer: bytes) -> Iterator[None]:
    """A process of the user nobody listens at *path*, in a folder that it may write to, and answers everybody."""
    ready, told = os.pipe()
    pid = _fork()
    if pid == 0:
        try:
            _become_nobody()
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(os.fspath(path))
                os.chmod(path, 0o666)
                server.listen()
                os.write(told, b"x")
                while True:
                    client, _ = server.accept()
                    with client:
                        client.recv(65536)
                        client.sendall(answer)
        finally:
            os._exit(0)
    os.close(told)
    try:
        assert os.read(ready, 1) == b"x"
        yield
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(ready)
