"""The standard episode: three answers of the model and two pieces of work, in the words of each kind of agent.

First the agent makes a note and reads it, then it lists its notes, then it replies. Agents that write code get it as
code, agents that call tools get it as tool calls; what is done to the files is the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TURNS = 3
NOTE = "entities/acme.md"
TEXT = "# Acme\n- type: company\n- city: Berlin\n"
REPLY = "Noted: you work at Acme."

# Agents say their number, so that the server can tell whose request it is.
TAG = "agent-"
DIGITS = 6

_ARGUMENTS = {"path": NOTE, "text": TEXT}
_TAGS = [
    f'<think>A new fact. I write it down.</think>\n<python>\ncreate_file("{NOTE}", {TEXT!r})\n'
    f'note = read_file("{NOTE}")\n</python>',
    "<think>I look at what there is.</think>\n<python>\nfiles = list_files()\n</python>",
    f"<think>All is in its place.</think>\n<python></python>\n<reply>{REPLY}</reply>",
]
_CODE = [
    f'Thought: A new fact. I write it down.\n<code>\nnote = remember(path="{NOTE}", text={TEXT!r})\n</code>',
    "Thought: I look at what there is.\n<code>\nfiles = list_notes()\n</code>",
    f'Thought: All is in its place.\n<code>\nfinal_answer("{REPLY}")\n</code>',
]


def message(number: int) -> str:
    """What the user says to agent *number*."""
    return f"I work at Acme. ({TAG}{number:0{DIGITS}})"


def answers(style: str) -> list[dict[str, Any]]:
    """The model's messages, in the order of the turns.

    Args:
        style: "tags" (think, python, reply), "tools" (tool calls, then text), "tools-final" (tool calls, the last one
            of ``final_answer``), "code" (code between ``<code>`` tags), "reply" (a reply at once, at every turn), or
            "talkN" (as "tags", and after each last tag N more tokens, as a model that is not stopped).
    """
    match style:
        case "tags":
            return [{"role": "assistant", "content": text} for text in _TAGS]
        case "code":
            return [{"role": "assistant", "content": text} for text in _CODE]
        case "reply":
            return [{"role": "assistant", "content": _TAGS[2]}]
        case "tools":
            return [*_calls(), {"role": "assistant", "content": REPLY}]
        case "tools-final":
            return [*_calls(), _call(3, "final_answer", {"answer": REPLY})]
        case _ if style.startswith("talk"):
            more = " yes" * int(style.removeprefix("talk"))
            return [{"role": "assistant", "content": text + more} for text in _TAGS]
    raise ValueError(f"there is no style {style!r}")


def _calls() -> list[dict[str, Any]]:
    return [_call(1, "remember", _ARGUMENTS), _call(2, "list_notes", {})]


def _call(number: int, name: str, arguments: dict[str, str]) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": f"call_{number}", "type": "function", "function": function}],
    }


def remember(folder: Path, path: str, text: str) -> str:
    """The first block's work, for agents with tools: make a note and read it."""
    note = folder / path
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(text)
    return note.read_text()


def list_notes(folder: Path) -> list[str]:
    """The second block's work: the paths of all notes."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.md"))


def done(folder: Path) -> bool:
    """Whether the episode's note is there as it should be."""
    note = folder / NOTE
    return note.is_file() and note.read_text() == TEXT
