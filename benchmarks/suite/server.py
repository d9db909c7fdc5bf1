"""A model server that costs next to nothing: one thread, epoll, answers made once.

A path says what is answered and after how long: ``/STYLE/SECONDS/v1/chat/completions`` (see :mod:`.wire`); which answer
of the style it is depends on how many the request holds already. ``GET /stats`` gives the server's counts, and ``GET
/trace`` when requests came in and answers went out since the last such (CLOCK_MONOTONIC, the same in all processes).
"""

from __future__ import annotations

import heapq
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .episode import DIGITS, TAG
from .processes import raise_descriptor_limit
from .wire import Answer, Plan, json_response, plan

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream": ?true')
_TAG = TAG.encode()
_READ, _WRITE = select.EPOLLIN | select.EPOLLRDHUP, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP
_IDLE_SECONDS = 60.0


class Connection:
    """One client's connection, and the answer that it is getting."""

    __slots__ = ("answer", "buffer", "head", "next", "row", "sock", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        self.head: tuple[int, int, Plan | None, bytes] | None = None  # of a request whose body is not all here yet
        self.answer: Answer | None = None
        self.next = 0  # the answer's next piece
        self.row: list[float] | None = None  # of the trace
        self.unsent = b""


class Server:
    """Serves on 127.0.0.1 until its process is killed. A connection has one request at a time."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._plans: dict[bytes, Plan | None] = {}
        self._due: list[tuple[float, int, Connection]] = []
        self._order = 0  # decides between answers due at one instant
        self._trace: list[list[float]] = []  # agent, turn, came in, went out (or 0, if it has not)
        self._served = self._finished = self._cut = self._tokens = self._accepted = self._most_open = 0

    def run(self) -> None:
        """Serve; returns never."""
        self._poll.register(self._listener, select.EPOLLIN)
        ours = self._listener.fileno()
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else _IDLE_SECONDS
            for fd, events in self._poll.poll(wait, 1024):
                if fd == ours:
                    self._accept()
                    continue
                connection = self._connections[fd]
                if events & select.EPOLLOUT:
                    self._flush(connection)
                if events & ~select.EPOLLOUT and fd in self._connections:
                    self._receive(connection)
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                self._send_piece(heapq.heappop(self._due)[2])

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections[sock.fileno()] = Connection(sock)
                self._poll.register(sock, _READ)
                self._accepted += 1
                self._most_open = max(self._most_open, len(self._connections))

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(262_144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.buffer += data
        if connection.answer is None:
            self._take_request(connection)

    def _take_request(self, connection: Connection) -> None:
        """Begin to answer the request in the buffer, if it is there whole."""
        data = connection.buffer
        if connection.head is None:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                return
            _, target, _ = data[: data.index(b"\r\n")].split(b" ", 2)
            length = _LENGTH.search(data, 0, end)
            if target not in self._plans:
                self._plans[target] = plan(target)
            connection.head = (end + 4, end + 4 + int(length[1] if length else 0), self._plans[target], target)
        start, end, chosen, target = connection.head
        if len(data) < end:
            return
        connection.buffer, connection.head = data[end:], None
        now = time.monotonic()
        if chosen is None:
            connection.answer, connection.row = Answer([self._control(target)], 0.0), None
        else:
            self._served += 1
            # Quotes inside JSON strings are escaped, so that this is only found as a role.
            turn = data.count(b'"assistant"', start, end)
            found = chosen.streamed if _STREAM.search(data, start, end) else chosen.whole
            connection.answer, connection.row = found[turn % len(found)], [_agent(data, start, end), turn, now, 0.0]
            self._trace.append(connection.row)
        connection.next = 0
        if connection.answer.delay:
            self._schedule(connection, now + connection.answer.delay)
        else:
            self._send_piece(connection)

    def _schedule(self, connection: Connection, due: float) -> None:
        self._order += 1
        heapq.heappush(self._due, (due, self._order, connection))

    def _send_piece(self, connection: Connection) -> None:
        answer = connection.answer
        if answer is None:  # the client left before it was due
            return
        piece = answer.pieces[connection.next]
        connection.next += 1
        self._tokens += answer.tokens
        if connection.unsent:
            connection.unsent += piece
        else:
            try:
                sent = connection.sock.send(piece)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._close(connection)
                return
            if sent < len(piece):
                connection.unsent = piece[sent:]
                self._poll.modify(connection.sock, _WRITE)
        if connection.next < len(answer.pieces):
            self._schedule(connection, time.monotonic() + answer.pace)
            return
        connection.answer = None
        if connection.row is not None:
            connection.row[3] = time.monotonic()
            self._finished += 1
        if connection.buffer:
            self._take_request(connection)

    def _flush(self, connection: Connection) -> None:
        try:
            connection.unsent = connection.unsent[connection.sock.send(connection.unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._close(connection)
            return
        if not connection.unsent:
            self._poll.modify(connection.sock, _READ)

    def _close(self, connection: Connection) -> None:
        if connection.answer is not None or connection.unsent:
            self._cut += 1
        connection.answer = None
        del self._connections[connection.sock.fileno()]
        connection.sock.close()

    def _control(self, target: bytes) -> bytes:
        if target == b"/trace":
            rows, self._trace = self._trace, []
            return json_response(rows)
        if target != b"/stats":
            return json_response({"error": {"message": f"nothing is served at {target.decode()}"}}, "404 Not Found")
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return json_response(
            {
                "requests": self._served,
                "answers_finished": self._finished,
                "answers_cut_by_client": self._cut,
                "tokens_sent": self._tokens,
                "connections_accepted": self._accepted,
                "connections_open": len(self._connections),
                "connections_open_most": self._most_open,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
            }
        )


def _agent(data: bytes, start: int, end: int) -> int:
    """The number of the agent that sent this, or -1 for one that does not say."""
    found = data.find(_TAG, start, end)
    number = data[found + len(_TAG) : found + len(_TAG) + DIGITS]
    return int(number) if found >= 0 and number.isdigit() else -1


def main() -> None:
    """Say the port on standard output, then serve."""
    raise_descriptor_limit()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the suite that started us ends us
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(65_535)
        listener.setblocking(False)
        print(listener.getsockname()[1], flush=True)
        Server(listener).run()


ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """The environment of the suite's processes: this checkout can be imported, and no proxy is in the way."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {**kept, "PYTHONPATH": str(ROOT)}


@contextmanager
def running_server() -> Iterator[str]:
    """The address of a server in a process of its own, as ``http://127.0.0.1:PORT``."""
    command = [sys.executable, "-m", "benchmarks.suite.server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(), cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


if __name__ == "__main__":
    main()
