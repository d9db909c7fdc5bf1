"""MCP over standard input and output: one client, which started this process."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import trio
from mcp.server.stdio import stdio_server

from .._config import AgentConfig
from ..memory import Memory
from ..runtime import Runtime
from ._mcp import open_mcp

MAX_LINE = 8 * 1024 * 1024
"""The most bytes of one message; a client that sends more is disconnected."""
_CHUNK = 64 * 1024
_log = logging.getLogger("trioagent.server")


async def serve_mcp(memory: Memory, *, runtime: Runtime | None = None, agent: AgentConfig = AgentConfig()) -> None:
    """Serve *memory* over standard input and output until the client disconnects, or until cancelled.

    Meanwhile all other output to standard output is redirected to standard error, since it would break the protocol.
    Cancelling ends the client's requests at once: their blocks are killed, and the notes are as the last commit left
    them.

    Args:
        runtime: the runtime for ``ask`` and ``remember``; None for a server without them.
        agent: the settings of the agent that answers them.

    Raises:
        MemoryPathError: the folder cannot be used.
    """
    async with open_mcp(memory, runtime=runtime, agent=agent) as server:
        with _own_descriptors() as (stdin, stdout):
            async with trio.lowlevel.FdStream(stdin) as reads, trio.lowlevel.FdStream(stdout) as writes:
                # The SDK expects anyio's files, whose reads cannot be cancelled; these have the methods that it uses.
                lines: Any = _LineReader(reads)
                writer: Any = _TextWriter(writes)
                async with stdio_server(lines, writer) as (read, write):
                    await server.run(read, write)


@contextmanager
def _own_descriptors() -> Iterator[tuple[int, int]]:
    """Standard input and output for the protocol alone; they are replaced by an empty file and standard error."""
    sys.stdout.flush()
    stdin, stdout = os.dup(0), os.dup(1)
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        yield os.dup(stdin), os.dup(stdout)
    finally:
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        os.close(stdin)
        os.close(stdout)


class _LineReader:
    """Lines of UTF-8; ends at a line that is too long."""

    def __init__(self, stream: trio.lowlevel.FdStream) -> None:
        self._stream, self._buffer, self._searched = stream, bytearray(), 0

    def __aiter__(self) -> _LineReader:
        return self

    async def __anext__(self) -> str:
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if self._searched > MAX_LINE:
                _log.error("the client has sent a message of more than %s bytes: disconnected", f"{MAX_LINE:,}")
                raise StopAsyncIteration
            try:
                data = await self._stream.receive_some(_CHUNK)
            except trio.BrokenResourceError:
                data = b""
            if not data:
                raise StopAsyncIteration
            self._buffer += data
        line = self._buffer[:end].decode("utf-8", "replace")
        del self._buffer[: end + 1]
        self._searched = 0
        return line


class _TextWriter:
    """Writes texts without buffering."""

    def __init__(self, stream: trio.lowlevel.FdStream) -> None:
        self._stream = stream

    async def write(self, text: str) -> None:
        try:
            await self._stream.send_all(text.encode("utf-8", "backslashreplace"))
        except trio.BrokenResourceError as error:
            raise anyio.ClosedResourceError from error  # the client has disconnected: this ends the SDK's loop

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint()
