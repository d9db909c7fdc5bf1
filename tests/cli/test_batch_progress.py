"""Where a batch stands: lines, the live display, JSON, and readers that are slow or gone."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent.batch import is_running
from trioagent.cli._batch_text import duration, progress_line, progress_lines
from trioagent.testing import serve_model

from .batch_support import REQUESTS, Model, arguments, batch, conversations, outcome, write_jobs
from .support import SECONDS, command, environment, started, terminal, trioagent

PROGRESS: dict[str, Any] = {
    "total": 10_000,
    "skipped": 1000,
    "done": 203,
    "failed": 3,
    "left": 0,
    "running": 100,
    "queued": 8694,
    "states": {"model": 80, "rate": 20},
    "answers": 600,
    "tokens": 1500,
    "cost": 0.5,
    "tokens_total": 1_234_567,
    "cost_total": 1.25,
    "max_tokens": 5_000_000,
    "max_cost": 10.0,
    "endpoints": [
        {
            "url": "http://localhost:8000/v1",
            "in_flight": 80,
            "allowed_in_flight": 90,
            "waiting": 20,
            "requests_last_minute": 480,
            "requests_per_minute": 500.0,
            "tokens_last_minute": None,
            "tokens_per_minute": None,
        }
    ],
    "outages": [
        {"kind": "server", "name": "'m' at http://localhost:8000/v1", "seconds": 185.0, "problem": "Connection refused"}
    ],
    "last_error": "the model's server answered with status 500: oops",
    "last_error_seconds": 12.0,
    "seconds": 120.0,
    "eta_seconds": 7260.0,
    "stragglers": [{"id": "job\x1b-7", "seconds": 90.0, "state": "rate", "state_seconds": 12.0}],
    "stopping": "",
}


def test_all_lines() -> None:
    assert progress_lines(PROGRESS) == [
        "1,206 of 10,000 jobs ended (12 %) · 3 failed · 100 running · 8,694 queued · about 2 h 1 min to go",
        "running: 80 model · 20 waiting for rate",
        "server away for 3 min: Connection refused ('m' at http://localhost:8000/v1)",
        "last server error, 12 s ago: the model's server answered with status 500: oops",
        "http://localhost:8000/v1: 80 of 90 requests in flight · 20 waiting · 480 of 500 requests in the last minute",
        "spent: 1,234,567 of 5,000,000 tokens · cost 1.25 of 10 · 600 answers (300 a minute) · 2 min",
        "slowest: job\\x1b-7, 2 min in all; waiting for rate for 12 s",
    ]


def test_one_line() -> None:
    assert progress_line(PROGRESS | {"total": None, "queued": None, "eta_seconds": None, "stopping": "asked"}) == (
        "1,206 jobs ended · 3 failed · 100 running · stopping; "
        "server away for 3 min: Connection refused ('m' at http://localhost:8000/v1); "
        "80 model · 20 waiting for rate; 1,234,567 tokens"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"), (3571, "1 h 0 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.real
async def test_json_progress(home: Path, nursery: trio.Nursery) -> None:
    server = await nursery.start(serve_model, Model(delay=0.2))
    write_jobs(home, 4)
    done = await batch(home, server, "--json-progress", "--max-concurrent", "2", "--rpm", "1000")
    assert done.code == 0
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["event"] for row in rows] == ["progress"] * (len(rows) - 1) + ["end"]
    assert len(rows) >= 3
    first, middle, last = rows[0], rows[1], rows[-2]
    assert (first["total"], first["queued"], first["done"]) == (4, 4, 0)
    assert (middle["running"], sum(middle["states"].values()), len(middle["stragglers"])) == (2, 2, 2)
    assert middle["endpoints"][0]["in_flight"] <= 2
    assert (last["done"], last["running"], last["tokens"]) == (4, 0, 4 * REQUESTS * 15)
    assert last["endpoints"][0]["requests_last_minute"] == 4 * REQUESTS
    assert (rows[-1]["exit_code"], rows[-1]["report"]["done"], rows[-1]["errors"]) == (0, 4, [])


@pytest.mark.real
async def test_json_progress_tells_of_errors(home: Path) -> None:
    write_jobs(home, 1)
    (home / "run").mkdir()
    (home / "run" / "journal.db").write_bytes(b"x" * 1000)
    options = ("--model", "offline-rules", "--json-progress")
    done = await trioagent("batch", "jobs.jsonl", "--run-dir", "run", *options, home=home)
    assert done.code == 1
    (row,) = map(json.loads, done.out.splitlines())
    assert (row["event"], row["exit_code"], row["report"]) == ("end", 1, None)
    assert "file is not a database" in row["errors"][0]


@pytest.mark.real
async def test_a_reader_that_does_not_read_holds_nothing_up(home: Path, nursery: trio.Nursery) -> None:
    """The pipe is full from the start: the batch gets through, and its last line is there once somebody reads."""
    server = await nursery.start(serve_model, Model(delay=0.15))
    write_jobs(home, 3)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"\n" * 4096)
    process = await trio.lowlevel.open_process(
        command(*arguments(server, "--json-progress", "--max-concurrent", "1")),
        stdout=writer,
        stderr=subprocess.DEVNULL,
        env=environment(home),
        cwd=home,
    )
    os.close(writer)
    async with trio.lowlevel.FdStream(reader) as stream:
        with trio.fail_after(SECONDS):
            while not (home / "run" / "report.json").exists():
                await trio.sleep(0.01)
            shown = b"".join([piece async for piece in stream]).decode()
            assert await process.wait() == 0
    (line,) = shown.strip().splitlines()
    assert json.loads(line)["event"] == "end"
    assert len(conversations(home)) == 3


@pytest.mark.real
@pytest.mark.parametrize("closing", [">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full >/dev/full"])
async def test_streams_that_are_closed_or_full(closing: str, home: Path, nursery: trio.Nursery) -> None:
    server = await nursery.start(serve_model, Model())
    write_jobs(home, 2)
    shell = ["/bin/sh", "-c", f'exec "$@" {closing}', "sh", *command(*arguments(server, "--json-progress"))]
    with trio.fail_after(SECONDS):
        done = await trio.run_process(
            shell, capture_stdout=True, capture_stderr=True, check=False, env=environment(home), cwd=home
        )
    assert (done.returncode, done.stderr.count(b"Traceback")) == (0, 0)
    assert len(conversations(home)) == 2


@pytest.mark.real
async def test_a_reader_that_goes_away_ends_nothing(home: Path, nursery: trio.Nursery) -> None:
    model = Model(delay=0.15)
    server = await nursery.start(serve_model, model)
    write_jobs(home, 4)
    async with started(arguments(server, "--json-progress", "--max-concurrent", "2"), home=home) as process:
        assert process.stdout is not None
        assert b'"event": "progress"' in await process.stdout.receive_some()
        await process.stdout.aclose()
        with trio.fail_after(SECONDS):
            assert await process.wait() == 0
    assert len(conversations(home)) == 4


@pytest.mark.real
@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
async def test_on_a_terminal(env: dict[str, str], home: Path, nursery: trio.Nursery) -> None:
    server = await nursery.start(serve_model, Model(delay=0.15))
    write_jobs(home, 4)
    async with terminal(*arguments(server, "--max-concurrent", "2"), home=home, env=env) as screen:
        if env.get("TERM") != "dumb":
            await screen.expect("of 4 jobs ended")
            await screen.expect("running: ")
            await screen.expect("requests in flight")
            await screen.expect("slowest: job-")
        await screen.expect("4 done, 0 failed; ")
        assert await screen.end() == 0
    colours = re.findall(r"\x1b\[[0-9;]*m", screen.output)
    assert bool(colours) == (not env)
    assert ("\x1b" in screen.output) == (env.get("TERM") != "dumb")


@pytest.mark.real
async def test_ctrl_c_on_a_terminal(home: Path, nursery: trio.Nursery) -> None:
    model = Model(delay=0.1)
    server = await nursery.start(serve_model, model)
    write_jobs(home, 6)
    async with terminal(*arguments(server, "--max-concurrent", "2"), home=home) as screen:
        await screen.expect("of 6 jobs ended")
        await model.wait_asked(5)
        await screen.type("\x03")
        await screen.expect("SIGINT: no new job starts")
        await screen.expect("interrupted; to resume: trioagent batch jobs.jsonl --run-dir run")
        assert await screen.end() == 130
    assert (await batch(home, server)).code == 0
    assert set(outcome(home)[1].values()) == {"turn 0\nturn 2\n"}


@pytest.mark.real
async def test_status_of_a_running_a_killed_and_an_ended_run(home: Path, nursery: trio.Nursery) -> None:
    model = Model(hang_after=6)
    server = await nursery.start(serve_model, model)
    write_jobs(home, 4)
    look = ("batch", "status", "run")
    async with started(arguments(server, "--max-concurrent", "2"), home=home) as process:
        await model.wait_asked(8)
        with trio.fail_after(SECONDS):
            while "running: 2 model" not in (shown := (await trioagent(*look, home=home)).out):
                pass
        lines = shown.splitlines()
        assert lines[0] == f"run: running (process {process.pid}, model any)"
        assert re.fullmatch(r"jobs begun so far: [01] done, 0 failed, 2 not ended yet", lines[1])
        assert "slowest: job-" in shown
        found = json.loads((await trioagent(*look, "--json", home=home)).out)
        assert found["running"] is True
        assert found["last"]["progress"]["states"] == {"model": 2}
        assert found["spent"] == {"prompt_tokens": 6 * 12, "completion_tokens": 6 * 3, "cost": 0.0}
        process.kill()
        await process.wait()
    killed = await trioagent(*look, home=home)
    assert (killed.code, killed.err) == (0, "")
    assert killed.out.startswith("run: not running; it was killed, ")
    assert "spent by all runs: 90 tokens, cost 0" in killed.out
    assert killed.out.endswith("the same command as before resumes it\n")
    assert not is_running(home / "run")

    model.hang_after = float("inf")
    assert (await batch(home, server)).code == 0
    before = sorted(home.rglob("*"))
    ended = await trioagent(*look, home=home)
    assert ended.out.splitlines()[0].endswith(" ago: it finished all jobs")
    assert ended.out.splitlines()[1] == "jobs begun so far: 4 done, 0 failed, 0 to resume"
    assert len(ended.out.splitlines()) == 3
    assert sorted(home.rglob("*")) == before
