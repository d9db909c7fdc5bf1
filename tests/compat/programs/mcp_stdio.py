"""A server of one tool over lines of JSON-RPC on standard input and output."""

import asyncio
import json
import os
import sys

from agent import Agent

HERE = os.path.dirname(os.path.abspath(__file__))


def memory_path():
    with open(os.path.join(HERE, ".memory_path")) as file:
        return file.read().strip()


async def use_memory_agent(question):
    try:
        agent = Agent(model="some/mem-agent", use_vllm=True, predetermined_memory_path=False, memory_path=memory_path())
        beat = 0
        future = asyncio.get_running_loop().run_in_executor(None, agent.chat, question)
        while not future.done():
            beat += 1
            print(f"progress {beat}", file=sys.stderr)
            await asyncio.sleep(0.05)
        return ((await future).reply or "").strip()
    except Exception as error:
        return f"agent_error: {type(error).__name__}: {error}"


async def main():
    for line in sys.stdin:
        request = json.loads(line)
        if request["method"] == "tools/call":
            text = await use_memory_agent(request["params"]["arguments"]["question"])
            result = {"content": [{"type": "text", "text": text}]}
        else:
            result = {"tools": [{"name": "use_memory_agent"}]}
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)


asyncio.run(main())
