"""How long agents take one after the other, and all at once, before a model server that takes its time.

The server is a real one on the loopback interface with scripted answers; a chat is two answers and one block of code.
"""

import argparse
import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from trioagent import ModelConfig
from trioagent.compat.agent import Agent
from trioagent.compat.async_agent import AsyncAgent, run_agents_concurrently
from trioagent.testing import ModelRequest, Say, serve_model

NOTE = "<think>Worth a note.</think>\n<python>\ndone = create_file('user.md', '# User')\n</python>"
REPLY = "<think>It is saved.</think>\n<python></python>\n<reply>Noted.</reply>"


@contextmanager
def slow_model(latency: float) -> Iterator[ModelConfig]:
    """A model server in a thread of its own, until the block ends."""
    ready = threading.Event()
    found: list[tuple[str, trio.lowlevel.TrioToken, trio.CancelScope]] = []

    def answer(request: ModelRequest) -> Say:
        return Say(REPLY if "<result>" in request.messages[-1]["content"] else NOTE, delay=latency)

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_model, answer)
            found.append((server.base_url, trio.lowlevel.current_trio_token(), nursery.cancel_scope))
            ready.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    ready.wait()
    base_url, token, scope = found[0]
    try:
        yield ModelConfig(base_url=base_url, model="loopback")
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join()


def one_after_the_other(agents: list[Agent]) -> float:
    start = time.perf_counter()
    for agent in agents:
        agent.chat("Please remember me.")
    return time.perf_counter() - start


def all_at_once(agents: list[AsyncAgent]) -> float:
    start = time.perf_counter()
    asyncio.run(run_agents_concurrently(agents, ["Please remember me."] * len(agents)))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=10)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds before each answer")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, slow_model(asked.latency) as model:

        def memory(name: str) -> Path:
            return Path(folder, name)

        warm = Agent(memory_path=memory("warm"), model=model, predetermined_memory_path=True)
        warm.chat("Start the engine, which both then share.")
        numbers = range(asked.agents)
        sync_agents = [
            Agent(memory_path=memory(f"sync_{number}"), model=model, predetermined_memory_path=True)
            for number in numbers
        ]
        async_agents = [
            AsyncAgent(memory_path=memory(f"async_{number}"), model=model, predetermined_memory_path=True)
            for number in numbers
        ]
        sequential = one_after_the_other(sync_agents)
        concurrent = all_at_once(async_agents)
    print(f"{asked.agents} agents, {asked.latency:g} s an answer")
    print(f"sequential: {sequential:6.2f} s")
    print(f"concurrent: {concurrent:6.2f} s")
    print(f"ratio:      {sequential / concurrent:6.1f} x")


if __name__ == "__main__":
    main()
