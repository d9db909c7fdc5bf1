"""Runs on Ray nodes of this machine: what a cluster costs, and that nothing is lost or doubled when workers are killed.

    .venv-cluster/bin/python -m benchmarks cluster [--jobs 5000] [--nodes 3] [--kills 20] [--concurrent 100]

(`make test-cluster` makes that environment.) The model is a server in a process of its own that answers after 50 ms; a
job is two answers and a block that appends to a note. Three runs of the same jobs: in one process, on one node, and on
several nodes whose workers are killed at random times. The driver's CPU time says how many answers and commits a second
one driver can feed, and so how many nodes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from trioagent import Job, ModelConfig, RateLimits, open_runtime, run_batch
from trioagent._config import BatchConfig
from trioagent.cluster import RayCluster
from trioagent.testing import ModelRequest, Say, serve_model

from ._measure import own_cpu

_DELAY = 0.05
_ANSWERS = 2  # of a job
_APPEND = """<think>t</think><python>
done = create_file("log.md", (read_file("log.md") if check_if_file_exists("log.md") else "") + "- {0}\\n")
</python>"""
_REPLY = "<think>t</think><python></python><reply>Noted.</reply>"


# --- the model ---


def _answer(asked: Counter[str], request: ModelRequest) -> Say:
    messages = request.messages
    said = next(message["content"] for message in messages if message["role"] == "user")
    last = messages[-1]["content"]
    asked[f"{said}/{len(messages)}"] += 1
    return Say(_REPLY if last.startswith("<result>") else _APPEND.format(said), delay=_DELAY)


async def _serve() -> None:
    """Print the address; then, for each line on stdin, how often which request has come since the last one."""
    asked: Counter[str] = Counter()
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_model, partial(_answer, asked), record=False))
        print(server.base_url, flush=True)
        while await trio.to_thread.run_sync(sys.stdin.readline):
            print(json.dumps(asked), flush=True)
            asked.clear()
        nursery.cancel_scope.cancel()


class _Server:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks", "cluster", "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.base_url = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def asked(self) -> Counter[str]:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Counter(json.loads(self._line()))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


# --- one run, in a process of its own ---


async def _run(folder: Path, base_url: str, jobs: int, concurrent: int, address: str, workers: int) -> None:
    rate = RateLimits(max_in_flight=concurrent, max_idle=concurrent)
    model = ModelConfig(base_url=base_url, model="scripted", rate=rate)
    rows = [Job(id=str(n), memory=str(folder / "memories" / str(n)), messages=(f"message {n}",)) for n in range(jobs)]
    config = BatchConfig(max_concurrent=concurrent)
    async with open_runtime(model) as runtime:
        if address:
            async with RayCluster(address=address, workers=workers).open(runtime) as moved:
                began, before = time.perf_counter(), own_cpu()
                report = await run_batch(rows, runtime=moved, run_dir=folder / "run", config=config)
                took, cpu = time.perf_counter() - began, own_cpu() - before
        else:
            began, before = time.perf_counter(), own_cpu()
            report = await run_batch(rows, runtime=runtime, run_dir=folder / "run", config=config)
            took, cpu = time.perf_counter() - began, own_cpu() - before
    print(json.dumps({"seconds": took, "cpu": cpu, "done": report.done, "cluster": attrs.asdict(report)["cluster"]}))


# --- all runs ---


@contextmanager
def _nodes(count: int) -> Iterator[str]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    try:
        for _ in range(count):
            cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        yield cluster.address
    finally:
        cluster.shutdown()


def _kill_some(folder: Path, kills: int, seconds: float, over: threading.Event) -> None:
    """Kill workers that work, at random times, until so many are killed or the run is over."""
    while kills and not over.wait(random.uniform(0.5, 1.5) * seconds):
        with suppress(OSError, ValueError):
            nodes = json.loads((folder / "run" / "status.json").read_text())["progress"]["nodes"]
            working = [int(node["node"].rpartition(":")[2]) for node in nodes if node["state"] == "working"]
            if working:
                os.kill(random.choice(working), signal.SIGKILL)
                kills -= 1


def _one(
    name: str, server: _Server, options: argparse.Namespace, *, address: str = "", workers: int = 0, kills: int = 0
) -> dict[str, Any]:
    """Run the jobs, and check what came of them."""
    with tempfile.TemporaryDirectory(prefix="trioagent-bench-") as place:
        folder, over = Path(place), threading.Event()
        server.asked()
        run = [sys.executable, "-m", "benchmarks", "cluster", "--run", place, "--base-url", server.base_url]
        run += ["--jobs", str(options.jobs), "--concurrent", str(options.concurrent)]
        run += ["--address", address, "--workers", str(workers)]
        killer = threading.Thread(target=_kill_some, args=(folder, kills, options.between, over))
        killer.start()
        done = subprocess.run(run, stdout=subprocess.PIPE, text=True, check=True)
        over.set()
        killer.join()
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        logs = [folder / "memories" / str(n) / "log.md" for n in range(options.jobs)]
        notes = [log.read_text() if log.exists() else "" for log in logs]
        failures = (folder / "run" / "failures.jsonl").read_text().splitlines()
        for line in failures[:5]:
            print(f"failed: {line[:1000]}")
    asked, use = server.asked(), found["cluster"]
    found["wrong"] = sum(note != f"- message {n}\n" for n, note in enumerate(notes))
    found["again"] = asked.total() - _ANSWERS * options.jobs
    counted = use["asked_again"] if use else 0
    print(
        f"{name:32} {found['done']:6,} done {found['wrong']:3} notes lost or doubled "
        f"{max(0, found['again'] - counted):3} acknowledged answers asked again  "
        f"{found['seconds']:7.1f} s {options.jobs / found['seconds']:7.0f} jobs/s  "
        f"driver {1000 * found['cpu'] / options.jobs:5.2f} ms CPU a job"
    )
    if use:
        print(
            f"{'':32} {use['lost']:6,} workers lost; {use['asked_again']} requests sent again (the server saw "
            f"{found['again']} twice), {use['run_again']} blocks run again"
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--between", type=float, default=4.0, help="seconds between kills, on average")
    parser.add_argument("--concurrent", type=int, default=100)
    parser.add_argument("--only-kills", action="store_true", help="leave out the runs that it is compared with")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--base-url", help=argparse.SUPPRESS)
    parser.add_argument("--address", default="", help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        trio.run(_serve)
        return
    if options.run is not None:
        trio.run(
            _run, options.run, options.base_url, options.jobs, options.concurrent, options.address, options.workers
        )
        return
    server = _Server()
    try:
        alone = None if options.only_kills else _one("one process", server, options)
        with _nodes(options.nodes) as address:
            single = alone and _one("one node, one worker", server, options, address=address, workers=1)
            _one(
                f"{options.nodes} nodes, workers killed",
                server,
                options,
                address=address,
                workers=options.nodes,
                kills=options.kills,
            )
    finally:
        server.close()
    if not (alone and single):
        return
    overhead = single["seconds"] / alone["seconds"] - 1
    print(f"one node against one process: {overhead:+.0%} wall time")
    per_job = single["cpu"] / options.jobs
    a_second = 1 / per_job
    rate = options.jobs / single["seconds"]
    print(
        f"the driver takes {1000 * per_job:.2f} ms of CPU for a job of {_ANSWERS} answers and a commit, so that one "
        f"driver can feed {_ANSWERS * a_second:,.0f} answers and {a_second:,.0f} commits a second: "
        f"{a_second / rate:.1f} nodes as fast as this one ({rate:.0f} jobs/s)"
    )


if __name__ == "__main__":
    main()
