"""Servers that are unavailable or refuse everything, and full disks: the run holds its jobs, and fails none of them."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from trioagent._config import BatchConfig, ModelConfig, RetryPolicy
from trioagent.batch import BatchReport, Job, JournalReader, Progress, read_rows, run_batch
from trioagent.runtime import Runtime, open_runtime
from trioagent.testing import Fault, ModelRequest, ModelServer, Wire, serve_model

from ..memory.support import run_python

pytestmark = pytest.mark.real

REPLY = "<think>t</think><python></python><reply>Yes.</reply>"
TWICE = RetryPolicy(attempts=2, first_delay=0.01, max_delay=0.1)
SPEED = 50.0  # virtual seconds in one of the machine's, once the sandbox is open


@pytest.fixture
def clock() -> MockClock:
    return MockClock(rate=1.0)


@attrs.define
class Server:
    """A model's server whose answers depend on what is wrong with it.

    Attributes:
        wrong: gives what is answered instead of a reply, if not None.
        asked: how often each message was asked about.
        answered: how often it was answered.
    """

    wrong: Callable[[ModelRequest], Wire | None] = lambda request: None
    asked: Counter[str] = attrs.field(factory=Counter)
    answered: Counter[str] = attrs.field(factory=Counter)

    def __call__(self, request: ModelRequest) -> str | Wire:
        message = request.messages[-1]["content"]
        self.asked[message] += 1
        if (wrong := self.wrong(request)) is not None:
            return wrong
        self.answered[message] += 1
        return REPLY


def away(request: ModelRequest) -> Wire | None:
    return Fault.status(503, "restarting")


@asynccontextmanager
async def opened(server: Server, clock: MockClock) -> AsyncIterator[Runtime]:
    """A runtime with the model "m" of *server*; from here on time passes quickly."""
    async with trio.open_nursery() as nursery:
        listening: ModelServer = await nursery.start(serve_model, server)
        async with at(listening.base_url, clock) as runtime:
            yield runtime
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def at(base_url: str, clock: MockClock) -> AsyncIterator[Runtime]:
    model = ModelConfig(base_url=base_url, model="m", retry=TWICE, connect_seconds=1000.0)
    clock.rate = 1.0
    async with open_runtime(model) as runtime:
        clock.rate = SPEED
        yield runtime


def jobs(where: Path, prefix: str, count: int, **more: Any) -> list[Job]:
    names = [f"{prefix}{number}" for number in range(count)]
    return [Job(id=name, memory=str(where / name), messages=(f"{name} one", f"{name} two"), **more) for name in names]


def ids(where: Path, name: str) -> set[str]:
    return {row["id"] for row in read_rows(where / "run" / f"{name}.jsonl")}


async def run(where: Path, batch: list[Job], runtime: Runtime, **config: Any) -> BatchReport:
    return await run_batch(
        batch, runtime=runtime, run_dir=where / "run", config=BatchConfig(**config), total=len(batch)
    )


def ended(report: BatchReport) -> tuple[int, int, int, int | None, str]:
    return report.done, report.failed, report.left, report.not_begun, report.stopped


async def test_a_server_that_comes_back_costs_time_only(tmp_path: Path, clock: MockClock) -> None:
    """Jobs wait where they are, their deadlines stand still, and nothing is asked for again that was answered."""
    server = Server()
    server.wrong = lambda request: away(request) if server.answered.total() >= 3 and not back else None
    back, seen = False, list[Progress]()

    def show(progress: Progress) -> None:
        nonlocal back
        seen.append(progress)
        back = back or any(outage.seconds > 200 for outage in progress.outages)

    async with opened(server, clock) as runtime:
        report = await run_batch(
            jobs(tmp_path, "job", 8, deadline=150.0),
            runtime=runtime,
            run_dir=tmp_path / "run",
            config=BatchConfig(max_concurrent=3),
            on_progress=show,
        )
    assert (report.done, report.failed, report.left, report.stopped) == (8, 0, 0, "")
    assert set(server.answered.values()) == {1}
    (outage, *_) = next(progress.outages for progress in seen if progress.outages)
    assert (outage.kind, "503: restarting" in outage.problem, "'m' at http" in outage.name) == ("server", True, True)
    assert max(progress.states.get("held", 0) for progress in seen) > 3  # each gave its place up for another
    assert "503: restarting" in seen[-1].last_error
    assert report.seconds_by_state["held"] > 200
    assert server.asked.total() < 16 + 50  # one request at a time finds out


async def test_after_its_patience_the_run_stops_and_can_go_on(tmp_path: Path, clock: MockClock) -> None:
    batch = jobs(tmp_path, "job", 5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with at(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", clock) as runtime:
            began = trio.current_time()
            report = await run(tmp_path, batch, runtime, outage_patience=100.0)
            assert 100 <= trio.current_time() - began < 150
    assert ended(report) == (0, 0, 5, 0, "outage")
    assert "refused" in report.reason
    assert ids(tmp_path, "failures") == set()
    server = Server()
    async with opened(server, clock) as runtime:
        report = await run(tmp_path, batch, runtime, accept_changes=True)
    assert ended(report) == (5, 0, 0, 0, "")
    assert set(server.answered.values()) == {1}


async def test_jobs_of_other_endpoints_run_meanwhile(tmp_path: Path, clock: MockClock) -> None:
    server = Server(lambda request: away(request) if request.body["model"] == "gone" else None)
    batch = [*jobs(tmp_path, "gone", 6, model="gone"), *jobs(tmp_path, "good", 10)]
    async with opened(server, clock) as runtime:
        report = await run(tmp_path, batch, runtime, max_concurrent=2, outage_patience=60.0)
    assert ended(report) == (10, 0, 6, 0, "outage")
    assert ids(tmp_path, "conversations") == {f"good{number}" for number in range(10)}


@pytest.mark.parametrize("concurrent", [1, 4])
async def test_one_place_is_enough(concurrent: int, tmp_path: Path, clock: MockClock) -> None:
    """Neither a job that waits nor a source that does keeps the place that the one which finds out needs."""
    server = Server()
    server.wrong = lambda request: away(request) if 4 < server.asked.total() < 20 else None
    batch = jobs(tmp_path, "job", 4)

    async def slowly() -> AsyncIterator[Job]:
        for job in batch:
            yield job
        while server.answered.total() < 8:
            await trio.sleep(1)

    async with opened(server, clock) as runtime:
        report = await run_batch(
            slowly(), runtime=runtime, run_dir=tmp_path / "run", config=BatchConfig(max_concurrent=concurrent)
        )
    assert (report.done, report.failed, report.stopped) == (4, 0, "")


@pytest.mark.parametrize(
    ("fault", "stopped"),
    [
        (Fault.status(402, "You can only afford 512 tokens"), "quota"),
        (Fault.json({"error": {"message": "no", "code": "insufficient_quota"}}, status=429), "quota"),
        (Fault.status(429, "come back tomorrow", retry_after=86400), "quota"),
        (Fault.status(401, "no such key"), "refused"),
    ],
)
async def test_an_endpoint_that_refuses_everything(fault: Wire, stopped: str, tmp_path: Path, clock: MockClock) -> None:
    """Its jobs stay open, of which most are not even begun; those of another model are done."""
    server = Server(lambda request: fault if request.body["model"] == "m" else None)
    batch = [*jobs(tmp_path, "shut", 40), *jobs(tmp_path, "good", 6, model="good"), *jobs(tmp_path, "late", 40)]
    async with opened(server, clock) as runtime:
        report = await run(tmp_path, batch, runtime, max_concurrent=4)
        assert (report.done, report.failed, report.stopped) == (6, 0, stopped)
        assert report.left + (report.not_begun or 0) == 80
        assert report.left < 20
        assert ids(tmp_path, "failures") == set()
        server.wrong = lambda request: None
        clock.jump(700)  # the longest pause before it is tried again
        report = await run(tmp_path, batch, runtime, max_concurrent=4)
    assert ended(report) == (80, 0, 0, 0, "")
    assert set(server.answered.values()) == {1}


@pytest.mark.parametrize("refused", [2, 4])
async def test_a_long_but_bearable_wait_is_waited(refused: int, tmp_path: Path, clock: MockClock) -> None:
    """By those, too, whose request was not sent since another's was refused, and after a probe that was refused."""
    server = Server()
    slow_down = Fault.status(429, "slow down", retry_after=150)
    server.wrong = lambda request: slow_down if server.asked.total() <= refused else None
    async with opened(server, clock) as runtime:
        began = trio.current_time()
        report = await run(tmp_path, jobs(tmp_path, "job", 3), runtime, max_concurrent=2)
        assert trio.current_time() - began >= 150
    assert ended(report) == (3, 0, 0, 0, "")


async def test_an_open_source_ends_when_nothing_can_run_any_more(tmp_path: Path, clock: MockClock) -> None:
    async def source() -> AsyncIterator[Job]:
        for job in jobs(tmp_path, "job", 2):
            yield job
        await trio.sleep_forever()

    async with opened(Server(lambda request: Fault.status(401, "no such key")), clock) as runtime:
        report = await run_batch(source(), runtime=runtime, run_dir=tmp_path / "run")
    assert (report.done, report.failed, report.stopped) == (0, 0, "refused")


async def test_a_model_that_is_missing_fails_the_jobs_that_name_it(tmp_path: Path, clock: MockClock) -> None:
    missing = Fault.status(404, "The model `typo` does not exist")
    server = Server(lambda request: missing if request.body["model"] == "typo" else None)
    batch = [*jobs(tmp_path, "typo", 12, model="typo"), *jobs(tmp_path, "good", 10)]
    async with opened(server, clock) as runtime:
        report = await run(tmp_path, batch, runtime, max_concurrent=2)
    assert ended(report) == (10, 12, 0, 0, "")


async def test_the_run_s_own_model_that_is_missing_fails_nothing(tmp_path: Path, clock: MockClock) -> None:
    server = Server(lambda request: Fault.status(404, "The model `m` does not exist"))
    async with opened(server, clock) as runtime:
        report = await run(tmp_path, jobs(tmp_path, "job", 12), runtime, max_concurrent=2)
    assert (report.done, report.failed, report.stopped) == (0, 0, "refused")
    assert server.asked.total() < 8


async def test_refused_prompts_fail_alone(tmp_path: Path, clock: MockClock) -> None:
    refusal = Fault.json({"error": {"message": "filtered", "code": "content_filter"}}, status=400)
    server = Server(lambda request: refusal if request.messages[1]["content"].startswith("bad") else None)
    batch = [job for pair in zip(jobs(tmp_path, "bad", 20), jobs(tmp_path, "good", 20), strict=True) for job in pair]
    async with opened(server, clock) as runtime:
        report = await run(tmp_path, batch, runtime, max_concurrent=5)
    assert ended(report) == (20, 20, 0, 0, "")
    assert [(cause.cause, cause.count) for cause in report.causes] == [("ModelStatusError 400", 20)]


async def test_prompts_that_a_firewall_blocks_fail_alone(tmp_path: Path, clock: MockClock) -> None:
    page = b"<html><title>Attention Required! | Cloudflare</title></html>"
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page)
    blocked = Wire((head + page,))
    server = Server(lambda request: blocked if request.messages[1]["content"].startswith("bad") else None)
    batch = [job for pair in zip(jobs(tmp_path, "bad", 3), jobs(tmp_path, "good", 20), strict=False) for job in pair]
    async with opened(server, clock) as runtime:
        report = await run(tmp_path, [*batch, *jobs(tmp_path, "later", 20)], runtime, max_concurrent=3)
    assert ended(report) == (23, 3, 0, 0, "")


async def test_malformed_answers_fail_a_job_where_others_succeed(tmp_path: Path, clock: MockClock) -> None:
    server = Server(lambda request: Fault.null_choices() if "bad" in request.messages[1]["content"] else None)
    batch = [*jobs(tmp_path, "bad", 1), *jobs(tmp_path, "good", 30)]
    async with opened(server, clock) as runtime:
        report = await run(tmp_path, batch, runtime, max_concurrent=3)
    assert ended(report) == (30, 1, 0, 0, "")


async def test_malformed_answers_fail_a_job_when_patience_is_over(tmp_path: Path, clock: MockClock) -> None:
    server = Server(lambda request: Fault.null_choices())
    async with opened(server, clock) as runtime:
        report = await run(tmp_path, jobs(tmp_path, "bad", 1), runtime, outage_patience=60.0)
        assert ended(report) == (0, 1, 0, 0, "")
        assert "ModelProtocolError" in report.causes[0].cause
        server.wrong = lambda request: None
        report = await run(tmp_path, jobs(tmp_path, "bad", 1), runtime, retry_failed=True)
    assert ended(report) == (1, 0, 0, 0, "")


async def test_a_stop_ends_the_wait(tmp_path: Path, clock: MockClock) -> None:
    stop = trio.Event()

    def show(progress: Progress) -> None:
        if progress.states.get("held", 0) == 3:
            stop.set()

    async with opened(Server(away), clock) as runtime:
        report = await run_batch(
            jobs(tmp_path, "job", 3),
            runtime=runtime,
            run_dir=tmp_path / "run",
            config=BatchConfig(grace_seconds=1000.0),
            stop=stop,
            on_progress=show,
        )
        assert report.seconds < 900
    assert (report.left, report.failed, report.stopped) == (3, 0, "asked")
    with JournalReader(tmp_path / "run") as journal:
        assert journal.counts() == {"running": 3}


async def test_a_request_that_errs_alone_fails_in_the_end(tmp_path: Path, clock: MockClock) -> None:
    """At the second start that its server has answered nothing but errors to it, while all others are done."""
    server = Server()
    server.wrong = lambda request: Fault.status(500, "oops") if request.messages[1]["content"] == "bad0 one" else None
    batch = [*jobs(tmp_path, "good", 3), *jobs(tmp_path, "bad", 1)]
    async with opened(server, clock) as runtime:
        reports = [await run(tmp_path, batch, runtime, outage_patience=50.0, max_concurrent=1) for _ in range(2)]
        server.wrong = lambda request: None
        reports.append(await run(tmp_path, batch, runtime, retry_failed=True))
    assert list(map(ended, reports)) == [(3, 0, 1, 0, "outage"), (0, 1, 0, 0, ""), (1, 0, 0, 0, "")]
    (cause,) = reports[1].causes
    assert (cause.cause, cause.example) == ("ModelStatusError 500", "bad0")


async def test_a_server_that_errs_for_everybody_is_waited_for_at_every_start(tmp_path: Path, clock: MockClock) -> None:
    batch = jobs(tmp_path, "job", 3)
    async with opened(Server(lambda request: Fault.status(500, "oops")), clock) as runtime:
        for _ in range(3):
            assert ended(await run(tmp_path, batch, runtime, outage_patience=30.0)) == (0, 0, 3, 0, "outage")


_A_SMALL_DISK = """
import ctypes, itertools, json, os, sys
from pathlib import Path
import trio
from trioagent import BatchConfig, Job, open_runtime, run_batch
from trioagent.testing import ScriptedModel

folder = Path(sys.argv[1])
uid, gid = os.getuid(), os.getgid()
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000 | 0x20000):
    print("SKIP user namespaces are refused here:", os.strerror(ctypes.get_errno())); sys.exit()
for file, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
    with open("/proc/self/" + file, "w") as out:
        out.write(text)
disk = folder / "disk"
disk.mkdir()
if libc.mount(b"none", bytes(disk), b"tmpfs", 0, b"size=4m"):
    print("SKIP mounting a tmpfs is refused here:", os.strerror(ctypes.get_errno())); sys.exit()
ballast = disk / "ballast"
ballast.write_bytes(bytes(3_700_000))

def fill():
    try:
        with open(ballast, "ab", buffering=0) as file:
            for _ in itertools.count():
                file.write(bytes(4096))
    except OSError:
        pass
"""

_A_RUN_ON_A_FULL_DISK = """
patience, makes_room, at_start = float(sys.argv[2]), sys.argv[3] == "room", sys.argv[4]
seen = []
if at_start == "full":
    fill()

def show(progress):
    seen.extend(outage.kind for outage in progress.outages)
    if makes_room and seen:
        ballast.unlink(missing_ok=True)

def answer(messages):
    return "<think>t</think><python></python><reply>" + "r" * 8000 + "</reply>"

async def make_room():
    await trio.sleep(0.5)
    ballast.unlink()

async def main():
    async with open_runtime(ScriptedModel(answer)) as runtime:
        jobs = [Job(id=str(n), memory=str(folder / "m"), messages=("hi",)) for n in range(20)]
        config = BatchConfig(max_concurrent=4, outage_patience=patience)
        async with trio.open_nursery() as nursery:
            if at_start == "full" and makes_room:
                nursery.start_soon(make_room)
            first = await run_batch(jobs, runtime=runtime, run_dir=disk / "run", config=config, on_progress=show)
        ballast.unlink(missing_ok=True)
        second = await run_batch(jobs, runtime=runtime, run_dir=disk / "run", config=config)
    rows = [json.loads(line)["id"] for line in open(disk / "run" / "conversations.jsonl")]
    print(json.dumps([first.failed, first.stopped, sorted(set(seen)), second.skipped, second.done, second.failed,
                      sorted(map(int, rows)) == list(range(20))]))

trio.run(main)
"""


@pytest.mark.parametrize("at_start", ["full", "nearly full"])
@pytest.mark.parametrize("room", ["room", "none"])
async def test_a_full_disk_under_the_run_directory(room: str, at_start: str, tmp_path: Path) -> None:
    """When there is space again the run continues by itself; else it stops cleanly, and the next one resumes it."""
    said = await trio.to_thread.run_sync(
        partial(
            run_python, _A_SMALL_DISK + _A_RUN_ON_A_FULL_DISK, tmp_path, 100 if room == "room" else 2, room, at_start
        )
    )
    if said.startswith("SKIP"):
        pytest.skip(said)
    failed, stopped, seen, skipped, done, failed_again, complete = json.loads(said)
    assert (failed, failed_again, complete) == (0, 0, True)
    assert seen == (["disk"] if at_start == "nearly full" else [])
    assert skipped + done == 20  # one whose row found no room was done, and counts as such in the second run only
    assert stopped == ("" if room == "room" else "disk")


_NOTES_ON_A_FULL_DISK = """
fill()
seen = set()
BLOCK = "<think>t</think><python>\\ncreate_file('new.md', 'x' * 5000)\\n</python>"

def answer(messages):
    return "<think>t</think><python></python><reply>Noted.</reply>" if len(messages) > 2 else BLOCK

def show(progress):
    seen.update((outage.kind, progress.done) for outage in progress.outages)
    if ("disk", 3) in seen:
        ballast.unlink(missing_ok=True)

async def main():
    memories = [disk / "full", *(folder / f"other{n}" for n in range(3))]
    memories[0].mkdir()
    async with open_runtime(ScriptedModel(answer)) as runtime:
        jobs = [Job(id=memory.name, memory=str(memory), messages=("hi",)) for memory in memories]
        report = await run_batch(
            jobs, runtime=runtime, run_dir=folder / "run", config=BatchConfig(max_concurrent=1), on_progress=show
        )
    print(json.dumps([report.done, report.failed, (disk / "full" / "new.md").stat().st_size]))

trio.run(main)
"""


async def test_a_job_whose_notes_have_no_room_gives_its_place_to_others(tmp_path: Path) -> None:
    said = await trio.to_thread.run_sync(partial(run_python, _A_SMALL_DISK + _NOTES_ON_A_FULL_DISK, tmp_path))
    if said.startswith("SKIP"):
        pytest.skip(said)
    assert json.loads(said) == [4, 0, 5000]
