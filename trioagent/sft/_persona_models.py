"""Persona models: how a factory makes them, and how they are called."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

import trio

from .._errors import InvalidInputError
from .._messages import Usage
from .._wire import short

PersonaFactory: TypeAlias = Callable[..., Any]


class PersonaModel(Protocol):
    """Plays the user of a conversation. A sync ``chat`` in place of ``achat`` runs in a worker thread.

    An optional attribute ``usage`` (a `Usage`, summed up so far) is counted for the conversation, and an optional
    ``name`` is put into its row.
    """

    def achat(self, message: str | None = None) -> Awaitable[str]:
        """The next message of the user: to begin with (None, or an instruction), then to a reply of the agent.

        "" ends the conversation early.
        """


class Factory:
    """Makes a persona model for each attempt.

    Args:
        function: the user's ``persona_factory(persona)`` or ``persona_factory(persona, facts)``, sync or async.

    Attributes:
        gets_facts: it has a parameter ``facts``, or needs two arguments.

    Raises:
        InvalidInputError: it cannot be called like that.
    """

    def __init__(self, function: PersonaFactory) -> None:
        if not callable(function):
            raise InvalidInputError("persona_factory", f"must be a function, not {function!r}")
        self._call, self.gets_facts = _how_to_call(function)

    async def make(self, persona: object, facts: object) -> Any:
        """A new persona model.

        Raises:
            InvalidInputError: the object has neither ``achat`` nor ``chat``.
            Exception: as raised by the factory.
        """
        made = self._call(persona, facts)
        if inspect.isawaitable(made):
            made = await made
        if not any(callable(getattr(made, name, None)) for name in ("achat", "chat")):
            raise InvalidInputError("persona_factory", f"must give an object with achat or chat, not {short(made)}")
        if isinstance(made, type):
            raise InvalidInputError("persona_factory", f"must give an object, not the class {made.__name__}")
        if not callable(getattr(made, "achat", None)) and inspect.iscoroutinefunction(made.chat):
            raise InvalidInputError("persona_factory", f"gives {short(made)}, whose async chat must be called achat")
        return made


def _how_to_call(function: PersonaFactory) -> tuple[PersonaFactory, bool]:
    """The call with persona and facts, and whether the facts are passed on."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some callables written in C have no signature
        return lambda persona, facts: function(persona), False
    if "facts" in signature.parameters and _fits(signature, None, facts=None):
        return lambda persona, facts: function(persona, facts=facts), True
    if _fits(signature, None):
        return lambda persona, facts: function(persona), False
    if _fits(signature, None, None):
        return function, True
    raise InvalidInputError("persona_factory", f"must take a persona, or a persona and its facts, not {signature}")


def _fits(signature: inspect.Signature, *arguments: object, **named: object) -> bool:
    try:
        signature.bind(*arguments, **named)
    except TypeError:
        return False
    return True


class Speaker:
    """One persona model in one conversation.

    Args:
        threads: bounds the concurrent calls of sync models.
        opening: the argument of the first call: None, or an instruction for a model that was made without the facts.
    """

    def __init__(self, model: Any, threads: trio.CapacityLimiter, opening: str | None) -> None:
        self._model, self._threads, self._next = model, threads, opening
        self._booked = Usage()

    async def say(self, reply: str | None = None) -> str:
        """The user's next message, to the agent's *reply*.

        Raises:
            InvalidInputError: it is not a text.
            Exception: as raised by the model.
        """
        heard, self._next = (self._next if reply is None else reply), None
        if callable(getattr(self._model, "achat", None)):
            said = self._model.achat(heard)
            if inspect.isawaitable(said):
                said = await said
        else:
            said = await trio.to_thread.run_sync(self._model.chat, heard, limiter=self._threads)
        if not isinstance(said, str):
            raise InvalidInputError(f"the persona model {self.name}", f"must say a text, not {short(said)}")
        return said.strip()

    def new_usage(self) -> Usage:
        """The model's usage since the last call."""
        total, before = getattr(self._model, "usage", None), self._booked
        if not isinstance(total, Usage):
            return Usage()
        self._booked = total
        return Usage(
            prompt_tokens=total.prompt_tokens - before.prompt_tokens,
            completion_tokens=total.completion_tokens - before.completion_tokens,
            estimated=total.estimated,
            requests=total.requests - before.requests,
            cost=total.cost - before.cost,
        )

    @property
    def name(self) -> str:
        name = getattr(self._model, "name", None)
        return name if isinstance(name, str) else type(self._model).__name__
