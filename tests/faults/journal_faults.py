"""Disturb a batch's journal at every operation on the disk: ``python -m tests.faults.journal_faults FOLDER STEP``.

A fixed piece of a batch's work is journaled: jobs begun, answers and results added (two tasks at once, so that writes
are grouped), outcomes recorded. It is disturbed at operation 1, 1 + STEP, 1 + 2 STEP, …, in every way, SQLite's own
writes included; so is the next opening, which recovers. Then the journal must open, and hold every write that had been
acknowledged and nothing twice: exactly the work's first k steps of each task, k being what was acknowledged, or one
more if the process died, or was refused, between the writing and the telling. Prints JSON: operations and faults.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import trio

from trioagent._runs import JobRecord, Journal, WorkEvent
from trioagent._runs._journal import open_journal
from trioagent.batch import JournalError, JournalReader, Spending

from .interposer import Ended, Fault, Mode, in_child, said_by

TASKS = ("a", "b")
STEPS = 8  # of each task: two jobs, each begun, given two events, finished
Acknowledged = dict[str, int]


async def step(journal: Journal, task: str, number: int, records: dict[str, JobRecord]) -> None:
    """One write. An event, like a billed answer, must never be recorded twice."""
    job, part = f"{task}{number // 4}", number % 4
    if part == 0:
        record = await journal.begin(job, "digest")
        assert record.attempts == 1 and record.events == ()
        records[job] = record
    elif part < 3:
        await journal.add_event(records[job], part - 1, WorkEvent({"text": job * 500}), Spending(10, 1, 0.5))
    else:
        await journal.finish(job, "done", {"messages": [job]})


async def work(folder: Path, acknowledged: int) -> None:
    """All steps of all tasks; each is told to descriptor *acknowledged* once it is done."""

    async def do(journal: Journal, task: str) -> None:
        records: dict[str, JobRecord] = {}
        for number in range(STEPS):
            await step(journal, task, number, records)
            os.write(acknowledged, task.encode())

    async with open_journal(folder) as journal, trio.open_nursery() as nursery:
        for task in TASKS:
            nursery.start_soon(do, journal, task)


def job(folder: Path, file: Path) -> None:
    """`work`; of the errors that stop it all must be `JournalError`."""
    told = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        trio.run(work, folder, told)
    except BaseExceptionGroup as group:  # not except*, which older Pythons have raise a group again
        stopped, others = group.split(JournalError)
        if stopped is None or others is not None:
            raise
        first: BaseException = stopped
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    finally:
        os.close(told)


async def open_and_close(folder: Path) -> None:
    async with open_journal(folder):
        pass


def contents(folder: Path) -> dict[str, int]:
    """How many steps of each task the journal holds; AssertionError if it is anything but a task's first steps."""
    trio.run(open_and_close, folder)
    steps = {}
    with JournalReader(folder) as reader:
        db = reader._connection
        events = Counter(seq for (seq,) in db.execute("SELECT seq FROM events"))
        jobs = {name: (seq, state) for seq, name, state in db.execute("SELECT seq, id, state FROM jobs")}
        total = 0
        for task in TASKS:
            count = 0
            for name in (f"{task}0", f"{task}1"):
                if name not in jobs:
                    break
                assert count % 4 == 0, "a job was begun before the one before it was done"
                seq, state = jobs.pop(name)
                assert state == "running" or not events[seq]
                count += 4 if state == "done" else 1 + events[seq]
            steps[task] = count
            total += sum(number % 4 in (1, 2) for number in range(count))
        assert not jobs
        assert reader.spent() == Spending(10 * total, total, 0.5 * total), "an answer was billed twice, or never"
    return steps


def judge(folder: Path, file: Path, ended: Ended) -> dict[str, int]:
    told = Counter(file.read_text()) if file.exists() else Counter()
    found = in_child(partial(contents, folder), folder).value
    assert isinstance(found, dict), said_by(Ended(False, value=found))
    for task in TASKS:
        assert told[task] <= found[task] <= told[task] + 1, (told, found, ended)
    if not ended.died and ended.value is not None:
        assert type(ended.value) is JournalError, said_by(ended)
    if not ended.died and ended.value is None:
        assert found == dict.fromkeys(TASKS, STEPS), (found, ended)
    return found


def run(where: Path, stride: int) -> dict[str, Any]:
    gc.freeze()
    folder, file, broken = where / "run", where / "acknowledged", where / "broken"
    seen: Counter[str] = Counter()

    def fresh() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        file.unlink(missing_ok=True)

    fresh()
    quiet = in_child(partial(job, folder, file), folder)
    assert judge(folder, file, quiet) == dict.fromkeys(TASKS, STEPS)
    seen["operations"] = quiet.seen
    for fault in quiet.every_fault():
        if (fault.at - 1) % stride:
            continue
        fresh()
        ended = in_child(partial(job, folder, file), folder, fault)
        seen["faults"] += bool(ended.faults)
        seen["died" if ended.died else "refused" if ended.value is not None else "went on"] += 1
        judge(folder, file, ended)
    for at in range(1, quiet.seen + 2, 4 * stride):
        fresh()
        in_child(partial(job, folder, file), folder, Fault(at, Mode.KILL_BEFORE))
        told = Counter(file.read_text()) if file.exists() else Counter()
        shutil.rmtree(broken, ignore_errors=True)
        folder.rename(broken) if folder.exists() else broken.mkdir()
        opening = partial(trio.run, open_and_close, folder)
        shutil.copytree(broken, folder)
        calm = in_child(opening, folder)
        seen["operations in recovery"] += calm.seen
        for fault in calm.every_fault():
            if (fault.at - at) % stride:
                continue
            shutil.rmtree(folder)
            shutil.copytree(broken, folder)
            ended = in_child(opening, folder, fault)
            seen["faults in recovery"] += bool(ended.faults)
            judge(folder, file, ended if ended.value is not None else Ended(died=True))
        assert told == (Counter(file.read_text()) if file.exists() else Counter())
    return dict(seen)


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]))))
