"""The documented API, first sync, then asyncio: what an agent is told in one conversation, it knows in the next."""

import asyncio

from trioagent.compat.agent import Agent
from trioagent.compat.async_agent import AsyncAgent


def talk() -> None:
    Agent(memory_path="ada").chat("My name is Ada and I live in Berlin.")
    later = Agent(memory_path="ada")
    print("Sync:", later.chat("Where do I live?").reply)
    print(later.save_conversation())


async def talk_in_asyncio() -> None:
    await AsyncAgent(memory_path="grace").chat("My name is Grace and I live in Boston.")
    later = AsyncAgent(memory_path="grace")
    print("Async:", (await later.chat("Where do I live?")).reply)
    print(await later.save_conversation())


if __name__ == "__main__":
    talk()
    asyncio.run(talk_in_asyncio())
