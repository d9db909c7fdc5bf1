"""A conversation with the rules in which the blocks run in this process, with the real tools on a real folder."""

from __future__ import annotations

import sys
from pathlib import Path

from trioagent._messages import ChatMessage
from trioagent._model_profile import DEFAULT
from trioagent._reply_parser import parse_reply
from trioagent.models.offline_rules import library, respond
from trioagent.sandbox._guest.values import local_values
from trioagent.tools import make_tools

sys.modules["offline_rules"] = library  # under the name that the sandbox gives it


class Conversation:
    """Says messages and returns replies; ``messages`` is the history, ``blocks`` the code that ran."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.messages: list[ChatMessage] = []
        self.blocks: list[str] = []

    def say(self, text: str) -> str:
        self.messages.append(ChatMessage("user", text))
        for _ in range(2):
            answer = parse_reply(respond(self.messages))
            self.messages.append(ChatMessage("assistant", answer.text))
            assert not answer.repairs
            if answer.reply:
                return answer.reply
            self.messages.append(ChatMessage("tool", self.run(answer.code)))
        raise AssertionError("one block is enough")

    def run(self, code: str) -> str:
        self.blocks.append(code)
        tools = make_tools(str(self.root))
        names: dict[str, object] = dict(tools)
        exec(compile(code, "<block>", "exec"), names)
        values = local_values(names, {id(tool) for tool in tools.values()}, 20_000, 100_000)
        return DEFAULT.format_result(values, "")

    def tell(self, *texts: str) -> None:
        for text in texts:
            self.say(text)

    def note(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")

    def write(self, name: str, text: str | bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
