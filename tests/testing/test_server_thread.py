"""The model server for programs without Trio: it runs in a thread that ends with the block."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import httpx
import pytest

from trioagent.testing import Fault, ModelRequest, model_server

pytestmark = pytest.mark.real

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def post(base_url: str) -> httpx.Response:
    return httpx.post(f"{base_url}/chat/completions", json=BODY, trust_env=False, timeout=5)


def server_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "trioagent model server"]


def test_a_synchronous_client_is_served_until_the_block_ends() -> None:
    with model_server(["one", Fault.status(429)]) as server:
        assert server_threads()
        assert post(server.base_url).json()["choices"][0]["message"]["content"] == "one"
        assert post(server.base_url).status_code == 429
        assert [request.messages for request in server.requests] == [BODY["messages"]] * 2
        base_url = server.base_url
    assert server_threads() == []
    with pytest.raises(httpx.ConnectError):
        post(base_url)


def test_an_open_connection_does_not_keep_the_block_from_ending() -> None:
    with model_server([Fault.hang()]) as server:
        client = socket.create_connection(("127.0.0.1", httpx.URL(server.base_url).port or 0))
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
    with client:
        client.settimeout(5)
        with suppress(ConnectionResetError):  # if the request had not been read
            assert client.recv(1) == b""
    assert server_threads() == []


def test_an_error_in_the_block_comes_out_and_the_thread_has_ended() -> None:
    with pytest.raises(ZeroDivisionError), model_server(["one"]):
        _ = 1 / 0
    assert server_threads() == []


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(OSError, match="in use"):
            with model_server(["one"], port=taken.getsockname()[1]):
                pass
    assert server_threads() == []


def test_an_error_of_a_handler_comes_out_when_the_block_ends() -> None:
    def broken(request: ModelRequest) -> str:
        raise LookupError("no answer")

    def use() -> None:
        with model_server(broken) as server:
            with pytest.raises(httpx.HTTPError):
                post(server.base_url)

    with pytest.raises(LookupError, match="no answer"):
        use()
    assert server_threads() == []
