"""The model that the documented API's arguments and the environment select."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from .._config import ModelConfig
from .._errors import InvalidInputError
from ..models import OFFLINE_RULES, VLLM_DEFAULT, Model, OfflineRules, model_config, names_a_server
from ._bridge import is_new
from ._runtimes import Settings
from .settings import OPENROUTER_STRONG_MODEL

_log = logging.getLogger("trioagent")


def chosen_model(name: str | None, *, use_vllm: bool = False, env: Mapping[str, str] | None = None) -> Settings:
    """The settings of the model that a name and the environment select.

    A name with a provider's prefix (``openrouter:…``, ``vllm:…``; also ``offline-rules``) selects that provider. Any
    other name is a model of the server at ``TRIOAGENT_BASE_URL``, else, with *use_vllm*, of the vLLM server, else of
    OpenRouter, or of the vLLM server if the environment names that and holds no key. Without a name, or with the
    default one, the environment decides (see `trioagent.models.model_config`).

    Args:
        env: in place of this process's environment.

    Raises:
        InvalidInputError: the name is unknown, or its key is missing.
    """
    environment = os.environ if env is None else env
    if use_vllm and (name is None or not names_a_server(name)):
        return model_config(f"vllm:{name or VLLM_DEFAULT}", env=environment)
    if name is None or name == OPENROUTER_STRONG_MODEL:
        found = model_config(None, env=environment)
        if isinstance(found, OfflineRules) and found.notice and is_new(found.notice):
            _log.warning("%s", found.notice)
        return found
    if names_a_server(name) or environment.get("TRIOAGENT_BASE_URL"):
        return model_config(name, env=environment)
    has_key = environment.get("OPENROUTER_API_KEY") or environment.get("TRIOAGENT_API_KEY")
    names_vllm = environment.get("VLLM_HOST") or environment.get("VLLM_PORT")
    return model_config(f"{'vllm' if names_vllm and not has_key else 'openrouter'}:{name}", env=environment)


def choice_of(model: str | ModelConfig | Model | None, *, use_vllm: bool = False) -> Settings | Model:
    """Resolve a name (see `chosen_model`), settings or a `Model`; the last two are returned as they are.

    Raises:
        InvalidInputError: *model* is none of these; or see `chosen_model`.
    """
    if model is None or isinstance(model, str):
        return chosen_model(model, use_vllm=use_vllm)
    if isinstance(model, ModelConfig | OfflineRules):
        return model
    if isinstance(model, type) or not (callable(getattr(model, "answer", None)) and hasattr(model, "name")):
        problem = f"must be a name, a ModelConfig, or an object with the Model interface, not {model!r:.100}"
        raise InvalidInputError("model", problem)
    return model


def name_of(choice: Settings | Model) -> str:
    """The model's name, for people."""
    if isinstance(choice, ModelConfig):
        return choice.model
    return OFFLINE_RULES if isinstance(choice, OfflineRules) else choice.name
