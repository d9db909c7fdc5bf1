"""A run is controlled from outside while it runs: over its socket, and by the command."""

from __future__ import annotations

import json
import os
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from tests.cli.batch_support import REQUESTS, Model, arguments, conversations, write_jobs
from tests.cli.support import SECONDS, command, environment, trioagent
from trioagent._config import BatchConfig, RateLimits
from trioagent._errors import InvalidInputError, ModelStatusError
from trioagent._messages import ChatMessage
from trioagent._runs import ControlRequest, RunNotReachedError, send_control
from trioagent._runs._control import MAX_ANSWER, MAX_CONNECTIONS, POINTER, SOCKET, open_socket
from trioagent.batch import CONVERSATIONS, FAILURES, BatchReport, Job, read_rows, run_batch
from trioagent.models import AnswerPart, RateLimiter
from trioagent.runtime import open_runtime
from trioagent.testing import ScriptedModel, serve_model

from ..other_user import ask_as_nobody, listening_as_nobody, need_root

pytestmark = pytest.mark.real

REPLY = "<think>t</think><python></python><reply>Yes.</reply>"


class Gated:
    """A model that answers a message once that is let through; "fail" is an error until it is mended.

    Attributes:
        asked: the messages of all requests, in order.
    """

    name = "gated"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.mended = False
        self._gates: dict[str, trio.Event] = {}
        self._inner = ScriptedModel(lambda messages: REPLY)

    def gate(self, message: str) -> trio.Event:
        return self._gates.setdefault(message, trio.Event())

    def let_through(self, *messages: str) -> None:
        for message in messages:
            self.gate(message).set()

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
        said = messages[-1].content
        self.asked.append(said)
        if said == "fail" and not self.mended:
            raise ModelStatusError(422, "no")
        if said != "fail":
            await self.gate(said).wait()
        async with self._inner.answer(messages) as parts:
            yield parts

    async def wait_asked(self, number: int) -> None:
        with trio.fail_after(SECONDS):
            while len(self.asked) < number:
                await trio.sleep(0.002)


@attrs.define
class Going:
    """A run that is running."""

    model: Gated
    run_dir: Path
    report: BatchReport | None = None

    async def do(self, do: Any, **more: Any) -> dict[str, Any]:
        with trio.fail_after(SECONDS):
            return dict(await send_control(self.run_dir, ControlRequest(do=do, **more)))


@asynccontextmanager
async def going(folder: Path, *messages: str, run_dir: Path | None = None, **config: Any) -> AsyncIterator[Going]:
    """A run of a job for each message; when the block ends, so has the run."""
    run = Going(Gated(), folder / "run" if run_dir is None else run_dir)
    jobs = [Job(id=message, memory=str(folder / message), messages=(message,)) for message in messages]
    settings = BatchConfig(outage_patience=0, grace_seconds=20, **{"max_concurrent": 2, **config})

    async def work() -> None:
        async with open_runtime(run.model) as runtime:
            run.report = await run_batch(jobs, runtime=runtime, run_dir=run.run_dir, config=settings)

    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await run.model.wait_asked(1)
            yield run
            run.model.let_through(*messages)


async def until(condition: Any) -> None:
    with trio.fail_after(SECONDS):
        while not await condition():
            await trio.sleep(0.005)


async def test_it_says_where_it_stands(tmp_path: Path) -> None:
    async with going(tmp_path, "a", "b", "c") as run:
        await run.model.wait_asked(2)
        found = await run.do("status")
        assert (found["paused"], found["max_concurrent"], found["running"]) == (False, 2, ["a", "b"])
        assert found["progress"]["running"] == 2
        mode = (run.run_dir / SOCKET).stat().st_mode
        assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    assert not (run.run_dir / SOCKET).exists()
    with pytest.raises(RunNotReachedError, match="no run is active there; the command that began it resumes it"):
        await run.do("status")


async def test_a_pause_starts_no_new_job_until_it_is_over(tmp_path: Path) -> None:
    async with going(tmp_path, "a", "b", "c", max_concurrent=1) as run:
        assert (await run.do("pause"))["paused"] is True
        run.model.let_through("a")

        async def a_has_ended() -> bool:
            return bool((await run.do("status"))["progress"]["done"] == 1)

        await until(a_has_ended)
        assert run.model.asked == ["a"]
        assert (await run.do("resume"))["paused"] is False
        await run.model.wait_asked(2)
    assert run.report is not None and run.report.done == 3


async def test_a_paused_run_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    async with going(tmp_path, "a", "b", "c", max_concurrent=1) as run:
        await run.do("pause")
        assert (await run.do("stop"))["progress"]["stopping"] == "asked"
    assert run.report is not None
    assert (run.report.stopped, run.report.reason, run.model.asked) == ("asked", "requested by trioagent ctl", ["a"])


async def test_more_jobs_at_once(tmp_path: Path) -> None:
    async with going(tmp_path, "a", "b", "c", "d", max_concurrent=1) as run:
        assert (await run.do("set", max_concurrent=3))["max_concurrent"] == 3
        await run.model.wait_asked(3)
        for bad in (0, -1):
            with pytest.raises(InvalidInputError, match="must be a whole number, 1 or more"):
                await run.do("set", max_concurrent=bad)


async def test_a_job_that_is_cancelled_is_left_to_another_run(tmp_path: Path) -> None:
    async with going(tmp_path, "a", "b") as run:
        await run.model.wait_asked(2)
        await run.do("cancel", job="a")

        async def it_is_gone() -> bool:
            return "a" not in (await run.do("status"))["running"]

        await until(it_is_gone)
        with pytest.raises(InvalidInputError, match="'a' is not running"):
            await run.do("cancel", job="a")
        run.model.let_through("b")
    assert run.report is not None and (run.report.done, run.report.left) == (1, 1)
    async with going(tmp_path, "a", "b") as again:
        again.model.let_through("a")
    assert again.model.asked == ["a"]


async def test_a_failed_job_is_put_back(tmp_path: Path) -> None:
    async with going(tmp_path, "fail", "a") as run:
        with pytest.raises(InvalidInputError, match="'a' has not failed"):
            await run.do("put_back", job="a")

        async def it_has_failed() -> bool:
            return bool((await run.do("status"))["progress"]["failed"] == 1)

        await until(it_has_failed)
        run.model.mended = True
        assert (await run.do("put_back", job="fail"))["progress"]["failed"] == 0

        async def it_is_done() -> bool:
            return bool((await run.do("status"))["progress"]["done"] == 1)

        await until(it_is_done)
    assert run.report is not None
    assert (run.report.done, run.report.failed, run.report.causes) == (2, 0, ())
    assert {row["id"] for row in read_rows(run.run_dir / CONVERSATIONS)} == {"fail", "a"}
    assert list(read_rows(run.run_dir / FAILURES)) == []


async def test_a_job_that_failed_in_an_earlier_run_is_put_back(tmp_path: Path) -> None:
    async with going(tmp_path, "fail", "a") as first:
        pass
    assert first.report is not None and first.report.failed == 1
    async with going(tmp_path, "fail", "a", "b") as run:
        run.model.mended = True
        assert (await run.do("put_back", job="fail"))["progress"]["skipped"] == 1
        await run.model.wait_asked(2)
    assert run.report is not None
    assert (run.report.done, run.report.skipped, run.report.skipped_failed) == (2, 1, 0)
    assert list(read_rows(run.run_dir / FAILURES)) == []


async def test_it_stops_at_once(tmp_path: Path) -> None:
    async with going(tmp_path, "a", "b") as run:
        await run.model.wait_asked(2)
        await run.do("stop_now")

        async def it_has_ended() -> bool:
            await trio.lowlevel.checkpoint()
            return run.report is not None

        await until(it_has_ended)
    assert run.report is not None and (run.report.stopped, run.report.left) == ("asked", 2)


async def test_the_socket_lies_elsewhere_where_it_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("long" * 25) / "run"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    async with going(tmp_path, "a", run_dir=folder) as run:
        place = Path((folder / POINTER).read_text().strip())
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
        assert (await run.do("status"))["running"] == ["a"]
    assert not place.exists() and not (folder / POINTER).exists()


def test_a_socket_is_never_on_a_network_file_system(tmp_path: Path) -> None:
    assert open_socket_in(tmp_path, is_on_network=False) == [tmp_path / SOCKET]
    elsewhere, pointer = open_socket_in(tmp_path, is_on_network=True)
    assert elsewhere.parent != tmp_path and pointer == tmp_path / POINTER
    assert not list(tmp_path.iterdir()) and not elsewhere.exists()


def open_socket_in(folder: Path, *, is_on_network: bool) -> list[Path]:
    """The files that lead to a socket for a run in *folder*, which are removed again."""
    place = open_socket(folder, lambda asked: is_on_network)
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(place.files[0]))
        return list(place.files)
    finally:
        place.socket.close()
        place.remove()


async def test_what_a_killed_run_left_is_no_hindrance(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / SOCKET))
    elsewhere = tmp_path / "elsewhere.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(elsewhere))
    (folder / POINTER).write_text(f"{elsewhere}\n")
    with pytest.raises(RunNotReachedError):
        await send_control(folder, ControlRequest(do="status"))
    async with going(tmp_path, "a") as run:
        assert (await run.do("status"))["ok"]
        assert not elsewhere.exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"x\n", "Expecting value"),
        (b"[1]\n", "request"),
        (b'{"do": "rm"}\n', "request"),
        (b'{"do": "status", "path": "/"}\n', "request"),
        (b'{"do": "cancel"}\n', "job: is not given"),
        (b'{"do": "set"}\n', "nothing is given"),
        (b'{"do": "set", "max_concurrent": "5"}\n', "request"),
        (b'{"do": "set", "requests_per_minute": -1}\n', "requests_per_minute"),
        (b'{"do": "set", "requests_per_minute": 5, "endpoint": "http://nowhere"}\n', "is in use"),
        (b"[" * 60_000 + b"\n", ""),
        (b"\xff\xfe\n", ""),
        (b"\n", "Expecting value"),
    ],
)
async def test_a_bad_request_is_answered_and_changes_nothing(tmp_path: Path, line: bytes, words: str) -> None:
    async with going(tmp_path, "a") as run:
        async with await trio.open_unix_socket(run.run_dir / SOCKET) as stream:
            await stream.send_all(line)
            answer = json.loads(await stream.receive_some(65536))
        assert words in answer["error"]
        assert (await run.do("status"))["running"] == ["a"]


async def test_hostile_clients_hold_up_nobody(tmp_path: Path) -> None:
    async with going(tmp_path, "a") as run:
        path = run.run_dir / SOCKET
        silent = [await trio.open_unix_socket(path) for _ in range(MAX_CONNECTIONS - 1)]
        assert (await run.do("status"))["running"] == ["a"]
        for stream in silent:
            await stream.aclose()
        stream = await trio.open_unix_socket(path)
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"x" * 65536)
        await stream.aclose()
        assert (await run.do("status"))["running"] == ["a"]


async def test_another_user_cannot_command_a_run_whose_socket_lost_its_mode(tmp_path: Path) -> None:
    need_root()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        async with going(tmp_path, "a", run_dir=Path(folder) / "run") as run:
            (run.run_dir / SOCKET).chmod(0o666)
            said = await trio.to_thread.run_sync(ask_as_nobody, run.run_dir / SOCKET, b'{"do": "stop_now"}\n')
            assert said in (b"", b"[ConnectionResetError]", b"[BrokenPipeError]")
            assert (await run.do("status"))["running"] == ["a"]


async def test_a_socket_that_somebody_else_has_put_there_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a shared folder: what it says may be endless, and is not the run's."""
    need_root()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        path = Path(folder) / SOCKET
        with listening_as_nobody(path, b'{"ok": true}\n'):
            # root asks everybody's runs
            assert await send_control(Path(folder), ControlRequest(do="status")) == {"ok": True}
            monkeypatch.setattr("os.geteuid", lambda: 12345)
            with pytest.raises(RunNotReachedError, match="somebody else listens at its socket; nothing was asked"):
                await send_control(Path(folder), ControlRequest(do="status"))


@pytest.mark.parametrize(
    "answer", [b"x" * (MAX_ANSWER + 1), b"[]\n", b"\xff", b""], ids=["endless", "list", "bytes", ""]
)
async def test_an_answer_that_is_none_is_an_error(tmp_path: Path, answer: bytes) -> None:
    async def speak(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await stream.receive_some(1000)
            await stream.send_all(answer)

    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / SOCKET))
        bound.listen()
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, speak, [listener])
            with pytest.raises(RunNotReachedError, match="has just ended, or is busy"):
                await send_control(tmp_path, ControlRequest(do="status"))
            nursery.cancel_scope.cancel()


async def test_rates_are_changed_while_requests_wait(autojump_clock: trio.testing.MockClock) -> None:
    limiter = RateLimiter(RateLimits(requests_per_minute=1))
    began = trio.current_time()

    async def request() -> None:
        async with limiter.slot(1) as slot:
            slot.succeeded(1)

    await request()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(request)
        await trio.sleep(10)
        limiter.change(RateLimits(requests_per_minute=2))  # one of the last minute counts
        await trio.sleep(1)
        assert limiter.statistics().requests_last_minute == 2
        limiter.change(RateLimits())
    assert trio.current_time() - began == 11
    limiter.change(RateLimits(requests_per_minute=1))
    await request()
    assert trio.current_time() - began == 11  # what was taken without a limit was not counted


async def test_the_command_controls_a_process(tmp_path: Path) -> None:
    write_jobs(tmp_path, 300)
    model = Model(delay=0.1)
    with trio.fail_after(6 * SECONDS):  # ten commands, each a process
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_model, model)
            words = arguments(server, "--max-concurrent", "1", "--quiet", "--outage-patience", "0")
            ended = trio.Event()
            nursery.start_soon(_run_command, words, tmp_path, ended)
            await model.wait_asked(1)

            async def ctl(*words: str) -> Any:
                done = await trioagent("ctl", "run", *words, "--json", home=tmp_path)
                assert (done.code, done.err) == (0, ""), done
                return json.loads(done.out)

            assert (await ctl("pause"))["paused"] is True
            assert (await ctl("set", "--max-concurrent", "2", "--rpm", "10000"))["progress"]["endpoints"][0][
                "requests_per_minute"
            ] == 10000
            shown = await trioagent("ctl", "run", home=tmp_path)
            assert shown.out.startswith("paused, at most 2 jobs at once\n")
            wrong = await trioagent("ctl", "run", "cancel", "nobody", home=tmp_path)
            assert (wrong.code, wrong.out) == (2, "") and "'nobody' is not running" in wrong.err
            await ctl("resume")
            await ctl("stop")
            await ended.wait()
            nursery.cancel_scope.cancel()
    after = await trioagent("ctl", "run", home=tmp_path)
    assert after.code == 1 and "no run is active there" in after.err
    assert 0 < len(conversations(tmp_path)) < 300 and model.total >= REQUESTS


async def _run_command(words: list[str], home: Path, ended: trio.Event) -> None:
    done = await trio.run_process(
        command(*words), check=False, capture_stderr=True, env=environment(home, TRIOAGENT_API_KEY="k"), cwd=home
    )
    assert done.returncode == 130, done.stderr
    ended.set()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["nowhere"], "there is no such run directory"),
        (["run", "cancel"], "is needed with cancel"),
        (["run", "pause", "a"], "is not taken with pause"),
        (["run", "pause", "--rpm", "5"], "is taken with set, not with pause"),
    ],
)
async def test_the_command_refuses_what_it_cannot_do(tmp_path: Path, words: list[str], problem: str) -> None:
    done = await trioagent("ctl", *words, home=tmp_path)
    assert done.code in (1, 2) and problem in done.err
