"""Runs on several Ray nodes of this machine, some of which are killed: with `make test-cluster`."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from trioagent.testing import ModelRequest, ModelServer, Say, model_server

from .faults import Came, answer, what_came

pytestmark = pytest.mark.cluster

JOBS = 60
CALM_SECONDS = 120.0


def slowly(request: ModelRequest) -> Say:
    """So that a run takes ten seconds on the fastest machine, and can be disturbed: its status is a second old."""
    return Say(answer(request), delay=0.8)


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server(slowly) as running:
        yield running


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with ray_nodes(3) as running:
        yield running


@attrs.define
class Nodes:
    """A cluster of Ray nodes on this machine; *cluster* is Ray's."""

    cluster: Any
    address: str

    def add(self) -> Any:
        return self.cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)

    def kill_one(self) -> None:
        """Kill a node that is not the head, with everything on it."""
        node = random.choice(sorted(self.cluster.worker_nodes, key=str))
        self.cluster.remove_node(node, allow_graceful=False)


@contextmanager
def ray_nodes(count: int) -> Iterator[Nodes]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    running = Nodes(cluster, cluster.address)
    try:
        for _ in range(count):
            running.add()
        yield running
    finally:
        cluster.shutdown()


def write_jobs(folder: Path, count: int = JOBS) -> None:
    folder.mkdir()
    rows = [
        {"id": f"job{n}", "memory": str(folder / f"memory{n // 2}"), "messages": [f"first {n}", f"second {n}"]}
        for n in range(count)
    ]
    (folder / "jobs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def command(folder: Path, server: ModelServer, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "trioagent", "batch", str(folder / "jobs.jsonl"), "--run-dir", str(folder / "run")),
        *("--base-url", server.base_url, "--model", "scripted", "--max-concurrent", "20", "--json-progress", *more),
    ]


@contextmanager
def driver(folder: Path, server: ModelServer, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A batch in a process of its own; killed if it still runs at the end."""
    with (folder / "out.txt").open("ab") as out:
        process = subprocess.Popen(command(folder, server, *more), stdout=out, stderr=out)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def run_to_end(folder: Path, server: ModelServer, *more: str) -> None:
    with driver(folder, server, *more) as process:
        assert process.wait(CALM_SECONDS) == 0, (folder / "out.txt").read_text()[-3000:]


def status(folder: Path) -> dict[str, Any]:
    """What the run last said of itself; empty before it has."""
    with suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads((folder / "run" / "status.json").read_text())["progress"]
        return found
    return {}


def wait_for(folder: Path, what: Callable[[dict[str, Any]], bool], process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The run's progress, as soon as *what* is true of it."""
    for _ in range(1200):
        found = status(folder)
        if found and what(found):
            return found
        assert process.poll() is None, (folder / "out.txt").read_text()[-3000:]
        time.sleep(0.05)
    raise AssertionError(status(folder))


def has_answers(more_than: int, progress: dict[str, Any]) -> bool:
    return bool(progress["answers"] > more_than and pids(progress))


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run" / "report.json").read_text())
    return found


def pids(progress: dict[str, Any]) -> list[int]:
    """The processes of the workers that work."""
    return [int(node["node"].rpartition(":")[2]) for node in progress["nodes"] if node["state"] == "working"]


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def family(pid: int) -> set[int]:
    """A process's children, and theirs."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for path in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            with suppress(OSError):
                children = {int(child) for child in path.read_text().split()} - found
                found |= children
                waiting += children
    return found


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, server: ModelServer) -> Came:
    """What a run in one process comes to."""
    folder = tmp_path_factory.mktemp("calm") / "run"
    write_jobs(folder)
    before = len(server.requests)
    run_to_end(folder, server)
    return what_came(folder, server.requests[before:])


def check(folder: Path, server: ModelServer, calm: Came, before: int, *, starts: int = 1) -> dict[str, Any]:
    """It is what a calm run comes to, and no request was sent again but those that the report counts."""
    came = what_came(folder, server.requests[before:])
    assert came.conversations == calm.conversations
    assert came.notes == calm.notes
    again = came.asked.total() - calm.asked.total()
    use: dict[str, Any] = report(folder)["cluster"]
    if starts == 1:
        assert again <= use["asked_again"]
    assert max(came.asked.values()) <= 1 + use["lost"] + starts
    return use


def test_a_run_on_nodes_comes_to_what_it_comes_to_in_one_process(
    tmp_path: Path, nodes: Nodes, server: ModelServer, calm: Came
) -> None:
    folder, before = tmp_path / "on-ray", len(server.requests)
    write_jobs(folder)
    run_to_end(folder, server, "--ray", nodes.address)
    use = check(folder, server, calm, before)
    assert (use["lost"], use["asked_again"], use["run_again"]) == (0, 0, 0)
    assert len({node["node"] for node in use["nodes"] if node["answers"]}) == 3, "one worker on each node"


def test_workers_are_killed(tmp_path: Path, nodes: Nodes, server: ModelServer, calm: Came) -> None:
    """One after the other, by SIGKILL; what is left of them, such as their sandboxes, dies with them."""
    folder, before = tmp_path / "killed", len(server.requests)
    write_jobs(folder)
    killed: list[int] = []
    with driver(folder, server, "--ray", nodes.address) as process:
        for least in (5, 20, 40):
            found = wait_for(folder, partial(has_answers, least), process)
            victim = random.choice(pids(found))
            children = family(victim)
            os.kill(victim, signal.SIGKILL)
            killed += [victim, *children]
        assert process.wait(CALM_SECONDS) == 0, (folder / "out.txt").read_text()[-3000:]
    use = check(folder, server, calm, before)
    assert use["lost"] == 3
    assert [pid for pid in killed if alive(pid)] == []


def test_a_node_is_lost(tmp_path: Path, nodes: Nodes, server: ModelServer, calm: Came) -> None:
    """With its raylet and all that runs there; another one comes in its place."""
    folder, before = tmp_path / "lost", len(server.requests)
    write_jobs(folder)
    with driver(folder, server, "--ray", nodes.address) as process:
        wait_for(folder, partial(has_answers, 20), process)
        nodes.kill_one()
        nodes.add()
        assert process.wait(CALM_SECONDS) == 0, (folder / "out.txt").read_text()[-3000:]
    use = check(folder, server, calm, before)
    assert use["lost"] >= 1


def test_the_driver_is_killed(tmp_path: Path, nodes: Nodes, server: ModelServer, calm: Came) -> None:
    """At any time, three times; Ray ends its workers. The same command goes on, and asks for nothing that it has."""
    folder, before = tmp_path / "driver", len(server.requests)
    write_jobs(folder)
    lost = 0
    for answers in (1, 10, 20):
        with driver(folder, server, "--ray", nodes.address) as process:
            found = wait_for(folder, partial(has_answers, answers), process)
            process.send_signal(signal.SIGKILL)
            process.wait()
            working = pids(found)
        for _ in range(400):
            if not any(map(alive, working)):
                break
            time.sleep(0.05)
        assert not any(map(alive, working))
        lost = len(server.requests) - before - acknowledged(folder)
        (folder / "run" / "status.json").unlink()
    run_to_end(folder, server, "--ray", nodes.address)
    check(folder, server, calm, before, starts=4)
    assert len(server.requests) - before - calm.asked.total() <= lost


def acknowledged(folder: Path) -> int:
    """How many answers the journal has; those of a job that is done are in its outcome."""
    with closing(sqlite3.connect(folder / "run" / "journal.db")) as journal:
        [(events,)] = journal.execute("SELECT count(*) FROM events WHERE kind = 'answer'")
        [(done,)] = journal.execute("SELECT count(*) FROM jobs WHERE state = 'done'")
    return int(events) + 4 * int(done)


def endless(request: ModelRequest) -> str:
    return "<think>t</think><python>\nopen('began.md', 'w').close()\nwhile True: pass\n</python>"


def test_interrupted_blocks_are_dead_within_half_a_second(tmp_path: Path, nodes: Nodes) -> None:
    folder = tmp_path / "interrupted"
    write_jobs(folder, 6)
    with model_server(endless) as server, driver(folder, server, "--ray", nodes.address, "--grace", "0") as process:
        found = wait_for(folder, lambda now: now["states"].get("sandbox", 0) >= 3 and len(pids(now)) == 3, process)
        running = {child for pid in pids(found) for child in family(pid)}
        assert running
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        while any(map(alive, running)) and time.monotonic() - began < 20:
            time.sleep(0.01)
        took = time.monotonic() - began
        assert process.wait(CALM_SECONDS) == 130
    print(f"all children of all workers dead after {took:.2f} s")
    assert took < 10, "benchmarks measure it; this machine may be busy"
    assert report(folder)["left"] == 6


def test_a_cluster_where_nobody_answers_is_one_line(tmp_path: Path, server: ModelServer) -> None:
    folder = tmp_path / "nobody"
    write_jobs(folder, 1)
    ended = subprocess.run(command(folder, server, "--ray", "127.0.0.1:9"), capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    [line] = [line for line in ended.stderr.splitlines() if line.startswith("error")]
    assert "nobody answers at '127.0.0.1:9'" in line


def test_workers_without_the_package_are_refused_by_name(tmp_path: Path, nodes: Nodes, server: ModelServer) -> None:
    """A node where another trioagent is installed: its own, by a path that Ray puts first there."""
    script = tmp_path / "other.py"
    folder = tmp_path / "other"
    write_jobs(folder, 1)
    script.write_text(
        f"""
import trio, trioagent
from trioagent.cluster import ClusterError, RayCluster

async def main():
    trioagent.__version__ = "9.9"
    from trioagent.cluster import _workers
    _workers.__version__ = "9.9"
    async with trioagent.open_runtime("offline-rules") as runtime:
        try:
            async with RayCluster(address={nodes.address!r}, workers=1).open(runtime):
                print("opened")
        except ClusterError as error:
            print(error)

trio.run(main)
"""
    )
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert "no worker is left" in ended.stdout, ended.stderr
    assert "has trioagent" in ended.stdout and "the driver 9.9" in ended.stdout


def test_a_memory_larger_than_a_nodes_object_store(tmp_path: Path, nodes: Nodes) -> None:
    """90 MB of notes go through stores of 80 MB, piece by piece."""
    folder = tmp_path / "large"
    write_jobs(folder, 1)
    (folder / "memory0").mkdir()
    for number in range(90):
        (folder / "memory0" / f"note{number}.md").write_text(f"{number:09}\n" * 99_000)
    with model_server(answer) as server:
        run_to_end(folder, server, "--ray", nodes.address)
    assert sorted((folder / "memory0" / "log.md").read_text().splitlines()) == ["- first 0", "- second 0"]
    assert report(folder)["cluster"]["lost"] == 0
