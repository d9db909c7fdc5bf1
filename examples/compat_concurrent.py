"""Many asyncio agents at once: all or nothing with run_agents_concurrently, each for itself with gather."""

import asyncio

from trioagent.compat.async_agent import AsyncAgent, run_agents_concurrently

CITIES = ("Rome", "Oslo", "Lima", "Cairo", "Quito")


async def main() -> None:
    agents = [AsyncAgent(memory_path=f"agent_{number}_memory") for number in range(len(CITIES))]

    await run_agents_concurrently(agents, [f"I live in {city}." for city in CITIES])
    responses = await run_agents_concurrently(agents, ["Where do I live?"] * len(agents))
    for number, response in enumerate(responses):
        print(f"Agent {number}: {response.reply.splitlines()[0]}")

    # A message of blanks is refused; the others are not disturbed.
    messages = ["Where do I live?", " ", "Where do I live?"]
    chats = [agent.chat(message) for agent, message in zip(agents, messages, strict=False)]
    for number, outcome in enumerate(await asyncio.gather(*chats, return_exceptions=True)):
        if isinstance(outcome, BaseException):
            print(f"Agent {number} failed: {outcome}")
        else:
            print(f"Agent {number}: {outcome.reply.splitlines()[0]}")


if __name__ == "__main__":
    asyncio.run(main())
