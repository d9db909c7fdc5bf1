"""Pytest fixtures. Load them with ``pytest_plugins = ["trioagent.testing.fixtures"]`` in the top-level conftest.py.

They are never loaded automatically (there is no entry point), and work in synchronous, asyncio and Trio tests.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from .._messages import ChatMessage
from ._scripted import ScriptedAnswer, ScriptedModel
from ._server import Answer, Handler, ModelServer
from ._server_thread import model_server


class MakeModel(Protocol):
    """Makes a `ScriptedModel`; its arguments are those of the class."""

    def __call__(
        self,
        answers: Iterable[ScriptedAnswer] | Callable[[Sequence[ChatMessage]], str],
        *,
        chunk: int = 16,
        delay: float = 0.0,
        name: str = "scripted",
    ) -> ScriptedModel: ...


class StartServer(Protocol):
    """Starts a loopback model server with these answers, or a handler; it runs until the test ends."""

    def __call__(self, *script: Answer | Handler) -> ModelServer: ...


class MakeMemory(Protocol):
    """Makes the folder of a memory that contains *notes*, texts by path."""

    def __call__(self, notes: Mapping[str, str] | None = None) -> Path: ...


@pytest.fixture
def trioagent_model() -> MakeModel:
    """A function that makes models with scripted answers: ``trioagent_model(["<reply>Hi.</reply>"])``."""
    return ScriptedModel


@pytest.fixture
def trioagent_server() -> Iterator[StartServer]:
    """A function that starts model servers on the loopback interface: ``trioagent_server("Hi.").base_url``."""
    with ExitStack() as servers:

        def start(*script: Answer | Handler) -> ModelServer:
            if len(script) == 1 and callable(script[0]):
                return servers.enter_context(model_server(script[0]))
            answers = [answer for answer in script if not callable(answer)]
            if len(answers) != len(script):
                raise TypeError("give either answers or one handler, not both")
            return servers.enter_context(model_server(answers))

        yield start


@pytest.fixture
def trioagent_memory(tmp_path: Path) -> MakeMemory:
    """A function that makes memories in the test's temporary folder: ``trioagent_memory({"user.md": "# Ada"})``."""
    numbers = itertools.count(1)

    def make(notes: Mapping[str, str] | None = None) -> Path:
        folder = tmp_path / f"memory-{next(numbers)}"
        folder.mkdir()
        for name, text in (notes or {}).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return folder

    return make
