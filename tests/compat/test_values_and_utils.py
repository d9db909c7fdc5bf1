"""Values, helpers and client handles of the documented API, as programs use them."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pydantic
import pytest

from trioagent import ModelConfig
from trioagent._errors import InvalidInputError
from trioagent.compat import utils
from trioagent.compat._choice import choice_of
from trioagent.compat._clients import ModelClient, async_vllm_client, vllm_client
from trioagent.compat.schemas import AgentResponse, ChatMessage, EntityFile, StaticMemory

RESPONSE = AgentResponse(thoughts="t", python_block="", reply="hi")


def test_values_are_dumped_and_made_again() -> None:
    assert RESPONSE.model_dump() == {"thoughts": "t", "python_block": "", "reply": "hi"}
    assert RESPONSE.model_dump(include={"reply", "thoughts"}, exclude={"thoughts"}) == {"reply": "hi"}
    assert json.loads(RESPONSE.model_dump_json()) == RESPONSE.model_dump()
    assert AgentResponse.model_validate(RESPONSE) is RESPONSE
    assert AgentResponse.model_validate(RESPONSE.model_dump()).reply == "hi"
    assert AgentResponse.model_validate_json(RESPONSE.model_dump_json()).thoughts == "t"
    message = ChatMessage(role="user", content="hello")
    message.content = "changed"  # type: ignore[misc]
    assert message.model_dump()["content"] == "changed"


@pytest.mark.parametrize(
    ("given", "problem"),
    [("no JSON", "is not JSON"), ("[1]", "is made of a mapping"), ('{"other": 1}', "needs thoughts")],
)
def test_values_of_the_wrong_shape_are_refused(given: str, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        AgentResponse.model_validate_json(given)


def test_a_value_is_a_field_of_a_pydantic_model() -> None:
    class Row(pydantic.BaseModel):
        response: AgentResponse

    row = Row.model_validate({"response": RESPONSE.model_dump()})
    assert row.response.reply == "hi"
    assert row.model_dump() == {"response": RESPONSE.model_dump()}
    assert set(AgentResponse.model_json_schema()["properties"]) == {"thoughts", "python_block", "reply"}
    with pytest.raises(pydantic.ValidationError, match="needs thoughts"):
        Row.model_validate({"response": {"other": 1}})


def test_a_value_is_known_as_a_dataclass() -> None:
    """By which FastAPI knows what may be a request's body."""
    module: Any = dataclasses  # a type checker knows that they are none
    assert module.is_dataclass(ChatMessage)
    assert module.asdict(RESPONSE) == RESPONSE.model_dump()
    assert module.replace(RESPONSE, reply="no").reply == "no"
    assert [field.name for field in module.fields(Timed)] == ["role", "content", "at", "tags"]


class Timed(ChatMessage):
    at: float
    tags: list[str] = pydantic.Field(default_factory=list)


def test_a_subclass_adds_fields() -> None:
    said = Timed(role="user", content="hi", at=1.5)
    assert said.model_dump(mode="json") == {"role": "user", "content": "hi", "at": 1.5, "tags": []}
    for copied in (pickle.loads(pickle.dumps(said)), copy.deepcopy(said), said.model_copy()):
        assert copied == said and copied.at == 1.5
    assert said != Timed(role="user", content="hi", at=2.0)
    assert said != ChatMessage(role="user", content="hi")
    assert said.tags is not Timed(role="user", content="hi", at=2.0).tags
    with pytest.raises(InvalidInputError, match="at is missing"):
        Timed(role="user", content="hi")
    with pytest.raises(InvalidInputError, match="is never called: Checked is not a pydantic model"):

        class Checked(AgentResponse):
            @pydantic.field_validator("reply")
            @classmethod
            def check(cls, value: str) -> str:
                return value


def test_methods_of_pydantic_with_all_their_options() -> None:
    dumped = RESPONSE.model_dump(by_alias=True, exclude_none=True, round_trip=False, warnings=False)
    assert dumped == {"thoughts": "t", "python_block": "", "reply": "hi"}
    assert AgentResponse(thoughts="t").model_dump(exclude_unset=True) == {"thoughts": "t"}
    assert AgentResponse(thoughts="t").model_fields_set == {"thoughts"}
    assert [name for name, field in AgentResponse.model_fields.items() if field.is_required()] == ["thoughts"]
    message = ChatMessage.model_construct(role="user", content="hi")
    assert message.model_dump()["role"].value == "user" and type(message.model_dump(mode="json")["role"]) is str
    assert vars(message) == dict(message) == {"role": "user", "content": "hi"}
    assert ChatMessage.from_orm(SimpleNamespace(role="user", content="hi", other=1)) == message
    assert ChatMessage.model_validate({"role": "user", "content": "hi"}, strict=True) == message
    assert json.loads(ChatMessage.schema_json())["required"] == ["role", "content"]
    adapter = pydantic.TypeAdapter(list[ChatMessage])
    assert adapter.validate_json(adapter.dump_json([message])) == [message]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: ChatMessage(role="user"), "content is missing"),
        (lambda: AgentResponse(reply="hi"), "thoughts is missing"),
        (lambda: AgentResponse(thoughts="", reply=5), "reply: must be text, not 5"),  # type: ignore[arg-type]
        (lambda: EntityFile(entity_name="a"), "entity_file_path is missing"),
        (lambda: StaticMemory(memory_id="a", user_md=""), "entities is missing"),
    ],
)
def test_what_is_missing_or_wrong_is_named(make: Callable[[], object], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        make()


def test_the_parts_of_an_answer() -> None:
    answer = "<think>a</think>\n<python>\n```python\nx = 1\n```\n</python>\n<reply>b</reply>"
    assert utils.extract_thoughts(answer) == "a"
    assert utils.extract_python_code(answer) == "x = 1"
    assert utils.extract_python_code("<python>\ny = 2\n</python>") == "y = 2"
    assert utils.extract_reply(answer) == "b"
    assert utils.extract_reply("<reply>never closed") == ""
    with pytest.raises(InvalidInputError, match="must be text"):
        utils.extract_reply(None)  # type: ignore[arg-type]
    assert utils.format_results({"x": 1}) == "<result>\n{'x': 1}\n</result>"


def test_folders_of_notes_are_made_and_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "notes" / "ada"
    utils.create_memory_if_not_exists(folder)
    (folder / "user.md").write_text("# Ada")
    utils.create_memory_if_not_exists(folder)
    assert (folder / "user.md").read_text() == "# Ada"
    with pytest.raises(InvalidInputError, match="more than a memory"):
        utils.delete_memory(tmp_path.parent)
    with pytest.raises(InvalidInputError, match="is not a folder"):
        utils.delete_memory(folder / "user.md")
    utils.delete_memory(folder)
    utils.delete_memory(folder)
    assert not folder.exists() and folder.parent.is_dir()


def test_clients_name_a_server() -> None:
    client = vllm_client("localhost", 8001)
    assert client == ModelClient("http://localhost:8001/v1", client.api_key)
    assert "secret" not in repr(ModelClient("http://localhost/v1", "secret"))
    client.close()
    with pytest.raises(AttributeError, match="only names a server"):
        client.chat  # noqa: B018
    assert vllm_client("localhost", "8001") == client  # as a program takes it from the environment
    for port in (0, 65536, True, "80a"):
        with pytest.raises(InvalidInputError, match="must be a number from 1 to 65535"):
            vllm_client("localhost", port)


def test_clients_of_asyncio_are_closed() -> None:
    async def use() -> ModelClient:
        async with async_vllm_client("localhost", 8001) as client:
            await client.close()
            return client

    with vllm_client("localhost", 8001) as client:
        assert asyncio.run(use()).base_url == client.base_url


@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncOpenAI])
def test_clients_of_openai_name_a_server_too(kind: type[openai.OpenAI]) -> None:
    client = kind(base_url="http://localhost:8001/v1/", api_key="secret", default_headers={"X-Title": "mine"})
    choice = choice_of("some/model", client=client)
    assert choice == ModelConfig(
        base_url="http://localhost:8001/v1", model="some/model", api_key="secret", headers={"X-Title": "mine"}
    )
    with pytest.raises(InvalidInputError, match="adds query parameters"):
        choice_of("some/model", client=kind(base_url="http://localhost/v1", api_key="k", default_query={"v": "1"}))
    azure = openai.AzureOpenAI(azure_endpoint="http://localhost", api_key="k", api_version="1")
    with pytest.raises(InvalidInputError, match=r"client: must be one of .*ModelConfig"):
        choice_of("some/model", client=azure)
