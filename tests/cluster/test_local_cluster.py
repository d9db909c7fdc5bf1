"""Runs over workers in this process: whatever a run is given, and what it says of its workers."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from tests.memory.support import run_with_tmpfs
from trioagent import ChatMessage, InvalidInputError, ModelConfig, SandboxUnavailableError
from trioagent._config import BatchConfig
from trioagent._runs import RunBrowser
from trioagent.batch import Job, Progress, read_run_status, run_batch
from trioagent.cluster import ClusterError, LocalCluster, RayCluster, idempotent
from trioagent.cluster._errors import WorkerLostError, WorkerRefusedError
from trioagent.cluster._protocol import BlockRan, Inbox, Outbox, WorkerSetup
from trioagent.cluster._remote import open_remote
from trioagent.cluster._worker import worker_folder
from trioagent.cluster._workers import WorkerHandle
from trioagent.runtime import open_runtime
from trioagent.sandbox import HostTool
from trioagent.testing import Fault, ModelRequest, Wire, serve_model

from .faults import on_faulty_workers

pytestmark = pytest.mark.real


class Echo:
    """A model that is no server, and goes to the workers as it is."""

    name = "echo"

    def __init__(self) -> None:
        self.unpicklable: object = None

    def answer(self, messages: Sequence[ChatMessage]) -> object:
        from trioagent.testing import ScriptedModel

        said = messages[-1].content
        return ScriptedModel([f"<think>t</think><python></python><reply>{said}</reply>"]).answer(messages)


def code(text: str) -> str:
    return f"<think>t</think><python>\n{text}\n</python>"


def then_reply(block: str) -> object:
    """A handler: a block first, a reply that quotes its result then."""

    def handler(request: ModelRequest) -> str:
        last = request.messages[-1]["content"]
        if last.startswith("<result>"):
            return f"<think>t</think><python></python><reply>{last}</reply>"
        return code(block)

    return handler


async def run_one(block: str, folder: Path, **job: object) -> dict[str, object]:
    """The row of a job whose model runs *block* on a worker."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_model, then_reply(block))
        async with open_runtime(ModelConfig(base_url=server.base_url, model="scripted")) as runtime:
            given = Job(id="one", memory=str(folder / "memory"), messages=("go",), **job)  # type: ignore[arg-type]
            report = await run_batch([given], runtime=runtime, run_dir=folder / "run", cluster=LocalCluster(workers=1))
        nursery.cancel_scope.cancel()
    assert report.done == 1, report.causes
    row: dict[str, object] = json.loads((folder / "run" / "conversations.jsonl").read_text())
    return row


def result_of(row: dict[str, object]) -> str:
    messages = row["messages"]
    assert isinstance(messages, list)
    return next(str(message["content"]) for message in messages if message["role"] == "tool")


async def test_a_block_sees_the_notes_as_they_are_and_what_it_does_is_committed_here(tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    (memory / "entities" / "deep").mkdir(parents=True)
    (memory / "empty").mkdir()
    (memory / ".hidden").mkdir()
    (memory / ".hidden" / "secret.md").write_text("secret")
    (memory / "user.md").write_text("[[entities/ada]]\n")
    (memory / "entities" / "ada.md").write_text("# Ada\n")
    (memory / "entities" / "deep" / "old.md").write_text("old\n")
    (memory / "read-only.md").write_text("kept\n")
    (memory / "read-only.md").chmod(stat.S_IRUSR)
    row = await run_one(
        """import os
seen = sorted(list_files())
folders = sorted(name for name in os.listdir(".") if os.path.isdir(name))
ada = go_to_link("[[ada]]")
moved = create_file("entities/new.md", read_file("entities/deep/old.md")) and delete_file("entities/deep/old.md")
changed = update_file("user.md", "ada", "new")""",
        tmp_path,
    )
    result = result_of(row)
    for expected in ("'empty', 'entities'", "# Ada", "'moved': True", "'changed': True", "read-only.md"):
        assert expected in result
    assert "hidden" not in result and "secret" not in result
    assert (memory / "user.md").read_text() == "[[entities/new]]\n"
    assert (memory / "entities" / "new.md").read_text() == "old\n"
    assert not (memory / "entities" / "deep" / "old.md").exists()
    assert (memory / ".hidden" / "secret.md").read_text() == "secret"
    with RunBrowser(tmp_path / "run") as browser:
        (kept,) = browser.job("one").kept
    changed = {
        note.path: (note.before and kept.contents[note.before], note.after and kept.contents[note.after])
        for note in kept.blocks[0].notes
    }
    assert changed == {
        "entities/deep/old.md": (b"old\n", None),
        "entities/new.md": (None, b"old\n"),
        "user.md": (b"[[entities/ada]]\n", b"[[entities/new]]\n"),
    }


async def test_a_copy_follows_whatever_happens_to_the_notes_between_two_blocks(tmp_path: Path) -> None:
    """Another program makes a folder of a note, a note of a folder, and writes notes anew, between two messages."""
    memory, looks = tmp_path / "memory", []
    (memory / "folder").mkdir(parents=True)
    (memory / "folder" / "inside.md").write_text("inside")
    (memory / "note.md").write_text("first")
    (memory / "link.md").symlink_to("note.md")

    def handler(request: ModelRequest) -> str:
        last = request.messages[-1]["content"]
        if not last.startswith("<result>"):
            return code("""import os
found = sorted((os.path.join(at, name)) for at, _, names in os.walk(".") for name in names)
note = open("note.md").read() if os.path.isfile("note.md") else "none" """)
        looks.append(last)
        if len(looks) == 1:
            (memory / "folder" / "inside.md").unlink()
            (memory / "folder").rmdir()
            (memory / "folder").write_text("a note now")
            (memory / "note.md").write_text("other")  # of the same length
            (memory / "link.md").unlink()
        elif len(looks) == 2:
            (memory / "note.md").unlink()
            (memory / "note.md").mkdir()
            (memory / "note.md" / "in.md").write_text("in")
        return "<think>t</think><python></python><reply>Yes.</reply>"

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_model, handler)
        async with open_runtime(ModelConfig(base_url=server.base_url, model="scripted")) as runtime:
            job = Job(id="one", memory=str(memory), messages=("a", "b", "c"))
            await run_batch([job], runtime=runtime, run_dir=tmp_path / "run", cluster=LocalCluster(workers=1))
        nursery.cancel_scope.cancel()
    first, second, third = looks
    assert "./folder/inside.md" in first and "./link.md" in first and "first" in first
    assert "inside" not in second and "'./folder'" in second and "link" not in second and "other" in second
    assert "./note.md/in.md" in third and "none" in third


async def test_models_that_are_no_servers_go_to_the_workers(tmp_path: Path) -> None:
    async with open_runtime(Echo()) as runtime:  # type: ignore[arg-type]
        jobs = [Job(id=str(n), memory=str(tmp_path / str(n)), messages=(f"say {n}",)) for n in range(5)]
        report = await run_batch(jobs, runtime=runtime, run_dir=tmp_path / "run", cluster=LocalCluster())
        assert report.cluster is not None
        assert (report.done, sum(node.answers for node in report.cluster.nodes)) == (5, 5)
        broken = Echo()
        broken.unpicklable = lambda: None
    async with open_runtime(broken) as runtime:  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="cannot be sent to workers"):
            await run_batch(jobs, runtime=runtime, run_dir=tmp_path / "other", cluster=LocalCluster())


async def test_embedded_rules_answer_on_the_workers(tmp_path: Path) -> None:
    async with open_runtime("offline-rules") as runtime:
        jobs = [Job(id="a", memory=str(tmp_path / "a"), messages=("My name is Ada.", "What is my name?"))]
        report = await run_batch(jobs, runtime=runtime, run_dir=tmp_path / "run", cluster=LocalCluster(workers=1))
    assert report.done == 1
    assert "Ada" in (tmp_path / "run" / "conversations.jsonl").read_text().splitlines()[0].rpartition("content")[2]


async def test_rates_and_retries_are_the_drivers(tmp_path: Path) -> None:
    """A 429 from any worker slows all of them down; a refused request is sent again and counts as one."""
    answers = iter([Fault.status(429, retry_after=0), Fault.status(503)])

    def handler(request: ModelRequest) -> str | Wire:
        return next(answers, "<think>t</think><python></python><reply>Yes.</reply>")

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_model, handler)
        async with open_runtime(ModelConfig(base_url=server.base_url, model="scripted")) as runtime:
            jobs = [Job(id=str(n), memory=str(tmp_path / str(n)), messages=("hello",)) for n in range(4)]
            report = await run_batch(jobs, runtime=runtime, run_dir=tmp_path / "run", cluster=LocalCluster())
            [limiter] = runtime.rate_limiters.values()
            assert limiter.statistics().allowed_in_flight < limiter.limits.max_in_flight
        nursery.cancel_scope.cancel()
    assert (report.done, server.served) == (4, 6)
    rows = [json.loads(line) for line in (tmp_path / "run" / "conversations.jsonl").read_text().splitlines()]
    assert sum(row["usage"]["requests"] for row in rows) == 6


async def test_cancelling_a_run_ends_its_blocks_on_the_workers(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            serve_model, lambda request: code("open('began.md', 'w').close()\nwhile True: pass")
        )
        async with open_runtime(ModelConfig(base_url=server.base_url, model="scripted")) as runtime:
            with trio.CancelScope() as scope:

                def look(progress: Progress) -> None:
                    if progress.states.get("sandbox"):
                        scope.cancel()

                job = Job(id="one", memory=str(tmp_path / "memory"), messages=("go",))
                await run_batch(
                    [job], runtime=runtime, run_dir=tmp_path / "run", cluster=LocalCluster(), on_progress=look
                )
            assert scope.cancelled_caught
        nursery.cancel_scope.cancel()
    assert not (tmp_path / "memory" / "began.md").exists()
    assert read_run_status(tmp_path / "run").counts == {"running": 1}


async def test_progress_and_status_show_the_workers(tmp_path: Path) -> None:
    seen: list[Progress] = []
    async with open_runtime("offline-rules") as runtime:
        jobs = [Job(id="a", memory=str(tmp_path / "a"), messages=("My name is Ada.",))]
        await run_batch(
            jobs, runtime=runtime, run_dir=tmp_path / "run", cluster=LocalCluster(workers=2), on_progress=seen.append
        )
        tier = runtime.sandbox.tier
    nodes = seen[-1].nodes
    assert 1 <= len(nodes) <= 2  # the run may be over before the second one is ready
    assert {(node.state, node.tier, node.problem) for node in nodes} == {("working", tier, "")}
    assert {node.node.rpartition(":")[2] for node in nodes} == {str(os.getpid())}
    last = read_run_status(tmp_path / "run").last
    assert last is not None
    assert {node["epoch"] for node in last["progress"]["nodes"]} <= {1, 2}


class NoWorkers:
    """Refuses, or loses, every worker."""

    def __init__(self, error: Exception) -> None:
        self.error, self.asked = error, 0

    async def start(self, setup: WorkerSetup) -> WorkerHandle:
        self.asked += 1
        raise self.error


@pytest.mark.parametrize(
    ("error", "asked", "said"),
    [
        (WorkerRefusedError("node7", str(SandboxUnavailableError((("kernel", "no"),)))), 2, "node7: "),
        (WorkerLostError("no memory"), 6, "no memory"),
    ],
)
async def test_a_cluster_without_a_worker_that_may_work_is_an_error_that_says_why(
    tmp_path: Path, error: Exception, asked: int, said: str
) -> None:
    source = NoWorkers(error)
    async with open_runtime("offline-rules") as runtime:
        with pytest.raises(ClusterError, match=said):
            async with open_remote(runtime, source, workers=2, lesser_tiers=False, silence=1.0):
                raise AssertionError("it has no worker")
    assert source.asked == asked


@pytest.mark.parametrize("address", ["head", "10.0.0.1", "ray://10.0.0.1:10001", "10.0.0.1:port", ":6379", "a:99999"])
async def test_an_address_that_is_none_is_refused_before_anything_is_done(tmp_path: Path, address: str) -> None:
    async with open_runtime("offline-rules") as runtime:
        with pytest.raises(InvalidInputError, match="RayCluster.address"):
            await run_batch([], runtime=runtime, run_dir=tmp_path / "run", cluster=RayCluster(address=address))


async def test_without_ray_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    async with open_runtime("offline-rules") as runtime:
        with pytest.raises(ClusterError, match=r"pip install 'trioagent\[ray\]'"):
            await run_batch([], runtime=runtime, run_dir=tmp_path / "run", cluster=RayCluster())


async def test_host_tools_that_are_not_declared_idempotent_are_refused(tmp_path: Path) -> None:
    async def tool() -> None: ...

    async with open_runtime("offline-rules") as runtime, LocalCluster(workers=1).open(runtime) as moved:
        with pytest.raises(InvalidInputError, match="runs again"):
            await moved.sandbox.run("tool()", memory_path=tmp_path / "memory", host_tools={"tool": tool})
        result = await moved.sandbox.run("x = 1")
        assert result.locals == {"x": "1"}


async def test_idempotent_host_tools_run_here_and_say_what_they_say_elsewhere(tmp_path: Path) -> None:
    """Values, errors and what is no JSON come to the block as they do without a cluster."""

    @idempotent
    async def double(number: int, *, plus: int = 0) -> dict[str, int]:
        await trio.lowlevel.checkpoint()
        return {"value": 2 * number + plus}

    @idempotent
    async def fail() -> None:
        raise LookupError("there is none")

    @idempotent
    async def strange() -> object:
        return {1, 2}

    code = """
a = double(4, plus=1)["value"]
b = double(a)["value"]
said = []
for tool in (fail, strange):
    try:
        tool()
    except Exception as error:
        said.append(str(error).partition(":")[0])
"""
    tools: dict[str, HostTool] = {"double": double, "fail": fail, "strange": strange}
    async with open_runtime("offline-rules") as runtime, LocalCluster(workers=1).open(runtime) as moved:
        there = await moved.sandbox.run(code, memory_path=tmp_path / "memory", host_tools=tools)
        here = await runtime.sandbox.run(code, memory_path=tmp_path / "memory", host_tools=tools)
    assert there.error == ""
    assert there.locals["a"] == "9" and there.locals["b"] == "18"
    assert "LookupError" in there.locals["said"]
    assert (here.locals["a"], here.locals["b"]) == ("9", "18")


async def test_a_tool_that_is_cancelled_leaves_no_block_behind(tmp_path: Path) -> None:
    called = trio.Event()

    @idempotent
    async def hang() -> None:
        called.set()
        await trio.sleep_forever()

    async with open_runtime("offline-rules") as runtime, LocalCluster(workers=1).open(runtime) as moved:
        assert moved.remote is not None
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                await moved.sandbox.run("hang()", memory_path=tmp_path / "memory", host_tools={"hang": hang})

            nursery.start_soon(run)
            with trio.fail_after(20):
                await called.wait()
            nursery.cancel_scope.cancel()
        assert [node.running for node in moved.remote.use().nodes] == [0]
        result = await moved.sandbox.run("x = 1", memory_path=tmp_path / "memory")
        assert result.locals == {"x": "1"}


async def test_a_block_whose_worker_is_lost_calls_its_tools_again(tmp_path: Path) -> None:
    calls: list[int] = []

    @idempotent
    async def note(number: int) -> None:
        calls.append(number)

    lost: list[Outbox] = []

    def first_result(number: int, said: Inbox | Outbox) -> bool:
        ran = isinstance(said, Outbox) and any(isinstance(result, BlockRan) for _, result in said.results)
        if ran and not lost:
            assert isinstance(said, Outbox)
            lost.append(said)
            return True
        return False

    async with (
        open_runtime("offline-rules") as runtime,
        on_faulty_workers(runtime, first_result, "after") as (moved, _),
    ):
        code = "note(1)\nnote(2)\ndone = create_file('a.md', 'x')"
        result = await moved.sandbox.run(code, memory_path=tmp_path / "memory", host_tools={"note": note})
    assert (result.saved, calls) == (True, [1, 2, 1, 2])


async def test_workers_have_the_tier_that_the_runtime_was_asked_for(tmp_path: Path) -> None:
    async with open_runtime("offline-rules", tier="kernel-lite") as runtime:
        async with LocalCluster(workers=1).open(runtime) as moved:
            result = await moved.sandbox.run("x = 1", memory_path=tmp_path / "memory")
            assert moved.remote is not None
            assert {node.tier for node in moved.remote.use().nodes} == {"kernel-lite"}
    assert (result.tier, result.error) == ("kernel-lite", "")


async def test_limits_of_a_run_hold_on_workers(tmp_path: Path) -> None:
    config = BatchConfig(max_concurrent=1, limit=1)
    async with open_runtime("offline-rules") as runtime:
        jobs = [Job(id=str(n), memory=str(tmp_path / str(n)), messages=("Hello.",)) for n in range(3)]
        report = await run_batch(
            jobs, runtime=runtime, run_dir=tmp_path / "run", config=config, cluster=LocalCluster(workers=1)
        )
    assert (report.done, report.stopped) == (1, "limit")


async def test_a_large_memory_is_sent_in_pieces_and_once(tmp_path: Path) -> None:
    """12 MB of notes take several exchanges; the second block's copy is there already."""
    memory = tmp_path / "memory"
    memory.mkdir()
    for number in range(24):
        (memory / f"note{number}.md").write_text(f"{number}\n" * (500_000 // len(f"{number}\n")))
    sent: list[int] = []

    def count(number: int, said: Inbox | Outbox) -> bool:
        if isinstance(said, Inbox):
            sent.append(sum(map(len, said.contents.values())))
        return False

    async with open_runtime("offline-rules") as runtime, on_faulty_workers(runtime, count, "before") as (moved, _):
        for _ in range(2):
            result = await moved.sandbox.run("size = sum(get_size(path) for path in list_files())", memory_path=memory)
            assert result.locals == {"size": str(sum(path.stat().st_size for path in memory.iterdir()))}
        assert 11_000_000 < sum(sent) < 13_000_000
        assert max(sent) < 5_000_000


def test_a_worker_removes_what_killed_ones_have_left_and_nothing_else(tmp_path: Path) -> None:
    with worker_folder(str(tmp_path)) as first:
        (tmp_path / "trioagent-worker-killed" / "copies").mkdir(parents=True)
        with worker_folder(str(tmp_path)) as second:
            assert set(tmp_path.iterdir()) == {first, second}
    assert list(tmp_path.iterdir()) == []


async def test_a_worker_whose_copies_are_gone_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has removed its folder: it can make no copies any more, and its blocks go to another one."""
    memory, temporary = tmp_path / "memory", tmp_path / "temporary"
    memory.mkdir()
    temporary.mkdir()
    (memory / "a.md").write_text("a")
    async with open_runtime("offline-rules") as runtime:
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        async with LocalCluster(workers=1).open(runtime) as moved:
            shutil.rmtree(next(temporary.glob("trioagent-worker-*")))
            result = await moved.sandbox.run("text = read_file('a.md')", memory_path=memory)
            assert moved.remote is not None
            use = moved.remote.use()
    assert result.locals == {"text": "'a'"}
    assert use.lost == 1
    assert "it can make no copies" in use.nodes[-1].problem


_ON_A_SMALL_DISK = """
import logging, tempfile
from pathlib import Path
from trioagent import BatchConfig, Job, open_runtime, run_batch
from trioagent.cluster import LocalCluster

logging.disable()
memory, run_dir = Path(folder).parent / "memory", Path(folder).parent / "run"
memory.mkdir()
(memory / "large.md").write_text("x" * 300_000)

async def run(place):
    tempfile.tempdir = place
    config = BatchConfig(outage_patience=0)
    job = Job(id="one", memory=str(memory), messages=("My name is Ada.",))
    async with open_runtime("offline-rules") as runtime:
        return await run_batch([job], runtime=runtime, run_dir=run_dir, config=config, cluster=LocalCluster(workers=1))

report = trio.run(run, folder)
assert (report.stopped, report.left) == ("disk", 1), report
assert "no worker has room for a copy of it" in report.reason, report
report = trio.run(run, None)
assert report.done == 1, report
"""


def test_workers_without_room_stop_a_run_that_goes_on_later(tmp_path: Path) -> None:
    """A full disk for temporary files is waited for as any full disk is, and nothing is lost."""
    (tmp_path / "disk").mkdir()
    run_with_tmpfs(_ON_A_SMALL_DISK, tmp_path / "disk")
