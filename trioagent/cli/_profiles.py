"""``trioagent.toml``: named sets of options, and the model that options, profile and environment select together.

The file is read from the user's configuration folder, or from the path of ``--config``; never from the current folder,
where a cloned repository could contain one and redirect keys.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from .._config import BlindOverwrite, ModelConfig, VaultPolicy
from .._errors import InvalidInputError
from .._wire import read_value, strict_converter
from ..models import OfflineRules, model_config, names_a_server, same_server, with_options

FILE_NAME = "trioagent.toml"
DEFAULT_PROFILE = "default"
_SAMPLING = ("temperature", "top_p", "max_tokens", "seed", "stop", "stream", "context_tokens")
_PLAIN_NAMES = {"ModelConfig.base_url": "the base URL", "ModelConfig.api_key": "the API key", "api_key": "the API key"}


@attrs.frozen(kw_only=True)
class Profile:
    """One table ``[profiles.NAME]`` of the configuration file.

    Attributes:
        model, base_url: as the command line's options.
        api_key_env: the environment variable that holds the key. The key is sent to this profile's own server only,
            whatever other options say.
        headers_env: further headers, whose values are in these environment variables; sent to that server only, too.
        headers: further headers, whose values are not secret.
        temperature, top_p, max_tokens, seed, stop, stream, context_tokens: see `ModelConfig`.
        options: further request parameters.
        rpm, tpm: requests and tokens per minute.
        max_tool_turns, system_prompt, system_prompt_append, date, model_profile, blind_overwrite: see `AgentConfig`.
        policy: what blocks may read and change in the notes; see `VaultPolicy`.
        review: which notes may change without a question; see `ReviewPolicy.parse`.
    """

    model: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)
    headers_env: Mapping[str, str] = attrs.field(factory=dict)
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: Any = None
    stream: bool | None = None
    context_tokens: int | None = None
    options: Mapping[str, Any] = attrs.field(factory=dict)
    rpm: float | None = None
    tpm: float | None = None
    max_tool_turns: int | None = None
    system_prompt: str | None = None
    system_prompt_append: str | None = None
    date: str | None = None
    model_profile: str | None = None
    blind_overwrite: BlindOverwrite | None = None
    policy: VaultPolicy | None = None
    review: str | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """All request parameters by name."""
        named = {name: getattr(self, name) for name in _SAMPLING}
        return {**self.options, **{name: value for name, value in named.items() if value is not None}}


@attrs.frozen(kw_only=True)
class ConfigFile:
    """The whole file."""

    profiles: Mapping[str, Profile] = attrs.field(factory=dict)


def config_path(env: Mapping[str, str]) -> Path | None:
    """``trioagent/trioagent.toml`` in ``XDG_CONFIG_HOME``, which is used only if absolute, else in ``~/.config``."""
    folder = env.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(folder):
        return Path(folder) / "trioagent" / FILE_NAME
    try:
        return Path.home() / ".config" / "trioagent" / FILE_NAME
    except RuntimeError:  # no home folder is known
        return None


def load_profile(name: str | None, path: Path | None, env: Mapping[str, str]) -> Profile:
    """The profile of that name; without a name the one called "default", or an empty one if there is none.

    Args:
        path: the file; by default it is searched in the user's configuration folder, where it may be missing.

    Raises:
        InvalidInputError: the file cannot be read, has invalid contents, or there is no such profile.
    """
    where = path or config_path(env)
    profiles = {} if where is None else _read(where, required=path is not None or name is not None)
    if name is None:
        return profiles.get(DEFAULT_PROFILE) or Profile()
    if name not in profiles:
        known = ", ".join(map(repr, sorted(profiles))) or "none"
        raise InvalidInputError("--profile", f"{name!r} is not in {where}; there: {known}")
    return profiles[name]


def _read(path: Path, *, required: bool) -> Mapping[str, Profile]:
    try:
        content = tomllib.loads(path.read_bytes().decode("utf-8-sig"))  # some editors begin a file with a mark
    except FileNotFoundError as error:
        if not required:
            return {}
        raise InvalidInputError(str(path), "there is no such file") from error
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(str(path), f"is not TOML: {error}") from error
    profiles = read_value(strict_converter(), content, ConfigFile, str(path)).profiles
    for name, profile in profiles.items():
        if (profile.api_key_env or profile.headers_env) and not (
            profile.base_url or (profile.model and names_a_server(profile.model))
        ):
            raise InvalidInputError(
                f"{path}.profiles[{name!r}]",
                "has a key, but neither a base_url nor a model with a provider's prefix, which would determine where "
                "to send it",
            )
    return profiles


@attrs.frozen(kw_only=True)
class ModelChoice:
    """The command line's options for the model; the profile and the environment supply the rest.

    Attributes:
        api_key_env: the environment variable that holds the key for this model's server.
        options: request parameters by name.
    """

    model: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    options: Mapping[str, Any] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)
    profile: Profile = attrs.field(factory=Profile)

    def resolve(self, env: Mapping[str, str]) -> tuple[ModelConfig | OfflineRules, tuple[str, ...]]:
        """The model, and lines for the user: that it is the default, or that a key of the profile is not sent.

        Raises:
            InvalidInputError: the model is unknown, its key is missing, or an option cannot be used.
        """
        try:
            return self._resolve(env)
        except InvalidInputError as error:
            raise InvalidInputError(_PLAIN_NAMES.get(error.what, error.what), error.problem) from error

    def _resolve(self, env: Mapping[str, str]) -> tuple[ModelConfig | OfflineRules, tuple[str, ...]]:
        profile, notes = self.profile, []
        name = self.model or profile.model
        own_address = self.model is not None and names_a_server(self.model)
        url = self.base_url or (None if own_address else profile.base_url)
        key = None if self.api_key_env is None else _secret(self.api_key_env, env)
        if profile.api_key_env or profile.headers_env:
            home = model_config(profile.model or "any", base_url=profile.base_url, api_key="-", env={})
            found = model_config(name, base_url=url, api_key="-", env=env)
            bound = (
                isinstance(found, ModelConfig)
                and isinstance(home, ModelConfig)
                and same_server(found.base_url, home.base_url)
            )
            if not bound:
                there = "this model" if isinstance(found, OfflineRules) else found.base_url.partition("?")[0]
                notes.append(f"the profile's key belongs to another server; it is not sent to {there}")
            elif profile.api_key_env and key is None:
                key = _secret(profile.api_key_env, env)
        else:
            bound = True
        found = model_config(name, base_url=url, api_key=key, env=env)
        headers = {**profile.headers, **self.headers} if bound else dict(self.headers)
        if bound:
            headers = {header: _secret(variable, env) for header, variable in profile.headers_env.items()} | headers
        options = {**profile.parameters, **self.options}
        if isinstance(found, OfflineRules):
            if given := [*self.options, *self.headers]:
                raise InvalidInputError(", ".join(given), "offline-rules is not a language model and takes no options")
            return found, (*notes, *([found.notice] if found.notice else []))
        if any(header.lower() == "authorization" for header in headers):
            found = attrs.evolve(found, api_key=None)
        return with_options(attrs.evolve(found, headers=headers), options), tuple(notes)


def _secret(variable: str, env: Mapping[str, str]) -> str:
    value = env.get(variable)
    if not value:
        raise InvalidInputError(variable, "this environment variable should hold a key, and is not set")
    return value
