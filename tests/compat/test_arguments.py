"""What an agent is made from: the memory's place, the model that names and the environment mean, messages, settings."""

from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

import trioagent
from trioagent import InvalidInputError, ModelConfig
from trioagent.compat import Agent, AsyncAgent, ChatMessage, Role, settings
from trioagent.compat._choice import chosen_model
from trioagent.models import OfflineRules

from .support import ended, program

STRONG = settings.OPENROUTER_STRONG_MODEL
KEY = {"OPENROUTER_API_KEY": "k"}
HOME = {"TRIOAGENT_BASE_URL": "http://here/v1", "TRIOAGENT_MODEL": "mine"}


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", [Agent, AsyncAgent])
def test_memories_lie_below_memory(kind: type[Agent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, nested, unnamed = kind(memory_path="mine"), kind(memory_path=Path("team/mine")), kind()
    monkeypatch.chdir("/")
    assert named.memory_path == str(tmp_path / "memory" / "mine")
    assert nested.memory_path == str(tmp_path / "memory" / "team" / "mine")
    assert unnamed.memory_path == str(tmp_path / "memory" / "memory_dir")
    assert named.max_tool_turns == 4
    assert os.path.isdir(nested.memory_path)  # programs put notes there before the first chat, and clean up in the end


@pytest.mark.parametrize("path", ["..", "../elsewhere", "a/../..", ".", "", "a\0b", "../memory2/x", 3, b"a", []])
def test_no_other_place_by_accident(path: Any) -> None:
    with pytest.raises(InvalidInputError, match="memory_path"):
        Agent(memory_path=path)


def test_another_place_on_purpose(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    assert Agent(memory_path=elsewhere, predetermined_memory_path=True).memory_path == str(elsewhere)
    inside = Agent(memory_path="mcp-server", predetermined_memory_path=True)
    assert inside.memory_path == str(tmp_path / "memory" / "mcp-server")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("a file")
    for path in (tmp_path / "notes.md", tmp_path / "notes.md" / "below"):
        with pytest.raises(InvalidInputError, match=r"memory_path: the folder .* cannot be created"):
            Agent(memory_path=path)


def test_bad_tool_turns() -> None:
    with pytest.raises(InvalidInputError, match="max_tool_turns"):
        Agent(max_tool_turns=-1)


@pytest.mark.parametrize(
    ("name", "vllm", "env", "base_url", "model"),
    [
        (None, False, KEY, "https://openrouter.ai/api/v1", STRONG),
        (None, False, KEY | HOME, "http://here/v1", "mine"),
        (STRONG, False, HOME, "http://here/v1", "mine"),
        ("deepseek/deepseek-r1:free", False, KEY, "https://openrouter.ai/api/v1", "deepseek/deepseek-r1:free"),
        ("some/model", False, HOME, "http://here/v1", "some/model"),
        ("some/model", False, {"VLLM_PORT": "9"}, "http://localhost:9/v1", "some/model"),
        ("some/model", False, KEY | {"VLLM_PORT": "9"}, "https://openrouter.ai/api/v1", "some/model"),
        ("some/model", True, KEY | {"VLLM_HOST": "gpu"}, "http://gpu:8000/v1", "some/model"),
        (None, True, KEY, "http://localhost:8000/v1", "driaforall/mem-agent"),
        ("ollama:tiny", True, {}, "http://localhost:11434/v1", "tiny"),
        ("vllm:tiny", False, KEY, "http://localhost:8000/v1", "tiny"),
    ],
)
def test_which_model(name: str | None, vllm: bool, env: dict[str, str], base_url: str, model: str) -> None:
    found = chosen_model(name, use_vllm=vllm, env=env)
    assert isinstance(found, ModelConfig)
    assert (found.base_url, found.model) == (base_url, model)


@pytest.mark.real
def test_no_model_is_the_embedded_one_and_says_so_once(tmp_path: Path) -> None:
    """Once in a process, so in one that has made no agent before."""
    source = """
    from trioagent.compat import Agent, AsyncAgent, settings
    for agent in (Agent(), AsyncAgent(), Agent(model=settings.OPENROUTER_STRONG_MODEL), Agent()):
        print(agent.model)
    """
    with program(source, tmp_path) as process:
        code, out, err = ended(process)
    assert (code, out.split()) == (0, ["offline-rules", "offline-rules", STRONG, "offline-rules"]), err
    (said,) = err.splitlines()
    assert said.startswith("no model is configured: ")


def test_a_model_that_was_asked_for_is_no_default(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "trioagent"):
        assert isinstance(chosen_model("offline-rules", env=KEY), OfflineRules)
    assert not caplog.records


def test_a_model_whose_key_is_missing() -> None:
    with pytest.raises(InvalidInputError, match="OPENROUTER_API_KEY"):
        Agent(model="openai/gpt-4o")


@pytest.mark.parametrize("model", [3, [], object(), ModelConfig])
def test_what_is_no_model(model: Any) -> None:
    with pytest.raises(InvalidInputError, match="model: must be a name, a ModelConfig"):
        Agent(model=model)


def test_the_key_is_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-secret")
    agent = Agent()
    assert "sk-secret" not in repr(agent) + repr(vars(agent))


def test_messages() -> None:
    message = ChatMessage(role="user", content="Hi")
    assert message.role is Role.USER
    assert str(message.role) == "user"
    assert message.model_dump() == {"role": "user", "content": "Hi"}
    assert isinstance(message, trioagent.ChatMessage)
    assert ChatMessage.of({"role": "user", "content": "Hi"}) == message
    assert pickle.loads(pickle.dumps(message)) == message


@pytest.mark.parametrize(
    "bad", [{"role": "user"}, {"role": "boss", "content": ""}, {"role": "user", "content": 3}, "Hi", 3]
)
def test_bad_messages(bad: Any) -> None:
    with pytest.raises(InvalidInputError):
        ChatMessage.of(bad)


def test_settings_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (settings.OPENROUTER_API_KEY, settings.VLLM_HOST, settings.VLLM_PORT) == (None, "localhost", 8000)
    monkeypatch.setenv("VLLM_PORT", "9")
    assert settings.VLLM_PORT == 9
    monkeypatch.setenv("VLLM_PORT", "nine")
    with pytest.raises(InvalidInputError, match="VLLM_PORT: must be a port's number, not 'nine'"):
        _ = settings.VLLM_PORT
    assert (settings.MAX_TOOL_TURNS, settings.MEMORY_PATH, settings.SANDBOX_TIMEOUT) == (4, "memory_dir", 20)
    assert os.path.normpath(settings.SAVE_CONVERSATION_PATH) == "output/conversations"
