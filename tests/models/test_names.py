"""Names and environment to settings; keys go only where they belong."""

from __future__ import annotations

import pytest

from trioagent._config import ModelConfig
from trioagent._errors import InvalidInputError
from trioagent.models import OfflineRules, model_config

OPENROUTER = "https://openrouter.ai/api/v1"
OPENAI = "https://api.openai.com/v1"
KEY = "sk-secret-123"


@pytest.mark.parametrize(
    ("name", "env", "base_url", "model", "key"),
    [
        ("openrouter:a/b", {"OPENROUTER_API_KEY": KEY}, OPENROUTER, "a/b", KEY),
        ("openrouter:a/b:free", {"TRIOAGENT_API_KEY": KEY}, OPENROUTER, "a/b:free", KEY),
        ("openai:gpt-4", {"OPENAI_API_KEY": KEY, "OPENROUTER_API_KEY": "other"}, OPENAI, "gpt-4", KEY),
        ("vllm:m", {}, "http://localhost:8000/v1", "m", None),
        ("vllm:m", {"VLLM_HOST": "gpu", "VLLM_PORT": "81"}, "http://gpu:81/v1", "m", None),
        ("vllm:m", {"VLLM_HOST": "[::1]"}, "http://[::1]:8000/v1", "m", None),
        ("ollama:llama3:8b", {}, "http://localhost:11434/v1", "llama3:8b", None),
        ("ollama:llama3:8b", {"OPENAI_API_KEY": KEY}, "http://localhost:11434/v1", "llama3:8b", None),
        (None, {"TRIOAGENT_MODEL": "vllm:m", "OPENROUTER_API_KEY": KEY}, "http://localhost:8000/v1", "m", None),
        (None, {"TRIOAGENT_MODEL": "m", "TRIOAGENT_BASE_URL": "http://x/v1"}, "http://x/v1", "m", None),
        (None, {"OPENROUTER_API_KEY": KEY, "VLLM_HOST": "gpu"}, OPENROUTER, "anthropic/claude-sonnet-4", KEY),
        (None, {"VLLM_PORT": "81"}, "http://localhost:81/v1", "driaforall/mem-agent", None),
    ],
)
def test_names(name: str | None, env: dict[str, str], base_url: str, model: str, key: str | None) -> None:
    assert model_config(name, env=env) == ModelConfig(base_url=base_url, model=model, api_key=key)


def test_no_settings_at_all_is_offline_rules_with_a_notice() -> None:
    chosen = model_config(env={"TRIOAGENT_MODEL": "", "PATH": "/bin"})
    assert isinstance(chosen, OfflineRules)
    assert "offline-rules" in chosen.notice and "not a language model" in chosen.notice
    assert "\n" not in chosen.notice


def test_offline_rules_by_name_need_no_notice() -> None:
    assert model_config("offline-rules", env={"OPENROUTER_API_KEY": KEY}) == OfflineRules("")
    assert model_config(env={"TRIOAGENT_MODEL": "offline-rules", "OPENROUTER_API_KEY": KEY}) == OfflineRules("")


@pytest.mark.parametrize(
    ("name", "base_url", "env", "words"),
    [
        ("gpt-4", None, {}, "say openai:gpt-4 or give a base URL"),
        ("anthropic/claude", None, {}, "say openrouter:anthropic/claude"),
        ("opanai:gpt-4", None, {}, "say openai:gpt-4"),
        ("", None, {}, "not known"),
        ("vllm:", None, {}, "names no model"),
        ("vllm:m", None, {"VLLM_HOST": "http://gpu"}, "a whole URL goes into TRIOAGENT_BASE_URL"),
        (None, None, {"VLLM_HOST": "gpu", "VLLM_PORT": "abc"}, "a number from 1 to 65535"),
        ("openrouter:x", None, {}, "set OPENROUTER_API_KEY or TRIOAGENT_API_KEY"),
        ("openai:x", None, {"OPENROUTER_API_KEY": KEY}, "set OPENAI_API_KEY or TRIOAGENT_API_KEY"),
        (None, "http://x/v1", {}, "TRIOAGENT_MODEL"),
        (None, None, {"TRIOAGENT_BASE_URL": "http://x/v1", "OPENROUTER_API_KEY": KEY}, "TRIOAGENT_MODEL"),
        ("m", "localhost:8000", {}, "must start with http://"),
        ("m", "http://user:hunter2@x/v1", {}, "must not hold a user name or password"),
    ],
)
def test_what_cannot_be_used(name: str | None, base_url: str | None, env: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        model_config(name, base_url=base_url, env=env)
    assert words in str(caught.value)
    assert KEY not in str(caught.value) and "hunter2" not in str(caught.value)


def test_a_base_url_takes_any_name() -> None:
    for name, model in {"gpt-4": "gpt-4", "llama3:8b": "llama3:8b", "openai:gpt-4": "gpt-4"}.items():
        assert model_config(name, base_url="http://x/v1", env={}) == ModelConfig(base_url="http://x/v1", model=model)


@pytest.mark.parametrize(
    ("name", "base_url", "env"),
    [
        ("openai:gpt-4", "http://elsewhere/v1", {"OPENAI_API_KEY": KEY}),
        ("openrouter:a/b", "http://elsewhere/v1", {"OPENROUTER_API_KEY": KEY}),
        (
            None,
            None,
            {"TRIOAGENT_MODEL": "openai:x", "TRIOAGENT_BASE_URL": "http://elsewhere/v1", "OPENAI_API_KEY": KEY},
        ),
        ("vllm:m", None, {"TRIOAGENT_BASE_URL": "http://elsewhere/v1", "TRIOAGENT_API_KEY": KEY}),
        ("m", "http://elsewhere/v1", {"TRIOAGENT_BASE_URL": "http://home/v1", "TRIOAGENT_API_KEY": KEY}),
        ("m", "https://home/v1", {"TRIOAGENT_BASE_URL": "http://home/v1", "TRIOAGENT_API_KEY": KEY}),
        ("m", "http://home:8000/v1", {"TRIOAGENT_BASE_URL": "http://home/v1", "TRIOAGENT_API_KEY": KEY}),
        ("m", "http://home/v1", {"TRIOAGENT_BASE_URL": "http://home:x/v1", "TRIOAGENT_API_KEY": KEY}),
    ],
)
def test_a_key_does_not_go_to_an_address_it_is_not_for(
    name: str | None, base_url: str | None, env: dict[str, str]
) -> None:
    config = model_config(name, base_url=base_url, env=env)
    assert isinstance(config, ModelConfig)
    assert config.api_key is None


def test_our_own_address_and_key_go_together() -> None:
    env = {"TRIOAGENT_BASE_URL": "http://x/v1", "TRIOAGENT_API_KEY": KEY, "TRIOAGENT_MODEL": "m"}
    assert model_config(env=env) == ModelConfig(base_url="http://x/v1", model="m", api_key=KEY)
    assert model_config("n", env=env) == ModelConfig(base_url="http://x/v1", model="n", api_key=KEY)
    assert model_config("vllm:n", env=env) == ModelConfig(base_url="http://localhost:8000/v1", model="n")
    for same in ("http://x/v1/", "http://x:80/other"):
        assert model_config("n", base_url=same, env=env) == ModelConfig(base_url=same, model="n", api_key=KEY)
    assert model_config("n", base_url="http://y/v1", env={"TRIOAGENT_API_KEY": KEY}) == ModelConfig(
        base_url="http://y/v1", model="n", api_key=KEY
    )
    given = model_config("openrouter:n", api_key="given", env=env)
    assert given == ModelConfig(base_url=OPENROUTER, model="n", api_key="given")


@pytest.mark.parametrize("key", ["sk-1\n", "sk 1", "sk-\u00e9", "sk\t1"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(InvalidInputError, match="api_key") as caught:
        ModelConfig(base_url="http://x/v1", model="m", api_key=key)
    assert key not in str(caught.value) and repr(key) not in repr(caught.value)


def test_a_key_in_the_address_is_not_shown() -> None:
    config = ModelConfig(base_url="https://gateway.example/v1?key=s3cret", model="m")
    assert "s3cret" not in repr(config)
    assert "https://gateway.example/v1" in repr(config)
