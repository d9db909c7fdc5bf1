"""The circuit breaker: when it opens, and that it half-opens with one request."""

from __future__ import annotations

import pytest

from trioagent._circuit_breaker import CircuitBreaker


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker()
    breaker.open(100.0, probe=False)
    return breaker


def test_it_is_closed_until_so_many_refusals_in_a_row() -> None:
    breaker = CircuitBreaker()
    for _ in range(3):
        assert not any(breaker.refused(0.0) for _ in range(CircuitBreaker.THRESHOLD - 1))
        breaker.succeeded()
    assert [breaker.refused(0.0) for _ in range(CircuitBreaker.THRESHOLD)][-1]
    assert breaker.admit(0.0) is False, "it opens when it is told to"


def test_one_request_may_probe_after_the_pause() -> None:
    breaker = opened()
    assert breaker.next_probe == 101.0
    assert breaker.admit(100.5) is None
    assert breaker.admit(101.0) is True
    assert breaker.admit(101.0) is None, "one at a time"
    breaker.succeeded()
    assert breaker.admit(101.0) is False


def test_whoever_waited_for_its_turn_does_not_wait_again() -> None:
    breaker = opened()
    assert breaker.admit(100.5, ahead=True) is True
    assert breaker.admit(100.5, ahead=True) is None


def test_pauses_grow_up_to_a_limit() -> None:
    """So slowly that a server is found soon after it is back, in proportion to the time that it was away."""
    breaker, now, pauses = opened(), 100.0, []
    for _ in range(30):
        pauses.append(breaker.next_probe - now)
        now = breaker.next_probe
        assert breaker.admit(now) is True
        breaker.open(now, probe=True)
    assert pauses[:4] == pytest.approx([1, 1.2, 1.44, 1.728])
    assert pauses[-7:] == [60] * 7
    assert all(pause <= 1 + 0.2 * sum(pauses[:number]) + 1e-6 for number, pause in enumerate(pauses))
    assert breaker.probes == 30


def test_a_wait_that_the_server_asks_for_is_kept() -> None:
    breaker = CircuitBreaker()
    breaker.open(0.0, probe=False, at_least=300.0)
    assert breaker.next_probe == 300.0


def test_requests_sent_before_it_opened_do_not_prolong_it() -> None:
    breaker = opened()
    for now in (100.1, 100.9):
        breaker.open(now, probe=False)
    assert (breaker.next_probe, breaker.probes) == (101.0, 0)


@pytest.mark.parametrize("end", ["gave_up_probe", "succeeded"])
def test_a_probe_that_is_given_up_leaves_its_place_to_another(end: str) -> None:
    breaker = opened()
    assert breaker.admit(101.0) is True
    getattr(breaker, end)()
    assert breaker.admit(101.0) is (end == "gave_up_probe")
