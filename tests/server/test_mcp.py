"""The Model Context Protocol with the official client, over the standard streams of a real process."""

from __future__ import annotations

import signal
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated

from tests.cli.support import environment
from trioagent.testing import serve_model

pytestmark = pytest.mark.real

SECONDS = 60
"""Far above what anything here needs; a process of Python with the SDK takes seconds to start on a busy machine."""
GENERATIONS = ("auto", "legacy")  # without a handshake, and with one
NOTE_TOOLS = [
    "search_notes",
    "read_note",
    "list_notes",
    "backlinks",
    "write_note",
    "edit_note",
    "move_note",
    "delete_note",
]
STUCK = "<think>x</think>\n<python>\ncreate_file('user.md', 'torn')\nwhile True: pass\n</python>"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "places").mkdir(parents=True)
    (folder / "user.md").write_text("# Ana\n- city: [[paris]]\n")
    (folder / "places" / "paris.md").write_text("# Paris\n- country: France\n")
    return folder


@asynccontextmanager
async def connected(
    notes: Path, *arguments: str, mode: str = "auto", env: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[Client]:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "trioagent", "mcp", "--memory", str(notes), *arguments],
        env=environment(notes.parent, **(env or {})),
        cwd=notes.parent,
    )
    with trio.fail_after(SECONDS):
        async with Client(stdio_client(command), mode=mode, **options) as client:
            yield client


async def said(client: Client, tool: str, **arguments: Any) -> str:
    """The text of a tool's answer; that of an error begins with ``error:``."""
    answer = await client.call_tool(tool, arguments)
    text = "\n".join(part.text for part in answer.content if part.type == "text")
    return f"error: {text}" if answer.is_error else text


async def version(client: Client, path: str) -> str:
    answer = await client.call_tool("read_note", {"path": path})
    found: str = answer.structured_content["version"]
    return found


@pytest.mark.parametrize("mode", GENERATIONS)
async def test_notes_are_read(notes: Path, mode: str) -> None:
    async with connected(notes, mode=mode) as client:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == NOTE_TOOLS  # nobody chose a model
        assert all(tool.input_schema["additionalProperties"] is False for tool in tools)
        assert await said(client, "list_notes") == "places/paris.md\nuser.md"
        assert await said(client, "list_notes", folder="places") == "places/paris.md"
        assert await said(client, "search_notes", query="france") == "places/paris.md:2: - country: France"
        assert await said(client, "backlinks", path="paris") == "user.md"
        answer = await client.call_tool("read_note", {"path": "[[paris]]"})
        assert answer.structured_content["path"] == "places/paris.md"
        assert answer.structured_content["text"] == "# Paris\n- country: France\n"
        listed = (await client.list_resources()).resources
        assert [(one.uri, one.size, one.mime_type) for one in listed] == [
            ("note:///places/paris.md", 26, "text/markdown"),
            ("note:///user.md", 24, "text/markdown"),
        ]
        read = await client.read_resource("note:///places/paris.md")
        assert read.contents[0].model_dump()["text"] == "# Paris\n- country: France\n"


@pytest.mark.parametrize("mode", GENERATIONS)
async def test_each_change_names_the_version_that_it_changes(notes: Path, mode: str) -> None:
    async with connected(notes, mode=mode) as client:
        assert await said(client, "write_note", path="user", text="x") == (
            "error: 'user.md' exists; read it with read_note, and name its version to replace it"
        )
        first = await version(client, "user.md")
        assert (await said(client, "write_note", path="user.md", text="# Eve\n", version=first)).startswith(
            "user.md written, version "
        )
        for tool, more in (("write_note", {"text": "z"}), ("delete_note", {}), ("move_note", {"new_path": "x.md"})):
            refused = await said(client, tool, path="user.md", version=first, **more)
            assert refused.startswith("error: someone else changed user.md")
        assert (notes / "user.md").read_text() == "# Eve\n"
        assert "said this already" in await said(
            client, "write_note", path="user.md", text="# Eve\n", version=await version(client, "user.md")
        )
        assert (await said(client, "write_note", path="entities/bo", text="# Bo\n[[paris]]\n")).startswith(
            "entities/bo.md written"
        )
        assert (await said(client, "edit_note", path="bo", old_text="Bo", new_text="Bob")).startswith(
            "entities/bo.md c"
        )
        assert (await said(client, "edit_note", path="bo", old_text="nope", new_text="x")).startswith(
            "error: old: Could not find the specified content in the file."
        )
        moved = await said(client, "move_note", path="paris", new_path="cities/paris.md")
        assert moved.endswith("These notes link to the old path: entities/bo.md")
        assert await said(client, "move_note", path="bo", new_path="user.md") == (
            "error: 'user.md' exists; read it with read_note, and name its version to replace it"
        )
        assert await said(client, "delete_note", path="bo", version=await version(client, "bo")) == (
            "deleted entities/bo.md"
        )
    assert sorted(path.name for path in notes.rglob("*.md")) == ["paris.md", "user.md"]
    assert (notes / "cities" / "paris.md").read_text() == "# Paris\n- country: France\n"


async def test_bad_requests_get_an_answer_that_says_what_to_do(notes: Path) -> None:
    (notes / "photo.png").write_bytes(b"\x89PNG\0")
    async with connected(notes, "--no-history") as client:
        assert await said(client, "read_note", path="nobody") == "error: NOTE: there is no note 'nobody'"
        assert "is not shown" in await said(client, "read_note", path="../secret.md")
        assert "lacks the field 'path'" in await said(client, "read_note")
        assert "limit: must be from 1 to 100, not 0" in await said(client, "search_notes", query="x", limit=0)
        assert "is an attachment of 5 bytes" in await said(client, "read_note", path="photo.png")
        assert (await said(client, "write_note", path="a.exe/b", text="é")).startswith("a.exe/b.md written")
        for path in ("../x.md", ".obsidian/x.md", ".trioagent/x", "", "user.md/x"):
            assert (await said(client, "write_note", path=path, text="x")).startswith("error: "), path
        with pytest.raises(MCPError, match="there is no tool 'rm'; the tools are search_notes"):
            await client.call_tool("rm", {})
        for uri in ("file:///etc/passwd", "note:///../x", "note:///nobody.md"):
            with pytest.raises(MCPError):
                await client.read_resource(uri)
        with pytest.raises(MCPError, match="'x' is not a cursor of this server"):
            await client.list_resources(cursor="x")
        blob = await client.read_resource("note:///photo.png")
        assert blob.contents[0].model_dump()["blob"] == "iVBORwA="
    files = {str(path.relative_to(notes)) for path in notes.rglob("*") if path.is_file()}
    assert files == {"a.exe/b.md", "photo.png", "places/paris.md", "user.md"}


async def test_a_memory_that_may_only_be_read(notes: Path) -> None:
    async with connected(notes, "--read-only") as client:
        assert "read-only" in await said(client, "write_note", path="new", text="x")
        assert "read-only" in await said(client, "edit_note", path="user.md", old_text="Ana", new_text="Eve")
        assert "read-only" in await said(
            client, "delete_note", path="user.md", version=await version(client, "user.md")
        )
    assert (notes / "user.md").read_text() == "# Ana\n- city: [[paris]]\n"


async def test_changes_are_in_the_history_where_one_is_kept(notes: Path) -> None:
    from trioagent.memory import Memory

    async with connected(notes) as client:
        await said(client, "write_note", path="new", text="x")
        await said(client, "edit_note", path="user.md", old_text="Ana", new_text="Eve")
    revisions = await Memory(notes).log()
    assert [change.path for revision in revisions[:2] for change in revision.changes] == ["user.md", "new.md"]


async def test_clients_with_a_stream_are_told_of_changes(notes: Path) -> None:
    async with connected(notes) as client:
        async with client.listen(resources_list_changed=True, resource_subscriptions=["note:///user.md"]) as events:
            assert await said(client, "write_note", path="new", text="x")
            assert await anext(aiter(events)) == ResourcesListChanged()
            (notes / "user.md").write_text("# somebody else\n")
            assert await anext(aiter(events)) == ResourceUpdated(uri="note:///user.md")


async def test_clients_with_a_handshake_are_told_of_changes(notes: Path) -> None:
    send, receive = trio.open_memory_channel[str](10)

    async def take(message: Any) -> None:
        await send.send(getattr(message, "method", ""))

    async with connected(notes, mode="legacy", message_handler=take) as client:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            await client.subscribe_resource("note:///user.md")
            (notes / "user.md").write_text("# somebody else\n")
            assert await receive.receive() == "notifications/resources/updated"
            await client.unsubscribe_resource("note:///user.md")
        (notes / "new.md").write_text("x")
        assert await receive.receive() == "notifications/resources/list_changed"


@pytest.mark.parametrize("mode", GENERATIONS)
async def test_a_model_answers_from_the_notes_with_progress(notes: Path, mode: str) -> None:
    steps: list[str | None] = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        steps.append(message)

    async with connected(notes, "--model", "offline-rules", mode=mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == [*NOTE_TOOLS, "ask", "remember"]
        told = await client.call_tool("remember", {"text": "I live in Berlin."}, progress_callback=show)
        assert told.structured_content["blocks_saved"] == 1
        assert "Berlin" in (notes / "user.md").read_text()
        assert steps[:3] == ["the model has answered", "code runs over the notes", "code changed the notes"]
        before = (notes / "user.md").read_text()
        assert "Berlin" in await said(client, "ask", question="Where do I live?")
        await said(client, "ask", question="I live in Rome.")
        assert (notes / "user.md").read_text() == before


async def test_cancelling_a_request_ends_its_block_and_changes_nothing(notes: Path) -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_model, lambda messages: STUCK)
        model = ("--base-url", server.base_url, "--model", "loopback")
        async with connected(notes, *model, env={"TRIOAGENT_API_KEY": "k"}) as client:
            running = trio.Event()

            async def show(progress: float, total: float | None, message: str | None) -> None:
                if message == "code runs over the notes":
                    running.set()

            async with trio.open_nursery() as asking:

                async def ask() -> None:
                    await client.call_tool("remember", {"text": "I live in Oslo."}, progress_callback=show)

                asking.start_soon(ask)
                await running.wait()
                asking.cancel_scope.cancel()
            # The memory is free again at once, which it is not while a block runs.
            assert (await said(client, "write_note", path="free", text="x")).startswith("free.md written")
        nursery.cancel_scope.cancel()
    assert (notes / "user.md").read_text() == "# Ana\n- city: [[paris]]\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_while_it_waits_for_its_client(notes: Path, number: signal.Signals) -> None:
    process = await _started(notes)
    with trio.fail_after(SECONDS):
        process.send_signal(number)
        assert await process.wait() == 0


async def test_it_ends_when_the_client_hangs_up(notes: Path) -> None:
    process = await _started(notes)
    assert process.stdin is not None
    with trio.fail_after(SECONDS):
        await process.stdin.aclose()
        assert await process.wait() == 0


async def test_a_message_without_an_end_is_not_collected_for_ever(notes: Path) -> None:
    process = await _started(notes)
    assert process.stdin is not None
    with trio.fail_after(SECONDS):
        try:
            for _ in range(20):
                await process.stdin.send_all(b"x" * 1024 * 1024)
        except trio.BrokenResourceError:
            pass
        assert await process.wait() == 0


async def _started(notes: Path) -> trio.Process:
    """The command, once it has answered."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "trioagent", "mcp", "--memory", str(notes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(notes.parent),
    )
    assert process.stdin is not None and process.stdout is not None
    await process.stdin.send_all(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
    with trio.fail_after(SECONDS):
        answer = await process.stdout.receive_some(65536)
    assert b'"id":1' in answer
    return process
