"""Who may ask: the token, the Host and Origin headers, names, and the shape of errors."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import httpx
import pytest
import trio

from trioagent.server import ServerConfig

from ..other_user import ask_as_nobody, need_root
from .serving import make_memories, serving

pytestmark = pytest.mark.real


async def test_who_has_the_token_is_served(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {"user.md": "# Ada"}, "bo": {}})
    async with serving(tmp_path) as served:
        answer = await served.client.get("/api/memories")
    assert (answer.status_code, answer.json()) == (200, {"memories": ["ada", "bo"]})


@pytest.mark.parametrize(
    ("authorization", "kind"),
    [(None, "no_token"), ("Bearer wrong", "wrong_token"), ("Basic YTpi", "no_token"), ("Bearer", "wrong_token")],
)
async def test_nobody_else_is_served(tmp_path: Path, authorization: str | None, kind: str) -> None:
    async with serving(tmp_path) as served, httpx.AsyncClient(base_url=served.server.url) as stranger:
        headers = {} if authorization is None else {"Authorization": authorization}
        answer = await stranger.get("/api/memories", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["error"]["type"] == kind
    assert answer.json()["error"]["advice"]


async def test_the_token_is_in_no_repr() -> None:
    assert "abcdefghijklmnopqrstuvwxyz" not in repr(ServerConfig(token="abcdefghijklmnopqrstuvwxyz"))


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1.evil.example:80", ""])
async def test_a_name_that_was_made_to_resolve_here_is_refused(tmp_path: Path, host: str) -> None:
    async with serving(tmp_path) as served:
        answer = await served.client.get("/healthz", headers={"Host": host})
    assert (answer.status_code, answer.json()["error"]["type"]) == (421, "wrong_host")


async def test_names_of_a_proxy_are_allowed_by_the_settings(tmp_path: Path) -> None:
    async with serving(tmp_path, allowed_hosts=["notes.example.org"]) as served:
        answer = await served.client.get("/healthz", headers={"Host": "Notes.example.org"})
    assert answer.status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1", "http://localhost:1"])
async def test_pages_of_others_are_refused(tmp_path: Path, origin: str) -> None:
    async with serving(tmp_path) as served:
        answer = await served.client.get("/api/memories", headers={"Origin": origin})
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "wrong_origin")
    assert "access-control-allow-origin" not in answer.headers


async def test_pages_that_are_allowed_can_read_the_answers(tmp_path: Path) -> None:
    origin = "https://chat.example.org"
    async with serving(tmp_path, allowed_origins=[origin]) as served:
        asked = await served.client.options("/api/memories", headers={"Origin": origin, "Authorization": ""})
        answer = await served.client.get("/api/memories", headers={"Origin": origin})
        own = await served.client.get("/api/memories", headers={"Origin": served.server.url})
    assert (asked.status_code, answer.status_code, own.status_code) == (204, 200, 200)
    assert asked.headers["access-control-allow-origin"] == answer.headers["access-control-allow-origin"] == origin
    allowed = asked.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "if-match", "mcp-session-id", "mcp-protocol-version", "traceparent"} <= set(allowed)
    assert answer.headers["access-control-expose-headers"] == "etag, mcp-session-id"
    assert "access-control-allow-origin" not in own.headers


async def test_answers_say_that_nothing_else_may_be_loaded(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        headers = (await served.client.get("/healthz")).headers
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/nothing", "/v1/nothing", "/nothing//", "/%2e%2e/etc/passwd", "/api/memories/"]
)
async def test_what_is_not_there_is_reported_in_the_one_shape(tmp_path: Path, path: str) -> None:
    async with serving(tmp_path) as served:
        answer = await served.client.get(path)
        wrong = await served.client.delete("/api/memories")
    assert (answer.status_code, wrong.status_code) == (404, 405)
    assert answer.json()["error"].get("type" if not path.startswith("/v1") else "code") == "not_found"
    assert wrong.json()["error"]["type"] == "method_not_allowed"


async def test_a_unix_socket_is_for_its_owner_and_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with serving(tmp_path / "root", unix_socket=path) as served:
        assert path.stat().st_mode & 0o777 == 0o600
        answer = await served.client.get("/api/memories", headers={"Authorization": ""})
        assert answer.status_code == 200
    assert not path.exists()


async def test_another_user_gets_nothing_from_a_unix_socket_whose_mode_is_lost(tmp_path: Path) -> None:
    """As in a folder that is shared with a virtual machine, where modes are what the other side makes of them."""
    need_root()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "socket"
        async with serving(tmp_path / "root", unix_socket=path) as served:
            path.chmod(0o666)
            request = b"GET /api/memories HTTP/1.1\r\nHost: localhost\r\n\r\n"
            said = await trio.to_thread.run_sync(ask_as_nobody, path, request)
            assert said in (b"", b"[ConnectionResetError]", b"[BrokenPipeError]")
            assert (await served.client.get("/api/memories")).status_code == 200


async def test_stopping_lets_what_goes_on_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert (await served.client.get("/readyz")).status_code == 200
        served.server.stop()
        with trio.fail_after(5):
            while served.server.connections:
                await trio.sleep(0.01)
        with pytest.raises(httpx.ConnectError):
            await served.client.get("/healthz")
