"""How models of a family are told results: by their name, or by settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from trioagent._config import AgentConfig, BatchConfig, SftConfig
from trioagent._errors import InvalidInputError
from trioagent._model_profile import DEFAULT, MEM_AGENT, ModelProfile, profile_for
from trioagent._prompt import SYSTEM_PROMPT, built_in_prompt, system_prompt
from trioagent._turn import HINT
from trioagent.agent import Agent
from trioagent.runtime import open_runtime
from trioagent.testing import ScriptedModel

BLOCK = "<think>t</think><python>n = 1\nfiles = list_files()</python>"
FAILS = "<think>t</think><python>n = 1\nn / 0</python>"
REPLY = "<think>t</think><python></python><reply>Done.</reply>"


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("driaforall/mem-agent", MEM_AGENT),
        ("driaforall/mem-agent-mlx-4bit", MEM_AGENT),
        ("local/Mem-Agent-Q4_K_M.gguf", MEM_AGENT),
        ("qwen/qwen3-4b", DEFAULT),
        ("", DEFAULT),
    ],
)
def test_the_profile_is_chosen_by_the_models_name(name: str, profile: ModelProfile) -> None:
    assert profile_for(name) is profile
    assert profile_for(name, "mem-agent") is MEM_AGENT
    assert profile_for(name, "default") is DEFAULT


@pytest.mark.parametrize("settings", [AgentConfig, BatchConfig, SftConfig])
def test_an_unknown_profile_is_refused(settings: type) -> None:
    with pytest.raises(InvalidInputError, match="must be one of 'default', 'mem-agent', not 'other'"):
        settings(model_profile="other")


@pytest.mark.parametrize(
    ("values", "error", "printed", "pair", "mapping"),
    [
        ({"a": "1"}, "", "", "({'a': 1}, '')", "{'a': 1}"),
        ({}, "", "", "({}, '')", "{}"),
        ({"a": "1"}, "KeyError: 'x'", "", "({'a': 1}, \"KeyError: 'x'\")", "({'a': 1}, {KeyError: 'x'})"),
        ({}, "", "hi\n", "({'(printed)': 'hi\\n'}, '')", "{'(printed)': 'hi\\n'}"),
    ],
)
def test_results_have_two_shapes(values: dict[str, str], error: str, printed: str, pair: str, mapping: str) -> None:
    assert DEFAULT.format_result(values, error, printed) == f"<result>\n{pair}\n</result>"
    assert MEM_AGENT.format_result(values, error, printed) == f"<result>\n{mapping}\n</result>"


def test_the_built_in_prompt_shows_the_results_as_they_come() -> None:
    assert built_in_prompt() == SYSTEM_PROMPT
    assert "\n({'variable': 'value'}, 'error')\n</result>" in SYSTEM_PROMPT
    assert "\n({'variable': 'value'}, {error})\n</result>" in built_in_prompt(MEM_AGENT)
    assert system_prompt("Mine.", profile=MEM_AGENT) == "Mine."


@pytest.mark.real
async def test_an_agent_tells_results_and_hints_as_its_model_was_trained(tmp_path: Path) -> None:
    model = ScriptedModel([BLOCK, FAILS, "What?", REPLY], name="driaforall/mem-agent")
    async with open_runtime(model) as runtime:
        agent = Agent(runtime, memory_path=tmp_path)
        await agent.chat("hello")
    told = [message.content for message in agent.messages if message.role == "tool"]
    assert told[0] == "<result>\n{'n': 1, 'files': []}\n</result>"
    assert told[1].startswith("<result>\n({'n': 1}, {ZeroDivisionError: division by zero (line 2: n / 0)")
    assert told[2] == f"<result>\n({{}}, {{{HINT}}})\n</result>"
    assert agent.profile is MEM_AGENT


@pytest.mark.real
async def test_settings_choose_another_profile(tmp_path: Path) -> None:
    async with open_runtime(ScriptedModel([BLOCK, REPLY], name="driaforall/mem-agent")) as runtime:
        agent = Agent(runtime, memory_path=tmp_path, model_profile="default")
        await agent.chat("hello")
    assert agent.messages[3].content == "<result>\n({'n': 1, 'files': []}, '')\n</result>"
