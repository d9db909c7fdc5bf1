"""Which exception comes out when a block and its helper tasks fail."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trioagent._exceptions import body_first, leaves, open_helper_nursery, without_cancelled


async def cancelled() -> trio.Cancelled:
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as error:
            return error
    raise AssertionError


def test_leaves_are_found_in_any_depth() -> None:
    one, two = ValueError(1), KeyError(2)
    assert list(leaves(one)) == [one]
    assert list(leaves(ExceptionGroup("", [one, ExceptionGroup("", [two])]))) == [one, two]


async def test_cancelled_is_taken_out_of_groups() -> None:
    stop, error = await cancelled(), ValueError(1)
    assert without_cancelled(None) is None
    assert without_cancelled(error) is error
    group = ExceptionGroup("", [error])
    assert without_cancelled(group) is group
    assert without_cancelled(stop) is None
    assert without_cancelled(BaseExceptionGroup("", [stop, BaseExceptionGroup("", [stop])])) is None
    rest = without_cancelled(BaseExceptionGroup("", [stop, error]))
    assert isinstance(rest, BaseExceptionGroup)
    assert rest.exceptions == (error,)


async def test_the_blocks_own_exception_comes_first() -> None:
    stop = await cancelled()
    body, helpers = ValueError("body"), OSError("helper")
    assert body_first(None, None) is None
    assert body_first(body, None) is body
    assert body_first(stop, None) is stop
    assert body_first(None, stop) is None
    assert body_first(None, helpers) is helpers
    assert body_first(stop, helpers) is helpers
    assert not hasattr(body, "__notes__")
    assert body_first(body, ExceptionGroup("", [helpers])) is body
    assert body.__notes__ == ["cleaning up raised as well: OSError('helper')"]


@pytest.mark.parametrize("body", [KeyboardInterrupt(), SystemExit(3), ValueError("x")])
def test_no_ordinary_error_hides_an_interrupt(body: BaseException) -> None:
    assert body_first(body, OSError("helper")) is body
    interrupt = KeyboardInterrupt()
    assert body_first(body, interrupt) is (interrupt if isinstance(body, Exception) else body)


@pytest.mark.parametrize("body", [ValueError("body"), KeyboardInterrupt(), ExceptionGroup("body", [ValueError()])])
async def test_a_helper_nursery_gives_the_blocks_error_bare(body: BaseException, autojump_clock: MockClock) -> None:
    async def helper() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("clean-up")

    with pytest.raises(type(body)) as caught:
        async with open_helper_nursery() as nursery:
            nursery.start_soon(helper)
            await trio.sleep(1)
            raise body
    assert caught.value is body
    assert body.__notes__ == ["cleaning up raised as well: OSError('clean-up')"]


async def test_helpers_are_cancelled_when_the_block_ends(autojump_clock: MockClock) -> None:
    async with open_helper_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
    assert trio.current_time() < 1


async def test_a_helpers_error_cancels_the_block_and_comes_out_in_a_group(autojump_clock: MockClock) -> None:
    async def helper() -> None:
        await trio.sleep(1)
        raise OSError("lost")

    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="lost")):
        async with open_helper_nursery() as nursery:
            nursery.start_soon(helper)
            await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(1, abs=0.1)


async def test_a_scope_around_it_is_obeyed_and_hides_no_error(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as scope:
        async with open_helper_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
    assert scope.cancelled_caught

    async def helper() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("clean-up")

    with pytest.RaisesGroup(OSError), trio.move_on_after(1):
        async with open_helper_nursery() as nursery:
            nursery.start_soon(helper)
            await trio.sleep_forever()
