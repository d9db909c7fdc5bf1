"""Request parameters and headers: what goes over the wire, what is refused, and what is never shown."""

from __future__ import annotations

import pickle
from typing import Any

import attrs
import pytest

from trioagent import InvalidInputError, ModelConfig, ModelStatusError, open_runtime
from trioagent.models import with_options
from trioagent.testing import Fault

from .support import ONCE, ask, model_before, serving

BASE = ModelConfig(base_url="http://localhost:8000/v1", model="m")
GIVEN: dict[str, Any] = {
    "temperature": 0.2, "top_p": 0.9, "max_tokens": 50, "seed": 7, "stop": ["###"], "min_p": 0.1, "guided": {"a": [1]},
}  # fmt: skip


@pytest.mark.real
async def test_they_go_over_the_wire() -> None:
    headers = {"X-Team": "memory", "User-Agent": "mine"}
    async with serving(["a"]) as server, model_before(server, headers=headers) as model:
        assert model is not None
        config = with_options(ModelConfig(base_url=server.base_url, model="m", headers=headers), GIVEN)
        async with open_runtime(config) as runtime:
            await ask(runtime.model)
    (request,) = server.requests
    assert {name: request.body.get(name) for name in GIVEN} == GIVEN
    assert (request.headers["x-team"], request.headers["user-agent"]) == ("memory", "mine")
    assert request.stream


@pytest.mark.real
async def test_a_model_opened_beside_the_runtimes_own_has_options_of_its_own() -> None:
    async with serving(["a", "b", "c"]) as server:
        config = ModelConfig(base_url=server.base_url, model="m", temperature=0.5, seed=1)
        async with open_runtime(config) as runtime:
            async with runtime.open_model(None, {"temperature": 0, "stream": False}) as model:
                await ask(model)
            async with runtime.open_model("other", {"seed": None, "top_k": 3}) as model:
                await ask(model)
            with pytest.raises(InvalidInputError, match="options: offline-rules takes none, but got seed"):
                async with runtime.open_model("offline-rules", {"seed": 1}):
                    pass
    bodies = [request.body for request in server.requests]
    assert [body["model"] for body in bodies] == ["m", "other"]
    assert [body.get("temperature") for body in bodies] == [0, 0.5]
    assert [body.get("seed") for body in bodies] == [1, None]
    assert [body.get("top_k") for body in bodies] == [None, 3]
    assert [request.stream for request in server.requests] == [False, True]


@pytest.mark.real
async def test_a_header_that_a_server_quotes_is_redacted() -> None:
    refusals = [Fault.status(403, "Bearer abc.def-ghi is no good"), Fault.status(400, "abc.def-ghi")]
    async with serving(refusals) as server:
        async with model_before(server, headers={"Authorization": "Bearer abc.def-ghi"}, retry=ONCE) as model:
            for _ in refusals:
                with pytest.raises(ModelStatusError) as caught:
                    await ask(model)
                assert "abc.def" not in str(caught.value) and "[API key]" in str(caught.value)
    assert server.requests[0].headers["authorization"] == "Bearer abc.def-ghi"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature": -1}, "temperature: must be a number, 0 or more, not -1"),
        ({"temperature": float("nan")}, "temperature: must be"),
        ({"temperature": "hot"}, "temperature: must be"),
        ({"temperature": True}, "temperature: must be"),
        ({"top_p": 0}, "top_p: must be a number above 0, at most 1, not 0"),
        ({"max_tokens": 0}, "max_tokens: must be"),
        ({"seed": 1.5}, "seed: must be a whole number"),
        ({"stop": [""]}, "stop: must be a text or a list of texts"),
        ({"stop": 3}, "stop: must be"),
        ({"extra_body": {"messages": []}}, "extra_body: 'messages' is set by the conversation; leave it out"),
        ({"extra_body": {"top_p": 1}}, "'top_p' is set by ModelConfig.top_p"),
        ({"extra_body": {"a": float("inf")}}, "extra_body: must be plain JSON"),
        ({"extra_body": {"a": object()}}, "extra_body: must be plain JSON"),
        ({"extra_body": {"n": 2}}, "extra_body: 'n' must be 1, not 2: one answer is read"),
        ({"extra_body": [1]}, "extra_body: must be a mapping"),
        ({"headers": {"Host": "evil"}}, "headers: 'Host' is set by the connection itself"),
        ({"headers": {"A B": "x"}}, "'A B' is not a header name"),
        ({"headers": {"A": "secret\r\nB: c"}}, "the value of 'A' must be printable ASCII text"),
        ({"headers": {"authorization": "x"}, "api_key": "k"}, "'authorization' and api_key are both given"),
    ],
)
def test_what_cannot_be_used(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        attrs.evolve(BASE, **settings)
    assert words in str(caught.value) and "secret" not in str(caught.value)


def test_options_by_name() -> None:
    config = with_options(BASE, {"stop": "###", "top_k": 5, "stream": False})
    assert (config.stop, dict(config.extra_body), config.stream) == (("###",), {"top_k": 5}, False)
    assert with_options(config, {"stop": None, "top_k": None, "stream": True}) == BASE
    with pytest.raises(InvalidInputError, match="^top_p: must be"):
        with_options(BASE, {"top_p": 2})
    with pytest.raises(InvalidInputError, match="^stream: must be true or false"):
        with_options(BASE, {"stream": "no"})


def test_settings_are_copied_hashable_and_pickle_and_header_values_are_in_no_repr() -> None:
    body, headers = {"a": {"b": 1}}, {"X-Key": "secret"}
    config = attrs.evolve(BASE, extra_body=body, headers=headers)
    body["a"]["b"] = 2
    headers["X-Key"] = "other"
    assert config.extra_body == {"a": {"b": 1}} and config.headers == {"X-Key": "secret"}
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(config) == hash(attrs.evolve(config))
    assert "X-Key" in repr(config) and "secret" not in repr(config)
