"""Sync and asyncio agents in one program, on one shared engine and one memory; the sync one in an executor."""

import asyncio

from trioagent.compat.agent import Agent
from trioagent.compat.async_agent import AsyncAgent


async def main() -> None:
    sync_agent = Agent(memory_path="shared")
    async_agent = AsyncAgent(memory_path="shared")

    loop = asyncio.get_running_loop()
    sync_task = loop.run_in_executor(None, sync_agent.chat, "My sister Ada lives in Oslo.")
    async_response = await async_agent.chat("My brother Bo lives in Lima.")
    sync_response = await sync_task
    print("Sync:", sync_response.reply.splitlines()[0])
    print("Async:", async_response.reply.splitlines()[0])

    for question in ("Where does Ada live?", "Where does Bo live?"):
        print((await AsyncAgent(memory_path="shared").chat(question)).reply.splitlines()[0])


if __name__ == "__main__":
    asyncio.run(main())
