"""A minimal agent of the usual asyncio design: an HTTP client for each agent, a fresh interpreter for each block.

By default the block's interpreter runs a module of the package that the agent is in, so it imports what the package
imports, as ``python -m`` does in agents that keep their runner beside their model client. In the variant "lean" it is
a script of its own on ``python -I -S``: the least that a fresh interpreter can cost. Neither confines the code.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from .harness import AsyncEpisode, order_variant, run_asyncio

PROMPT = "You are an assistant with notes. Answer with <think>, then <python> or <reply>. " * 50
_CODE = re.compile(r"<python>\s*(.*?)\s*</python>", re.DOTALL)
_REPLY = re.compile(r"<reply>(.*?)</reply>", re.DOTALL)
_PACKAGE = "benchmarks.suite.drivers"
_CHILD = f"import {_PACKAGE}.asyncio_driver, {_PACKAGE}.asyncio_child as child; child.main()"
_LEAN_CHILD = Path(__file__).with_name("asyncio_child.py")


class Agent:
    """One agent; its client is its own."""

    def __init__(self, base_url: str, folder: Path, *, lean: bool) -> None:
        self._folder, self._lean = folder, lean
        self._client = httpx.AsyncClient(base_url=base_url, timeout=600)
        self._messages = [{"role": "system", "content": PROMPT}]

    async def chat(self, message: str) -> str:
        """The reply to one message."""
        self._messages.append({"role": "user", "content": message})
        async with self._client:
            for _ in range(8):
                text = await self._ask()
                self._messages.append({"role": "assistant", "content": text})
                code, reply = _CODE.search(text), _REPLY.search(text)
                if code and code[1]:
                    result = await self._run(code[1])
                    self._messages.append({"role": "user", "content": f"<result>\n{result}\n</result>"})
                elif reply:
                    return reply[1]
        return ""

    async def _ask(self) -> str:
        body = {"model": "loopback", "messages": self._messages}
        response = await self._client.post("/chat/completions", json=body)
        response.raise_for_status()
        text: str = response.json()["choices"][0]["message"]["content"]
        return text

    async def _run(self, code: str) -> Any:
        self._folder.mkdir(parents=True, exist_ok=True)
        command = ["-I", "-S", str(_LEAN_CHILD)] if self._lean else ["-c", _CHILD]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            str(self._folder),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate(code.encode())
        return json.loads(output)


@asynccontextmanager
async def system(base_url: str) -> AsyncIterator[AsyncEpisode]:
    """Agents that share nothing."""
    lean = order_variant() == "lean"

    async def episode(message: str, folder: Path) -> str:
        return await Agent(base_url, folder, lean=lean).chat(message)

    yield episode


if __name__ == "__main__":
    run_asyncio(system)
