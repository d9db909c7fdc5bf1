"""`async_generate_conversations_batch`: persona models of the caller's own loop, and what comes of each persona."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from trioagent import ChatMessage, InvalidInputError
from trioagent.compat import async_agent
from trioagent.compat.async_agent.async_sft_adapter import async_generate_conversations_batch
from trioagent.compat.model import get_model_response
from trioagent.testing import ScriptedModel

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def persona(name: str) -> dict[str, Any]:
    return {
        "name_surname": name,
        "age": 40,
        "gender": "female",
        "birthplace": {"city": "Porto", "country": "Portugal"},
        "occupation": "baker",
        "detailed_backstory": "Bakes.",
        "relationships": [],
    }


FACTS = [{"fact_description": "I live in Porto."}]


def notes_it(messages: Sequence[ChatMessage]) -> str:
    """An agent that writes down what it hears."""
    if messages[-1].role == "tool":
        return "<think>done</think>\n<python></python>\n<reply>Noted.</reply>"
    heard = next(message.content for message in reversed(messages) if message.role == "user")
    return (
        "<think>note</think>\n<python>\n"
        "old = read_file('user.md') if check_if_file_exists('user.md') else '# User\\n'\n"
        f"create_file('user.md', old + {heard!r} + '\\n')\n</python>"
    )


def generate(*factories: Any, **more: Any) -> list[bool]:
    """One persona for each factory."""
    personas = [persona(f"Persona {number}") for number in range(len(factories))]
    by_name = {one["name_surname"]: factory for one, factory in zip(personas, factories, strict=True)}

    def factory(persona: dict[str, Any], facts: list[dict[str, str]]) -> Any:
        return by_name[persona["name_surname"]](facts)

    async def main() -> list[bool]:
        return await async_generate_conversations_batch(
            personas, [FACTS] * len(personas), factory, **{"num_turns": 1, "model": ScriptedModel(notes_it), **more}
        )

    return asyncio.run(main())


class Says:
    """Says its facts."""

    name = "says"

    def __init__(self, facts: list[dict[str, str]]) -> None:
        self.words = " ".join(fact["fact_description"] for fact in facts)
        self.thread = threading.get_ident()

    async def achat(self, message: str | None = None) -> str:
        await asyncio.sleep(0)
        assert threading.get_ident() == self.thread  # where the factory was called
        return self.words


class SaysInAThread(Says):
    achat = None  # type: ignore[assignment]

    def chat(self, message: str | None = None) -> str:
        assert threading.get_ident() != self.thread
        return self.words


class SaysUnderAnotherName(Says):
    achat = None  # type: ignore[assignment]

    async def chat(self, message: str | None = None) -> str:
        return self.words


class SaysNoText(Says):
    async def achat(self, message: str | None = None) -> str:
        return 3  # type: ignore[return-value]


class Fails(Says):
    async def achat(self, message: str | None = None) -> str:
        raise RuntimeError("nothing to say")


class TellsNothing(Says):
    async def achat(self, message: str | None = None) -> str:
        return "Nice weather."


class CancelsItself(Says):
    async def achat(self, message: str | None = None) -> str:
        raise asyncio.CancelledError


def test_each_persona_for_itself(tmp_path: Path) -> None:
    results = generate(Says, Fails, SaysInAThread, TellsNothing, CancelsItself, max_retries=0)
    assert results == [True, False, True, False, False]
    (run,) = (tmp_path / "output" / "sft").iterdir()
    rows = [json.loads(line) for line in (run / "conversations.jsonl").read_text().splitlines()]
    assert rows
    assert rows[0]["models"]["persona"] == "says"
    assert not list(tmp_path.rglob("user.md"))


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (SaysNoText, "the persona model says: must say a text, not 3"),
        (CancelsItself, "CancelsItself.achat was cancelled"),
    ],
)
def test_a_reason_names_the_users_own_class(tmp_path: Path, factory: Any, words: str) -> None:
    assert generate(factory, max_retries=0, run_dir=tmp_path / "run") == [False]
    (row,) = (tmp_path / "run" / "rejected.jsonl").read_text().splitlines()
    assert words in json.loads(row)["reason"]


def test_generators_will_do() -> None:
    async def main() -> list[bool]:
        return await async_generate_conversations_batch(
            (persona(name) for name in ("Ada", "Bob")),
            (FACTS for _ in range(2)),
            lambda persona: Says(FACTS),
            num_turns=1,
            model=ScriptedModel(notes_it),
        )

    assert asyncio.run(main()) == [True, True]


def test_a_run_goes_on_where_it_ended(tmp_path: Path) -> None:
    made: list[str] = []

    def counting(facts: list[dict[str, str]]) -> Says:
        made.append("")
        return Says(facts)

    for _ in range(2):
        assert generate(counting, run_dir=tmp_path / "run") == [True]
    assert len(made) == 1


def test_the_factory_may_be_a_coroutine_and_sees_the_callers_context() -> None:
    tenant = contextvars.ContextVar[str]("tenant")

    class InContext(Says):
        async def achat(self, message: str | None = None) -> str:
            assert tenant.get() == "acme"
            return await super().achat(message)

    async def factory(persona: object) -> Says:
        await asyncio.sleep(0)
        assert tenant.get() == "acme"
        return InContext(FACTS)

    async def main() -> None:
        tenant.set("acme")
        model = ScriptedModel(notes_it)
        assert await async_generate_conversations_batch(
            [persona("Ada")], [FACTS], factory, num_turns=1, model=model, max_retries=0
        ) == [True]

    asyncio.run(main())


class Asks(Says):
    """Is played by a model, asked by the documented means."""

    async def achat(self, message: str | None = None) -> str:
        return await async_agent.get_model_response(message="Play.", model=ScriptedModel([self.words]))


class AsksInAThread(Says):
    achat = None  # type: ignore[assignment]

    def chat(self, message: str | None = None) -> str:
        return get_model_response(message="Play.", model=ScriptedModel([self.words]))


def test_a_persona_model_may_ask_a_model() -> None:
    assert generate(Asks, AsksInAThread, max_retries=0) == [True, True]


def broken(facts: object) -> None:
    raise ValueError("no such model")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_turns": 0}, "num_turns"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"flow": "forget"}, "flow"),
        ({"personas": [{**persona("Ada"), "hobby": "chess"}]}, "hobby"),
        ({"personas": []}, "as many lists of facts"),
        ({"personas": persona("Ada")}, "personas: must be a list"),
        ({"personas": None}, "personas: must be a list"),
        ({"facts_per_persona": [[]]}, "facts"),
        (
            {"persona_model_factory": broken},
            "^persona_model_factory: raised for persona-0: ValueError: no such model; nothing",
        ),
        (
            {"persona_model_factory": lambda persona: 3},
            "^persona_model_factory: for persona-0: must give an object with achat",
        ),
        ({"persona_model_factory": lambda persona: Says}, "not the class Says"),
        ({"persona_model_factory": lambda persona: SaysUnderAnotherName(FACTS)}, "must be called achat"),
        ({"judge": "offline-rules"}, "judge: offline-rules is not a language model"),
        ({"judge": 3}, "must be a name"),
        ({"run_dir": ""}, "run_dir"),
        ({"run_dir": b"run"}, "run_dir"),
        ({"run_dir": 3}, "run_dir"),
        ({"persona_model_factory": None}, "^persona_model_factory: must be a function"),
        ({"persona_model_factory": lambda: Says(FACTS)}, "^persona_model_factory: must take a persona, or a persona"),
    ],
)
def test_bad_input_costs_nothing(arguments: dict[str, Any], words: str) -> None:
    model = ScriptedModel(notes_it)
    good = {
        "personas": [persona("Ada")],
        "facts_per_persona": [FACTS],
        "persona_model_factory": lambda persona: Says(FACTS),
    }
    with pytest.raises(InvalidInputError, match=words):
        asyncio.run(async_generate_conversations_batch(**{**good, **arguments}, model=model))
    assert not model.calls


def test_cancelling_reaches_the_persona_models(tmp_path: Path) -> None:
    log: list[str] = []

    class Waits(Says):
        async def achat(self, message: str | None = None) -> str:
            log.append("started")
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.02)
                log.append("clean")
            return ""

    async def main() -> None:
        task = asyncio.create_task(
            async_generate_conversations_batch(
                [persona("Ada"), persona("Bob")],
                [FACTS] * 2,
                lambda persona: Waits(FACTS),
                model=ScriptedModel(notes_it),
            )
        )
        while len(log) < 2:
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == ["started"] * 2 + ["clean"] * 2

    asyncio.run(main())
    assert not list(tmp_path.rglob("*.md"))
