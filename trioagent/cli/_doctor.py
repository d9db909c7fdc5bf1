"""``trioagent doctor``: what works on this machine, and how to fix what does not."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import attrs
import click
import trio

from .._config import ModelConfig, RetryPolicy
from .._errors import InvalidInputError, TrioAgentError
from .._messages import ChatMessage
from .._network import NetworkConfig
from .._tracing import TracingConfig, process_provider
from ..memory import OLDEST_GIT, access_rules, examine_folder, git_version, is_new_enough
from ..models import OFFLINE_RULES, OfflineRules, complete
from ..sandbox import Check, TierReport, check_control_group, diagnose, look_for_hidden
from ..tools import DEFAULT_RULES, AccessRules, hidden_part
from ._errors import FAILED
from ._model_options import (
    PolicyChoice,
    debug_option,
    given_folder,
    model_options,
    policy_for,
    policy_options,
    resolve_model,
)
from ._profiles import ModelChoice, Profile
from ._terminal import console, one_line, shortened

_VARIABLES = ("TRIOAGENT_MODEL", "TRIOAGENT_BASE_URL", "VLLM_HOST", "VLLM_PORT")
_SECRETS = ("TRIOAGENT_API_KEY", "OPENROUTER_API_KEY", "OPENAI_API_KEY")
_TIERS = {
    "kernel": "Linux namespaces, Landlock, seccomp",
    "kernel-lite": "Landlock and seccomp, a view of the notes that needs no mounts",
    "monty": "a subset of Python, for where the kernel offers nothing",
}
_PING_ADVICE = "see `trioagent chat --help` for how a model, its address and its key are chosen"
_LISTED = 8  # names of a kind that are shown
_OK, _FAIL, _NO = ("ok", "green"), ("FAIL", "bold red"), ("no", "yellow")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@click.option("--ping", is_flag=True, help="Ask the model one question, and say what it cost.")
@click.option(
    "--memory",
    metavar="DIR",
    callback=lambda ctx, parameter, value: value and given_folder(ctx, parameter, value),
    help="Show what agents would see and change in this folder of notes, too.",
)
@model_options
@policy_options
@debug_option
def doctor(as_json: bool, ping: bool, memory: Path | None, model: ModelChoice, policy: PolicyChoice) -> int:
    """Show what works on this machine, and how to fix what does not.

    Model-written code runs in a sandbox or not at all. This runs a block in each tier of the sandbox, the best first,
    and shows which model would answer, by the options and the present environment. Keys are never shown, only
    whether they are set.

    Exit code 1 if no sandbox works, or with --ping the model does not answer.
    """
    tiers = trio.run(diagnose)
    chosen = next((report.tier for report in tiers if report.works), None)
    answers = [trio.run(_ping, model)] if ping else []
    notes = [] if memory is None else list(_notes(memory, policy, model.profile))
    if as_json:
        found = {
            "tier": chosen,
            "machine": [attrs.asdict(check) for check in _machine()],
            "tiers": [attrs.asdict(report) for report in tiers],
            "memory": [attrs.asdict(check) for check in notes],
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
        if memory is not None:
            _section(f"Notes in {memory}", notes)
        _section("Model", [*_model(model, os.environ), *answers])
    return FAILED if chosen is None or not all(check.ok for check in (*answers, *notes)) else 0


def _notes(memory: Path, choice: PolicyChoice, profile: Profile) -> Iterator[Check]:
    """What agents would see and change in a folder."""
    if not memory.exists():
        yield Check("folder", True, "is not there yet; it is made when an agent first uses it")
        return
    try:
        found = examine_folder(memory)
        policy, said = policy_for(memory, choice, profile)
    except TrioAgentError as error:
        yield Check("folder", False, str(error), "give a folder that this user may read")
        return
    yield Check("folder", True, "agents may read and change its notes" if found.writable else "agents may only read it")
    if found.exchanges is not None:
        can = "files can change places at once here, so no save by an editor is ever lost"
        cannot = (
            "files cannot change places at once here (no RENAME_EXCHANGE): while an agent saves a note, other programs "
            "do not find it for some microseconds"
        )
        yield Check("others' edits", True, can if found.exchanges else cannot)
    if found.on_network:
        yield Check("file system", True, "is behind a network, so blocks wait for it, and changes made elsewhere")
    if found.folds_case:
        yield Check("names", True, "that differ only in upper and lower case are one name here")
    yield Check("hidden", True, _listed(*_left_out(memory, DEFAULT_RULES), none="no names begin with a dot"))
    rules = access_rules(policy)
    if rules.readable:
        yield Check("not shown", True, _listed(*_left_out(memory, rules, but_hidden=True), none="all notes are shown"))
    if policy.read_only:
        writable = "nothing"
    else:
        writable = " or ".join(rules.writable) if rules.writable != ("**",) else "all notes and attachments"
    yield Check("writable", True, writable)
    yield Check("the agent's own notes", True, f"in {policy.agent_folder}/" if policy.agent_folder else "at its root")
    for note in said:
        yield Check("note", True, note)


def _left_out(memory: Path, rules: AccessRules, *, but_hidden: bool = False) -> tuple[list[str], int]:
    """Some of the paths that blocks are not shown, and how many there are."""
    descriptor = os.open(memory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = sorted(look_for_hidden(descriptor, rules=rules) or ())
    finally:
        os.close(descriptor)
    found = [path for path in found if not (but_hidden and hidden_part(path))]
    return found[:_LISTED], len(found)


def _listed(names: list[str], count: int, *, none: str) -> str:
    if not names:
        return none
    more = f" and {count - len(names):,} more" if count > len(names) else ""
    return f"{', '.join(names)}{more}; blocks neither see nor change them"


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
    """One tier's checks; its failure is no failure of the machine if another tier works."""
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
    yield check_control_group()
    yield _check_git()
    yield _check_tracing()


def _check_git() -> Check:
    """Whether the history of notes can be read: agents also work without that."""
    found, oldest = git_version(), ".".join(map(str, OLDEST_GIT))
    if found is None:
        return Check(
            "git", True, f"is not installed; {oldest} or newer reads the history of notes, which is kept anyway"
        )
    advice = f"install git {oldest} or newer, to read the history of notes; until then it is kept all the same"
    return Check("git", is_new_enough(found), f"{found}, with which the history of notes is read", advice)


def _check_tracing() -> Check:
    """Whether spans would be recorded; not an error of the machine if not."""
    try:
        api = version("opentelemetry-api")
    except PackageNotFoundError:
        return Check("tracing", True, "off: OpenTelemetry is not installed (pip install 'trioagent[otel]')")
    provider = process_provider()
    if provider is None:
        how = "run it by opentelemetry-instrument, or set one up in your program"
        return Check("tracing", True, f"off: this process has no tracer provider ({how}); opentelemetry-api {api}")
    content = "with" if TracingConfig.from_env(os.environ).content else "without"
    kind = type(provider)
    return Check("tracing", True, f"on, {content} content: {kind.__module__}.{kind.__name__}, opentelemetry-api {api}")


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
    """*url* without user and password."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
