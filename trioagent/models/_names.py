"""Resolve a model name and environment variables to settings. The environment is an argument, never read here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs

from .._config import ModelConfig
from .._errors import InvalidInputError

OFFLINE_RULES = "offline-rules"
OPENROUTER_DEFAULT = "anthropic/claude-sonnet-4"
VLLM_DEFAULT = "driaforall/mem-agent"

_NOTICE = (
    "no model is configured: using offline-rules, which is rules and not a language model; set TRIOAGENT_MODEL "
    "(and TRIOAGENT_API_KEY), OPENROUTER_API_KEY or VLLM_HOST, or name a model"
)


@attrs.frozen
class OfflineRules:
    """The embedded rules were chosen. ``notice`` is a line for the user if they are the fallback, else ""."""

    notice: str = ""


@attrs.frozen
class _Provider:
    """The address behind a prefix. The key in ``key_variable`` is sent to ``base_url`` and nowhere else."""

    base_url: str
    key_variable: str = ""
    needs_key: bool = False


def _providers(env: Mapping[str, str]) -> dict[str, _Provider]:
    host, port = env.get("VLLM_HOST") or "localhost", env.get("VLLM_PORT") or "8000"
    return {
        "openrouter": _Provider("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", needs_key=True),
        "openai": _Provider("https://api.openai.com/v1", "OPENAI_API_KEY", needs_key=True),
        "vllm": _Provider(f"http://{host}:{port}/v1"),
        "ollama": _Provider("http://localhost:11434/v1"),
    }


def model_config(
    name: str | None = None,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    env: Mapping[str, str],
) -> ModelConfig | OfflineRules:
    """Resolve a model's name to its settings.

    A name is ``openrouter:…``, ``openai:…``, ``vllm:…``, ``ollama:…`` or ``offline-rules``; with a base URL it may be
    any name that the server there knows. Without a name the environment decides: ``TRIOAGENT_MODEL``, else
    ``OPENROUTER_API_KEY``, else ``VLLM_HOST`` or ``VLLM_PORT``, else ``offline-rules``.

    ``TRIOAGENT_BASE_URL`` is the default for *base_url*, unless *name* has a prefix, which implies an address.
    ``TRIOAGENT_API_KEY`` is the default for *api_key*, but if ``TRIOAGENT_BASE_URL`` is set it is sent there only.

    Args:
        name: the model's name.
        base_url: the model's address, in place of the prefix's own.
        api_key: the key to send.
        env: the environment, or the part of it to use.

    Raises:
        InvalidInputError: the name has no known prefix and no base URL, or the provider's key is missing.
    """
    providers = _providers(env)
    if name is None:
        name = env.get("TRIOAGENT_MODEL") or None
        env_url = env.get("TRIOAGENT_BASE_URL") or None
    else:
        env_url = None if names_a_server(name) else env.get("TRIOAGENT_BASE_URL") or None
    url = base_url or env_url
    if name is None:
        if url is not None:
            raise InvalidInputError(
                "model", f"the base URL {url!r} needs a model's name beside it: set TRIOAGENT_MODEL"
            )
        name = _from_environment(env)
        if name is None:
            return OfflineRules(_NOTICE)
    if name == OFFLINE_RULES:
        return OfflineRules()
    prefix, colon, model = name.partition(":")
    provider = providers.get(prefix) if colon else None
    if provider is None:
        if url is None:
            raise InvalidInputError("model", _unknown_name(name, providers))
        provider, model = _Provider(url), name
    if not model:
        raise InvalidInputError("model", f"{name!r} names no model: write {prefix}:MODEL")
    if provider is providers["vllm"] and url is None:
        _check_host(env)
    at_home = url is None or url.rstrip("/") == provider.base_url
    key = api_key or _key_from_environment(env, provider, url or provider.base_url, at_home=at_home)
    if key is None and provider.needs_key and at_home:
        raise InvalidInputError("api_key", f"{name!r} needs one: set {provider.key_variable} or TRIOAGENT_API_KEY")
    return ModelConfig(base_url=url or provider.base_url, model=model, api_key=key)


def _check_host(env: Mapping[str, str]) -> None:
    host, port = env.get("VLLM_HOST") or "localhost", env.get("VLLM_PORT") or "8000"
    if not re.fullmatch(r"[\w.-]+|\[[0-9A-Fa-f:.]+\]", host):
        raise InvalidInputError(
            "VLLM_HOST", f"must be a host's name or address, not {host!r}; a whole URL goes into TRIOAGENT_BASE_URL"
        )
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise InvalidInputError("VLLM_PORT", f"must be a number from 1 to 65535, not {port!r}")


def names_a_server(name: str) -> bool:
    """Whether a model's name alone determines its server: a known prefix, or the embedded rules."""
    return name == OFFLINE_RULES or name.partition(":")[0] in _providers({})


def same_server(url: str, other: str) -> bool:
    """Whether two addresses have one scheme, host and port, so that a key for one may be sent to the other."""
    return _server_of(url) == _server_of(other)


def _server_of(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:  # not an address, which is reported where it is used
        return url, None, None


def _from_environment(env: Mapping[str, str]) -> str | None:
    if env.get("OPENROUTER_API_KEY"):
        return f"openrouter:{OPENROUTER_DEFAULT}"
    if env.get("VLLM_HOST") or env.get("VLLM_PORT"):
        return f"vllm:{VLLM_DEFAULT}"
    return None


def _key_from_environment(env: Mapping[str, str], provider: _Provider, url: str, *, at_home: bool) -> str | None:
    bound_to, general = env.get("TRIOAGENT_BASE_URL"), env.get("TRIOAGENT_API_KEY")
    if general and (not bound_to or same_server(url, bound_to)):
        return general
    return (env.get(provider.key_variable) or None) if at_home else None


def _unknown_name(name: str, providers: Mapping[str, _Provider]) -> str:
    known = ", ".join(f"{prefix}:…" for prefix in providers)
    guess = "openrouter" if "/" in name else "openai"
    model = name.partition(":")[2] or name
    return f"{name!r} is not known: say {guess}:{model} or give a base URL (known are {known}, {OFFLINE_RULES})"
