"""One agent with a memory: what it is told in one conversation, it knows in the next."""

import trio

import trioagent


async def main() -> None:
    async with trioagent.open_runtime(model="offline-rules") as runtime:
        agent = trioagent.Agent(runtime, memory_path="memories/ada")
        with trio.fail_after(90):
            await agent.chat("My name is Ada and I live in Berlin.")
        later = trioagent.Agent(runtime, memory_path="memories/ada")
        response = await later.chat("Where do I live?")
        print(response.reply)


trio.run(main)
