"""Ask servers that send a gigabyte each; print by how many bytes this process's peak grew: its own job, so no more."""

from __future__ import annotations

import json
import resource
import sys

import trio

from trioagent._config import ModelConfig, RetryPolicy
from trioagent._errors import ModelError
from trioagent._messages import ChatMessage
from trioagent.models import open_model

GIGABYTE = 2**30
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % GIGABYTE
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SERVERS = {
    "one body": (JSON, b" " * 65536),
    "one line": (SSE, b"x" * 65536),
    "events": (SSE, b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % (b"word " * 1000) * 10),
    "small chunks": (CHUNKED, (b"3e8\r\n:" + b"c" * 998 + b"\n\r\n") * 60),
    "an error's body": (JSON.replace(b"200", b"500"), b"x" * 65536),
}


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def main() -> None:
    growth = {}
    for name, (head, piece) in SERVERS.items():

        async def serve(stream: trio.SocketStream, head: bytes = head, piece: bytes = piece) -> None:
            try:
                await stream.receive_some(65536)
                await stream.send_all(head)
                for _ in range(GIGABYTE // len(piece)):
                    await stream.send_all(piece)
            except trio.BrokenResourceError:
                pass

        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            await nursery.start(trio.serve_listeners, serve, [listener])
            url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/v1"
            config = ModelConfig(base_url=url, model="any", retry=RetryPolicy(attempts=1))
            low = peak()
            async with open_model(config) as model:
                try:
                    async with model.answer([ChatMessage("user", "hello")]) as parts:
                        async for _ in parts:
                            pass
                except ModelError:
                    growth[name] = peak() - low
            nursery.cancel_scope.cancel()
    json.dump(growth, sys.stdout)


if __name__ == "__main__":
    trio.run(main)
