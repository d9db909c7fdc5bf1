"""What a run directory and its memories hold, against what the script says must be there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from trioagent import InvalidInputError
from trioagent.batch import CONVERSATIONS, FAILURES, JournalReader, read_rows

from . import _script
from ._plan import Plan

_ALL = 10**6
_OUTPUTS = {"journal.db", "run.lock", CONVERSATIONS, FAILURES, "report.json", "status.json", "series.json"}


def kept(run_dir: Path) -> dict[int, int]:
    """How many answers of each job the journal holds for good. A job that has ended asks for none any more."""
    try:
        reader = JournalReader(run_dir)
    except InvalidInputError:  # killed before there was a journal
        return {}
    found: dict[int, int] = {}
    with reader as journal:
        for seq, job_id, state in journal._connection.execute("SELECT seq, id, state FROM jobs").fetchall():
            events = journal._connection.execute("SELECT kind FROM events WHERE seq = ?", (seq,))
            answers = sum(kind == "answer" for (kind,) in events)
            found[int(job_id.removeprefix("job-"))] = answers if state == "running" else _ALL
    return found


def check(plan: Plan, folder: Path, first: int, count: int) -> list[str]:
    """All that is wrong with a batch that has come to its end; nothing, if all is well.

    Args:
        folder: holds ``run`` and ``memories``.
        first, count: the jobs' numbers.
    """
    numbers = range(first, first + count)
    return [*_outcomes(plan, folder / "run", numbers), *_notes(plan, folder / "memories", numbers)]


def _outcomes(plan: Plan, run_dir: Path, numbers: range) -> Iterator[str]:
    meant = {f"job-{number}": _script.permanent(plan.seed, number) for number in numbers}
    done = [job_id for job_id, how in meant.items() if not how]
    failed = [job_id for job_id, how in meant.items() if how]
    with JournalReader(run_dir) as journal:
        if (counts := Counter(journal.counts())) != Counter(done=len(done), failed=len(failed)):
            yield f"the journal counts {dict(counts)}, and it should be {len(done)} done, {len(failed)} failed"
        yield from _same_ids("journal, done", [job_id for job_id, _, _ in journal.outcomes("done")], done)
        yield from _same_ids("journal, failed", [job_id for job_id, _, _ in journal.outcomes("failed")], failed)
    ended, failures = list(read_rows(run_dir / CONVERSATIONS)), list(read_rows(run_dir / FAILURES))
    yield from _same_ids(CONVERSATIONS, [row["id"] for row in ended], done)
    yield from _same_ids(FAILURES, [row["id"] for row in failures], failed)
    for row in ended:
        number = row["metadata"]["number"]
        said = tuple((message["role"], message["content"]) for message in row["messages"])
        if row["id"] != f"job-{number}" or said != _script.conversation(plan.seed, number):
            yield f"{row['id']}: its conversation is not the undisturbed one"
    for row in failures:
        if row["error"]["type"] != _script.PERMANENT.get(meant.get(row["id"], ""), ""):
            yield f"{row['id']}: failed with {row['error']}"
    if strange := {path.name for path in run_dir.iterdir()} - _OUTPUTS:
        yield f"the run directory holds {sorted(strange)}"


def _same_ids(where: str, found: list[str], wanted: list[str]) -> Iterator[str]:
    if twice := [job_id for job_id, times in Counter(found).items() if times > 1]:
        yield f"{where}: twice: {twice[:5]}"
    if missing := set(wanted) - set(found):
        yield f"{where}: missing: {sorted(missing)[:5]}"
    if strange := set(found) - set(wanted):
        yield f"{where}: should not be there: {sorted(strange)[:5]}"


def _notes(plan: Plan, memories: Path, numbers: range) -> Iterator[str]:
    """Every committed block exactly once, and nothing else."""
    jobs_of: dict[str, list[int]] = {}
    for number in numbers:
        memory = Path(_script.job(plan.seed, number, memories, agents=plan.agents, patience=1).memory).name
        jobs_of.setdefault(memory, []).append(number)
    present = {path.name for path in memories.iterdir()} if memories.is_dir() else set()
    if strange := present - jobs_of.keys():
        yield f"memories that nobody asked for: {sorted(strange)[:5]}"
    for memory, jobs in jobs_of.items():
        yield from _memory(plan, memories / memory, jobs)


def _memory(plan: Plan, memory: Path, jobs: list[int]) -> Iterator[str]:
    # Bytes that are no text would be a torn write: they come out as a difference.
    found = {
        str(path.relative_to(memory)): path.read_text(errors="replace") for path in memory.rglob("*") if path.is_file()
    }
    log = found.pop(_script.LOG, "")
    if log and not log.endswith("\n"):
        yield f"{memory.name}: the log's last line is torn"
    lines: dict[str, list[str]] = {}
    for line in log.splitlines():
        lines.setdefault(line.partition(".")[0], []).append(line)
    wanted: dict[str, str] = {}
    for number in jobs:
        blocks = _script.blocks(plan.seed, number)
        marks, seen = [block.mark for block in blocks], lines.pop(str(number), [])
        # A job that was meant to fail has got as far as it got; what it did must be whole all the same.
        done = len(seen) if _script.permanent(plan.seed, number) else len(blocks)
        if seen != marks[:done]:
            yield f"{memory.name}: job {number} left the lines {seen}, and it should be {marks}"
        for block in blocks[:done]:
            block.apply(wanted)
    if lines:
        yield f"{memory.name}: lines of nobody: {sorted(lines)[:5]}"
    for path in sorted(found.keys() | wanted.keys()):
        if found.get(path) != wanted.get(path):
            yield f"{memory.name}/{path}: holds {found.get(path)!r}, and it should be {wanted.get(path)!r}"
    if hidden := [path.name for path in memory.rglob(".*")]:
        yield f"{memory.name}: left behind: {sorted(hidden)[:5]}"


def meant_to_fail(plan: Plan, first: int, count: int) -> int:
    """How many of these jobs must fail."""
    return sum(bool(_script.permanent(plan.seed, number)) for number in range(first, first + count))
