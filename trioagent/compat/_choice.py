"""Selects the model from the documented API's arguments, its settings and the environment."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from .._config import ModelConfig
from .._errors import InvalidInputError
from ..models import OFFLINE_RULES, OPENROUTER_DEFAULT, VLLM_DEFAULT, Model, OfflineRules, model_config, names_a_server
from . import settings
from ._bridge import is_new
from ._clients import INSTEAD, server_of
from ._configuration import names_a_model, variables
from ._runtimes import Settings

_OPENROUTER = "https://openrouter.ai/api/v1"

_log = logging.getLogger("trioagent")


def chosen_model(
    name: str | None, *, use_vllm: bool = False, env: Mapping[str, str] | None = None, memory_path: str | None = None
) -> Settings:
    """The settings of the model selected by a name and the environment.

    A name with a provider's prefix (``openrouter:…``, ``vllm:…``; also ``offline-rules``) selects that provider. Any
    other name is a model of the server at ``TRIOAGENT_BASE_URL``; else, with *use_vllm*, of your own server
    (``VLLM_BASE_URL``, ``LITELLM_BASE_URL``, or ``VLLM_HOST`` and ``VLLM_PORT``); else of OpenRouter, or of your own
    server if the environment names one and holds no key. Without a name, or with the default one, the environment
    decides (see `trioagent.models.model_config`).

    Args:
        env: replaces this process's environment, the program's ``.env`` and assignments to `settings`.
        memory_path: the agent's memory; a ``.env`` file in there is not read.

    Raises:
        InvalidInputError: the name is unknown, its key is missing, or the program's ``.env`` has variables about models
            that do not select one.
    """
    said = {**variables(without=memory_path), **settings.assigned()} if env is None else dict(env)
    if use_vllm and (name is None or not names_a_server(name)):
        return _of_own_server(name or said.get("LITELLM_MODEL") or VLLM_DEFAULT, said)
    if name is None or name in (OPENROUTER_DEFAULT, settings.OPENROUTER_STRONG_MODEL):
        name = _default_name(said) if env is None else None
    if name is None:
        found = _by_environment(said)
        if isinstance(found, OfflineRules) and found.notice:
            if env is None and names_a_model(memory_path):
                raise InvalidInputError(
                    "model",
                    "the program's .env file has variables about models, but selects none: it needs "
                    "OPENROUTER_API_KEY, VLLM_HOST, LITELLM_BASE_URL, or TRIOAGENT_MODEL with TRIOAGENT_BASE_URL (an "
                    "address that it names gets no key from the environment)",
                )
            if is_new(found.notice):
                _log.warning("%s", found.notice)
        return found
    if names_a_server(name) or said.get("TRIOAGENT_BASE_URL"):
        return model_config(name, env=said)
    has_key = said.get("OPENROUTER_API_KEY") or said.get("TRIOAGENT_API_KEY")
    return _of_own_server(name, said) if _names_own_server(said) and not has_key else _of_openrouter(name, said)


def _default_name(said: Mapping[str, str]) -> str | None:
    """The default model's name, if the program or the environment has changed it."""
    assigned = settings.OPENROUTER_STRONG_MODEL
    return assigned if assigned != OPENROUTER_DEFAULT else said.get("OPENROUTER_STRONG_MODEL") or None


def _by_environment(said: Mapping[str, str]) -> Settings:
    if not (said.get("TRIOAGENT_MODEL") or said.get("TRIOAGENT_BASE_URL")):
        if said.get("OPENROUTER_API_KEY"):
            return _of_openrouter(OPENROUTER_DEFAULT, said)
        if _names_own_server(said):
            return _of_own_server(said.get("LITELLM_MODEL") or VLLM_DEFAULT, said)
    return model_config(None, env=said)


def _names_own_server(said: Mapping[str, str]) -> bool:
    return any(said.get(name) for name in ("VLLM_HOST", "VLLM_PORT", "VLLM_BASE_URL", "LITELLM_BASE_URL"))


def _of_own_server(name: str, said: Mapping[str, str]) -> Settings:
    key = said.get("VLLM_API_KEY") or said.get("LITELLM_API_KEY") or None
    url = said.get("VLLM_BASE_URL") or None
    if url is None and not (said.get("VLLM_HOST") or said.get("VLLM_PORT")):
        url = said.get("LITELLM_BASE_URL") or None
    return model_config(f"vllm:{name}", base_url=url, api_key=key, env=said)


def _of_openrouter(name: str, said: Mapping[str, str]) -> Settings:
    url = said.get("OPENROUTER_BASE_URL") or _OPENROUTER
    if url.rstrip("/") == _OPENROUTER:
        return model_config(f"openrouter:{name}", env=said)
    return model_config(f"openrouter:{name}", base_url=url, api_key=said.get("OPENROUTER_API_KEY") or None, env=said)


def choice_of(
    model: str | ModelConfig | Model | None,
    *,
    use_vllm: bool = False,
    client: object = None,
    memory_path: str | None = None,
) -> Settings | Model:
    """Resolve a name (see `chosen_model`), settings or a `Model`; the last two are returned as they are.

    Args:
        client: the server that has the model (see `server_of`).

    Raises:
        InvalidInputError: *model* is none of these; *client* is not a client, or has another address than the model; or
            see `chosen_model`.
    """
    if client is not None:
        return _of_client(client, model)
    if model is None or isinstance(model, str):
        return chosen_model(model, use_vllm=use_vllm, memory_path=memory_path)
    if isinstance(model, ModelConfig | OfflineRules):
        return model
    if isinstance(model, type) or not (callable(getattr(model, "answer", None)) and hasattr(model, "name")):
        problem = f"must be a name, a ModelConfig, or an object with the Model interface, not {model!r:.100}"
        raise InvalidInputError("model", problem)
    return model


def _of_client(client: object, model: object) -> Settings:
    server = server_of(client)
    if isinstance(model, ModelConfig) and model.base_url.rstrip("/") == server.base_url.rstrip("/"):
        return model
    if not isinstance(model, str) or names_a_server(model):
        raise InvalidInputError("client", f"is of {server.base_url}, and {model!r:.100} is not; {INSTEAD}")
    return ModelConfig(base_url=server.base_url, model=model, api_key=server.api_key, headers=server.headers)


def name_of(choice: Settings | Model) -> str:
    """The model's name, for display."""
    if isinstance(choice, ModelConfig):
        return choice.model
    return OFFLINE_RULES if isinstance(choice, OfflineRules) else choice.name
