"""A server that speaks HTTP/2 over TLS and nothing else: each request gets the same streamed answer."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import trio

LOOPBACK = Path(__file__).parent / "tls" / "loopback.pem"
HEADERS = [(":status", "200"), ("content-type", "text/event-stream")]


class Http2Server:
    """Serves until cancelled.

    Attributes:
        base_url: what to give to ``ModelConfig``.
        streams: how many requests each connection had.
    """

    def __init__(self, text: str) -> None:
        deltas = [{"choices": [{"delta": {"content": char}}]} for char in text]
        events = [*map(json.dumps, deltas), "[DONE]"]
        self._body = [f"data: {event}\n\n".encode() for event in events]
        self.base_url = ""
        self.streams: list[int] = []

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(LOOPBACK)
        context.set_alpn_protocols(["h2"])
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_ssl_over_tcp, self._handle, 0, context)
            port = listeners[0].transport_listener.socket.getsockname()[1]
            self.base_url = f"https://127.0.0.1:{port}/v1"
            task_status.started()

    async def _handle(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        number = len(self.streams)
        self.streams.append(0)
        http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        http.initiate_connection()
        try:
            await stream.send_all(http.data_to_send())
            while data := await stream.receive_some():
                for event in http.receive_data(data):
                    if isinstance(event, h2.events.StreamEnded):
                        self.streams[number] += 1
                        http.send_headers(event.stream_id, HEADERS)
                        for part in self._body:
                            http.send_data(event.stream_id, part)
                        http.end_stream(event.stream_id)
                await stream.send_all(http.data_to_send())
        except trio.BrokenResourceError:
            pass  # the client has gone
