"""What servers say, over real sockets, and what it means: each row of the table in the words of its servers."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from trioagent._errors import ModelError, ModelProtocolError, ModelStatusError
from trioagent._messages import ChatMessage
from trioagent._server_behaviour import (
    ROWS,
    AdaptRequest,
    Failure,
    HoldEndpoint,
    Retry,
    action_for,
    action_of,
    is_cut,
    is_cut_by_filter,
    is_failed,
    row_for,
)
from trioagent.models._decode import error_detail
from trioagent.models._encode import CHANGES
from trioagent.testing import Fault, Say, Wire

from .server_words import ERRORS, STREAMED, Said, said
from .support import ONCE, ask, model_before, serving

LONGEST = 120.0
ALL_SET: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 77, "seed": 1, "stop": ("END",)}
ASK = [ChatMessage("system", "be brief"), ChatMessage("user", "hello")]


def wire(said: Said) -> Wire:
    lines = [f"HTTP/1.1 {said.status} No", f"Content-Length: {len(said.content)}", *said.headers, "", ""]
    return Wire(("\r\n".join(lines).encode() + said.content,))


async def failure(answer: Wire, **settings: Any) -> ModelError:
    async with serving([answer]) as server, model_before(server, retry=ONCE, **settings) as model:
        with pytest.raises(ModelError) as caught:
            await ask(model, ASK)
    assert server.served == 1
    return caught.value


@pytest.mark.real
@pytest.mark.parametrize("said", [said for said in ERRORS if not isinstance(said.means, AdaptRequest)], ids=str)
async def test_errors_of_servers(said: Said) -> None:
    error = await failure(wire(said))
    assert isinstance(error, ModelStatusError) and error.status == said.status
    assert action_of(error, max_retry_after=LONGEST) == said.means
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.args, action_of(copy)) == (error.args, said.means)


@pytest.mark.real
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("event", "status", "means"), STREAMED)
async def test_errors_reported_inside_of_an_answer(event: object, status: int, means: object, stream: bool) -> None:
    delta = {"choices": [{"delta": {"content": "hi"}}]}
    error = await failure(Fault.events(delta, event) if stream else Fault.json(event), stream=stream)
    assert isinstance(error, ModelStatusError) and error.status == status
    assert action_of(error) == means


@pytest.mark.real
@pytest.mark.parametrize("said", [said for said in ERRORS if isinstance(said.means, AdaptRequest)], ids=str)
async def test_a_request_is_adapted_once_and_for_all(said: Said, caplog: pytest.LogCaptureFixture) -> None:
    """The server is told no more what it does not take, and the user is told of that once."""
    answers: list[Wire | Say] = [wire(said), Say("one"), Say("two")]
    async with serving(answers) as server, model_before(server, retry=ONCE, **ALL_SET) as model:
        first, second = await ask(model, ASK), await ask(model, ASK)
    assert (first.text, second.text, len(first.retries), len(second.retries)) == ("one", "two", 1, 0)
    assert first.end is not None and first.end.usage.requests == 2
    before, *after = [request.body for request in server.requests]
    assert isinstance(said.means, AdaptRequest)
    for body in after:
        match said.means.change:
            case "max_completion_tokens":
                assert "max_tokens" not in body and body["max_completion_tokens"] == 77
            case "system_as_user":
                assert body["messages"] == [{"role": "user", "content": "be brief\n\nhello"}]
            case "no_stream":
                assert "stream" not in body and "stream_options" not in body
            case change:
                assert change.removeprefix("no_") in before
                assert body == {name: before[name] for name in before if name != change.removeprefix("no_")}
    (told,) = [record.getMessage() for record in caplog.records if record.name == "trioagent"]
    assert CHANGES[said.means.change] in told and "from now on" in told


@pytest.mark.real
async def test_what_was_adapted_already_or_was_not_sent_fails() -> None:
    said = next(said for said in ERRORS if said.means == AdaptRequest("no_temperature"))
    async with serving([wire(said)] * 2) as server, model_before(server, retry=ONCE, temperature=0.5) as model:
        with pytest.raises(ModelStatusError):
            await ask(model)
    assert server.served == 2
    await failure(wire(said))


# What is asked for in words only, as by gateways that leave the server's headers out; an hour or a day is no promise.
SAID_TO_WAIT = [
    ("Rate limit reached on requests per min. Limit: 3 / min. Please try again in 20s. Contact us.", 20.0),
    ("Rate limit reached on tokens per min (TPM). Please try again in 1m26.4s. Visit", 86.4),
    ("Please try again in 250ms.", 0.25),
    ("Requests have exceeded token rate limit. Please retry after 9 seconds.", 9.0),
    ("No deployments available for selected model, Try again in 5 seconds.", 5.0),
    ("* Quota exceeded, limit: 5, model: x\nPlease retry in 11.767792953s.", 11.767792953),
    ("Please retry after 86400 seconds.", None),
    ("Rate limit reached on requests per day (RPD). Please try again in 7m12s.", None),
    ("Please try again in 24h0m0s.", None),
    ("Please try again later, at most 3 m wide.", None),
]


@pytest.mark.real
async def test_waits_that_servers_ask_for() -> None:
    for one, seconds in (
        (Said("Azure", 429, "x", Retry(), ("retry-after-ms: 250", "Retry-After: 1")), 0.25),
        (Said("any", 429, "x", Retry(), ("Retry-After: 7", "Retry-After: 7")), 7.0),
        (
            Said(
                "any",
                429,
                "x",
                Retry(),
                ("Date: Sun, 06 Nov 1994 08:49:37 GMT", "Retry-After: Sun Nov  6 08:50:07 1994"),
            ),
            30.0,
        ),
        (Said("Gemini", 429, [{"error": {"details": [{"retryDelay": "3.5s"}]}}], Retry()), 3.5),
        *((said("any", 429, message, Retry()), seconds) for message, seconds in SAID_TO_WAIT),
        (Said("OpenAI", 429, {"error": {"message": "Please try again in 20s."}}, Retry(), ("Retry-After: 3",)), 3.0),
    ):
        error = await failure(wire(one))
        assert isinstance(error, ModelStatusError) and error.retry_after == seconds, one


def test_every_row_is_tried() -> None:
    """By the errors above, but for the rows on exceptions and finish reasons, which other tests of this folder hold."""
    rows = []
    for one in ERRORS:
        detail = error_detail(one.content)
        asked = 86400.0 if "Retry-After: 86400" in one.headers else None
        failure = Failure(
            status=one.status, code=detail.code, param=detail.param, text=detail.message, asked_to_wait=asked
        )
        rows.append(row_for(failure, max_retry_after=LONGEST))
    exceptions = (
        Failure(exception="certificate"),
        Failure(exception="connection"),
        Failure(exception="protocol"),
        Failure(exception="protocol", finish_reason="error"),
    )
    rows += [row_for(failure, max_retry_after=LONGEST) for failure in exceptions]
    untried = [row.about for row in ROWS if row not in rows]
    assert not untried


def test_what_passes_holds_an_endpoint_where_others_fail_too() -> None:
    passing = [Failure(status=status) for status in (408, 409, 425, 429, 500, 502, 503, 504, 529)]
    page = Failure(status=403, text="<html>Sorry, you have been blocked</html>")
    for failure in (*passing, page, Failure(exception="connection"), Failure(exception="protocol")):
        assert action_for(failure, max_retry_after=LONGEST) == Retry()
        assert action_for(failure, max_retry_after=LONGEST, others_fail=True) == HoldEndpoint()
    for status in (400, 401, 402, 404, 413, 422):
        failure = Failure(status=status)
        assert action_for(failure, max_retry_after=LONGEST) == action_for(
            failure, max_retry_after=LONGEST, others_fail=True
        )


def test_ids_and_amounts_in_messages_make_no_difference() -> None:
    for status, text in ((402, "can only afford {}"), (429, "Budget has been exceeded! Current cost: {}")):
        assert (
            len({action_for(Failure(status=status, text=text.format(n)), max_retry_after=LONGEST) for n in range(9)})
            == 1
        )


@pytest.mark.parametrize(
    ("reason", "cut", "by_filter", "failed"),
    [
        *(
            (reason, False, False, False)
            for reason in ("stop", "STOP", "end_turn", "eos_token", "COMPLETE", "eosFound")
        ),
        *((reason, False, False, False) for reason in ("stop_sequence", "tool_calls", "function_call", "", "eos")),
        *(
            (reason, True, False, False)
            for reason in ("length", "MAX_TOKENS", "model_length", "maxPredictedTokensReached")
        ),
        *(
            (reason, True, False, False)
            for reason in ("contextLengthReached", "max-new-tokens", "ERROR_LIMIT", "other")
        ),
        *(
            (reason, True, False, False)
            for reason in ("FinishReason.MAX_TOKENS", "FINISH_REASON_MAX_TOKENS", "unknown")
        ),
        *((reason, True, False, False) for reason in ("MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "missing")),
        *((reason, True, True, False) for reason in ("content_filter", "content-filter", "SAFETY", "IMAGE_SAFETY")),
        *((reason, True, True, False) for reason in ("content_filter: RECITATION", "ERROR_TOXIC", "refusal", "SPII")),
        *((reason, False, False, True) for reason in ("error", "ERROR", "abort", "TIMEOUT", "network_error")),
    ],
)
def test_finish_reasons(reason: str, cut: bool, by_filter: bool, failed: bool) -> None:
    assert (is_cut(reason), is_cut_by_filter(reason), is_failed(reason)) == (cut, by_filter, failed)


@pytest.mark.real
@pytest.mark.parametrize("reason", ["error", "ERROR", "abort"])
async def test_a_generation_that_failed_is_no_answer(reason: str) -> None:
    error = await failure(Fault.events({"choices": [{"delta": {"content": "hi"}, "finish_reason": reason}]}))
    assert isinstance(error, ModelProtocolError) and action_of(error) == Retry()
