"""A chat in the terminal that shows each message of the turn in a panel of its author, as they come."""

import os
import sys
import threading
import time

from agent import Agent
from agent.schemas import Role
from agent.utils import extract_reply


def panels(messages):
    for message in messages:
        text = (message.content or "").strip()
        if message.role == Role.SYSTEM:
            continue
        if message.role == Role.USER and text.startswith("<result>"):
            yield "environment", text.removeprefix("<result>").removesuffix("</result>").strip()
        elif message.role == Role.USER:
            yield "you", text
        else:
            yield "agent", extract_reply(message.content) or text


def main():
    memory = os.path.join(os.path.dirname(os.path.abspath(__file__)), "notes of mine")
    os.makedirs(memory, exist_ok=True)
    agent = Agent(model="some/mem-agent", use_vllm=True, predetermined_memory_path=False, memory_path=memory)
    for line in sys.stdin:
        said, error = line.strip(), []
        start = len(agent.messages)

        def chat(said=said, error=error):
            try:
                agent.chat(said)
            except Exception as problem:
                error.append(problem)

        thread = threading.Thread(target=chat, daemon=True)
        thread.start()
        live = 0
        while thread.is_alive():
            live = max(live, len(list(agent.messages)[start:]))
            time.sleep(0.01)
        thread.join()
        for title, body in panels(agent.messages[start:]):
            print(f"[{title}] {body}")
        print("seen while it went on:", live > 1, "errors:", error)


if __name__ == "__main__":
    main()
