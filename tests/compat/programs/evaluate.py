"""Questions over copies of memories, judged by a model: sync chats in a coroutine, as its author left them."""

import asyncio
import json
import os
import re
import shutil

from agent.agent import Agent
from agent.async_agent.async_model import get_model_response
from agent.utils import extract_reply
from pydantic import BaseModel


class Entry(BaseModel):
    question: str
    answer: str


async def evaluate(data, work):
    scores = []
    for folder in sorted(os.listdir(data)):
        copy = os.path.join(work, folder)
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(os.path.join(data, folder), copy)
        agent = Agent(model="some/mem-agent", memory_path=copy, use_vllm=True)
        for entry in [Entry(question="Where do I live?", answer="Paris")]:
            agent.messages = agent.messages[:1]
            agent.chat(entry.question)
            answer = extract_reply(agent.messages[-1].content)
            verdict = await get_model_response(
                message=f"JUDGE {entry.question!r}: {answer!r}, should be {entry.answer!r}",
                use_vllm=True,
                model="some/judge",
            )
            found = re.search(r"<judgment>(.*?)</judgment>", verdict)
            scores.append({**entry.model_dump(), "is_correct": found[1] if found else None})
        shutil.rmtree(copy)
    print(json.dumps(scores))


asyncio.run(evaluate("data", "tmp_work"))
