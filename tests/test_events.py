"""Events as JSON: the same event comes back, and nothing else comes in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioagent import _errors
from trioagent._errors import (
    InvalidInputError,
    ModelConnectionError,
    ModelError,
    ModelStatusError,
    StructuredOutputError,
)
from trioagent._events import (
    SCHEMA,
    AgentEvent,
    Answered,
    CodeResult,
    CodeStarted,
    Replied,
    from_json,
    to_json,
)
from trioagent._messages import AgentResponse, Usage
from trioagent._parsed_reply import Delta, ParsedReply
from trioagent.models import Retrying
from trioagent.sandbox import BlockResult

from .examples import examples

texts = st.text(st.characters(), max_size=20)  # lone surrogates too: models send them
counts = st.integers(0, 2**60)
seconds = st.floats(0, 1e9)
usages = st.builds(
    Usage,
    prompt_tokens=counts,
    completion_tokens=counts,
    estimated=st.booleans(),
    requests=counts,
    cost=seconds,
)
errors = st.one_of(
    st.builds(ModelError, texts),
    st.builds(ModelConnectionError, texts, texts),
    st.builds(ModelStatusError, st.integers(100, 599), texts, st.none() | seconds),
    st.builds(StructuredOutputError, texts, st.lists(texts, max_size=3).map(tuple), texts, st.integers(1, 9), usages),
)
events: st.SearchStrategy[AgentEvent] = st.one_of(
    st.builds(Delta, st.sampled_from(["think", "code", "reply"]), texts),
    st.builds(Retrying, errors, seconds, st.integers(1, 99)),
    st.builds(
        Answered,
        st.builds(
            ParsedReply,
            thoughts=texts,
            code=texts,
            reply=texts,
            text=texts,
            repairs=st.dictionaries(texts, counts, max_size=3),
            partial=texts,
        ),
        usages,
        texts,
    ),
    st.builds(CodeStarted, texts),
    st.builds(
        CodeResult,
        st.builds(
            BlockResult,
            locals=st.dictionaries(texts, texts, max_size=3),
            error=texts,
            printed=texts,
            saved=st.booleans(),
            tier=texts,
        ),
    ),
    st.builds(
        Replied,
        st.builds(
            AgentResponse,
            thoughts=texts,
            python_block=texts,
            reply=texts,
            usage=usages,
            turns=counts,
            stop_reason=st.sampled_from(["reply", "max_tool_turns"]),
            repairs=st.dictionaries(texts, counts, max_size=3),
            blocks_saved=counts,
            tier=texts,
            partial=texts,
            finish_reasons=st.lists(texts, max_size=3).map(tuple),
        ),
    ),
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def same(one: AgentEvent, two: AgentEvent) -> bool:
    if isinstance(one, Retrying) and isinstance(two, Retrying):
        errors = [(type(event.error), event.error.args, event.error.attempts) for event in (one, two)]
        return errors[0] == errors[1] and (one.delay, one.attempt) == (two.delay, two.attempt)
    return one == two


@settings(max_examples=examples(30))
@given(events)
def test_an_event_comes_back_as_it_was(event: AgentEvent) -> None:
    text = json.dumps(to_json(event), allow_nan=False)
    assert same(from_json(json.loads(text)), event)


def test_every_event_has_a_name_and_the_schema() -> None:
    body = to_json(CodeStarted("x = 1"))
    assert body == {"schema": SCHEMA, "type": "code_started", "code": "x = 1"}


@pytest.mark.parametrize(
    "kind", [thing for thing in vars(_errors).values() if isinstance(thing, type) and issubclass(thing, ModelError)]
)
def test_every_model_error_of_ours_can_be_read_back(kind: type[ModelError]) -> None:
    from .test_errors import sample

    error = sample(kind) if kind is not ModelError else ModelError("words")
    assert isinstance(error, ModelError)
    error.attempts = 3
    body = json.loads(json.dumps(to_json(Retrying(error, 1.5, 2))))
    assert body["error"]["message"] == str(error)
    again = from_json(body)
    assert isinstance(again, Retrying)
    assert (type(again.error), again.error.args, again.error.attempts) == (kind, error.args, 3)


def test_an_error_of_a_users_class_keeps_its_words() -> None:
    class QuotaError(ModelError):
        pass

    for error in (QuotaError("no more", object()), ModelError(object())):
        again = from_json(json.loads(json.dumps(to_json(Retrying(error, 0.0, 1)))))
        assert isinstance(again, Retrying)
        assert (type(again.error), str(again.error)) == (ModelError, str(error))


def test_whole_numbers_of_other_languages_are_seconds_too() -> None:
    body = to_json(Retrying(ModelError("x"), 2.0, 1)) | {"delay": 2}
    event = from_json(body)
    assert isinstance(event, Retrying)
    assert isinstance(event.delay, float)


@settings(max_examples=examples(25))
@given(plain)
def test_any_json_is_an_event_or_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError):
        from_json(value)


def paths(value: Any) -> list[tuple[Any, ...]]:
    """Where in a JSON value anything may be put in the place of something."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((key, *path) for key, item in inner for path in paths(item))]


def changed(value: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    copy = json.loads(json.dumps(value))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    change(holder, path[-1])
    return copy


@settings(max_examples=examples(30))
@given(events, plain, st.data())
def test_an_event_with_anything_in_it_is_an_event_or_refused(
    event: AgentEvent, value: Any, data: st.DataObject
) -> None:
    body = json.loads(json.dumps(to_json(event)))
    path = data.draw(st.sampled_from(paths(body)[1:]))

    def put(holder: Any, key: Any) -> None:
        holder[key] = value

    hostile = changed(body, path, put)
    try:
        again = from_json(hostile)
    except InvalidInputError:
        return
    json.dumps(to_json(again), allow_nan=False)


@settings(max_examples=examples(20))
@given(events, st.data())
def test_no_field_may_lack_and_none_be_added(event: AgentEvent, data: st.DataObject) -> None:
    body = to_json(event)
    with pytest.raises(InvalidInputError, match="unknown field"):
        from_json(body | {"more": 1})
    name = data.draw(st.sampled_from(sorted(body)))
    lacking = {key: value for key, value in body.items() if key != name}
    optional = {field.name for field in attrs.fields(type(event)) if field.default is not attrs.NOTHING}
    if name not in optional:
        with pytest.raises(InvalidInputError):
            from_json(lacking)


DEEP: Any = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"schema": SCHEMA + 1, "type": "code_started", "code": ""}, "event.schema"),
        ({"schema": True, "type": "code_started", "code": ""}, "event.schema"),
        ({"schema": "1", "type": "code_started", "code": ""}, "event.schema"),
        ({"type": "code_started", "code": ""}, "event.schema"),
        ({"schema": SCHEMA, "code": ""}, "event.type"),
        ({"schema": SCHEMA, "type": [], "code": ""}, "event.type"),
        ({"schema": SCHEMA, "type": "CodeStarted", "code": ""}, "event.type"),
        ({"schema": SCHEMA, "type": "code_started", "code": None}, "event.code"),
        ({"schema": SCHEMA, "type": "code_started", "code": DEEP}, "event.code"),
        ({"schema": SCHEMA, "type": "delta", "kind": "other", "text": ""}, "event.kind"),
        ({"schema": SCHEMA, "type": "delta", "kind": {}, "text": ""}, "event.kind"),
        ({"schema": SCHEMA, "type": "retrying", "delay": float("nan"), "attempt": 1, "error": {}}, "event"),
        ({"schema": SCHEMA, "type": "retrying", "delay": 10**400, "attempt": 1, "error": {}}, "event"),
        ([], "event"),
        (None, "event"),
        ("{}", "event"),
    ],
)
def test_what_is_refused_and_where(body: Any, what: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        from_json(body)
    assert caught.value.what.startswith(what)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "error",
    [
        {"type": "ModelStatusError", "args": ["500"], "attempts": 1, "message": ""},
        {"type": "ModelStatusError", "args": [500, "a", 1.0, 4], "attempts": 1, "message": ""},
        {"type": "ModelStatusError", "args": [], "attempts": 1, "message": ""},
        {"type": "ModelStatusError", "args": [500], "attempts": True, "message": ""},
        {"type": "MemoryPathError", "args": ["a", "b"], "attempts": 1, "message": ""},
        {"type": "KeyboardInterrupt", "args": [], "attempts": 1, "message": ""},
        {"type": ["ModelError"], "args": [], "attempts": 1, "message": ""},
        {"type": "ModelError", "args": {"a": 1}, "attempts": 1, "message": ""},
        {"type": "ModelError", "args": [1], "attempts": 1, "message": ""},
        {"type": "ModelError", "args": [], "attempts": 1},
        "ModelError",
        None,
    ],
)
def test_errors_that_are_none_of_a_model(error: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        from_json({"schema": SCHEMA, "type": "retrying", "delay": 1.0, "attempt": 1, "error": error})
    assert caught.value.what.startswith("event.error")
