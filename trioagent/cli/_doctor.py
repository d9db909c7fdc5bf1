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

from .._config import ModelConfig, RetryPolicy
from .._errors import InvalidInputError, TrioAgentError
from .._messages import ChatMessage
from .._network import NetworkConfig
from ..models import OFFLINE_RULES, OfflineRules, complete
from ..sandbox import Check, TierReport, diagnose
from ._errors import FAILED
from ._model_options import debug_option, model_options, resolve_model
from ._profiles import ModelChoice
from ._terminal import console, one_line, shortened

_VARIABLES = ("TRIOAGENT_MODEL", "TRIOAGENT_BASE_URL", "VLLM_HOST", "VLLM_PORT")
_SECRETS = ("TRIOAGENT_API_KEY", "OPENROUTER_API_KEY", "OPENAI_API_KEY")
_TIERS = {
    "kernel": "Linux namespaces, Landlock, seccomp",
    "kernel-lite": "Landlock and seccomp, a view of the notes that needs no mounts",
    "monty": "a subset of Python, for where the kernel offers nothing",
}
_PING_ADVICE = "see `trioagent chat --help` for how a model, its address and its key are chosen"
_OK, _FAIL, _NO = ("ok", "green"), ("FAIL", "bold red"), ("no", "yellow")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@click.option("--ping", is_flag=True, help="Ask the model one question, and say what it cost.")
@model_options
@debug_option
def doctor(as_json: bool, ping: bool, model: ModelChoice) -> int:
    """Say what works on this machine, and what to do about what does not.

    Model-written code runs in a sandbox or not at all. This tries each tier of the sandbox for real, the best first,
    and shows which model would answer, by the options and the environment as it is now. Keys are never shown, only
    whether they are set.

    Exit code 1 if no sandbox works, or with --ping the model does not answer.
    """
    tiers = trio.run(diagnose)
    chosen = next((report.tier for report in tiers if report.works), None)
    answers = [trio.run(_ping, model)] if ping else []
    if as_json:
        found = {
            "tier": chosen,
            "machine": [attrs.asdict(check) for check in _machine()],
            "tiers": [attrs.asdict(report) for report in tiers],
            "model": [attrs.asdict(check) for check in (*_model(model, os.environ), *answers)],
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
        _section("Model", [*_model(model, os.environ), *answers])
    return FAILED if chosen is None or not all(answer.ok for answer in answers) else 0


async def _ping(choice: ModelChoice) -> Check:
    """Ask the model one question."""
    from ..models import open_model  # it brings httpx, 100 ms

    started = trio.current_time()
    try:
        resolved = resolve_model(choice)
        if isinstance(resolved.model, str):
            return Check("answer", True, f"{OFFLINE_RULES} is embedded; there is no server to ask")
        once = attrs.evolve(resolved.model, retry=RetryPolicy(attempts=1))
        async with open_model(once, network=resolved.network) as model:
            answer = await complete(model, [ChatMessage("user", "Answer with one word: pong")])
    except TrioAgentError as error:
        return Check("answer", False, str(error), _PING_ADVICE)
    seconds, usage = trio.current_time() - started, answer.usage
    counted = "estimated " if usage.estimated else ""
    cost = f"cost {usage.cost:.4g}" if usage.cost else "the server names no cost"
    tokens = f"{counted}{usage.prompt_tokens:,} tokens read and {usage.completion_tokens:,} written"
    return Check("answer", True, f"{shortened(answer.text, 60)!r} after {seconds:.1f} s; {tokens}; {cost}")


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


def _model(choice: ModelChoice, env: Mapping[str, str]) -> Iterator[Check]:
    """The settings in effect; a key only as set or not set."""
    for name in _VARIABLES:
        yield Check(name, True, _without_secrets(env[name]) if env.get(name) else "not set")
    for name in _SECRETS:
        yield Check(name, True, "set" if env.get(name) else "not set")
    try:
        found, notes = choice.resolve(env)
        proxy = NetworkConfig.from_env(env).proxy_for(found.base_url) if isinstance(found, ModelConfig) else None
    except InvalidInputError as error:
        yield Check("in effect", False, str(error), "see `trioagent chat --help` for how a model is chosen")
        return
    yield Check("in effect", True, _described(found))
    if proxy is not None:
        yield Check("proxy", True, _without_secrets(proxy))
    if isinstance(found, ModelConfig):
        for note in notes:
            yield Check("note", True, note)


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
