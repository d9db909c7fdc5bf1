"""Training conversations for asyncio programs: `trioagent.sft` with persona models that run in the caller's loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from ..._config import Flow, ModelConfig, SftConfig
from ..._errors import InvalidInputError
from ...models import OFFLINE_RULES, Model, OfflineRules
from ...sft import SftReport, generate_conversations
from .._choice import choice_of
from .._interop import call_asyncio, run_async, running_loop
from .._runtimes import Settings, runtime_for

__all__ = ("async_generate_conversations_batch",)

RUNS = "output/sft"
_DEFAULT = SftConfig()

_log = logging.getLogger("trioagent")


async def async_generate_conversations_batch(
    personas: Iterable[object],
    facts_per_persona: Iterable[object],
    persona_model_factory: Callable[..., Any],
    num_turns: int = _DEFAULT.num_turns,
    max_concurrent: int = _DEFAULT.max_concurrent,
    *,
    flow: Flow = _DEFAULT.flow,
    max_retries: int = _DEFAULT.max_retries,
    max_tool_turns: int = _DEFAULT.max_tool_turns,
    deadline: float | None = None,
    max_tokens_total: int | None = None,
    max_cost: float | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    model: str | ModelConfig | Model | None = None,
    use_vllm: bool = False,
    judge: str | ModelConfig | Model | None = None,
) -> list[bool]:
    """Let each persona talk with an agent; returns for each, in order, whether a conversation was accepted.

    Any failure of a persona is reported as False for it, and does not stop the others.

    Args:
        personas: objects or dicts with the fields of `trioagent.sft.Persona`.
        facts_per_persona: for each persona a list of facts: texts, or objects or dicts with ``fact_description``.
        persona_model_factory: ``factory(persona)`` or ``factory(persona, facts)``, sync or async, returns an object
            with ``async achat(message=None) -> str``, or with a sync ``chat``. The factory and ``achat`` run in this
            event loop, with the caller's context variables; ``chat`` runs in a worker thread.
        num_turns: the number of the persona's messages in one conversation.
        max_concurrent: conversations at once.
        flow, max_retries, max_tool_turns, deadline, max_tokens_total, max_cost: see `trioagent.sft.SftConfig`.
        run_dir: the folder for the journal, ``conversations.jsonl``, ``rejected.jsonl`` and ``report.json``; with the
            folder of an earlier run, that run is resumed. None for a new folder in ``output/sft``.
        model, use_vllm: the agents' model (see `trioagent.compat.Agent`).
        judge: the model that makes the final decision on each conversation; None for none.

    Raises:
        InvalidInputError: (a ValueError) personas, facts or a setting are invalid, or the factory raised; nothing was
            spent.
        PersonaChangedError, JournalError: *run_dir* holds another run, or cannot be used.

    Cancelling cancels the persona models too, and is raised when everything has been cleaned up; no memory is left. A
    sync ``chat`` is stopped if it waits for this package, else the call waits until it returns.
    """
    config = SftConfig(
        flow=flow,
        num_turns=num_turns,
        max_retries=max_retries,
        max_concurrent=max_concurrent,
        max_tool_turns=max_tool_turns,
        deadline=deadline,
        max_tokens_total=max_tokens_total,
        max_cost=max_cost,
    )
    name = "async_generate_conversations_batch"
    folder = _folder(run_dir)
    generate = partial(
        generate_conversations,
        _listed(personas),
        _listed(facts_per_persona),
        _in_loop(persona_model_factory, running_loop(name)),
        run_dir=folder,
        config=config,
    )
    agents = choice_of(model, use_vllm=use_vllm)
    judging = None if judge is None else choice_of(judge)
    if isinstance(judging, OfflineRules):
        raise InvalidInputError("judge", f"{OFFLINE_RULES} is not a language model, and cannot judge")
    try:
        report = await run_async(_generate, generate, agents, judging, name=name)
    except InvalidInputError as error:
        if error.what == "persona_factory":  # the caller's parameter has another name
            raise InvalidInputError("persona_model_factory", error.problem) from error
        raise
    _log.info("%d of %d conversations accepted, in %s", report.accepted, len(report.personas), folder)
    return report.results


async def _generate(
    generate: Callable[..., Any], agents: Settings | Model, judge: Settings | Model | None
) -> SftReport:
    """In Trio."""
    runtime = await runtime_for(agents)
    report: SftReport = await generate(
        runtime=runtime, judge=None if judge is None else (await runtime_for(judge)).model
    )
    return report


def _listed(values: Any) -> Any:
    """*values* as a list, since they may be a generator; anything else is refused where the items are checked."""
    return list(values) if isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping) else values


def _folder(run_dir: str | os.PathLike[str] | None) -> str:
    """An absolute path: the current folder may change during the run."""
    if run_dir is None:
        return os.path.abspath(os.path.join(RUNS, f"{time.strftime('%Y-%m-%d_%H%M%S')}_{uuid.uuid4().hex[:6]}"))
    path: Any = os.fspath(run_dir) if isinstance(run_dir, os.PathLike) else run_dir
    if not isinstance(path, str) or not path or "\0" in path:
        raise InvalidInputError("run_dir", f"must be a folder's path, not {run_dir!r:.100}")
    return os.path.abspath(path)


def _in_loop(factory: Callable[..., Any], loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    """The factory for Trio: it, and the methods of its results, are called in *loop*."""
    if not callable(factory):
        raise InvalidInputError("persona_model_factory", f"must be a function, not {factory!r}")
    context = contextvars.copy_context()

    async def make(*args: Any, **kwargs: Any) -> Any:
        call = partial(factory, *args, **kwargs)
        model = await call_asyncio(loop, _call, call, context=context, name="persona_model_factory")
        if isinstance(model, type) or not callable(getattr(model, "achat", None)):
            return model
        return _InLoop(model, loop, context)

    try:
        make.__signature__ = inspect.signature(factory)  # type: ignore[attr-defined]  # does it take the facts?
    except (TypeError, ValueError):  # some callables written in C have no signature
        pass
    return make


class _InLoop:
    """A persona model for Trio whose ``achat`` is a coroutine of an asyncio loop."""

    def __init__(self, model: Any, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        self._model, self._loop, self._context = model, loop, context

    async def achat(self, message: str | None = None) -> Any:
        call, name = partial(self._model.achat, message), f"{type(self._model).__name__}.achat"
        return await call_asyncio(self._loop, _call, call, context=self._context, name=name)

    def __getattr__(self, name: str) -> Any:  # usage, name
        return getattr(self._model, name)

    @property
    def name(self) -> str:
        name = getattr(self._model, "name", None)
        return name if isinstance(name, str) else type(self._model).__name__


async def _call(function: Callable[[], Any]) -> Any:
    """Call a function that may be sync or async."""
    made = function()
    return await made if inspect.isawaitable(made) else made
