"""Endpoints over real sockets: who is closed by what, who waits for whom, and that one request finds out."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trioagent._circuit_breaker import CircuitBreaker
from trioagent._config import ModelConfig, RetryPolicy
from trioagent._errors import (
    EndpointHeldError,
    ModelCertificateError,
    ModelConnectionError,
    ModelError,
    ModelProtocolError,
    ModelRefusedError,
    ModelStatusError,
)
from trioagent._messages import ChatMessage
from trioagent.models import Available, Closed, EndpointHealth, Endpoints, Held, Model, open_model
from trioagent.models._http import HttpModel
from trioagent.testing import Fault, ModelRequest, Say
from trioagent.testing._server import Answer

from .support import ONCE, QUICK, ask, serving

pytestmark = pytest.mark.real

TWICE = RetryPolicy(attempts=2, first_delay=0.001, max_delay=0.01)


@pytest.fixture
def fast_clock() -> MockClock:
    """Virtual time at a hundred times the speed of real time: pauses of seconds are short, sockets are real."""
    return MockClock(rate=100.0)


@asynccontextmanager
async def opened(
    base_url: str, endpoints: Endpoints, *, model: str = "any", key: str | None = None, retry: RetryPolicy = ONCE
) -> AsyncIterator[HttpModel]:
    config = ModelConfig(base_url=base_url, model=model, api_key=key, retry=retry)
    async with open_model(config, endpoints=endpoints) as http_model:
        assert isinstance(http_model, HttpModel)
        yield http_model


async def refuse(model: Model, times: int = CircuitBreaker.THRESHOLD) -> None:
    for _ in range(times):
        with pytest.raises(ModelStatusError):
            await ask(model)


async def test_refusals_close_one_model_with_one_key_and_no_other() -> None:
    def handler(request: ModelRequest) -> Answer:
        good = request.body["model"] == "good" and request.headers["authorization"] == "Bearer good-key"
        return "hello" if good else Fault.status(404 if request.body["model"] == "typo" else 401)

    endpoints = Endpoints()
    async with serving(handler) as server:
        async with (
            opened(server.base_url, endpoints, model="good", key="good-key") as good,
            opened(server.base_url, endpoints, model="typo", key="good-key") as typo,
            opened(server.base_url, endpoints, model="good", key="bad-key") as bad,
        ):
            for refused in (typo, bad):
                await refuse(refused)
                served = server.served
                with pytest.raises(ModelRefusedError, match="was not sent"):
                    await ask(refused)
                assert server.served == served
            assert (await ask(good)).text == "hello"
            assert good.health.state.value == Available()
            assert isinstance(typo.health.state.value, Closed)
            closed = [name for name, health in endpoints.healths.items() if health.state.value != Available()]
            assert closed == [(server.base_url, 0, "typo"), (server.base_url, 1, "good")]
            assert "-key" not in "".join(map(repr, endpoints.healths.values()))
            assert [endpoints.named(model.health.name) for model in (good, typo, bad)] == [
                good.health,
                typo.health,
                bad.health,
            ]


async def test_an_endpoint_that_works_again_is_opened_by_one_request(fast_clock: MockClock) -> None:
    well = False
    endpoints = Endpoints()
    async with serving(lambda request: "hello" if well else Fault.status(402, "insufficient credits")) as server:
        async with opened(server.base_url, endpoints) as model:
            await refuse(model)
            await trio.sleep(CircuitBreaker.FIRST_PAUSE)
            with pytest.raises(ModelStatusError) as caught:
                await ask(model)  # the probe
            assert not isinstance(caught.value, ModelRefusedError)
            with pytest.raises(ModelRefusedError):
                await ask(model)
            assert server.served == CircuitBreaker.THRESHOLD + 1
            well = True
            await trio.sleep(2 * CircuitBreaker.FIRST_PAUSE)
            assert (await ask(model)).text == "hello"
            assert (await ask(model)).text == "hello"
            assert model.health.state.value == Available()


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_bad_requests_close_nothing(status: int) -> None:
    async with serving(lambda request: Fault.status(status, "no")) as server:
        async with opened(server.base_url, Endpoints()) as model:
            await refuse(model, 3 * CircuitBreaker.THRESHOLD)
            assert server.served == 3 * CircuitBreaker.THRESHOLD
            assert model.health.state.value == Available()


async def test_where_nobody_waits_an_outage_ends_in_its_own_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        async with opened(url, Endpoints(), retry=QUICK) as model:
            for _ in range(3):
                with pytest.raises(ModelConnectionError) as caught:
                    await ask(model)
                assert caught.value.attempts == QUICK.attempts
            assert model.health.state.value == Available()


async def test_where_somebody_waits_an_outage_holds_the_endpoint() -> None:
    """For the first request when its retries are used up, for a second one earlier, for all others at once."""
    endpoints = Endpoints()
    async with serving(lambda request: Fault.status(503, "away")) as server:
        async with opened(server.base_url, endpoints, retry=TWICE) as model:
            with endpoints.hold_outages():
                with pytest.raises(EndpointHeldError, match="'any' at http.*is unavailable: .*503: away"):
                    await ask(model)
                served = server.served
                with pytest.raises(EndpointHeldError):
                    await ask(model)
                assert server.served == served == 2
                state = model.health.state.value
                assert isinstance(state, Held) and state.probes == 0 and "503" in state.problem


async def test_a_request_that_fails_while_others_succeed_fails_for_itself() -> None:
    endpoints = Endpoints()

    def handler(request: ModelRequest) -> Answer:
        return Fault.null_choices() if request.messages[-1]["content"] == "poison" else "hello"

    async with serving(handler) as server, opened(server.base_url, endpoints, retry=QUICK) as model:
        with endpoints.hold_outages(), pytest.raises(ModelProtocolError):
            async with model.answer([ChatMessage("user", "poison")]) as parts:
                async for _ in parts:
                    await ask(model)  # between its attempts


async def test_waiters_go_on_when_one_of_them_has_found_the_server_well(autojump_clock: MockClock) -> None:
    """One request at a time finds out; its failures make the pauses grow, and its success resumes all of them."""
    health, start = EndpointHealth("any at nowhere"), trio.current_time()
    asked, done = list[float](), list[float]()

    async def job() -> None:
        while True:
            async with health.turn():
                request = health.admit(object())
                asked.append(trio.current_time() - start)
                await trio.sleep(0.25)
                if trio.current_time() - start > 10:
                    request.succeeded()
                    done.append(trio.current_time() - start)
                    return
                request.failed(ModelStatusError(503, "restarting"))

    with health.hold_outages():
        health.hold(ModelStatusError(503, "restarting"))
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(job)
    assert asked[:3] == pytest.approx([1.0, 2.35, 3.808]), "pauses of 1 s and 8 % of the time away, requests of 0.25 s"
    assert done == pytest.approx([done[0]] + [done[0] + 0.25] * 19)
    assert health.state.value == Available()


async def test_a_connection_that_lasts_where_others_failed_has_found_the_server(autojump_clock: MockClock) -> None:
    """Its answer may take minutes, and nobody waits for that; nor for long, to find that connections are possible."""
    health, start = EndpointHealth("any at nowhere"), trio.current_time()
    done = list[float]()

    async def job() -> None:
        while True:
            async with health.turn():
                request = health.admit(object())
                if trio.current_time() - start > 30:
                    await trio.sleep(100)
                    request.succeeded()
                    done.append(trio.current_time() - start)
                    return
                await trio.sleep(0.01)
                request.failed(ModelConnectionError("http://nowhere", "refused"))

    with health.hold_outages():
        health.hold(ModelConnectionError("http://nowhere", "refused"))
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(job)
    assert all(130 < when < 132 for when in done)
    assert done[1:] == pytest.approx([done[0] + 0.07] * 19)


async def test_an_outage_ends_when_a_request_has_succeeded(autojump_clock: MockClock) -> None:
    """Connections that last and then fail are signs of life, and the patience with the server is over nevertheless."""
    health, start = EndpointHealth("any at nowhere"), trio.current_time()
    refused = ModelConnectionError("http://nowhere", "refused")
    with health.hold_outages():
        for _ in range(5):
            health.hold(refused)
            async with health.turn():
                probe = health.admit(object())
                probe.answering()
                assert health.state.value == Available()
                await trio.sleep(10)
                probe.failed(refused)
                assert health.state.value == Available()
            health.hold(refused)
            state = health.state.value
            assert isinstance(state, Held) and state.since == start
        async with health.turn():
            health.admit(object()).succeeded()
        await trio.sleep(1)
        health.hold(refused)
        state = health.state.value
        assert isinstance(state, Held) and state.since == trio.current_time()


async def test_the_first_text_of_an_answer_shows_that_the_server_is_back(fast_clock: MockClock) -> None:
    endpoints = Endpoints()
    away = [Fault.status(503), Fault.status(503)]
    async with serving([*away, Say("a slow answer", chunk=1, pace=1.0), "hello"]) as server:
        async with opened(server.base_url, endpoints, retry=TWICE) as model:
            with endpoints.hold_outages(), pytest.raises(EndpointHeldError):
                await ask(model)
            async with trio.open_nursery() as nursery:

                async def probe() -> None:
                    async with model.health.turn():
                        await ask(model)

                nursery.start_soon(probe)
                await model.health.state.wait_value(Available())
                assert (await ask(model)).text == "hello"
                nursery.cancel_scope.cancel()


async def test_jobs_that_wait_for_a_server_get_their_answers(fast_clock: MockClock) -> None:
    endpoints, start = Endpoints(), trio.current_time()

    def handler(request: ModelRequest) -> Answer:
        return "hello" if trio.current_time() - start > 30 else Fault.status(503)

    async def job() -> None:
        while True:
            with suppress(EndpointHeldError):
                async with model.health.turn():
                    assert (await ask(model)).text == "hello"
                    return

    async with serving(handler) as server, opened(server.base_url, endpoints, retry=TWICE) as model:
        with endpoints.hold_outages(), trio.fail_after(5000):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(job)
        assert model.health.state.value == Available()


async def test_a_waiter_that_is_cancelled_passes_its_turn_on(autojump_clock: MockClock) -> None:
    health = EndpointHealth("any at nowhere")
    turns = list[str]()

    async def wait(name: str, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
        with scope:
            task_status.started()
            async with health.turn():
                turns.append(name)
                await trio.sleep_forever()

    with health.hold_outages():
        health.hold(ModelConnectionError("http://nowhere", "refused"))
        async with trio.open_nursery() as nursery:
            scopes = {name: trio.CancelScope() for name in "abc"}
            for name, scope in scopes.items():
                await nursery.start(wait, name, scope)
                await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(2 * CircuitBreaker.FIRST_PAUSE)
            assert turns == ["a"]
            scopes["b"].cancel()
            await trio.testing.wait_all_tasks_blocked()
            scopes["a"].cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert turns == ["a", "c"]
            nursery.cancel_scope.cancel()


async def test_a_probe_that_is_cancelled_tells_nothing(fast_clock: MockClock) -> None:
    endpoints = Endpoints()
    async with serving([Fault.drop(), Fault.drop(), Fault.hang(), "hello"]) as server:
        async with opened(server.base_url, endpoints, retry=TWICE) as model:
            with endpoints.hold_outages():
                with pytest.raises(EndpointHeldError):
                    await ask(model)
                async with model.health.turn():
                    with trio.move_on_after(1) as scope:
                        await ask(model)
                    assert scope.cancelled_caught
                async with model.health.turn():
                    assert (await ask(model)).text == "hello"


async def test_a_refusal_shows_that_the_server_is_there(fast_clock: MockClock) -> None:
    endpoints = Endpoints()
    async with serving([Fault.drop(), Fault.drop(), Fault.status(400, "bad"), "hello"]) as server:
        async with opened(server.base_url, endpoints, retry=TWICE) as model:
            with endpoints.hold_outages():
                with pytest.raises(EndpointHeldError):
                    await ask(model)
                async with model.health.turn():
                    with pytest.raises(ModelStatusError, match="bad"):
                        await ask(model)
                assert model.health.state.value == Available()
                assert (await ask(model)).text == "hello"


async def test_where_somebody_waits_one_refusal_closes_the_endpoint() -> None:
    endpoints = Endpoints()
    async with serving(lambda request: Fault.status(429, "come back", retry_after=86400)) as server:
        async with opened(server.base_url, endpoints) as model:
            with endpoints.hold_outages():
                await refuse(model, 1)
                state = model.health.state.value
                assert isinstance(state, Closed) and state.action.reason == "wait"
                assert state.next_probe - trio.current_time() == pytest.approx(600, abs=10)
                with pytest.raises(ModelRefusedError):
                    await ask(model)
        assert server.served == 1


async def test_what_a_server_does_not_take_is_remembered_by_models_opened_later() -> None:
    endpoints = Endpoints()
    refusal = Fault.json({"error": {"param": "stream_options", "code": "unsupported_parameter"}}, status=400)
    async with serving([refusal, "one", Say("two")]) as server:
        for text in ("one", "two"):
            async with opened(server.base_url, endpoints) as model:
                assert (await ask(model)).text == text
        assert ["stream_options" in request.body for request in server.requests] == [True, False, False]


def test_errors_for_people() -> None:
    errors: list[ModelError] = [
        ModelCertificateError("https://x/v1", "self-signed"),
        EndpointHeldError("m at x", "503"),
    ]
    assert "SSL_CERT_FILE" in str(errors[0]) and "unavailable" in str(errors[1])
