"""Values, helpers and client handles of the documented API, as programs use them."""

from __future__ import annotations

import json
from pathlib import Path

import pydantic
import pytest

from trioagent._errors import InvalidInputError
from trioagent.compat import utils
from trioagent.compat._clients import ModelClient, vllm_client
from trioagent.compat.schemas import AgentResponse, ChatMessage

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
    [("no JSON", "is no JSON"), ("[1]", "is made of a mapping"), ('{"other": 1}', "needs thoughts")],
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
    with pytest.raises(InvalidInputError, match="is no folder"):
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
    for port in (0, 65536, True, "80"):
        with pytest.raises(InvalidInputError, match="must be a number from 1 to 65535"):
            vllm_client("localhost", port)  # type: ignore[arg-type]
