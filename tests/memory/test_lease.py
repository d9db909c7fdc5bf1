"""One at a time: among the tasks of a process in order of asking, among processes in turns."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio
import trio.lowlevel
import trio.testing

from trioagent._errors import MemoryPathError, MemoryStorageError
from trioagent.memory import Memory, _lease, check_memory_path

from ..open_files import open_files
from .support import PRIVATE, REPOSITORY, before, commit_now, read_tree, scenarios, switched


async def test_first_come_first_served(tmp_path: Path) -> None:
    order: list[int] = []

    async def work(number: int) -> None:
        async with Memory(tmp_path).lease():
            order.append(number)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        async with Memory(tmp_path).lease():
            for number in range(20):
                nursery.start_soon(work, number)
                await trio.testing.wait_all_tasks_blocked()
    assert order == list(range(20))


async def test_one_at_a_time_and_no_descriptor_while_idle_or_waiting(tmp_path: Path) -> None:
    memory, inside = Memory(tmp_path / "m"), 0
    await trio.to_thread.run_sync(int)
    at_rest = open_files()

    async def work() -> None:
        nonlocal inside
        async with memory.lease():
            inside += 1
            assert inside == 1
            await trio.sleep(random.random() / 1000)
            assert len(open_files(again=True)) == len(at_rest) + 1
            inside -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(work)
    assert open_files(again=True) == at_rest
    assert os.listdir(tmp_path / "m") == []


async def test_other_memories_do_not_wait(tmp_path: Path) -> None:
    async with Memory(tmp_path / "a").lease(), Memory(tmp_path / "b").lease():
        pass


async def test_queues_are_forgotten(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    for number in range(30):
        async with Memory(tmp_path / str(number)).lease():
            pass
        await trio.sleep(0.5)
    assert len(_lease.run_state().queues) < 6


async def test_same_folder_by_another_way_is_excluded_too(tmp_path: Path) -> None:
    """Through a symbolic link above it the path differs, the lock on the folder does not."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    order: list[str] = []

    async def work() -> None:
        async with Memory(tmp_path / "link" / "m").lease():
            order.append("second")

    async with trio.open_nursery() as nursery:
        async with Memory(tmp_path / "real" / "m").lease():
            nursery.start_soon(work)
            await trio.sleep(0.02)
            order.append("first")
    assert order == ["first", "second"]


async def test_cancelling_the_wait_leaves_nothing(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    outside = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(outside, fcntl.LOCK_EX)
    await trio.to_thread.run_sync(int)
    at_rest = open_files()
    with trio.move_on_after(0.02) as scope:
        async with memory.lease():
            raise AssertionError("somebody else holds it")
    assert scope.cancelled_caught

    async def wait() -> None:
        async with memory.lease():
            raise AssertionError("somebody else holds it")

    async with trio.open_nursery() as nursery:  # the one in front polls, the others queue behind it
        for _ in range(3):
            nursery.start_soon(wait)
        await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert open_files(again=True) == at_rest
    fcntl.flock(outside, fcntl.LOCK_UN)
    with trio.fail_after(5):
        async with memory.lease():
            pass
    os.close(outside)


async def test_cancelling_at_every_checkpoint(tmp_path: Path) -> None:
    """Lease and commit, cancelled at the n-th checkpoint: before or after, nothing open, nothing left."""
    new, receipt = scenarios()["all of it"]
    await trio.to_thread.run_sync(int)
    outcomes = set()
    for number in range(30):
        root = tmp_path / str(number)
        before().lay_down(root)
        at_rest, ended = open_files(), False
        with trio.CancelScope() as scope:
            instrument = _CancelAt(number, scope)
            trio.lowlevel.add_instrument(instrument)
            try:
                async with Memory(root).lease() as lease:
                    await lease.commit(before().changes_to(new), receipt=receipt)
                ended = True
            finally:
                trio.lowlevel.remove_instrument(instrument)
        assert open_files(again=True) == at_rest
        found = read_tree(root)
        assert found == (new if (root / PRIVATE).exists() else before())
        assert not list(root.glob(f"{PRIVATE}/new-*"))
        outcomes.add(found == new)
        if ended and not scope.cancel_called:
            break
    assert outcomes == {True, False}


class _CancelAt(trio.abc.Instrument):
    """Cancels a scope before the n-th step of the task that made it."""

    def __init__(self, number: int, scope: trio.CancelScope) -> None:
        self.left, self.scope, self.task = number, scope, trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left < 0:
                self.scope.cancel()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task and self.left == 0:
            self.scope.cancel()


async def test_a_commit_that_has_begun_ends(tmp_path: Path) -> None:
    before().lay_down(tmp_path)
    new, _ = scenarios()["many notes"]
    with trio.CancelScope() as scope:
        token = trio.lowlevel.current_trio_token()

        def cancel_in_the_middle(number: int, name: str, operation: object, args: tuple[object, ...]) -> object:
            if number == 5:
                trio.from_thread.run_sync(scope.cancel, trio_token=token)
            assert callable(operation)
            return operation(*args)

        async with Memory(tmp_path).lease() as lease:
            with switched(cancel_in_the_middle):
                await lease.commit(before().changes_to(new))
    assert scope.cancel_called
    assert read_tree(tmp_path) == new


async def test_a_lease_finishes_what_a_dead_process_began(tmp_path: Path) -> None:
    before().lay_down(tmp_path)
    new, _ = scenarios()["all of it"]

    class Died(BaseException):
        pass

    def die(number: int, name: str, operation: object, args: tuple[object, ...]) -> object:
        raise Died

    with pytest.raises(Died), switched(die, ("rename_new",)):
        commit_now(tmp_path, before().changes_to(new))
    async with Memory(tmp_path).lease() as lease:
        assert not lease.hide
        assert read_tree(tmp_path) == new
    assert not (tmp_path / PRIVATE).exists()


async def test_an_error_in_recovery_frees_the_memory(tmp_path: Path) -> None:
    (tmp_path / PRIVATE).write_text("")
    await trio.to_thread.run_sync(int)
    at_rest = open_files()
    for _ in range(2):
        with pytest.raises(MemoryPathError):
            async with Memory(tmp_path).lease():
                pass
    assert open_files(again=True) == at_rest
    (tmp_path / PRIVATE).unlink()
    async with Memory(tmp_path).lease():
        pass


# ---- paths ----


def test_making_one_touches_no_disk(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "not" / "there")
    assert memory.path == tmp_path / "not" / "there"
    assert repr(str(memory.path)) in repr(memory)
    assert os.listdir(tmp_path) == []


async def test_the_folder_is_made_at_the_first_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    memory = Memory("some/where")
    async with memory.lease() as lease:
        assert os.fstat(lease.root_fd).st_ino == (tmp_path / "some/where").stat().st_ino
    assert memory.path == tmp_path / "some/where"


def paths_that_cannot_be(folder: Path) -> dict[str, tuple[str | Path, str]]:
    (folder / "real").mkdir()
    (folder / "file").write_text("")
    (folder / "link").symlink_to("real")
    (folder / "dangling").symlink_to("nowhere")
    return {
        "empty": ("", "it is empty"),
        "NUL": ("a\0b", "NUL character"),
        "file": (folder / "file", "it is a file, not a folder"),
        "in a file": (folder / "file" / "m", "file' is a file, not a folder"),
        "link": (folder / "link", "it is a symbolic link to 'real'; give the real folder"),
        "dangling": (folder / "dangling", "it is a symbolic link to 'nowhere'"),
        "long": (folder / ("n" * 300), "File name too long"),
    }


@pytest.mark.parametrize("kind", ["empty", "NUL", "file", "in a file", "link", "dangling", "long"])
async def test_paths_that_cannot_be(tmp_path: Path, kind: str) -> None:
    path, problem = paths_that_cannot_be(tmp_path)[kind]
    listing = sorted(os.listdir(tmp_path))
    for create in (True, False):
        with pytest.raises(MemoryPathError) as caught:
            check_memory_path(path, create=create)
        assert problem in caught.value.problem
    with pytest.raises(MemoryPathError) as caught:
        async with Memory(path).lease():
            pass
    assert problem in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == listing


def test_checking_a_path(tmp_path: Path) -> None:
    with pytest.raises(MemoryPathError, match="there is no such folder"):
        check_memory_path(tmp_path / "a" / "b", create=False)
    check_memory_path(tmp_path / "a" / "b", create=True)
    check_memory_path(tmp_path / "a" / "b", create=False)
    with pytest.raises(MemoryPathError, match="text, not bytes"):
        check_memory_path(b"a")  # type: ignore[arg-type]


_AS_NOBODY = """
import os, sys
from trioagent._errors import MemoryPathError
from trioagent.memory import check_memory_path
if os.geteuid() == 0:
    os.setgid(12345), os.setuid(12345)
try:
    check_memory_path(sys.argv[1], create=True)
except MemoryPathError as error:
    print(error)
"""


@pytest.mark.real
@pytest.mark.parametrize(("mode", "problem"), [(0o555, "is not writable by this user"), (0o333, "may not open it")])
def test_folder_without_permission(tmp_path_factory: pytest.TempPathFactory, mode: int, problem: str) -> None:
    import tempfile

    from .support import run_python

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        locked = Path(folder) / "memory"
        locked.mkdir()
        if os.geteuid() == 0:
            os.chown(locked, 12345, 12345)
        locked.chmod(mode)
        assert problem in run_python(_AS_NOBODY, locked)


# ---- several processes ----

_COUNTERS = """
import json, random, sys, time
import trio
from trioagent._errors import MemoryConflictError
from trioagent.memory import ChangeSet, Knowledge, Memory
from pathlib import Path

name, root, tasks, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
conflicts, ends = 0, []

async def agent(number):
    global conflicts
    memory, knowledge, note = Memory(root), Knowledge(), root / "shared.md"
    mine, seen = f"own/{name}{number}.md", None
    for round in range(rounds):
        while True:
            async with memory.lease() as lease:
                now = note.read_bytes() if note.exists() else b""
                assert now.endswith(b"\\n") or not now, now[-50:]
                reads = () if seen is not None else ("shared.md",)
                text = now if seen is None else seen  # half of the time written blindly, from an older reading
                writes = {"shared.md": text + f"{name}{number}.{round}\\n".encode(), mine: b"%d" % round}
                try:
                    await lease.commit(ChangeSet(writes=writes), knowledge=knowledge, reads=reads)
                except MemoryConflictError:
                    conflicts += 1
                    seen = None
                    continue
                seen = writes["shared.md"] if random.random() < 0.5 else None
                break
        ends.append(time.monotonic())

async def main():
    async with trio.open_nursery() as nursery:
        for number in range(tasks):
            nursery.start_soon(agent, number)

trio.run(main)
print(json.dumps({"conflicts": conflicts, "ends": ends}))
"""


@pytest.mark.real
def test_no_update_is_lost_between_processes(tmp_path: Path) -> None:
    tasks, rounds = 25, 4
    command = [sys.executable, "-c", _COUNTERS]
    running = [
        subprocess.Popen(
            [*command, name, tmp_path, str(tasks), str(rounds)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        for name in ("a", "b")
    ]
    reports = []
    for process in running:
        said, _ = process.communicate()
        assert process.returncode == 0
        reports.append(json.loads(said))
    lines = (tmp_path / "shared.md").read_text().splitlines()
    expected = {f"{name}{n}.{r}" for name in "ab" for n in range(tasks) for r in range(rounds)}
    assert len(lines) == len(expected)
    assert set(lines) == expected
    assert sum(report["conflicts"] for report in reports) > 0
    assert len(list((tmp_path / "own").iterdir())) == 2 * tasks
    assert sorted(os.listdir(tmp_path)) == ["own", "shared.md"]


_HOLDER = """
import sys, time
import trio
from trioagent.memory import Memory

async def main():
    memory, end, got = Memory(sys.argv[1]), time.monotonic() + float(sys.argv[2]), 0
    async def agent():
        nonlocal got
        while time.monotonic() < end:
            async with memory.lease():
                got += 1
                await trio.sleep(0.002)
    async with trio.open_nursery() as nursery:
        for _ in range(25):
            nursery.start_soon(agent)
    print(got)

trio.run(main)
"""


@pytest.mark.real
def test_neither_process_starves(tmp_path: Path) -> None:
    """Both keep the memory busy all the time; each gets a fair part, far from the nothing that polling alone gives."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _HOLDER, tmp_path, "1.5"], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    shares = [int(process.communicate()[0]) for process in running]
    assert min(shares) > sum(shares) / 10, shares


@pytest.mark.real
def test_two_trio_runs_in_threads_exclude_each_other(tmp_path: Path) -> None:
    inside, worst, wrong = [0], [0], []

    async def work() -> None:
        for _ in range(20):
            async with Memory(tmp_path).lease():
                inside[0] += 1
                worst[0] = max(worst[0], inside[0])
                await trio.sleep(0.0005)
                inside[0] -= 1

    def run() -> None:
        try:
            trio.run(work)
        except BaseException as error:
            wrong.append(error)
            raise

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst == [1]
    assert not wrong


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE])
async def test_what_is_not_the_paths_fault_is_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(MemoryStorageError) as caught:
        async with Memory(tmp_path / "new").lease():
            raise AssertionError
    assert caught.value.errno == number
