"""A memory over the Model Context Protocol: its notes as tools and resources, and an agent that uses them.

Both generations of the protocol are served: with a handshake (up to 2025-11-25) and without (2026-07-28). The SDK
detects which one a client speaks.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, get_type_hints
from urllib.parse import quote, unquote

import anyio
import attrs
import mcp_types as types
import trio
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourcesListChanged, ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from .. import __version__
from .._config import AgentConfig
from .._errors import InvalidInputError, MemoryUnreadError, TrioAgentError
from .._events import AgentEvent, Answered, CodeResult, CodeStarted
from .._exceptions import open_helper_nursery
from .._filter_rules import filter_of
from .._wire import read_value, strict_converter
from ..agent import Agent
from ..memory import Memory, NoteStore, StoredNote
from ..runtime import Runtime

URI = "note:///"
PAGE = 1000
"""Resources in one response."""
WATCH_SECONDS = 2.0
"""The interval between scans of the folder, while clients subscribe to changes."""
CHATS = 4
"""Concurrent questions to the model; further ones wait."""

_INSTRUCTIONS = (
    "A memory of linked markdown notes. Search or list before writing, so that a fact has one note. To replace a note, "
    "read it and name the version that you read; if somebody else has changed it since, nothing is written."
)
Context = Any  # the SDK's ServerRequestContext, whose type parameters do not matter here


@attrs.frozen(kw_only=True)
class SearchNotes:
    """Find the lines of all notes that fit a query best."""

    query: str
    limit: int = 10


@attrs.frozen(kw_only=True)
class ReadNote:
    """Read a note, with the version that a change of it has to name."""

    path: str


@attrs.frozen(kw_only=True)
class ListNotes:
    """List the notes with their sizes."""

    folder: str = ""


@attrs.frozen(kw_only=True)
class ListBacklinks:
    """List the notes that link to a note."""

    path: str


@attrs.frozen(kw_only=True)
class WriteNote:
    """Make a note, or replace a version of it."""

    path: str
    text: str
    version: str | None = None


@attrs.frozen(kw_only=True)
class EditNote:
    """Replace one passage of a note, which must be in it exactly once."""

    path: str
    old_text: str
    new_text: str
    version: str | None = None


@attrs.frozen(kw_only=True)
class MoveNote:
    """Give a note another path."""

    path: str
    new_path: str
    version: str | None = None


@attrs.frozen(kw_only=True)
class DeleteNote:
    """Delete a version of a note."""

    path: str
    version: str


@attrs.frozen(kw_only=True)
class Ask:
    """Ask an agent that knows the notes. It changes nothing, and knows nothing of what was asked before."""

    question: str


@attrs.frozen(kw_only=True)
class Remember:
    """Tell an agent something that it is to write into the notes, where it belongs."""

    text: str


_WORDS: Mapping[str, str] = {
    "query": "words to look for",
    "limit": "the most lines",
    "path": "such as entities/ada.md, or what a link to it says",
    "folder": "only notes in this folder and below it",
    "text": "the whole text",
    "version": "the version that was read; nothing is changed if it is another one by now",
    "old_text": "a text that is in the note exactly once",
    "new_text": "what is to be there instead",
    "new_path": "where no note is yet",
    "question": "what to find out",
}
_SCHEMAS: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer", "minimum": 1, "maximum": 100},
    str | None: {"type": ["string", "null"]},
}


@attrs.frozen
class _McpTool:
    """One tool: its parameters, whether it is read-only, and whether it is destructive."""

    takes: type
    run: Callable[[McpServer, Context, Any], Awaitable[types.CallToolResult]]
    reads: bool = True
    destroys: bool = False

    def described(self, name: str) -> types.Tool:
        fields = attrs.fields(self.takes)
        hints = get_type_hints(self.takes)
        properties = {
            field.name: {**_SCHEMAS[hints[field.name]], "description": _WORDS[field.name]} for field in fields
        }
        return types.Tool(
            name=name,
            description=self.takes.__doc__,
            input_schema={
                "type": "object",
                "properties": properties,
                "required": [field.name for field in fields if field.default is attrs.NOTHING],
                "additionalProperties": False,
            },
            annotations=types.ToolAnnotations(
                read_only_hint=self.reads, destructive_hint=self.destroys, open_world_hint=False
            ),
        )


class McpServer:
    """Serves one memory to any number of clients. Created by `open_mcp`.

    Args:
        memory: the memory; its policy, limits and history apply to all that clients do.
        runtime: the runtime of the agent that answers questions; None: no such tools.
        agent: the settings of that agent.
        watch: notifies clients of changes.
    """

    def __init__(self, memory: Memory, runtime: Runtime | None, agent: AgentConfig, watch: NoteWatcher) -> None:
        self._store, self._memory = NoteStore(memory), memory
        self._runtime, self._agent = runtime, agent
        self._watch = watch
        self._chats = trio.CapacityLimiter(CHATS)
        self._tools = {**NOTE_TOOLS, **(AGENT_TOOLS if runtime is not None else {})}
        self.server: Server[Any] = Server(
            "trioagent",
            version=__version__,
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_read_resource=self._read_resource,
            on_subscribe_resource=self._subscribe,
            on_unsubscribe_resource=self._unsubscribe,
            on_subscriptions_listen=watch.listen,
        )

    async def run(self, read: Any, write: Any) -> None:
        """Serve one client over the SDK's streams, until it disconnects."""
        options = self.server.create_initialization_options(NotificationOptions(resources_changed=True))
        await self.server.run(read, write, options)

    async def _list_tools(self, ctx: Context, params: Any) -> types.ListToolsResult:
        await trio.lowlevel.checkpoint()
        await self._watch.met(ctx)
        return types.ListToolsResult(tools=[tool.described(name) for name, tool in self._tools.items()])

    async def _call_tool(self, ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = self._tools.get(params.name)
        if tool is None:
            known = ", ".join(self._tools)
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name!r:.100}; the tools are {known}")
        try:
            taken: Any = read_value(strict_converter(), params.arguments or {}, tool.takes, params.name)
            return await tool.run(self, ctx, taken)
        except MemoryUnreadError as error:
            return _failure(f"{error.paths[0]!r} exists; read it with read_note, and name its version to replace it")
        except TrioAgentError as error:
            return _failure(str(error))
        finally:
            if not tool.reads:
                self._watch.look_now()

    async def _list_resources(self, ctx: Context, params: Any) -> types.ListResourcesResult:
        await self._watch.met(ctx)
        cursor = "0" if params is None or params.cursor is None else params.cursor
        if not (cursor.isascii() and cursor.isdecimal()):
            raise MCPError(types.INVALID_PARAMS, f"{cursor!r:.100} is not a cursor of this server")
        sizes = list((await self._store.sizes()).items())
        start = int(cursor)
        return types.ListResourcesResult(
            resources=[
                types.Resource(uri=uri_of(path), name=path, mime_type=_mime_type(path), size=size)
                for path, size in sizes[start : start + PAGE]
            ],
            next_cursor=str(start + PAGE) if start + PAGE < len(sizes) else None,
        )

    async def _read_resource(self, ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        uri = str(params.uri)
        path = path_of(uri)
        contents: types.TextResourceContents | types.BlobResourceContents
        try:
            if _mime_type(path) == "application/octet-stream":
                blob = base64.b64encode(await self._store.data(path)).decode()
                contents = types.BlobResourceContents(uri=uri, mime_type=_mime_type(path), blob=blob)
            else:
                text = (await self._store.read(path)).text
                contents = types.TextResourceContents(uri=uri, mime_type=_mime_type(path), text=text)
        except TrioAgentError as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from error
        return types.ReadResourceResult(contents=[contents])

    async def _subscribe(self, ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        await trio.lowlevel.checkpoint()
        path_of(str(params.uri))
        await self._watch.subscribe(ctx, str(params.uri))
        return types.EmptyResult()

    async def _unsubscribe(self, ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        await trio.lowlevel.checkpoint()
        self._watch.unsubscribe(ctx, str(params.uri))
        return types.EmptyResult()

    # The tools.

    async def _search_notes(self, ctx: Context, taken: SearchNotes) -> types.CallToolResult:
        if not 1 <= taken.limit <= 100:
            raise InvalidInputError("limit", f"must be from 1 to 100, not {taken.limit}")
        found = await self._store.search(taken.query, taken.limit)
        lines = [f"{line.path}:{line.line}: {line.text}" for line in found]
        return _result("\n".join(lines) or "nothing found", {"lines": [attrs.asdict(line) for line in found]})

    async def _read_note(self, ctx: Context, taken: ReadNote) -> types.CallToolResult:
        note = await self._store.read(taken.path)
        head = f"{note.path}, version {note.version}"
        return _result(head, {"path": note.path, "version": note.version, "text": note.text}, note.text)

    async def _list_notes(self, ctx: Context, taken: ListNotes) -> types.CallToolResult:
        folder = taken.folder.strip("/")
        sizes = await self._store.sizes()
        if folder:
            sizes = {path: size for path, size in sizes.items() if path.startswith(f"{folder}/")}
            if not sizes:
                raise InvalidInputError("folder", f"there are no notes in {folder!r:.200}")
        notes = [{"path": path, "bytes": size} for path, size in sizes.items()]
        return _result("\n".join(sizes) or "there are no notes yet", {"notes": notes})

    async def _backlinks(self, ctx: Context, taken: ListBacklinks) -> types.CallToolResult:
        paths = list(await self._store.backlinks(taken.path))
        return _result("\n".join(paths) or "no note links to it", {"paths": paths})

    async def _write_note(self, ctx: Context, taken: WriteNote) -> types.CallToolResult:
        return _changed(await self._store.write(taken.path, taken.text, version=taken.version), "written")

    async def _edit_note(self, ctx: Context, taken: EditNote) -> types.CallToolResult:
        store = self._store
        return _changed(await store.edit(taken.path, taken.old_text, taken.new_text, version=taken.version), "changed")

    async def _move_note(self, ctx: Context, taken: MoveNote) -> types.CallToolResult:
        note, links = await self._store.move(taken.path, taken.new_path, version=taken.version)
        advice = f"\nThese notes link to the old path: {', '.join(links)}" if links else ""
        return _result(
            f"moved to {note.path}, version {note.version}{advice}",
            {"path": note.path, "version": note.version, "linked_from": list(links)},
        )

    async def _delete_note(self, ctx: Context, taken: DeleteNote) -> types.CallToolResult:
        note = await self._store.delete(taken.path, version=taken.version)
        return _result(f"deleted {note.path}", {"path": note.path, "version": None})

    async def _ask(self, ctx: Context, taken: Ask) -> types.CallToolResult:
        return await self._chat(ctx, taken.question, read_only=True)

    async def _remember(self, ctx: Context, taken: Remember) -> types.CallToolResult:
        return await self._chat(ctx, taken.text, read_only=False)

    async def _chat(self, ctx: Context, message: str, *, read_only: bool) -> types.CallToolResult:
        assert self._runtime is not None
        policy = attrs.evolve(self._memory.policy, read_only=True) if read_only else self._memory.policy
        async with self._chats:
            agent = Agent(
                self._runtime,
                memory_path=self._memory.path,
                policy=policy,
                history=self._memory.history or False,
                **attrs.asdict(self._agent, recurse=False),
            )
            response = None
            rules = filter_of(message)  # appended by the programs of the memory-agent family
            async with agent.stream_chat(message, chat_filter=None if rules is None else rules.chat_filter) as events:
                steps = 0
                async for event in events:
                    if words := _progress(event):
                        steps += 1
                        await ctx.session.report_progress(steps, message=words)
                    response = getattr(event, "response", None)
        assert response is not None
        if not response.reply:
            return _failure(f"the model gave no reply ({response.stop_reason})")
        structured = {"reply": response.reply, "blocks_saved": response.blocks_saved}
        return _result(response.reply, structured)


NOTE_TOOLS: Mapping[str, _McpTool] = {
    "search_notes": _McpTool(SearchNotes, McpServer._search_notes),
    "read_note": _McpTool(ReadNote, McpServer._read_note),
    "list_notes": _McpTool(ListNotes, McpServer._list_notes),
    "backlinks": _McpTool(ListBacklinks, McpServer._backlinks),
    "write_note": _McpTool(WriteNote, McpServer._write_note, reads=False, destroys=True),
    "edit_note": _McpTool(EditNote, McpServer._edit_note, reads=False),
    "move_note": _McpTool(MoveNote, McpServer._move_note, reads=False),
    "delete_note": _McpTool(DeleteNote, McpServer._delete_note, reads=False, destroys=True),
}
AGENT_TOOLS: Mapping[str, _McpTool] = {
    "ask": _McpTool(Ask, McpServer._ask),
    "remember": _McpTool(Remember, McpServer._remember, reads=False),
}


class NoteWatcher:
    """Notifies clients of changed notes, whoever changed them.

    Clients of the handshake generation subscribe to single notes; the others open a stream (`listen`).
    """

    def __init__(self, store: NoteStore) -> None:
        self._store = store
        self._bus = InMemorySubscriptionBus()
        self._streams = ListenHandler(self._bus)
        self._sessions: dict[int, tuple[ServerSession, set[str]]] = {}  # of the handshake generation
        self._before: Mapping[str, tuple[int, int, int]] | None = None
        self._starting = trio.Lock()
        self._wanted, self._now = trio.Event(), trio.Event()

    async def met(self, ctx: Context) -> None:
        """Notify this client of the handshake generation, which has listed the notes, when the list changes."""
        if ctx.session.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
            self._session(ctx)
            await self._start()

    async def listen(
        self, ctx: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """Serve one stream of changes, until the client closes it."""
        await self._start()
        return await self._streams(ctx, params)

    async def subscribe(self, ctx: Context, uri: str) -> None:
        """Notify this client of every change of a note from now on."""
        self._session(ctx).add(uri)
        await self._start()

    def unsubscribe(self, ctx: Context, uri: str) -> None:
        self._session(ctx).discard(uri)

    def look_now(self) -> None:
        """Scan the folder now."""
        self._now.set()

    async def run(self) -> None:
        """Scan the folder while clients subscribe to changes, until cancelled."""
        await self._wanted.wait()
        while True:
            with trio.move_on_after(WATCH_SECONDS):
                await self._now.wait()
            self._now = trio.Event()
            try:
                now = await self._store.stamps()
            except TrioAgentError:  # the folder is missing; requests for a note report it
                continue
            before, self._before = self._before or {}, now
            if before != now:
                changed = [path for path in {**before, **now} if before.get(path) != now.get(path)]
                await self._tell(changed, listing=before.keys() != now.keys())

    async def _start(self) -> None:
        """Take the state from which changes are counted; a client answered after this misses none."""
        async with self._starting:
            if self._before is None:
                self._before = await self._store.stamps()
        self._wanted.set()

    async def _tell(self, changed: list[str], *, listing: bool) -> None:
        if listing:
            await self._bus.publish(ResourcesListChanged())
        for path in changed:
            await self._bus.publish(ResourceUpdated(uri=uri_of(path)))
        uris = {uri_of(path) for path in changed}
        for key, (session, wanted) in list(self._sessions.items()):
            try:
                if listing:
                    await session.send_resource_list_changed()
                for uri in sorted(wanted & uris):
                    await session.send_resource_updated(uri)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):  # the client has disconnected
                self._sessions.pop(key, None)

    def _session(self, ctx: Context) -> set[str]:
        key = id(ctx.session.client_params)  # one object per connection
        return self._sessions.setdefault(key, (ctx.session, set()))[1]


@asynccontextmanager
async def open_mcp(
    memory: Memory, *, runtime: Runtime | None = None, agent: AgentConfig = AgentConfig()
) -> AsyncIterator[McpServer]:
    """A server of *memory*; leaving the block cancels its work for clients.

    Args:
        runtime: the runtime for ``ask`` and ``remember``; None for a server without them.
        agent: the settings of the agent that answers them.

    Raises:
        MemoryPathError: the folder cannot be used.
    """
    async with memory.lease():  # creates the folder
        pass
    watcher = NoteWatcher(NoteStore(memory))
    async with open_helper_nursery() as nursery:
        nursery.start_soon(watcher.run)
        yield McpServer(memory, runtime, agent, watcher)
        nursery.cancel_scope.cancel()


def uri_of(path: str) -> str:
    """The URI of a note as a resource."""
    return URI + quote(path)


def path_of(uri: str) -> str:
    """The path in the URI of a resource.

    Raises:
        MCPError: it is not a URI of this server.
    """
    if not uri.startswith(URI):
        raise MCPError(types.INVALID_PARAMS, f"{uri!r:.200} is not a note; use a URI like {URI}entities/ada.md")
    return unquote(uri.removeprefix(URI))


def _mime_type(path: str) -> str:
    suffix = path.rpartition(".")[2].lower()
    known = {"md": "text/markdown", "txt": "text/plain", "csv": "text/csv", "json": "application/json"}
    return known.get(suffix, "application/octet-stream")


def _result(text: str, structured: dict[str, Any], *more: str) -> types.CallToolResult:
    content: list[Any] = [types.TextContent(text=words) for words in (text, *more)]
    return types.CallToolResult(content=content, structured_content=structured)


def _failure(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)


def _changed(note: StoredNote, word: str) -> types.CallToolResult:
    said = f"{note.path} {word}" if note.changed else f"{note.path} said this already"
    structured = {"path": note.path, "version": note.version, "changed": note.changed}
    return _result(f"{said}, version {note.version}", structured)


def _progress(event: AgentEvent) -> str:
    match event:
        case Answered():
            return "the model has answered"
        case CodeStarted():
            return "code runs over the notes"
        case CodeResult(result):
            return "code changed the notes" if result.saved else "code read the notes"
    return ""
