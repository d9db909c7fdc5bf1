"""The bridge itself: cancelling both ways, loops that come and go, wrong places to call from, no leaks."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import trio

from trioagent import InvalidInputError
from trioagent.compat import BridgeClosedError, CallCancelledError, WrongContextError, aclose, shutdown
from trioagent.compat._interop import call_asyncio, run_async, run_sync

from .support import ended, program, until

pytestmark = pytest.mark.real

CLEANING = 0.1  # s of clean-up that no cancelling may cut short


class Work:
    """A Trio function that waits to be cancelled, and takes its time to clean up."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def __call__(self) -> None:
        self.log.append("started")
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                self.log.append("cleaning")
                await trio.sleep(CLEANING)
                self.log.append("clean")

    async def started(self) -> None:
        while not self.log:
            await asyncio.sleep(0.001)


async def double(number: int) -> int:
    await trio.lowlevel.checkpoint()
    return 2 * number


async def fail() -> None:
    raise InvalidInputError("number", "is odd")


def test_values_and_errors_come_back() -> None:
    async def main() -> None:
        assert await run_async(double, 4) == 8
        with pytest.raises(InvalidInputError, match="is odd"):
            await run_async(fail)

    asyncio.run(main())
    assert run_sync(double, 5) == 10
    with pytest.raises(InvalidInputError, match="is odd"):
        run_sync(fail)


def test_everything_runs_in_one_thread() -> None:
    async def thread() -> int:
        return threading.get_ident()

    with ThreadPoolExecutor(4) as pool:
        idents = {run_sync(thread), asyncio.run(run_async(thread)), *pool.map(lambda _: run_sync(thread), range(8))}
    assert len(idents) == 1
    assert threading.get_ident() not in idents


@pytest.mark.parametrize("times", [1, 4])
def test_cancel_returns_when_all_is_clean_however_often_it_is_repeated(times: int) -> None:
    work = Work()

    async def main() -> None:
        task = asyncio.create_task(run_async(work))
        await work.started()
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(CLEANING / 10)
            assert not task.done()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.log == ["started", "cleaning", "clean"]

    asyncio.run(main())


def test_timeout_comes_when_all_is_clean() -> None:
    work = Work()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await run_async(work)
        assert work.log[-1] == "clean"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run_async(work), 0.02)
        assert work.log.count("clean") == 2

    asyncio.run(main())


def test_a_siblings_failure_cancels() -> None:
    work = Work()

    async def broken() -> None:
        await work.started()
        raise ValueError("sibling")

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(run_async(work))
                group.create_task(broken())
        assert [type(error) for error in caught.value.exceptions] == [ValueError]
        assert work.log[-1] == "clean"

    asyncio.run(main())


def test_an_error_of_the_clean_up_is_the_cause() -> None:
    begun = threading.Event()

    async def breaks() -> None:
        try:
            begun.set()
            await trio.sleep_forever()
        finally:
            raise ValueError("while cleaning")

    async def main() -> None:
        task = asyncio.create_task(run_async(breaks))
        await asyncio.to_thread(begun.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert isinstance(caught.value.__cause__, ValueError)

    asyncio.run(main())


def test_ctrl_c_in_a_sync_call_is_raised_when_all_is_clean_however_often_it_comes() -> None:
    work = Work()

    def press() -> None:
        for wanted in ("started", "cleaning", "cleaning"):
            until(partial(work.log.__contains__, wanted))
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    user = threading.Thread(target=press)
    user.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_sync(work)
        assert work.log == ["started", "cleaning", "clean"]
    finally:
        user.join()
        signal.signal(signal.SIGINT, before)


def test_cancel_before_the_start_and_after_the_end() -> None:
    async def main() -> None:
        task = asyncio.create_task(run_async(double, 1))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            assert await run_async(double, 1) == 2

    asyncio.run(main())


def test_shutdown_is_a_typed_error_and_the_next_call_starts_anew() -> None:
    work, errors = Work(), list[BaseException]()

    def wait() -> None:
        try:
            run_sync(work)
        except BridgeClosedError as error:
            errors.append(error)

    async def wait_too() -> None:
        with pytest.raises(BridgeClosedError, match="shut down"):
            await run_async(work)
        assert work.log[-1] == "clean"

    threads = [threading.Thread(target=wait), threading.Thread(target=asyncio.run, args=(wait_too(),))]
    for thread in threads:
        thread.start()
    until(lambda: work.log.count("started") == 2)
    before = {thread for thread in threading.enumerate() if thread.name == "trioagent"}
    shutdown()
    assert work.log.count("clean") == 2  # before shutdown() returned
    for thread in threads:
        thread.join()
    assert [str(error) for error in errors] == [
        "trioagent.compat abandoned the call: it was shut down while the call was running"
    ]
    assert not any(thread.is_alive() for thread in before)
    assert run_sync(double, 1) == 2


def test_shutdown_of_what_never_ran() -> None:
    shutdown()
    shutdown()


def test_a_closed_loop_takes_its_calls_along() -> None:
    work = Work()
    loop = asyncio.new_event_loop()
    task = loop.create_task(run_async(work))
    loop.run_until_complete(work.started())
    loop.close()
    until(lambda: "clean" in work.log)
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio would tell, and rightly


def test_a_stopped_loop_may_go_on() -> None:
    go, log = threading.Event(), []

    async def slow() -> str:
        await trio.to_thread.run_sync(go.wait)
        log.append("done")
        return "later"

    loop = asyncio.new_event_loop()
    task = loop.create_task(run_async(slow))
    loop.run_until_complete(asyncio.sleep(0.01))
    go.set()
    until(lambda: log)
    assert loop.run_until_complete(task) == "later"
    loop.close()


def test_a_coroutine_that_is_thrown_away() -> None:
    work = Work()

    async def main() -> None:
        coroutine = run_async(work)
        coroutine.send(None)  # as a task does it
        await work.started()
        coroutine.close()
        while "clean" not in work.log:
            await asyncio.sleep(0.005)

    asyncio.run(main())


def test_many_loops_in_threads_leave_nothing() -> None:
    def loops() -> None:
        for number in range(5):
            assert asyncio.run(run_async(double, number)) == 2 * number

    run_sync(double, 0)
    threads_before, files_before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    threads = [threading.Thread(target=loops) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert threading.active_count() == threads_before
    assert len(os.listdir("/proc/self/fd")) == files_before


def test_sync_in_a_coroutine_blocks_it() -> None:
    async def main() -> None:
        assert [run_sync(double, 1, name="Agent.chat"), run_sync(double, 2)] == [2, 4]
        with pytest.raises(WrongContextError, match=r"await trioagent\.compat\.aclose\(\)"):
            shutdown()
        assert await asyncio.get_running_loop().run_in_executor(None, run_sync, double, 3) == 6
        await aclose()

    asyncio.run(main())


def test_sync_in_a_coroutine_says_so_once(tmp_path: Path) -> None:
    """Once in a process, so in one that has called nothing before."""
    source = """
    import asyncio
    from trioagent.compat import Agent, aclose
    from trioagent.testing import ScriptedModel

    async def main():
        agent = Agent(memory_path="m", model=ScriptedModel(["<reply>One.</reply>", "<reply>Two.</reply>"]))
        print([agent.chat("Hi").reply, agent.chat("Hi").reply])
        await aclose()

    asyncio.run(main())
    """
    with program(source, tmp_path) as process:
        code, out, err = ended(process)
    assert (code, out) == (0, "['One.', 'Two.']\n"), err
    (said,) = err.splitlines()
    assert said.startswith("Agent.chat blocks the running event loop until it is done; AsyncAgent does not")


def test_sync_in_a_coroutine_ends_when_that_is_cancelled() -> None:
    work = Work()

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        threading.Thread(target=lambda: (until(lambda: work.log), task.cancel())).start()
        run_sync(work)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert work.log == ["started", "cleaning", "clean"]


async def test_under_trio_both_are_refused() -> None:
    with pytest.raises(WrongContextError, match=r"trioagent\.Agent"):
        run_sync(double, 1)
    with pytest.raises(WrongContextError, match="asyncio event loop"):
        await run_async(double, 1)


def test_a_worker_thread_of_a_call_may_call_and_is_cancelled_with_it() -> None:
    """As a sync persona model does that asks a model."""
    work = Work()

    async def outer(function: Callable[[], Awaitable[object]]) -> object:
        return await trio.to_thread.run_sync(lambda: run_sync(function))

    async def main() -> None:
        assert await run_async(outer, partial(double, 3)) == 6
        task = asyncio.create_task(run_async(outer, work))
        await work.started()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.log == ["started", "cleaning", "clean"]

    asyncio.run(main())


def test_a_worker_thread_of_a_call_may_shut_all_down() -> None:
    async def outer() -> None:
        await trio.to_thread.run_sync(shutdown)

    with pytest.raises(BridgeClosedError, match="shut down"):
        run_sync(outer)
    shutdown()  # waits for the end of what was begun there
    assert run_sync(double, 1) == 2


async def test_a_worker_thread_of_another_trio_is_cancelled_with_its_task() -> None:
    work = Work()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, run_sync, work)
        while not work.log:
            await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    assert work.log == ["started", "cleaning", "clean"]
    assert await trio.to_thread.run_sync(run_sync, double, 1) == 2
    await trio.to_thread.run_sync(shutdown)


def test_back_into_the_callers_loop() -> None:
    where = contextvars.ContextVar[str]("where")

    async def user(text: str) -> str:
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is loops[0]
        return f"{text} {where.get()}"

    async def broken() -> None:
        raise ValueError("theirs")

    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loops.append(loop)
        where.set("here")
        context = contextvars.copy_context()
        assert await run_async(lambda: call_asyncio(loop, user, "I am", context=context)) == "I am here"
        with pytest.raises(ValueError, match="theirs"):
            await run_async(lambda: call_asyncio(loop, broken))
        with pytest.raises(CallCancelledError, match="cancels_itself"):
            await run_async(lambda: call_asyncio(loop, cancels_itself))

    loops: list[asyncio.AbstractEventLoop] = []
    asyncio.run(main())
    with pytest.raises(BridgeClosedError, match="closed"):
        run_sync(lambda: call_asyncio(loops[0], user, "too late"))


def test_cancelling_goes_there_and_back() -> None:
    log: list[str] = []

    async def user() -> None:
        log.append("started")
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.02)
            log.append("user clean")

    async def through(loop: asyncio.AbstractEventLoop) -> None:
        try:
            await call_asyncio(loop, user)
        finally:
            log.append("trio clean")

    async def main() -> None:
        task = asyncio.create_task(run_async(through, asyncio.get_running_loop()))
        while not log:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        log.append("control")

    asyncio.run(main())
    assert log == ["started", "user clean", "trio clean", "control"]
