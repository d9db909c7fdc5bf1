"""The chaos run's own eyes: whatever could be wrong with its outcome is seen."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio

from trioagent import BatchConfig, ChatMessage, ModelProtocolError, ModelStatusError, Usage, open_runtime
from trioagent.batch import CONVERSATIONS, FAILURES, run_batch
from trioagent.models import AnswerEnd, AnswerPart, TextDelta
from trioagent.testing import ModelRequest, ScriptedModel
from trioagent.testing._script import Say, Wire

from .chaos import Figures, Plan, _faults, _ledger, _processes, _script
from .chaos.server import Watcher

pytestmark = pytest.mark.real

JOBS = 12
PLAN = Plan(seed=next(s for s in range(1000) if sum(bool(_script.permanent(s, n)) for n in range(JOBS)) == 1), agents=4)
FAILING = next(number for number in range(JOBS) if _script.permanent(PLAN.seed, number))
GOOD = 2 if FAILING != 2 else 4  # it has a memory of its own


def undisturbed(messages: Sequence[ChatMessage]) -> str | Sequence[AnswerPart]:
    number = int(messages[1].content.split()[1].rstrip(","))
    turn = sum(message.role == "assistant" for message in messages)
    if number == FAILING and turn >= _script.FAILS_AT:
        kind = _script.permanent(PLAN.seed, number)
        raise ModelProtocolError("nonsense") if kind == "nonsense" else ModelStatusError(500, kind)
    said = [turn for message in _script.turns(PLAN.seed, number) for turn in message]
    text = _script.text(said[turn])
    if isinstance(said[turn], _script.Cut):
        return [TextDelta(text), AnswerEnd(Usage(completion_tokens=_script.COMPLETION_TOKENS), "length")]
    return text


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a batch that nobody disturbed."""
    folder = tmp_path_factory.mktemp("chaos")

    async def main() -> None:
        jobs = [_script.job(PLAN.seed, n, folder / "memories", agents=PLAN.agents, patience=9) for n in range(JOBS)]
        async with open_runtime(model=ScriptedModel(undisturbed)) as runtime:
            await run_batch(jobs, runtime=runtime, run_dir=folder / "run", config=BatchConfig(max_concurrent=4))

    trio.run(main)
    return folder


def edit(path: Path, change: Callable[[str], str]) -> None:
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))


def query(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / "run" / "journal.db") as connection:
        assert connection.execute(statement).rowcount > 0
    connection.close()


def own(folder: Path) -> Path:
    return folder / "memories" / f"own-{GOOD}"


def rows(folder: Path) -> Path:
    return folder / "run" / CONVERSATIONS


def first_line(text: str) -> str:
    return text.splitlines(keepends=True)[0]


def the_job(folder: Path) -> str:
    """A job of the first line of the conversations."""
    return str(json.loads(first_line(rows(folder).read_text()))["id"])


DEFECTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a line of the log lost": (lambda f: edit(own(f) / "log.md", lambda t: t.removeprefix(first_line(t))), "lines"),
    "a line of the log twice": (lambda f: edit(own(f) / "log.md", lambda t: first_line(t) + t), "lines"),
    "a torn log": (lambda f: edit(own(f) / "log.md", lambda t: t[:-1]), "torn"),
    "a line of nobody": (lambda f: edit(own(f) / "log.md", lambda t: t + "999.0.0\n"), "nobody"),
    "a note of nobody": (lambda f: (own(f) / "new.md").write_text("x"), "new.md"),
    "a note lost": (lambda f: next(own(f).rglob("*-*.md"), next(own(f).rglob("made/*"))).unlink(), "holds None"),
    "a leftover": (lambda f: (own(f) / ".trioagent").mkdir(), "left behind"),
    "a memory of nobody": (lambda f: (f / "memories" / "own-77").mkdir(), "nobody asked for"),
    "a row twice": (lambda f: edit(rows(f), lambda t: first_line(t) + t), "twice"),
    "a row lost": (lambda f: edit(rows(f), lambda t: t.removeprefix(first_line(t))), "missing"),
    "a conversation changed": (lambda f: edit(rows(f), lambda t: t.replace("is due.", "was due.", 1)), "undisturbed"),
    "a failure lost": (lambda f: edit(f / "run" / FAILURES, lambda t: ""), "missing"),
    "a failure of another kind": (
        lambda f: edit(f / "run" / FAILURES, lambda t: t.replace("Model", "X")),
        "failed with",
    ),
    "a job that has not ended": (lambda f: query(f, "UPDATE jobs SET state = 'running' WHERE seq = 1"), "counts"),
    "a job lost": (lambda f: query(f, "DELETE FROM jobs WHERE seq = 1"), "missing"),
    "a temporary file": (lambda f: (f / "run" / f".{CONVERSATIONS}.tmp").write_text(""), ".tmp"),
}


def test_nothing_is_wrong_with_an_undisturbed_batch(finished: Path) -> None:
    assert _ledger.check(PLAN, finished, 0, JOBS) == []
    assert set(_ledger.kept(finished / "run").values()) == {10**6}


@pytest.mark.parametrize("defect", DEFECTS)
def test_sees_every_defect(defect: str, finished: Path, tmp_path: Path) -> None:
    plant, words = DEFECTS[defect]
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    plant(folder)
    problems = _ledger.check(PLAN, folder, 0, JOBS)
    assert any(words in problem for problem in problems), problems


def request(messages: Sequence[tuple[str, str]]) -> ModelRequest:
    spoken = [{"role": "user" if role == "tool" else role, "content": content} for role, content in messages]
    return ModelRequest(b"POST / HTTP/1.1\r\n", json.dumps({"messages": spoken}).encode())


def ask_all(watcher: Watcher, number: int) -> None:
    """Ask for each answer of a job until it is right."""
    said = _script.conversation(PLAN.seed, number)
    for place, (role, _) in enumerate(said):
        while role == "assistant" and not isinstance(watcher.answer(request(said[:place])), Say):
            pass


async def test_the_server_sees_what_is_asked_for_again() -> None:
    watcher = Watcher(PLAN)
    ask_all(watcher, GOOD)
    assert watcher.violations == []
    watcher.answer(request(_script.conversation(PLAN.seed, GOOD)[:2]))  # its later answers have been asked for
    assert "answer 0 was asked for again" in watcher.violations[0]


async def test_the_server_sees_what_the_journal_held() -> None:
    watcher = Watcher(PLAN)
    watcher.obey({"kept": {str(GOOD): 1}})
    seen = watcher.obey({})
    assert seen["violations"] == 0
    watcher.answer(request(_script.conversation(PLAN.seed, GOOD)[:2]))
    assert "the journal holds 1" in watcher.violations[0]


async def test_the_server_sees_a_conversation_that_is_not_the_scripts() -> None:
    watcher = Watcher(PLAN)
    (system, user, *_) = _script.conversation(PLAN.seed, GOOD)
    watcher.answer(request([system, (user[0], user[1] + "!")]))
    assert "is not the script's" in watcher.violations[0]


def test_every_fault_can_be_made_and_none_comes_without_end() -> None:
    for kind in _faults.WEIGHTS:
        assert isinstance(_faults.fault(kind, 1), Wire)
    schedules = [_faults.schedule(1, number, turn) for number in range(500) for turn in range(4)]
    assert {kind for kinds in schedules for kind in kinds} >= _faults.WEIGHTS.keys() - set(_faults.OVERLOADS)
    assert 2 <= max(map(len, schedules)) < _faults.MOST
    assert _faults.right("x", chance=random.Random(1), latency=0.0)[0].startswith("right")


async def test_a_process_that_outlives_its_batch_is_seen_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_processes, "_DEATH_SECONDS", 0.2)
    monkeypatch.setattr(_processes, "_GONE_SECONDS", 0.2)
    mark = f"mark {tmp_path}"
    parent = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', *sys.argv[1:]])\n"
        "print(flush=True)\ntime.sleep(60)"
    )
    process = await trio.lowlevel.open_process([sys.executable, "-c", parent, mark], stdout=subprocess.PIPE)
    assert process.stdout is not None
    await process.stdout.receive_some(1)
    (orphan,) = _processes.below(process.pid)
    with trio.fail_after(10):
        while len(_processes.marked(mark)) < 2:  # a child shows its own command line a moment after the fork
            await trio.sleep(0.01)
    assert await _processes.kill(process) >= 0.2  # it waits for the child too
    assert await _processes.wait_gone(mark) == [orphan]
    assert await _processes.wait_gone(mark) == []


def test_growth_is_a_violation_and_a_level_is_none() -> None:
    level = [{"rss": 50 * 2**20 + n % 7, "ended": n} for n in range(400)]
    leak = [{"rss": 50 * 2**20 + n * 2**18, "ended": n} for n in range(400)]
    assert Figures(plan=PLAN, steady=level).violations() == []
    figures = Figures(plan=PLAN, steady=leak)
    assert figures.growth == pytest.approx(50 * 2**20)
    assert figures.growth_per_1000_jobs == pytest.approx(250 * 2**20, rel=0.02)
    assert any("grew" in words for words in figures.violations())
