"""In somebody's vault the agent's own notes have a folder of their own, which the system prompt names."""

from __future__ import annotations

from pathlib import Path

from trioagent._config import VaultPolicy
from trioagent._messages import ChatMessage
from trioagent._prompt import system_prompt

from .conversation import Conversation


def test_facts_are_kept_in_the_agents_own_folder(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "pancakes.md").write_text("# Pancakes\n- eggs: 3\n")
    chat = Conversation(tmp_path)
    chat.messages.append(ChatMessage("system", system_prompt(policy=VaultPolicy(agent_folder="agent"))))
    assert "agent/user.md" in chat.say("My sister Ada lives in Lisbon.")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.md")) == [
        "agent/entities/ada.md",
        "agent/user.md",
        "recipes/pancakes.md",
    ]
    assert "- **Sister**: [[agent/entities/ada]]" in chat.note("agent/user.md")
    assert "- **Sister Of**: [[agent/user]]" in chat.note("agent/entities/ada.md")
    assert "Lisbon" in chat.say("Where does my sister live?")
    assert "Porto" in chat.say("Ada moved to Porto.") and "Porto" in chat.note("agent/entities/ada.md")
    assert "3" in chat.say("How many eggs do pancakes need?")  # the person's notes are looked into as well
    assert "Rome" in chat.say("I live in Rome.") and "You live in Rome" in chat.say("Where do I live?")
