"""How long foreign input holds the event loop: ``python -m benchmarks stalls [TIER]``.

Each row is one kind of input that a block, a folder or a server can make large, at its bound; the figure is the longest
time for which another task of the event loop would have waited, the target 50 ms. A machine with other work shows that
as well: the row "nothing" is what it does by itself.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import cycle
from pathlib import Path

import trio

from trioagent import ModelConfig, ModelError, open_sandbox
from trioagent._messages import ChatMessage
from trioagent.models import open_model
from trioagent.sandbox import Sandbox
from trioagent.testing import Fault, model_server, probe_loop_delay

from ._measure import machine, table

TARGET = 0.050
MIB = 1024 * 1024

# Written to the child's socket by the block itself, in place of its answer.
_FRAME = """
import os
body = {body}
data = len(body).to_bytes(4, "big") + body
for _ in range({times}):
    rest = data
    while rest:
        rest = rest[os.write(3, rest):]
    {wait}
os._exit(0)
"""
FRAMES = {
    "numbers": """b'{"call":"x","args":[[' + b",".join([b"1"] * 199_900) + b']],"kwargs":{}}'""",
    "empty lists": """b'{"call":"x","args":[[' + b",".join([b"[]"] * 199_900) + b']],"kwargs":{}}'""",
    "too many values": """b'{"call":"x","args":[[' + b",".join([b"[]"] * 349_000) + b']],"kwargs":{}}'""",
    "keys": """b'{"call":"x","args":[],"kwargs":{' + b",".join(b'"%x":1' % i for i in range(95_000)) + b'}}'""",
    "long numbers": """b'{"call":"x","args":[[' + b",".join([b"9" * 4300] * 240) + b']],"kwargs":{}}'""",
    "variables": """b'{"locals":{' + b",".join(b'"%x":""' % i for i in range(99_000))"""
    """ + b'},"error":"","printed":"","reads":[]}'""",
}
CODES = {
    "lines that import": "#import a.b\n" * (8 * MIB // 12),
    "one line": "#import " + "a " * (4 * MIB - 10),
    "one word": "#" + "x" * (8 * MIB - 10),
    "not ASCII": "#" + "\u20ac" * (8 * MIB - 10),
}
FOLDERS, NOTES = 30, 1000


async def worst_delay(work: Callable[[], Awaitable[object]]) -> float:
    """The longest delay of the event loop, in seconds, while *work* runs."""
    async with probe_loop_delay() as delay:
        await trio.sleep(0.05)
        delay.reset()
        await work()
        await trio.sleep(0.01)
        return delay.worst


@asynccontextmanager
async def _memory(folders: int = 0) -> AsyncIterator[str]:
    path = tempfile.mkdtemp()
    try:
        for folder in range(folders):
            (Path(path) / "big" / str(folder)).mkdir(parents=True)
            for note in range(NOTES):
                (Path(path) / "big" / str(folder) / f"{note}.md").touch()
        yield path
    finally:
        shutil.rmtree(path)


async def of_blocks(sandbox: Sandbox) -> list[tuple[str, float]]:
    """Rows of frames, of code, and of a removed folder."""
    rows = []
    async with _memory() as memory:
        await sandbox.run("x = 1", memory_path=memory)
        rows.append(("nothing", await worst_delay(partial(trio.sleep, 1.0))))
        for name, body in FRAMES.items():
            wait = "pass" if "locals" in body else "os.read(3, 65536)"
            code = _FRAME.format(body=body, times=15, wait=wait)
            rows.append((f"frames of 1 MiB: {name}", await worst_delay(partial(sandbox.run, code, memory_path=memory))))
        for name, code in CODES.items():
            delay = await worst_delay(partial(sandbox.run, code, memory_path=memory))
            rows.append((f"code of 8 Mi characters: {name}", delay))
    async with _memory(FOLDERS) as memory:
        await sandbox.run("x = 1", memory_path=memory)
        remove = "import shutil\nshutil.rmtree('big')"
        delay = await worst_delay(partial(sandbox.run, remove, memory_path=memory))
        rows.append((f"a removed folder of {FOLDERS * NOTES} notes", delay))
    return rows


ANSWERS = {
    "numbers": b'{"choices":[' + b",".join([b"1"] * (4 * MIB - 20)) + b"]}",
    "empty lists": b'{"choices":[' + b",".join([b"[]"] * (2 * MIB)) + b"]}",
    "keys": b'{"choices":{' + b",".join(b'"%06x":1' % number for number in range(600_000)) + b"}}",
}


async def of_servers() -> list[tuple[str, float]]:
    """Rows of answers that are large."""
    rows = []
    for name, content in ANSWERS.items():
        with model_server(cycle([Fault.body(content)])) as server:
            config = ModelConfig(base_url=server.base_url, model="loopback")

            async def ask(config: ModelConfig = config) -> None:
                async with open_model(config) as model:
                    try:
                        async with model.answer([ChatMessage("user", "Hello.")]) as answer:
                            async for _ in answer:
                                pass
                    except ModelError:
                        pass

            rows.append((f"an answer of 8 MiB: {name}", await worst_delay(ask)))
    return rows


async def main(tier: str | None) -> None:
    async with open_sandbox(tier) as sandbox:
        print(f"{machine()}, tier {sandbox.tier}")
        rows = [*await of_blocks(sandbox), *await of_servers()]
    table((name, f"{seconds * 1000:.0f} ms", f"{TARGET * 1000:.0f} ms") for name, seconds in rows)


if __name__ == "__main__":
    trio.run(main, sys.argv[1] if len(sys.argv) > 1 else None)
