"""Merging the shards of a batch: one directory with the results of all of them.

The result is a folder like a run directory, with a journal that marks it as merged: it can be viewed and exported, but
not resumed. Resume the shards instead, and merge them again.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import attrs

from .._config import Shard
from .._errors import InvalidInputError
from .._files import remove_tree, replace_folder, user_path
from .._wire import short
from ._browse import RunBrowser
from ._events import COLUMNS
from ._journal import FILE_NAME, SCHEMA_VERSION, JournalError, prepare_journal, read_meta
from ._journal import spent as spent_of
from ._kept import copy_kept
from ._lock import LOCK_NAME, is_running, take_run_lock
from ._outputs import BATCH_FILES, REPORT, Outputs, RunDirError, write_json
from ._pins import PINS, SHARD
from ._reader import JournalReader, read_only_uri
from ._report import END, MERGED, STARTS, FailureCause
from ._spending import Spending
from ._waits import copy_waits

_JOBS_FILE = "jobs file"
_SHOWN = 20
_ENDINGS = {
    "asked": "it was interrupted",
    "budget": "its budget was used up",
    "outage": "its model's server was unavailable",
    "quota": "money or an allowance at its model's server was used up",
    "refused": "its model's server refused everything",
    "disk": "its disk was full",
    "limit": "it had run as many jobs as its limit allowed",
    "cancelled": "it was cancelled, or ended with an error",
}


class ShardsDifferError(InvalidInputError):
    """The run directories are not shards of one run: they have other jobs, or other settings.

    Attributes:
        differences: for each its name, a run directory and the value there, another run directory and the value there.
    """

    def __init__(self, differences: tuple[tuple[str, str, str, str, str], ...]) -> None:
        super().__init__("shards", "are not of one run")
        self.args: tuple[Any, ...] = (differences,)
        self.differences: tuple[tuple[str, str, str, str, str], ...] = differences

    def __str__(self) -> str:
        words = "; ".join(
            f"{name} is {value} in {folder!r} and {other} in {elsewhere!r}"
            for name, folder, value, elsewhere, other in self.differences
        )
        return (
            f"the shards are not of one run: {words}; merge the shards of one jobs file that were run with the same "
            "settings, or accept the differences (--accept-changes, accept_changes=True)"
        )


@attrs.frozen(kw_only=True)
class ShardSummary:
    """The results of one shard.

    Attributes:
        run_dir: its directory.
        shard: its number, such as "2/8".
        done, failed, no_reply, left: as in `BatchReport`, over all its starts.
        not_begun: jobs that it has not started; None if unknown.
        unfinished: why it may have more results later; "" if it finished all its jobs.
    """

    run_dir: str
    shard: str
    done: int
    failed: int
    no_reply: int
    left: int
    not_begun: int | None
    unfinished: str


@attrs.frozen(kw_only=True)
class MergeReport:
    """The merged results of the shards of a batch.

    Attributes:
        run_dir: the merged folder.
        shards: each of them, in their order.
        missing: the shards that were not given.
        done, failed, no_reply, left, not_begun: the sums; *not_begun* is None if it is unknown for one of them.
        causes: why jobs failed, the most frequent first.
        tokens, cost: spent by all.
        seconds: wall time, added up.
        seconds_by_state: the time of all jobs by state.
        accepted: the differences between shards that were accepted (see `ShardsDifferError`).
    """

    run_dir: str
    shards: tuple[ShardSummary, ...]
    missing: tuple[str, ...]
    done: int
    failed: int
    no_reply: int
    left: int
    not_begun: int | None
    causes: tuple[FailureCause, ...]
    tokens: int
    cost: float
    seconds: float
    seconds_by_state: Mapping[str, float]
    accepted: tuple[tuple[str, str, str, str, str], ...]

    @property
    def complete(self) -> bool:
        """Whether all shards are there, and have finished their jobs."""
        return not self.missing and not any(shard.unfinished for shard in self.shards)


def merge_shards(
    out: str | os.PathLike[str], run_dirs: Sequence[str | os.PathLike[str]], *, accept_changes: bool = False
) -> MergeReport:
    """Merge the shards of a batch (`BatchConfig.shard`): their conversations, failures, counts and spending.

    *out* is replaced atomically or not at all, and only if it contains merged shards; so this can be repeated
    when unfinished shards have been resumed. The shards are only read, also while they run. Their notes
    stay where they are. Synchronous; for a worker thread.

    Args:
        out: the folder to make; a temporary one is written beside it.
        run_dirs: the run directories, each of another shard, in any order; some may be missing.
        accept_changes: merge shards of different jobs files, models, prompts or other settings.

    Raises:
        InvalidInputError: a folder is not the run of a shard, the shards are of different splits, one was given twice,
            an id is in two of them, or *out* is anything but merged shards; nothing was written.
        ShardsDifferError: the shards were run on different jobs files or with different settings, and the differences
            are not accepted; nothing was written.
        JournalError: a journal cannot be read.
        RunDirError: the disk refused a file of *out*, which is unchanged.
    """
    target = user_path(out, "output folder")
    shards = _in_order([_read_shard(user_path(run_dir, "run_dir")) for run_dir in run_dirs])
    differences = tuple(_differences(shards))
    if differences and not accept_changes:
        raise ShardsDifferError(differences)
    _check_target(target, shards)
    with _work_folder(target) as folder:
        with _closed(sqlite3.connect(folder / FILE_NAME, isolation_level=None, uri=True), folder) as connection:
            prepare_journal(connection, folder / FILE_NAME, MERGED)
            copied = _copy_all(connection, shards)
        Outputs(folder, False, BATCH_FILES).close()
        with RunBrowser(folder) as browser:
            causes = tuple(browser.causes())
        report = _report(target, shards, copied, causes, differences)
        write_json(folder / REPORT, {**attrs.asdict(report), "complete": report.complete})
        try:
            replace_folder(folder, target)
        except OSError as error:
            raise RunDirError(str(target), error.errno or 0, error.strerror or str(error)) from error
    return report


@attrs.frozen
class _ShardRun:
    folder: Path
    shard: Shard
    pins: Mapping[str, Any]
    jobs_digest: str | None


@attrs.frozen
class _Copied:
    """The contents of a shard's journal when it was copied."""

    summary: ShardSummary
    spent: Spending
    starts: Mapping[str, Any]


def _read_shard(folder: Path) -> _ShardRun:
    with JournalReader(folder) as journal:
        pins = journal.read_meta(PINS) or {}
        starts = journal.read_meta(STARTS) or {}
    try:
        shard = Shard.parse(pins[SHARD])
    except (KeyError, TypeError, InvalidInputError) as error:
        problem = f"{str(folder)!r} is not the run of a shard (batch --shard i/n)"
        raise InvalidInputError("run directory", problem) from error
    return _ShardRun(folder, shard, pins, (starts.get(END) or {}).get("input"))


def _in_order(shards: Sequence[_ShardRun]) -> list[_ShardRun]:
    if not shards:
        raise InvalidInputError("shards", "none are given; name their run directories")
    for one, other in combinations(sorted(shards, key=lambda one: one.shard.index), 2):
        if one.shard.count != other.shard.count:
            raise InvalidInputError(
                "shards", f"are of different splits: {_name(one)} and {_name(other)}; merge those of one split"
            )
        if one.shard == other.shard:
            raise InvalidInputError("shards", f"have one twice: {_name(one)} and {_name(other)}; give each once")
    return sorted(shards, key=lambda one: one.shard.index)


def _name(shard: _ShardRun) -> str:
    return f"{str(shard.folder)!r} ({shard.shard})"


def _differences(shards: Sequence[_ShardRun]) -> Iterator[tuple[str, str, str, str, str]]:
    """Each setting that differs between shards, with the first shard and the first that differs from it."""
    names = dict.fromkeys(name for shard in shards for name in shard.pins if name != SHARD)
    for name in names:
        values = [(shard, shard.pins.get(name)) for shard in shards]
        yield from _first_difference(name, values)
    # A shard that has not read its jobs to their end does not know all of them.
    known = [(shard, shard.jobs_digest) for shard in shards if shard.jobs_digest is not None]
    yield from _first_difference(_JOBS_FILE, known)


def _first_difference(
    name: str, values: Sequence[tuple[_ShardRun, object]]
) -> Iterator[tuple[str, str, str, str, str]]:
    for shard, value in values[1:]:
        first, expected = values[0]
        if value != expected:
            yield name, str(first.folder), short(expected), str(shard.folder), short(value)
            return


def _check_target(target: Path, shards: Sequence[_ShardRun]) -> None:
    """Raise if data would be lost by replacing *target*."""
    real = target.resolve()
    for shard in shards:
        folder = shard.folder.resolve()
        if folder == real or real in folder.parents or folder in real.parents:
            problem = f"{str(target)!r} and the shard in {str(shard.folder)!r} must not lie in each other"
            raise InvalidInputError("output folder", problem)
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise InvalidInputError("output folder", f"{str(target)!r} is not a folder; name another one")
    if not any(target.iterdir()):
        return
    with ExitStack() as stack:
        try:
            journal = stack.enter_context(JournalReader(target))
            holds = journal.holds()
        except (InvalidInputError, JournalError):
            holds = None
        if holds != MERGED:
            problem = f"{str(target)!r} contains something other than merged shards, and is unchanged; name another one"
            raise InvalidInputError("output folder", problem)


@contextmanager
def _work_folder(target: Path) -> Iterator[Path]:
    """An empty temporary folder beside *target*; only one process at a time has it."""
    folder = target.with_name(f".{target.name}.merging")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = take_run_lock(folder)
    except OSError as error:
        raise RunDirError(str(folder), error.errno or 0, error.strerror or str(error)) from error
    if lock is None or not (folder / LOCK_NAME).exists():
        if lock is not None:
            lock.release()
        raise InvalidInputError("output folder", f"another process merges into {str(target)!r}; wait for it")
    try:
        for left in folder.iterdir():  # of a killed merge
            if left.name != LOCK_NAME:
                left.unlink()
        yield folder
    finally:
        remove_tree(folder)
        lock.release()


@contextmanager
def _closed(connection: sqlite3.Connection, folder: Path) -> Iterator[sqlite3.Connection]:
    """The connection, closed at the end; errors of SQLite are raised as `JournalError`."""
    try:
        with closing(connection):
            yield connection
    except sqlite3.Error as error:
        raise JournalError(str(folder / FILE_NAME), f"{error}; nothing was merged") from error


def _copy_all(connection: sqlite3.Connection, shards: Sequence[_ShardRun]) -> list[_Copied]:
    copied = []
    before: list[tuple[int, _ShardRun]] = []
    for shard in shards:
        (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM jobs").fetchone()
        connection.execute("ATTACH ? AS shard", (read_only_uri(shard.folder / FILE_NAME),))
        try:
            copied.append(_copy(connection, shard, last, before))
        finally:
            connection.execute("DETACH shard")
        before.insert(0, (last, shard))
    connection.execute(
        "UPDATE spent SET prompt_tokens = ?, completion_tokens = ?, cost = ?",
        attrs.astuple(sum((one.spent for one in copied), Spending())),
    )
    return copied


def _copy(
    connection: sqlite3.Connection, shard: _ShardRun, offset: int, before: Sequence[tuple[int, _ShardRun]]
) -> _Copied:
    """Copy the jobs of the attached shard and their events, all in one read transaction.

    Args:
        offset: added to the numbers of its jobs.
        before: the shards that were copied, the last one first, with their offsets.
    """
    running = is_running(shard.folder)
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    try:
        (version,) = cursor.execute("PRAGMA shard.user_version").fetchone()
        if version != SCHEMA_VERSION:
            raise JournalError(str(shard.folder / FILE_NAME), f"has format {version}; resume that run, then merge")
        _refuse_twice(cursor, shard, before)
        cursor.execute(
            "INSERT INTO jobs SELECT seq + ?, id, digest, state, attempts, outcome, no_reply FROM shard.jobs", (offset,)
        )
        names = ", ".join(COLUMNS)
        cursor.execute(f"INSERT INTO events SELECT seq + ?, attempt, n, {names} FROM shard.events", (offset,))
        copy_waits(cursor, "shard")
        copy_kept(cursor, "shard", offset)
        counts: Counter[str] = Counter()
        for state, count, silent in cursor.execute("SELECT state, count(*), sum(no_reply) FROM shard.jobs GROUP BY 1"):
            counts += Counter({state: count, "no_reply": silent})
        starts = read_meta(cursor, STARTS, "shard") or {}
        spent = spent_of(cursor, "shard")
        cursor.execute("COMMIT")
    finally:
        cursor.close()
        if connection.in_transaction:
            connection.rollback()
    end = None if running else starts.get(END)
    unfinished = _unfinished(running, end)
    summary = ShardSummary(
        run_dir=str(shard.folder),
        shard=str(shard.shard),
        done=counts["done"],
        failed=counts["failed"],
        no_reply=counts["no_reply"],
        left=counts["running"],
        not_begun=_not_begun(unfinished, end),
        unfinished=unfinished,
    )
    return _Copied(summary, spent, starts)


def _refuse_twice(cursor: sqlite3.Cursor, shard: _ShardRun, before: Sequence[tuple[int, _ShardRun]]) -> None:
    rows = cursor.execute(
        "SELECT mine.id, mine.seq FROM main.jobs AS mine JOIN shard.jobs AS theirs ON mine.id = theirs.id LIMIT ?",
        (_SHOWN + 1,),
    ).fetchall()
    if not rows:
        return
    named = [
        f"{job_id!r} ({str(next(other.folder for offset, other in before if seq > offset))!r})"
        for job_id, seq in rows[:_SHOWN]
    ]
    more = " and more" if len(rows) > _SHOWN else ""
    problem = f"have ids twice: {str(shard.folder)!r} has, as others have, {', '.join(named)}{more}; nothing was merged"
    raise InvalidInputError("shards", problem)


def _unfinished(running: bool, end: Mapping[str, Any] | None) -> str:
    if running:
        return "it is running"
    if end is None:
        return "it was killed"
    return _ENDINGS.get(end["stopped"], str(end["stopped"]))


def _not_begun(unfinished: str, end: Mapping[str, Any] | None) -> int | None:
    if end is None:
        return None
    count: int | None = end["not_begun"]
    return count if unfinished else 0


def _report(
    target: Path,
    shards: Sequence[_ShardRun],
    copied: Sequence[_Copied],
    causes: tuple[FailureCause, ...],
    accepted: tuple[tuple[str, str, str, str, str], ...],
) -> MergeReport:
    summaries = tuple(one.summary for one in copied)
    not_begun = [one.not_begun for one in summaries]
    states: Counter[str] = Counter()
    for one in copied:
        states.update(one.starts.get("seconds_by_state", {}))
    spent = sum((one.spent for one in copied), Spending())
    there, count = {shard.shard.index for shard in shards}, shards[0].shard.count
    return MergeReport(
        run_dir=str(target),
        shards=summaries,
        missing=tuple(str(Shard(index, count)) for index in range(1, count + 1) if index not in there),
        done=sum(one.done for one in summaries),
        failed=sum(one.failed for one in summaries),
        no_reply=sum(one.no_reply for one in summaries),
        left=sum(one.left for one in summaries),
        not_begun=sum(filter(None, not_begun)) if None not in not_begun else None,
        causes=causes,
        tokens=spent.total_tokens,
        cost=spent.cost,
        seconds=sum(one.starts.get("seconds", 0.0) for one in copied),
        seconds_by_state=dict(states),
        accepted=accepted,
    )
