"""Ctrl-C, SIGTERM and kill -9: what was finished is kept, nothing is left running, and the same command resumes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio

from trioagent.batch import is_running
from trioagent.testing import serve_model

from .batch_support import (
    REQUESTS,
    Model,
    arguments,
    batch,
    descendants,
    outcome,
    report,
    rest,
    wait_gone,
    write_jobs,
)
from .support import SECONDS, started

pytestmark = pytest.mark.real

ENDLESS = "<think>Spin.</think>\n<python>\ncreate_file('begun.md', 'x')\nwhile True:\n    pass\n</python>"


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: signal.Signals(number).name
)
async def test_interrupted_and_gone_on_with(number: signal.Signals, home: Path, nursery: trio.Nursery) -> None:
    """As if it had never been interrupted: the same conversations and notes, and no answer asked for twice."""
    model = Model(delay=0.02)
    server = await nursery.start(serve_model, model)
    undisturbed = home / "undisturbed"
    undisturbed.mkdir()
    for folder in (home, undisturbed):
        write_jobs(folder, 6)
    assert (await batch(undisturbed, server)).code == 0
    expected = outcome(undisturbed)
    model.asked.clear()
    async with started(arguments(server, "--max-concurrent", "3"), home=home) as process:
        await model.wait_asked(7)
        below = descendants(process.pid)
        process.send_signal(number)
        code, out, err = await rest(process)
    assert (code, out) == (130, "")
    lines = err.splitlines()
    assert lines[0].startswith(f"{number.name}: no new job starts; running ones have 10 s")
    assert lines[-1].startswith("interrupted; to resume: trioagent batch jobs.jsonl --run-dir run ")
    assert report(home)["stopped"] == "asked"
    assert below
    await wait_gone(below)
    assert model.total < 6 * REQUESTS
    assert (await batch(home, server)).code == 0
    assert outcome(home) == expected
    assert set(model.asked.values()) == {1}
    assert model.total == 6 * REQUESTS


async def test_a_terminal_that_closes_does_not_end_what_nohup_started(home: Path, nursery: trio.Nursery) -> None:
    model = Model(delay=0.02)
    server = await nursery.start(serve_model, model)
    write_jobs(home, 4)
    async with started(arguments(server, "--max-concurrent", "2"), home=home, before=("nohup",)) as process:
        await model.wait_asked(3)
        process.send_signal(signal.SIGHUP)
        code, _, err = await rest(process)
    assert code == 0
    assert "SIGHUP" not in err
    assert (report(home)["done"], model.total) == (4, 4 * REQUESTS)


async def test_the_second_signal_stops_at_once(home: Path, nursery: trio.Nursery) -> None:
    """The server hangs, and the grace would be an hour."""
    model = Model(hang_after=5)
    server = await nursery.start(serve_model, model)
    write_jobs(home, 3)
    async with started(arguments(server, "--grace", "3600", "--json-progress"), home=home) as process:
        await model.wait_asked(8)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert b"SIGINT: no new job starts" in await process.stderr.receive_some()
        process.send_signal(signal.SIGTERM)
        code, out, err = await rest(process)
    assert code == 130
    assert err.startswith("SIGTERM: stopping at once\ninterrupted; what was finished is kept; to resume: ")
    assert out.splitlines()[-1] == '{"event": "end", "exit_code": 130, "report": null, "errors": []}'
    assert report(home)["stopped"] == "asked"
    await server.wait_connections(0)
    model.hang_after = float("inf")
    model.asked.clear()
    assert (await batch(home, server)).code == 0
    assert set(outcome(home)[1].values()) == {"turn 0\nturn 2\n"}
    assert model.total == 3 * REQUESTS - 5


async def test_the_grace_ends(home: Path, nursery: trio.Nursery) -> None:
    """A block that runs forever is stopped, and its changes are not saved."""
    server = await nursery.start(serve_model, lambda request: ENDLESS)
    write_jobs(home, 1)
    async with started(arguments(server, "--grace", "0.2"), home=home) as process:
        below = await _a_block_runs(process, home)
        process.send_signal(signal.SIGTERM)
        code, _, _ = await rest(process)
    assert code == 130
    await wait_gone(below)
    assert list((home / "memories").rglob("*.md")) == []
    assert report(home)["left"] == 1


async def test_children_die_with_a_killed_parent(home: Path, nursery: trio.Nursery) -> None:
    server = await nursery.start(serve_model, lambda request: ENDLESS)
    write_jobs(home, 3)
    async with started(arguments(server), home=home) as process:
        below = await _a_block_runs(process, home)
        assert len(below) >= 3  # the zygote's processes and a block at least
        process.kill()
        await process.wait()
        await wait_gone(below)
    assert not is_running(home / "run")


async def _a_block_runs(process: trio.Process, home: Path) -> dict[int, str]:
    """Wait until a block burns time; all processes below the command."""
    with trio.fail_after(SECONDS):
        while True:
            below = descendants(process.pid)
            for pid in below:
                try:
                    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11]
                except FileNotFoundError:
                    continue
                if int(ticks) >= 20 and (home / "memories").exists():
                    return descendants(process.pid)
            await trio.sleep(0.01)
