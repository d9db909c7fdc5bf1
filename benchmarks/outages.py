"""A model server that is killed again and again under a batch, and one that refuses prompts.

``python -m benchmarks outages [--minutes 10] [--jobs 500] [--every 20] [--away 10]``

Part one: a batch of ``--jobs`` conversations against a server process that is killed (``SIGKILL``) and started again
every ``--every`` seconds, and away for ``--away`` of them. The conversations are as long as it takes for about
``--minutes``. An answer takes 0.25 to 0.75 s, so that a kill costs 0.27 s besides, on the average: what has come of
the answers under way is lost, whoever asks for them. (If each took 1 s, jobs would be in step after an outage, and
10 s would hold nine steps.) The server journals which answers it gave in a file, so that its own death loses no count.
Where other work on the machine comes and goes, the undisturbed run is no measure for the disturbed one: so the time
lost is also told at the pace of that run itself, between the kills. Part two: 1000 jobs of which 200 are refused by a
content filter, in one start. Ends with 1 if a figure is not as it must be.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import attrs
import trio

from trioagent import BatchConfig, Job, ModelConfig, RateLimits, open_runtime, run_batch
from trioagent.batch import BatchReport, Progress, read_rows
from trioagent.testing import Fault, ModelRequest, Say, serve_model
from trioagent.testing._script import Wire

from ._measure import machine, table

_ROOT = Path(__file__).parents[1]
_CONCURRENT = 100
_FILTER = {"error": {"message": "The response was filtered", "code": "content_filter", "type": "invalid_request_error"}}
BLOCK = "<think>t</think>\n<python>\nwith open('log.md', 'a') as f:\n    _ = f.write('{turn}\\n')\n</python>"
REPLY = "<think>t</think>\n<python></python>\n<reply>That was {turn}.</reply>"
LATENCY = 0.5  # mean seconds of an answer, each of which takes half as long to one and a half times as long
_PASSED = LATENCY * (1 + 1 / 12) / 2  # mean seconds since an answer that is under way was asked for

Row = tuple[str, str, str]


def text(turn: int) -> str:
    """Answer number *turn* of a conversation: a block, and then a reply to each message."""
    return (REPLY if turn else BLOCK).replace("{turn}", str(turn))


async def serve(port: int, log: int) -> None:
    """Serve on *port*, and write the job and the turn of every request to the file descriptor *log*."""

    async def answer(request: ModelRequest) -> Wire | Say:
        messages = request.messages
        said = messages[1]["content"]
        turn = sum(message["role"] == "assistant" for message in messages)
        # Whole lines at once, so that a kill tears none.
        os.write(log, f"{said.split()[0]} {turn} {time.monotonic():.4f}\n".encode())
        if said.startswith("bad"):
            return Fault.json(_FILTER, status=400)
        delay = LATENCY * (0.5 + zlib.crc32(f"{said} {turn}".encode()) / 2**32)
        return Say(text(turn), delay=delay)

    await serve_model(answer, port=port, record=False)


class Server:
    """A model server in a process of its own, which can be killed and started again at one address."""

    def __init__(self, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self._port}/v1"
        self.log = log
        self.outages: list[tuple[float, float]] = []
        """From a kill until it takes connections again (``time.monotonic()``)."""
        self._process: subprocess.Popen[str] | None = None

    async def start(self) -> None:
        """Start it; returns when it takes connections."""
        command = [sys.executable, "-m", "benchmarks.outages", "--serve", str(self._port), str(self.log)]
        self._process = await trio.to_thread.run_sync(partial(subprocess.Popen, command, cwd=_ROOT))
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", self._port)).aclose()
                return
            except OSError:
                await trio.sleep(0.02)

    @property
    def away(self) -> float:
        return sum(back - killed for killed, back in self.outages)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def keep_dying(self, every: float, away: float) -> None:
        """Kill it every so many seconds, and start it again when it has been away for a while."""
        while True:
            await trio.sleep(every - away)
            killed = time.monotonic()
            self.kill()
            try:
                await trio.sleep(away)
                await self.start()
            finally:
                self.outages.append((killed, time.monotonic()))


def jobs(folder: Path, count: int, messages: int, bad: int = 0) -> Iterator[Job]:
    """*count* jobs, *bad* of them, evenly spread, with a prompt that is refused."""
    for number in range(count):
        name = f"{'bad' if bad and number % (count // bad) == 0 else 'job'}-{number}"
        yield Job(
            id=name, memory=str(folder / name), messages=tuple(f"{name} message {which}" for which in range(messages))
        )


@attrs.define
class Seen:
    """What came of a batch."""

    report: BatchReport
    seconds: float
    double: int
    asked_again: int
    cut_off: int
    held_most: int


async def run(server: Server, folder: Path, count: int, messages: int, bad: int = 0) -> Seen:
    """Run a batch to its end, and hold its notes, rows and requests against what must be."""
    held_most = 0

    def look(progress: Progress) -> None:
        nonlocal held_most
        held_most = max(held_most, progress.states.get("held", 0))

    model = ModelConfig(base_url=server.base_url, model="loopback", rate=RateLimits(max_in_flight=_CONCURRENT))
    began = time.perf_counter()
    async with open_runtime(model) as runtime:
        report = await run_batch(
            jobs(folder / "memories", count, messages, bad),
            runtime=runtime,
            run_dir=folder / "run",
            config=BatchConfig(max_concurrent=_CONCURRENT),
            total=count,
            on_progress=look,
        )
    seconds = time.perf_counter() - began
    ids = Counter(row["id"] for row in read_rows(folder / "run" / "conversations.jsonl"))
    double = sum(times - 1 for times in ids.values())
    double += sum((folder / "memories" / name / "log.md").read_text() != "0\n" for name in ids)
    return Seen(report, seconds, double, asked_again(server.log), cut_off(server.log), held_most)


def asked_again(log: Path) -> int:
    """Requests for an answer when a later one of the same job had been asked for, so that it was in the journal."""
    highest: dict[str, int] = {}
    again = 0
    for name, turn, _ in asked(log):
        again += turn < highest.get(name, 0)
        highest[name] = max(highest.get(name, 0), turn)
    return again


def cut_off(log: Path) -> int:
    """Requests for an answer that had been asked for: the server was killed before it had given it."""
    return sum(times - 1 for times in Counter((name, turn) for name, turn, _ in asked(log)).values())


def asked(log: Path) -> Iterator[tuple[str, int, float]]:
    """The requests that the server got: of which job, for which answer, and when."""
    for line in log.read_text().splitlines():
        name, turn, when = line.split()
        yield name, int(turn), float(when)


def pace(server: Server) -> float:
    """Seconds from a job's request to its next one, on the average of those between which the server was there."""
    before: dict[str, float] = {}
    seconds: list[float] = []
    for name, _, when in asked(server.log):
        last = before.get(name)
        if last is not None and not any(killed < when and last < back for killed, back in server.outages):
            seconds.append(when - last)
        before[name] = when
    return statistics.mean(seconds)


async def measure_kills(minutes: float, count: int, every: float, away: float) -> list[Row]:
    """The same batch twice: undisturbed, and with the server killed again and again."""
    waves = -(-count // _CONCURRENT)
    messages = max(2, round(minutes * 60 * (1 - away / every) / waves / LATENCY) - 1)
    with tempfile.TemporaryDirectory() as name:
        seen: list[Seen] = []
        servers: list[Server] = []
        for part in ("calm", "killed"):
            folder = Path(name) / part
            folder.mkdir()
            server = Server(folder / "requests")
            servers.append(server)
            try:
                await server.start()
                async with trio.open_nursery() as nursery:
                    if part == "killed":
                        nursery.start_soon(server.keep_dying, every, away)
                    seen.append(await run(server, folder, count, messages))
                    nursery.cancel_scope.cancel()
            finally:
                server.kill()
        before, now = map(pace, servers)
    (calm, killed), server = seen, servers[1]
    report, lost = killed.report, killed.seconds - calm.seconds
    lost_at_pace = killed.seconds - calm.seconds * now / before
    bearable = f"<= {1.1 * server.away:.1f} s"
    return [
        (f"{count} jobs of {messages} messages, undisturbed: wall", f"{calm.seconds:.1f} s", ""),
        (f"killed {len(server.outages)} times, one in {every:g} s: wall", f"{killed.seconds:.1f} s", ""),
        ("server away", f"{server.away:.1f} s", ""),
        ("time lost against the undisturbed run", f"{lost:.1f} s", bearable),
        (f"the same at its pace, {now:.2f} s an answer instead of {before:.2f}", f"{lost_at_pace:.1f} s", bearable),
        ("of it for answers under way at a kill", f"{killed.cut_off * _PASSED / _CONCURRENT:.1f} s", ""),
        ("most jobs held at a time", str(killed.held_most), ""),
        ("done", str(report.done), str(count)),
        ("failed", str(report.failed), "0"),
        ("left to be gone on with", str(report.left), "0"),
        ("blocks or rows twice", str(killed.double), "0"),
        ("journaled answers asked for again", str(killed.asked_again), "0"),
    ]


async def measure_refusals(count: int, bad: int) -> list[Row]:
    """Refused prompts among others, in one start."""
    with tempfile.TemporaryDirectory() as name:
        server = Server(Path(name) / "requests")
        try:
            await server.start()
            seen = await run(server, Path(name), count, 1, bad)
        finally:
            server.kill()
    report = seen.report
    causes = ", ".join(f"{cause.count} x {cause.cause}" for cause in report.causes)
    return [
        (f"{bad} refused prompts among {count}: done in one start", str(report.done), str(count - bad)),
        ("failed", str(report.failed), str(bad)),
        ("of these by cause", causes, f"{bad} x ModelStatusError 400"),
        ("stopped", report.stopped or "no", "no"),
        ("blocks or rows twice", str(seen.double), "0"),
    ]


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--serve"]:
        log = os.open(arguments[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        trio.run(serve, int(arguments[1]), log)
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks outages")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="of the disturbed batch, about; the calm one is shorter"
    )
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--every", type=float, default=20.0, help="seconds from kill to kill")
    parser.add_argument(
        "--away",
        type=float,
        default=10.0,
        help="seconds from each kill to the next start; little for a model server, which loads its weights first",
    )
    order = parser.parse_args(arguments)
    print(machine(), flush=True)
    rows = trio.run(measure_kills, order.minutes, order.jobs, order.every, order.away)
    rows += trio.run(measure_refusals, 1000, 200)
    table(rows)
    wrong = [name for name, measured, wanted in rows if wanted and "<=" not in wanted and measured != wanted]
    print("all as it must be, times aside" if not wrong else f"WRONG: {'; '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
