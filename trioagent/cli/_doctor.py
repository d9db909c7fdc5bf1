"""``trioagent doctor``: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version

import attrs
import click
import trio

from .._config import ModelConfig
from .._errors import InvalidInputError
from ..models import OfflineRules, model_config
from ..sandbox import Check, TierReport, diagnose
from ._errors import FAILED
from ._model_options import OFFLINE_RULES, debug_option
from ._terminal import console, one_line

_VARIABLES = ("TRIOAGENT_MODEL", "TRIOAGENT_BASE_URL", "VLLM_HOST", "VLLM_PORT")
_SECRETS = ("TRIOAGENT_API_KEY", "OPENROUTER_API_KEY", "OPENAI_API_KEY")
_TIERS = {
    "kernel": "Linux namespaces, Landlock, seccomp",
    "kernel-lite": "Landlock and seccomp, a copy of the notes for each block",
    "monty": "a subset of Python, for where the kernel offers nothing",
}
_OK, _FAIL, _NO = ("ok", "green"), ("FAIL", "bold red"), ("no", "yellow")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@debug_option
def doctor(as_json: bool) -> int:
    """Say what works on this machine, and what to do about what does not.

    Model-written code runs in a sandbox or not at all. This tries each tier of the sandbox for real, the best first,
    and shows which model would answer, by the environment as it is now. Keys are never shown, only whether they are
    set.

    Exit code 1 if no sandbox works.
    """
    tiers = trio.run(diagnose)
    chosen = next((report.tier for report in tiers if report.works), None)
    if as_json:
        found = {
            "tier": chosen,
            "machine": [attrs.asdict(check) for check in _machine()],
            "tiers": [attrs.asdict(report) for report in tiers],
            "model": [attrs.asdict(check) for check in _model(os.environ)],
        }
        click.echo(json.dumps(found, indent=2))
    else:
        _section("This machine", _machine())
        for report in tiers:
            _tier(report, needed=chosen is None)
        if chosen is None:
            click.echo("\nNo sandbox works here, so no agent can run: model-written code is never run without one.")
        else:
            click.echo(f"\nAgents run in the tier '{chosen}'.")
        _section("Model", _model(os.environ))
    return FAILED if chosen is None else 0


def _tier(report: TierReport, *, needed: bool) -> None:
    """One tier's checks; that it fails is no failure of the machine as long as another one works."""
    _section(f"Sandbox tier '{report.tier}': {_TIERS[report.tier]}", report.checks, bad=_FAIL if needed else _NO)


def _section(title: str, checks: Iterable[Check], *, bad: tuple[str, str] = _FAIL) -> None:
    screen = console()
    screen.print(f"\n{title}", style="bold")
    for check in checks:
        mark, style = _OK if check.ok else bad
        screen.print(f"  {mark:<5}", style=style, end="")
        screen.print(one_line(f"{check.name}: {check.detail}"))
        if check.advice and not check.ok:
            screen.print(f"        what to do: {one_line(check.advice)}")


def _machine() -> Iterator[Check]:
    yield Check("trioagent", True, f"{version('trioagent')}, trio {version('trio')}, httpx {version('httpx')}")
    python = ".".join(map(str, sys.version_info[:3]))
    yield Check("Python", sys.version_info >= (3, 11), f"{python} ({sys.executable})", "install Python 3.11 or newer")
    system = platform.uname()
    yield Check("system", True, f"{system.system} {system.release} {system.machine}")
    if hasattr(os, "geteuid"):
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
