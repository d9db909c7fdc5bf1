"""How fast the model server is: ``python -m benchmarks load [CONNECTIONS [SECONDS]]``, one request at a time each."""

from __future__ import annotations

import json
import select
import socket
import sys
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from .episode import message
from .processes import raise_descriptor_limit
from .server import running_server

PROMPT = "You keep notes. " * 250  # 4,000 characters, as a real prompt has


def get_json(url: str) -> Any:
    """What ``GET`` of one of the server's own pages says."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=60) as response:
        return json.load(response)


def request_bytes(server: str, style: str, latency: float, *, stream: bool) -> bytes:
    """A first request of an agent."""
    messages = [{"role": "system", "content": PROMPT}, {"role": "user", "content": message(0)}]
    body = json.dumps({"model": "loopback", "messages": messages, "stream": stream}).encode()
    head = f"POST /{style}/{latency}/v1/chat/completions HTTP/1.1\r\nHost: {urlsplit(server).netloc}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def load(server: str, connections: int, seconds: float, *, stream: bool) -> dict[str, float]:
    """Requests a second that *connections* get together at no latency, and the server's CPU for one in microseconds."""
    raise_descriptor_limit()
    request, end = request_bytes(server, "tags", 0.0, stream=stream), b"0\r\n\r\n" if stream else b"}}"
    address, poll = (urlsplit(server).hostname, urlsplit(server).port), select.epoll()
    sockets = {}
    for _ in range(connections):
        sock = socket.create_connection(address)
        sockets[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
    before, count = get_json(server + "/stats"), 0
    began = time.perf_counter()
    for sock in sockets.values():
        sock.sendall(request)
    while time.perf_counter() - began < seconds:
        for fd, _ in poll.poll(1.0, 1024):
            sock = sockets[fd]
            if sock.recv(65_536).endswith(end):
                count += 1
                sock.sendall(request)
    wall = time.perf_counter() - began
    after = get_json(server + "/stats")
    for sock in sockets.values():
        sock.close()
    poll.close()
    cpu = (after["cpu_seconds"] - before["cpu_seconds"]) / (after["requests"] - before["requests"])
    return {"requests_per_second": count / wall, "server_cpu_us": cpu * 1e6}


def main(arguments: list[str]) -> None:
    """Print both figures for JSON answers and for event streams."""
    connections = int(arguments[0]) if arguments else 1000
    seconds = float(arguments[1]) if len(arguments) > 1 else 3.0
    with running_server() as server:
        for stream in (False, True):
            found = load(server, connections, seconds, stream=stream)
            rate, cpu = found["requests_per_second"], found["server_cpu_us"]
            kind = "event stream" if stream else "JSON"
            print(f"{kind:<12} {connections:>5} connections: {rate:>7.0f} requests/s, server's CPU {cpu:.0f} us each")
        print(get_json(server + "/stats"))


if __name__ == "__main__":
    main(sys.argv[1:])
