"""Runs on several Ray nodes of this machine, some of which are killed: with `make test-cluster`."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import trioagent
from trioagent.testing import ModelRequest, ModelServer, Say, model_server

from .drivers import CALM_SECONDS, alive, driver, family, has_answers, pids, printed, report, run_to_end, wait_for
from .faults import Came, answer, what_came
from .nodes import Nodes, ray_nodes

pytestmark = pytest.mark.cluster

JOBS = 60


def write_jobs(folder: Path, count: int = JOBS) -> None:
    folder.mkdir()
    rows = [
        {"id": f"job{n}", "memory": str(folder / f"memory{n // 2}"), "messages": [f"first {n}", f"second {n}"]}
        for n in range(count)
    ]
    (folder / "jobs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def batch(folder: Path, server: ModelServer, *more: str) -> list[str]:
    return [
        *("batch", str(folder / "jobs.jsonl"), "--run-dir", str(folder / "run")),
        *("--base-url", server.base_url, "--model", "scripted", "--max-concurrent", "20", "--json-progress", *more),
    ]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, server: ModelServer) -> Came:
    """What a run in one process comes to."""
    folder = tmp_path_factory.mktemp("calm") / "run"
    write_jobs(folder)
    before = len(server.requests)
    run_to_end(folder, batch(folder, server))
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
    run_to_end(folder, batch(folder, server, "--ray", nodes.address))
    use = check(folder, server, calm, before)
    assert (use["lost"], use["asked_again"], use["run_again"]) == (0, 0, 0)
    assert len({node["node"] for node in use["nodes"] if node["answers"]}) == 3, "one worker on each node"


def test_workers_are_killed(tmp_path: Path, nodes: Nodes, server: ModelServer, calm: Came) -> None:
    """One after the other, by SIGKILL; what is left of them, such as their sandboxes, dies with them."""
    folder, before = tmp_path / "killed", len(server.requests)
    write_jobs(folder)
    killed: list[int] = []
    with driver(folder, batch(folder, server, "--ray", nodes.address)) as process:
        for least in (5, 20, 40):
            found = wait_for(folder, partial(has_answers, least), process)
            victim = random.choice(pids(found))
            children = family(victim)
            os.kill(victim, signal.SIGKILL)
            killed += [victim, *children]
        assert process.wait(CALM_SECONDS) == 0, printed(folder)
    use = check(folder, server, calm, before)
    assert use["lost"] == 3
    assert [pid for pid in killed if alive(pid)] == []


def test_a_node_is_lost(tmp_path: Path, nodes: Nodes, server: ModelServer, calm: Came) -> None:
    """With its raylet and all that runs there; another one comes in its place."""
    folder, before = tmp_path / "lost", len(server.requests)
    write_jobs(folder)
    with driver(folder, batch(folder, server, "--ray", nodes.address)) as process:
        wait_for(folder, partial(has_answers, 20), process)
        nodes.kill_one()
        nodes.add()
        assert process.wait(CALM_SECONDS) == 0, printed(folder)
    use = check(folder, server, calm, before)
    assert use["lost"] >= 1


def test_the_driver_is_killed(tmp_path: Path, nodes: Nodes, server: ModelServer, calm: Came) -> None:
    """At any time, three times; Ray ends its workers. The same command goes on, and asks for nothing that it has."""
    folder, before = tmp_path / "driver", len(server.requests)
    write_jobs(folder)
    lost = 0
    for answers in (1, 10, 20):
        with driver(folder, batch(folder, server, "--ray", nodes.address)) as process:
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
    run_to_end(folder, batch(folder, server, "--ray", nodes.address))
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
    words = ("--ray", nodes.address, "--grace", "0")
    with model_server(endless) as server, driver(folder, batch(folder, server, *words)) as process:
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


def test_sigterm_ends_a_run_as_without_a_cluster(tmp_path: Path, nodes: Nodes, server: ModelServer) -> None:
    """Ray's own handler of it prints a stack."""
    folder = tmp_path / "terminated"
    write_jobs(folder, 10)
    with driver(folder, batch(folder, server, "--ray", nodes.address)) as process:
        wait_for(folder, partial(has_answers, 2), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(CALM_SECONDS) == 130
    lines = [line for line in (folder / "out.txt").read_text().splitlines() if not line.startswith("{")]
    assert lines[0].startswith("SIGTERM: no new job starts")
    assert len(lines) == 4, lines
    run_to_end(folder, batch(folder, server, "--ray", nodes.address))
    assert report(folder)["done"] + report(folder)["skipped"] == 10


def test_a_worker_that_is_stopped_is_given_up_and_ends_when_it_goes_on(
    tmp_path: Path, nodes: Nodes, server: ModelServer, calm: Came
) -> None:
    folder, before = tmp_path / "stopped", len(server.requests)
    write_jobs(folder)
    with driver(folder, batch(folder, server, "--ray", nodes.address)) as process:
        [victim, *_] = pids(wait_for(folder, partial(has_answers, 5), process))
        os.kill(victim, signal.SIGSTOP)
        try:
            wait_for(folder, lambda now: any(node["state"] == "lost" for node in now["nodes"]), process)
        finally:
            os.kill(victim, signal.SIGCONT)
        assert process.wait(CALM_SECONDS) == 0, printed(folder)
    use = check(folder, server, calm, before)
    assert use["lost"] == 1
    for _ in range(400):
        if not alive(victim):
            break
        time.sleep(0.05)
    assert not alive(victim)


def test_a_wrong_address_is_one_line_and_soon(tmp_path: Path, server: ModelServer) -> None:
    """Where nobody answers, or a server that is no head of Ray; from RAY_ADDRESS as well."""
    folder = tmp_path / "nobody"
    write_jobs(folder, 1)
    other = server.base_url.removeprefix("http://").partition("/")[0]
    closed = "nobody answers at '127.0.0.1:9'"
    client = "RAY_ADDRESS: 'ray://127.0.0.1:10001' is not the address of a cluster"
    for words, env, code, said in (
        (("--ray", "127.0.0.1:9"), {}, 1, closed),
        (("--ray", other), {}, 1, f"what answers at '{other}' is no head of Ray"),
        (("--ray",), {"RAY_ADDRESS": "127.0.0.1:9"}, 1, closed),
        (("--ray",), {"RAY_ADDRESS": "ray://127.0.0.1:10001"}, 2, client),
    ):
        (folder / "out.txt").unlink(missing_ok=True)
        with driver(folder, batch(folder, server, *words), env=env) as process:
            assert process.wait(60) == code
        [line] = [line for line in printed(folder).splitlines() if not line.startswith("{")]
        assert said in line
        assert not (folder / "run").exists()


@pytest.mark.parametrize(("member", "other"), [("ray_version", "2.53.0"), ("python_version", "3.12.1")])
def test_a_cluster_of_another_version_is_one_line(
    member: str, other: str, tmp_path: Path, nodes: Nodes, server: ModelServer
) -> None:
    """The head's own words of what it runs are changed: clusters of Ray 2.53 and of Python 3.12 have said the same."""
    from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
    from ray._raylet import GcsClient

    folder = tmp_path / "other"
    write_jobs(folder, 1)
    head = GcsClient(address=nodes.address)
    before = head.internal_kv_get(CLUSTER_METADATA_KEY, b"cluster")
    changed = json.dumps({**json.loads(before), member: other}).encode()
    head.internal_kv_put(CLUSTER_METADATA_KEY, changed, True, b"cluster")
    try:
        with driver(folder, batch(folder, server, "--ray", nodes.address)) as process:
            assert process.wait(60) == 1
    finally:
        head.internal_kv_put(CLUSTER_METADATA_KEY, before, True, b"cluster")
    [line] = [line for line in printed(folder).splitlines() if not line.startswith("{")]
    assert "Version mismatch" in line and other in line
    assert not (folder / "run").exists()


def test_a_head_that_is_lost_ends_the_run_with_a_line_and_it_goes_on_elsewhere(
    tmp_path: Path, nodes: Nodes, server: ModelServer, calm: Came
) -> None:
    """Ray itself would end the driver's process, a minute later."""
    folder, before = tmp_path / "headless", len(server.requests)
    write_jobs(folder)
    with model_server(lambda request: Say(answer(request), delay=20)) as slow, ray_nodes(1) as own:
        with driver(folder, batch(folder, slow, "--ray", own.address)) as process:
            wait_for(folder, lambda now: now["states"].get("model", 0) > 0 and bool(pids(now)), process)
            own.cluster.head_node.kill_gcs_server()
            assert process.wait(55) == 3
    line = (folder / "out.txt").read_text().splitlines()[-1]
    assert line.startswith("error: the cluster: its head is gone: nobody answers at")
    assert line.endswith("with one that works, the same run goes on")
    run_to_end(folder, batch(folder, server, "--ray", nodes.address, "--accept-changes"))
    came = what_came(folder, server.requests[before:])
    assert (came.conversations, came.notes) == (calm.conversations, calm.notes)


_ON_NODES_WITH = """
import sys, trio, trioagent
from trioagent.cluster import ClusterError, RayCluster

async def main(address, *places):
    async with trioagent.open_runtime("offline-rules") as runtime:
        for place in places:
            cluster = RayCluster(address=address, workers=1, runtime_env={"env_vars": {"PYTHONPATH": place}})
            try:
                async with cluster.open(runtime):
                    print("opened")
            except ClusterError as error:
                print(error)

trio.run(main, *sys.argv[1:])
"""


def test_workers_without_the_same_package_are_refused_by_name(tmp_path: Path, nodes: Nodes) -> None:
    """Where there is none, another version, or another state of the same, which their own path finds first."""
    none, other, changed = (tmp_path / name for name in ("none", "other", "changed"))
    for folder in (none, other):
        (folder / "trioagent").mkdir(parents=True)
    (none / "trioagent" / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'trioagent'\")")
    (other / "trioagent" / "__init__.py").write_text("__version__ = '9.9'")
    shutil.copytree(Path(trioagent.__file__).parent, changed / "trioagent")
    with (changed / "trioagent" / "_prompt.py").open("a") as file:
        file.write("# Somebody has put something right here.\n")
    places = [str(none), str(other), str(changed)]
    words = [sys.executable, "-c", _ON_NODES_WITH, nodes.address, *places]
    began = time.monotonic()
    # Elsewhere than beside the package: Ray has its processes look in the driver's folder first.
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = ended.stdout.splitlines()
    assert len(lines) == 3, ended.stderr[-3000:]
    assert all(line.startswith(f"the cluster: no worker is left: {socket.gethostname()}: ") for line in lines), lines
    assert "trioagent cannot be imported there (No module named 'trioagent')" in lines[0]
    assert f"it has trioagent 9.9, and the driver {trioagent.__version__}" in lines[1]
    assert f"it has a different state of trioagent {trioagent.__version__} than the driver" in lines[2]
    assert time.monotonic() - began < 60


_PROVIDER_OF_A_WORKER = """
import os
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

def line_of(span):
    return span.to_json(indent=None) + "\\n"

out = (Path(os.environ["SPANS"]) / f"{os.getpid()}.txt").open("a")
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(out=out, formatter=line_of)))
trace.set_tracer_provider(provider)
"""
_TRACED_RUN = """
import sys, trio, trioagent
from pathlib import Path
from tests.cluster.faults import jobs
from tests.spans import ids, recording
from trioagent.cluster import RayCluster

async def main(address, base_url, path, folder):
    variables = {"PYTHONPATH": path, "SPANS": path}
    cluster = RayCluster(address=address, workers=2, runtime_env={"env_vars": variables})
    config = trioagent.ModelConfig(base_url=base_url, model="scripted")
    with recording() as spans:
        async with trioagent.open_runtime(config, tracing=spans.config()) as runtime:
            await trioagent.run_batch(jobs(Path(folder)), runtime=runtime, run_dir=f"{folder}/run", cluster=cluster)
    for span in spans.all:
        print(span.name, *map(hex, ids(span)))

trio.run(main, *sys.argv[1:])
"""


def test_spans_of_workers_are_below_the_drivers(tmp_path: Path, nodes: Nodes, server: ModelServer) -> None:
    """Their processes have a provider of their own, as ``opentelemetry-instrument`` gives them one."""
    (tmp_path / "sitecustomize.py").write_text(_PROVIDER_OF_A_WORKER)
    words = [sys.executable, "-c", _TRACED_RUN, nodes.address, server.base_url, str(tmp_path), str(tmp_path)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    names = {tuple(span): name for name, *span in (line.rsplit(" ", 2) for line in ended.stdout.splitlines())}
    parents = Counter[tuple[str, str]]()
    for line in "".join(path.read_text() for path in tmp_path.glob("*.txt")).splitlines():
        span = json.loads(line)
        trace, parent = span["context"]["trace_id"], span["parent_id"]
        parents[span["name"], names[hex(int(trace, 16)), hex(int(parent, 16))]] += 1
    assert parents == {
        ("trioagent.worker.request", "chat scripted"): 12,
        ("trioagent.worker.block", "execute_tool python"): 6,
    }


def test_a_memory_larger_than_a_nodes_object_store(tmp_path: Path, nodes: Nodes) -> None:
    """90 MB of notes go through stores of 80 MB, piece by piece."""
    folder = tmp_path / "large"
    write_jobs(folder, 1)
    (folder / "memory0").mkdir()
    for number in range(90):
        (folder / "memory0" / f"note{number}.md").write_text(f"{number:09}\n" * 99_000)
    with model_server(answer) as server:
        run_to_end(folder, batch(folder, server, "--ray", nodes.address))
    assert sorted((folder / "memory0" / "log.md").read_text().splitlines()) == ["- first 0", "- second 0"]
    assert report(folder)["cluster"]["lost"] == 0
