"""A turn as it happens, and an async function of yours that the model's code may call."""

import sys

import trio

import trioagent
from trioagent.testing import ScriptedModel

# What a model might say; put any model's name into open_runtime instead.
ANSWERS = [
    "<think>I need the weather.</think>\n<python>\ntoday = weather('Berlin')\n"
    "create_file('entities/berlin.md', f'# Berlin\\n- weather: {today}\\n')\n</python>",
    "<think>Noted.</think>\n<python></python>\n<reply>It is sunny in Berlin, and I noted that.</reply>",
]


async def weather(city: str) -> str:
    """Runs in the scope of the chat that needs it: cancelling the chat cancels this too."""
    await trio.sleep(0.01)
    return f"sunny in {city}"


async def main() -> None:
    async with trioagent.open_runtime(model=ScriptedModel(ANSWERS)) as runtime:
        agent = trioagent.Agent(runtime, memory_path="memories/ada", host_tools={"weather": weather})
        async with agent.stream_chat("What is the weather in Berlin?") as events:
            async for event in events:
                match event:
                    case trioagent.Delta("reply", text):
                        sys.stdout.write(text)
                    case trioagent.CodeResult(result):
                        print(result.locals, "saved" if result.saved else "not saved")
        print()
        print(await agent.save_conversation(save_folder="output/conversations"))


trio.run(main)
