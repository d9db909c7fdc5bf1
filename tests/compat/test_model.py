"""`get_model_response`, sync and asyncio, against a loopback server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import attrs
import pytest
from pydantic import BaseModel

from trioagent import InvalidInputError, StructuredOutputError
from trioagent.compat import ChatMessage, Role
from trioagent.compat.async_agent import get_model_response as aget_model_response
from trioagent.compat.model import get_model_response
from trioagent.testing import ModelServer

from .support import loopback, model_server

pytestmark = pytest.mark.real


class City(BaseModel):
    """A place."""

    name: str
    people: int


@attrs.frozen
class Town:
    name: str


PARIS = json.dumps({"name": "Paris", "people": 2_100_000})


def ask(how: str, server: ModelServer, **arguments: Any) -> Any:
    if how == "sync":
        return get_model_response(model=loopback(server), **arguments)
    return asyncio.run(aget_model_response(model=loopback(server), **arguments))


both = pytest.mark.parametrize("how", ["sync", "async"])


@both
def test_text(how: str) -> None:
    with model_server(["Hello.", "Again."]) as server:
        assert ask(how, server, message="Hi", system_prompt="Be brief.") == "Hello."
        messages = [ChatMessage(Role.USER, "Hi"), {"role": "assistant", "content": "Hello."}]
        assert ask(how, server, messages=messages, message="unused") == "Again."
        assert [request.messages for request in server.requests] == [
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}],
        ]


@both
def test_an_instance_comes_back(how: str) -> None:
    with model_server(["Paris it is.", PARIS, '{"name": "Delft"}']) as server:
        assert ask(how, server, message="Where?", schema=City) == City(name="Paris", people=2_100_000)
        assert ask(how, server, message="Where?", schema=Town) == Town("Delft")
        assert len(server.requests) == 3  # one answer had to be repaired


def test_repairs_are_finite() -> None:
    with model_server(lambda request: "no") as server, pytest.raises(StructuredOutputError):
        ask("sync", server, message="Where?", schema=City)
    assert server.served == 3


@both
def test_nothing_to_ask(how: str) -> None:
    with pytest.raises(ValueError, match="needs messages or a message") as caught:
        get_model_response() if how == "sync" else asyncio.run(aget_model_response())
    assert isinstance(caught.value, InvalidInputError)


@both
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"messages": "Hi"}, "messages: must be a list of messages, not 'Hi'; say message= for a text"),
        ({"messages": {"role": "user", "content": "Hi"}}, "messages: must be a list of messages"),
        ({"messages": []}, "messages: is empty"),
        ({"message": 3}, "content: must be text, not 3"),
        ({"message": "Hi", "system_prompt": 3}, "content: must be text, not 3"),
        ({"message": "Hi", "schema": int}, "schema: must be an attrs class or a pydantic model class"),
    ],
)
def test_what_cannot_be_asked(how: str, arguments: dict[str, Any], words: str) -> None:
    with model_server(["Hello."]) as server:
        with pytest.raises(InvalidInputError, match=words):
            ask(how, server, **arguments)
        assert server.served == 0


def test_the_environment_names_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    with model_server(["Hello."]) as server:
        monkeypatch.setenv("TRIOAGENT_BASE_URL", server.base_url)
        monkeypatch.setenv("TRIOAGENT_MODEL", "mine")
        assert get_model_response(message="Hi") == "Hello."
        assert server.requests[0].body["model"] == "mine"


@both
def test_an_empty_message_is_sent_as_it_is(how: str) -> None:
    with model_server(["Hello."]) as server:
        assert ask(how, server, message="") == "Hello."
        assert server.requests[0].messages == [{"role": "user", "content": ""}]
