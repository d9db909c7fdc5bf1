"""The configurations in docs/how-to/mcp.md start a server that answers."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.cli.support import environment

pytestmark = pytest.mark.real

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "mcp.md").read_text(encoding="utf-8")
CONFIGURATIONS = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)


def started_by(configuration: str) -> list[str]:
    """The command line in a host's configuration."""
    (servers,) = json.loads(configuration).values()
    server: dict[str, Any] = servers["notes"]
    return [server["command"], *server["args"]]


async def test_every_configuration_starts_a_server(tmp_path: Path) -> None:
    lines = {tuple(started_by(configuration)) for configuration in CONFIGURATIONS}
    assert len(CONFIGURATIONS) == 3
    assert len(lines) == 1  # one command, in each host's own words
    (line,) = lines
    assert line[:3] == ("trioagent", "mcp", "--memory")
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "trioagent", *line[1:-1], str(tmp_path / "notes")],
        env=environment(tmp_path),
        cwd=tmp_path,
    )
    with trio.fail_after(60):
        async with Client(stdio_client(command)) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
    assert all(f"`{name}(" in PAGE for name in names)


def test_every_tool_is_in_the_table() -> None:
    from trioagent.server._mcp import AGENT_TOOLS, NOTE_TOOLS

    assert set(re.findall(r"`([a-z_]+)\(", PAGE)) >= {*NOTE_TOOLS, *AGENT_TOOLS}
