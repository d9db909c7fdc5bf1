"""The cost of keeping every commit: in a block, and in filling the store. ``python -m benchmarks history [REVISIONS]``.

A block's share is measured on commits alone, with neither, with the policy, and with the policy and the history, in
turns, and set against the time of a whole block. Then the store is filled with so many revisions (10,000 unless said
otherwise) of 10 notes, and with a tenth of them among 10,000 notes; each one is read again and compared, bit by bit,
with what was committed.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import trio

from trioagent import CommitOrigin, Memory, VaultPolicy
from trioagent.memory import ChangeSet, HistoryUpdate
from trioagent.memory._commit import LeasedMemory, commit
from trioagent.memory._history._git import open_git
from trioagent.memory._history._journal import JournalPlace
from trioagent.memory._history._reading import Selection, log
from trioagent.memory._history._store import store_bytes
from trioagent.memory._history._tips import JournalTips
from trioagent.memory._policy import access_rules
from trioagent.memory._sizes import SizesCache

from ._measure import machine, table
from .one_agent import blocks, make_memory

ROUNDS, IN_A_ROUND = 20, 50
NOTE_BYTES = 2000


def commits(
    memory: Path, cache: SizesCache, tips: JournalTips | None, first: int, text: str, *, policy: bool = True
) -> float:
    """Median seconds of a commit that replaces a note."""
    place = None if tips is None else JournalPlace(None, True, tips)
    rules = access_rules(VaultPolicy()) if policy else None
    origin = CommitOrigin(author="model", chat="0123456789ab", turn=3, said="I moved to Berlin, near the river.")
    fd = os.open(memory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        leased = LeasedMemory(str(memory), fd, cache, rules=rules, history=place)
        times = []
        for number in range(first, first + IN_A_ROUND):
            changes = ChangeSet(writes={"entities/acme.md": f"{text}{number}\n".encode()})
            began = time.perf_counter()
            assert commit(leased, changes, origin=origin)
            times.append(time.perf_counter() - began)
        return statistics.median(times)
    finally:
        os.close(fd)


def added_to_a_commit(notes: int) -> tuple[float, float, float]:
    """Median seconds of a commit with neither history nor policy, what the policy adds, and what both add."""
    with tempfile.TemporaryDirectory() as folder:
        text = "x" * NOTE_BYTES
        without, kept = make_memory(Path(folder) / "off", notes), make_memory(Path(folder) / "on", notes)
        caches, tips = (SizesCache(), SizesCache()), JournalTips()
        for number, root in enumerate((without, kept)):  # .trioagent is there in both: to make and remove it costs more
            commits(root, caches[number], JournalTips(), 0, text)
        plain, by_policy, added = [], [], []
        for number in range(ROUNDS):
            first = number * IN_A_ROUND
            off = commits(without, caches[0], None, first, text, policy=False)
            ruled = commits(without, caches[0], None, first, f"{text} ")
            on = commits(kept, caches[1], tips, first, text)
            plain.append(off)
            by_policy.append(ruled - off)
            added.append(on - off)
        return statistics.median(plain), statistics.median(by_policy), statistics.median(added)


async def fill(folder: Path, notes: int, revisions: int) -> tuple[float, float, int, list[tuple[str, bytes]]]:
    """Seconds to commit and to fill, bytes of the store, and what each commit wrote."""
    memory = Memory(make_memory(folder, notes), history=True)
    chance, wrote = random.Random(notes), []
    began = time.perf_counter()
    for number in range(revisions):
        path = f"entities/note_{chance.randrange(min(notes - 2, 1000))}.md"
        data = b"# Note\n- number: %d\n" % number + b"- line that stays as it is\n" * chance.randrange(40)
        origin = CommitOrigin(author="model", chat=f"c{number % 7}")
        async with memory.lease() as lease:
            await lease.commit(ChangeSet(writes={path: data}), origin=origin)
        wrote.append((path, data))
    committed, total = time.perf_counter(), HistoryUpdate()
    while True:
        update = await memory.update_history()
        if not update.commits:
            break
        total = HistoryUpdate(commits=total.commits + update.commits)
    filled = time.perf_counter()
    assert total.commits == revisions
    size = store_bytes(folder / ".trioagent" / "history" / "notes.git")
    return committed - began, filled - committed, size, wrote


def read_all(folder: Path, wrote: list[tuple[str, bytes]]) -> float:
    """Seconds to read every revision; each is what was committed."""
    store = folder / ".trioagent" / "history" / "notes.git"
    began = time.perf_counter()
    with open_git(str(folder), store, lambda: None) as git:
        kept = [each for each in reversed(log(git, None, len(wrote) + 10, None, Selection())) if each.kind == "agent"]
        assert len(kept) == len(wrote)
        names = "".join(f"{each.id}:{path}\n" for each, (path, _) in zip(kept, wrote, strict=True))
        output, at = git.output("cat-file", "--batch", given=names.encode()) or b"", 0
    for path, data in wrote:
        end = output.index(b"\n", at)
        size = int(output[at:end].split()[2])
        assert output[end + 1 : end + 1 + size] == data, path
        at = end + size + 2
    return time.perf_counter() - began


async def one_call(folder: Path) -> dict[str, float]:
    """Median seconds of the calls that read, with a store that is up to date."""
    memory = Memory(folder, history=True)
    newest = (await memory.log(limit=1))[0]
    path, seconds = newest.changes[0].path, {}
    calls = {
        "log": lambda: memory.log(limit=20),
        "show": lambda: memory.show(path, at=newest.id),
        "blame": lambda: memory.blame(path),
    }
    for name, call in calls.items():
        times = []
        for _ in range(5):
            began = time.perf_counter()
            await call()  # type: ignore[no-untyped-call]
            times.append(time.perf_counter() - began)
        seconds[name] = statistics.median(times)
    return seconds


def main() -> None:
    revisions = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(f"{machine()}\n")
    rows = []
    for notes in (10, 10_000):
        _, wall = trio.run(blocks, notes, "that overwrites a note")
        plain, policy, added = added_to_a_commit(notes)
        share = added * 1e3 / wall * 100
        rows += [
            (f"a block that overwrites a note, {notes:,} notes, ms", f"{wall:.2f}", ""),
            (f"a commit without both, {notes:,} notes, us", f"{plain * 1e6:.0f}", ""),
            (f"the policy adds to it, us ({notes:,} notes)", f"{policy * 1e6:.0f}", ""),
            (f"history and policy add to it, us ({notes:,} notes)", f"{added * 1e6:.0f}", ""),
            (f"of a block, % ({notes:,} notes)", f"{share:.1f}", "<= 10"),
        ]
    for notes, count in ((12, revisions), (10_002, revisions // 10)):
        folder = Path(tempfile.mkdtemp(prefix="history-"))
        try:
            commit_s, fill_s, size, wrote = trio.run(fill, folder / "memory", notes, count)
            read_s = read_all(folder / "memory", wrote)
            calls = trio.run(one_call, folder / "memory")
        finally:
            shutil.rmtree(folder)
        of = f"{count:,} revisions among {notes - 2:,} notes"
        rows += [
            (f"{of}: ms a commit", f"{commit_s / count * 1e3:.2f}", ""),
            (f"{of}: ms a revision, to fill", f"{fill_s / count * 1e3:.2f}", ""),
            (f"{of}: MB of the store", f"{size / 1e6:.1f}", ""),
            (f"{of}: read and compared, all exact, s", f"{read_s:.1f}", ""),
            *((f"  one call of {name}, ms", f"{seconds * 1e3:.0f}", "") for name, seconds in calls.items()),
        ]
    table(rows)


if __name__ == "__main__":
    main()
