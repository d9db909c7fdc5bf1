"""An environment for reinforcement learning: episodes on copies of one memory, with rewards for what becomes of it."""

import asyncio
import json
import os
import shutil
import tempfile
from dataclasses import asdict

from agent.async_agent.async_engine import execute_sandboxed_code
from agent.schemas import ChatMessage, Role, StaticMemory
from agent.settings import MAX_TOOL_TURNS, SANDBOX_TIMEOUT
from agent.utils import (
    create_memory_if_not_exists,
    delete_memory,
    extract_python_code,
    extract_reply,
    extract_thoughts,
    format_results,
    load_system_prompt,
)

MEMORY = StaticMemory(
    memory_id="static",
    user_md="# Ada\n- lives_in: Paris\n",
    entities=[
        {"entity_name": "Grace", "entity_file_path": "entities/grace.md", "entity_file_content": "# Grace\n- age: 40\n"}
    ],
)
POLICIES = {
    "reads": [
        "<think>look</think>\n<python>\nuser = read_file('user.md')\n</python>",
        "<think>done</think>\n<python></python>\n<reply>Paris</reply>",
    ],
    "writes": [
        "<think>note</think>\n<python>\n```python\n"
        "guest = update_file('entities/grace.md', '- age: 40', '- age: 41')\nsize = get_size(file_or_dir_path='')\n"
        "```\n</python>",
        "<think>done</think>\n<python></python>\n<reply>Paris</reply>",
    ],
    "fails": [
        "<think>x</think>\n<python>\nok = delete_file('user.md')\nraise ValueError(ok)\n</python>",
        "<think>lost</think>\n<python></python>\n<reply>Rome</reply>",
    ],
    "never replies": ["<think>x</think>\n<python>\nnotes = list_files()\n</python>"] * 99,
}


class Episode:
    def __init__(self, answers, folder):
        self.answers = iter(answers)
        self.path = os.path.join(folder, MEMORY.memory_id)
        self.messages = [
            ChatMessage(role=Role.SYSTEM, content=load_system_prompt()),
            ChatMessage(role=Role.USER, content="Where do I live?"),
        ]
        MEMORY.model_copy(deep=True).instantiate(folder)

    async def step(self):
        answer = next(self.answers)
        self.messages.append(ChatMessage(role=Role.ASSISTANT, content=answer))
        assert extract_thoughts(answer)
        code = extract_python_code(answer)
        if not code:
            return extract_reply(answer)
        variables, error = await execute_sandboxed_code(
            code=code, timeout=SANDBOX_TIMEOUT, allowed_path=self.path, import_module="agent.tools"
        )
        self.messages.append(ChatMessage(role=Role.USER, content=format_results(variables, error)))
        return None

    async def run(self):
        for _ in range(MAX_TOOL_TURNS + 1):
            if (reply := await self.step()) is not None:
                return reply
        return ""


async def rollout(name, answers):
    folder = tempfile.mkdtemp()
    create_memory_if_not_exists(folder)
    try:
        episode = Episode(answers, folder)
        reply = await asyncio.wait_for(episode.run(), 60)
        with open(os.path.join(episode.path, "entities", "grace.md")) as file:
            changed = "41" in file.read()
        kept = os.path.exists(os.path.join(episode.path, "user.md"))
        seen = [asdict(message)["content"] for message in episode.messages if message.content.startswith("<result>")]
        return {"name": name, "reward": float(reply == "Paris") + changed, "kept": kept, "results": seen}
    finally:
        delete_memory(folder)
        shutil.rmtree(folder, ignore_errors=True)


async def main():
    rows = await asyncio.gather(*[rollout(name, answers) for name, answers in POLICIES.items() for _ in range(4)])
    for row in rows[::4]:
        print(json.dumps(row))
    print(len(rows))


asyncio.run(main())
