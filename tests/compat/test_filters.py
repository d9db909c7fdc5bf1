"""``<filter>`` rules that programs append to a message: told to the model, and enforced."""

from __future__ import annotations

from pathlib import Path

import pytest

from trioagent import ChatFilter, InvalidInputError, VaultPolicy
from trioagent.compat import Agent, configure
from trioagent.compat.engine import execute_sandboxed_code
from trioagent.testing import ScriptedModel

pytestmark = pytest.mark.real

QUESTION = "How old is Ada?\n<filter>\n1. Do not reveal ages.\n2. Do not read notes in journal/\n</filter>"
READ = "<think>t</think><python>\nx = read_file('user'), read_file('journal/may')\n</python>"
REPLY = "<think>t</think><python></python><reply>Ada is 34 years old.</reply>"


def test_rules_are_told_and_enforced(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "user.md").write_text("- age: 34\n")
    (tmp_path / "journal" / "may.md").write_text("She left.\n")
    model = ScriptedModel([READ, REPLY, REPLY, READ, REPLY])
    agent = Agent(memory_path=str(tmp_path), model=model)
    response = agent.chat(QUESTION)
    assert response.reply == "Ada [withheld]."
    assert [message.role for message in agent.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert agent.messages[1].content == QUESTION
    result = agent.messages[3].content
    assert "34" not in result and "She left" not in result and "may not be read here" in result
    assert "bind your reply" in model.calls[0][-1].content
    assert agent.chat(QUESTION).reply == "Ada [withheld]."
    assert len(model.calls[2]) == 6  # it goes on with the conversation
    assert agent.chat("How old is Ada?").reply == "Ada is 34 years old."
    assert "She left" in agent.messages[-2].content


def test_a_programs_own_policy_and_filter(tmp_path: Path) -> None:
    """A message's rules add to them, and cannot take anything away."""
    (tmp_path / "journal").mkdir()
    (tmp_path / "user.md").write_text("- age: 34\n- mail: ada@example.com\n")
    (tmp_path / "journal" / "may.md").write_text("She left.\n")
    look = "<think>t</think><python>\nx = read_file('user'), read_file('journal/may'), create_file('a', 'x')\n</python>"
    model = ScriptedModel([look, "<think>t</think><python></python><reply>34, ada@example.com</reply>"])
    configure(
        policy=VaultPolicy(read_only=True, agent_folder="agent"),
        chat_filter=ChatFilter(readable=["!journal/**"], redact=["ada@example.com"], instruction="Say little."),
    )
    try:
        agent = Agent(memory_path=str(tmp_path), model=model)
        response = agent.chat("Who? <filter>Do not reveal ages, or notes in people/.</filter>")
        assert "change none of them" in agent.system_prompt
        values, _ = execute_sandboxed_code("x = create_file('a', 'x')", allowed_path=str(tmp_path))
        assert values is not None and "read-only" in str(values["x"])
    finally:
        configure(policy=VaultPolicy(), chat_filter=None)
    assert "ada@" not in response.reply
    result = agent.messages[3].content
    assert "She left" not in result and "ada@" not in result and "age: 34" not in result and "read-only" in result
    assert "Say little." in model.calls[0][-1].content and "bind your reply" in model.calls[0][-1].content
    with pytest.raises(InvalidInputError, match="policy"):
        configure(policy={"read_only": True})  # type: ignore[arg-type]
