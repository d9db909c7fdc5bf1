"""``trioagent doctor``: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version

import click
import trio

from .._config import ModelConfig
from .._errors import InvalidInputError
from ..models import OfflineRules, model_config
from ..sandbox import Check, diagnose
from ._errors import FAILED
from ._model_options import OFFLINE_RULES, debug_option
from ._terminal import console, one_line

_VARIABLES = ("TRIOAGENT_MODEL", "TRIOAGENT_BASE_URL", "VLLM_HOST", "VLLM_PORT")
_SECRETS = ("TRIOAGENT_API_KEY", "OPENROUTER_API_KEY", "OPENAI_API_KEY")
_MARK = {True: ("ok", "green"), False: ("FAIL", "bold red")}


@click.command()
@debug_option
def doctor() -> int:
    """Say what works on this machine, and what to do about what does not.

    Model-written code runs in a sandbox or not at all. This tries the sandbox for real, step by step, and shows which
    model would answer, by the environment as it is now. Keys are never shown, only whether they are set.

    Exit code 1 if no sandbox works.
    """
    checks = trio.run(diagnose)
    _section("This machine", _machine())
    _section("Sandbox tier 'kernel': Linux namespaces, Landlock, seccomp", checks)
    works = all(check.ok for check in checks)
    if not works:
        click.echo("\nNo sandbox works here, so no agent can run: model-written code is never run without one.")
    _section("Model", _model(os.environ))
    return 0 if works else FAILED


def _section(title: str, checks: Iterator[Check] | list[Check]) -> None:
    screen = console()
    screen.print(f"\n{title}", style="bold")
    for check in checks:
        mark, style = _MARK[check.ok]
        screen.print(f"  {mark:<5}", style=style, end="")
        screen.print(one_line(f"{check.name}: {check.detail}"))
        if check.advice and not check.ok:
            screen.print(f"        what to do: {one_line(check.advice)}")


def _machine() -> Iterator[Check]:
    yield Check("trioagent", True, f"{version('trioagent')}, trio {version('trio')}, httpx {version('httpx')}")
    python = ".".join(map(str, sys.version_info[:3]))
    yield Check("Python", sys.version_info >= (3, 11), f"{python} ({sys.executable})", "install Python 3.11 or newer")
    yield Check("user", True, f"uid {os.geteuid()}" + (" (root)" if os.geteuid() == 0 else ""))


def _model(env: Mapping[str, str]) -> Iterator[Check]:
    """The settings in effect; a key only as set or not set."""
    for name in _VARIABLES:
        yield Check(name, True, _without_secrets(env[name]) if env.get(name) else "not set")
    for name in _SECRETS:
        yield Check(name, True, "set" if env.get(name) else "not set")
    try:
        found = model_config(env=env)
    except InvalidInputError as error:
        yield Check("in effect", False, str(error), "see `trioagent chat --help` for how a model is chosen")
        return
    yield Check("in effect", True, _described(found))


def _described(found: ModelConfig | OfflineRules) -> str:
    if isinstance(found, OfflineRules):
        return f"{OFFLINE_RULES}: rules, not a language model; set TRIOAGENT_MODEL or OPENROUTER_API_KEY for one"
    key = "with a key" if found.api_key else "without a key"
    return f"{found.model} at {_without_secrets(found.base_url)}, {key}"


def _without_secrets(url: str) -> str:
    """*url* without the user and password that may stand in it."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
