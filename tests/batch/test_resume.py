"""A batch killed at any instant resumes where it was: nothing lost, nothing done twice. Real processes, real kills."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_util import wait_any

from trioagent.batch import CONVERSATIONS, FAILURES, JournalReader, is_running, read_rows
from trioagent.testing import ModelRequest, ModelServer, serve_model

pytestmark = pytest.mark.real

CHILD = Path(__file__).with_name("batch_child.py")
# Appending is not idempotent: a block that runs twice shows.
BLOCK = (
    "<think>go</think>\n<python>\n"
    "with open('log.md', 'a') as file:\n    file.write('turn {turn}\\n')\n"
    "lines = len(read_file('log.md').splitlines())\n</python>"
)
REPLY = "<think>done</think>\n<python></python>\n<reply>That was turn {turn}.</reply>"


class Model:
    """Deterministic: what it says depends on the conversation's length only. Counts who asked for what."""

    def __init__(self, delay: float = 0.0) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()
        self.delay = delay
        self.on_request = trio.Event()
        self.wake_at = 0

    async def __call__(self, request: ModelRequest) -> str:
        messages = request.body["messages"]
        turn = sum(message["role"] == "assistant" for message in messages)
        key = str(hash(json.dumps(messages)))
        self.asked[key, turn] += 1
        if self.asked.total() == self.wake_at:
            self.on_request.set()
        await trio.sleep(self.delay)
        # per message: two blocks, then the reply
        return (REPLY if turn % 3 == 2 else BLOCK).replace("{turn}", str(turn))


def command(server: ModelServer, where: Path, *, count: int, concurrent: int, die: tuple[int, str]) -> list[str]:
    arguments = [server.base_url, where / "run", where / "memories", count, concurrent, *die]
    return [sys.executable, str(CHILD), *map(str, arguments)]


async def run_child(arguments: list[str]) -> int:
    result = await trio.run_process(arguments, check=False, capture_stderr=True)
    if result.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(result.stderr.decode())
    return result.returncode


def outcome(where: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """What a finished run left: conversations by job, and all notes."""
    rows = list(read_rows(where / "run" / CONVERSATIONS))
    assert len({row["id"] for row in rows}) == len(rows)
    assert list(read_rows(where / "run" / FAILURES)) == []
    with JournalReader(where / "run") as journal:
        assert journal.counts() == {"done": len(rows)}
    notes = {str(path.relative_to(where)): path.read_text() for path in (where / "memories").rglob("*.md")}
    hidden = list((where / "memories").rglob(".*"))
    assert hidden == []
    return {row["id"]: (row["messages"], row["metadata"], row["turns"]) for row in rows}, notes


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Any]:
    """The outcome of undisturbed runs, by number of jobs."""
    found = {}

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            server: ModelServer = await nursery.start(serve_model, Model())
            for count in (1, 12):
                where = tmp_path_factory.mktemp(f"undisturbed{count}")
                assert await run_child(command(server, where, count=count, concurrent=4, die=(0, "-"))) == 0
                found[count] = outcome(where)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert len(found[12][0]) == 12
    assert set(found[1][1].values()) == {"turn 0\nturn 1\nturn 3\nturn 4\n"}
    return found


def journaled(where: Path) -> int:
    """How many answers the journal holds for good."""
    with JournalReader(where / "run") as journal:
        kinds = journal._connection.execute("SELECT kind FROM events").fetchall()
        done = sum(row["turns"] for _, _, row in journal.outcomes("done"))
    return int(done) + int(kinds.count(("answer",)))


@pytest.mark.parametrize(
    ("when", "writes"),
    [
        # Little happens between two writes, so that dying after one is much like dying before the next.
        ("before", range(1, 100, 3)),
        ("after", range(2, 100, 3)),
        pytest.param("before", range(1, 100), marks=pytest.mark.slow),
        pytest.param("after", range(1, 100), marks=pytest.mark.slow),
    ],
    ids=["before each third", "after each third", "before each", "after each"],
)
async def test_killed_at_every_journal_write(
    when: str, writes: range, tmp_path: Path, expected: Mapping[int, Any]
) -> None:
    """The process dies at its n-th write, for every n, and is started again."""
    model = Model()
    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, model)
        for write in writes:
            where = tmp_path / f"{when}{write}"
            model.asked.clear()
            code = await run_child(command(server, where, count=1, concurrent=1, die=(write, when)))
            asked, kept = model.asked.total(), journaled(where)
            assert 0 <= asked - kept <= 1  # at most the answer under way is lost
            if code == 0:
                break
            assert await run_child(command(server, where, count=1, concurrent=1, die=(0, "-"))) == 0
            assert outcome(where) == expected[1], f"died {when} write {write}"
            assert model.asked.total() == asked + 6 - kept  # no journaled answer was asked for again
        nursery.cancel_scope.cancel()
    assert 8 <= write < 99


async def test_killed_again_and_again_at_random(tmp_path: Path, expected: Mapping[int, Any]) -> None:
    """Twelve jobs, six at once; kill -9 after a random number of further requests until it gets through."""
    chance = random.Random(5)
    model, kills = Model(delay=0.01), 0
    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, model)
        while True:
            model.on_request = trio.Event()
            model.wake_at = model.asked.total() + chance.randint(3, 25)
            child = await trio.lowlevel.open_process(
                command(server, tmp_path, count=12, concurrent=6, die=(0, "-")), stderr=subprocess.DEVNULL
            )
            await wait_any(child.wait, model.on_request.wait)
            with trio.move_on_after(chance.random() * 0.01):  # somewhere between two requests
                await child.wait()
            if child.returncode is not None:
                break
            child.kill()
            await child.wait()
            kills += 1
        nursery.cancel_scope.cancel()
    assert child.returncode == 0
    assert kills >= 3
    assert outcome(tmp_path) == expected[12]


async def test_a_second_process_is_refused(tmp_path: Path) -> None:
    model = Model(delay=30)
    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, model)
        arguments = command(server, tmp_path, count=1, concurrent=1, die=(0, "-"))
        model.wake_at = 1
        first = await trio.lowlevel.open_process(arguments)
        await model.on_request.wait()
        assert is_running(tmp_path / "run")
        second = await trio.run_process(arguments, check=False, capture_stderr=True)
        assert b"another process is running this batch" in second.stderr
        first.kill()
        await first.wait()
        assert not is_running(tmp_path / "run")
        nursery.cancel_scope.cancel()
