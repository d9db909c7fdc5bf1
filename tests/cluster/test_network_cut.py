"""The network to a worker is cut, and comes back: with two Ray nodes in network namespaces, by `make test-cluster`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from .nodes import home_of_processes

pytestmark = pytest.mark.cluster

HEAD, OTHER = "10.213.77.1", "10.213.77.2"
PORT = "6398"
NAMESPACE, OUTSIDE, INSIDE = "trioagent-cut", "trioagent-o", "trioagent-i"
JOBS = 300


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def namespace() -> Iterator[None]:
    """A network namespace, joined to ours by one link; skipped where there can be none."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root, and ip")
    try:
        ip("netns", "add", NAMESPACE)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace can be made: {error.stderr.decode()}")
    try:
        ip("link", "add", OUTSIDE, "type", "veth", "peer", "name", INSIDE, "netns", NAMESPACE)
        ip("addr", "add", f"{HEAD}/24", "dev", OUTSIDE)
        ip("link", "set", OUTSIDE, "up")
        for words in (
            ("addr", "add", f"{OTHER}/24", "dev", INSIDE),
            ("link", "set", INSIDE, "up"),
            ("link", "set", "lo", "up"),
        ):
            ip("netns", "exec", NAMESPACE, "ip", *words)
        yield
    finally:
        with suppress(subprocess.CalledProcessError):
            ip("link", "delete", OUTSIDE)
        ip("netns", "delete", NAMESPACE)


def start_node(home: Path, *words: str, inside: bool = False) -> None:
    env = {**os.environ, "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    command = [
        str(Path(sys.executable).parent / "ray"),
        "start",
        "--num-cpus=1",
        "--object-store-memory=80000000",
        *words,
    ]
    if inside:
        command = ["ip", "netns", "exec", NAMESPACE, *command]
    with (home / "nodes.txt").open("ab") as log:
        subprocess.run(command, env=env, stdout=log, stderr=log, check=True)


def batch(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-m", "trioagent", "batch", str(folder / "jobs.jsonl"), "--run-dir", str(folder / "run")]
    with (folder / "out.txt").open("wb") as out:
        return subprocess.Popen([*command, "--model", "offline-rules", *more], env=env, stdout=out, stderr=out)


def write_jobs(folder: Path) -> None:
    folder.mkdir()
    rows = [
        {"id": f"job{n}", "memory": str(folder / f"memory{n}"), "messages": [f"My name is Ada{n}.", "What is my name?"]}
        for n in range(JOBS)
    ]
    (folder / "jobs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def came(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    rows = [json.loads(line) for line in (folder / "run" / "conversations.jsonl").read_text().splitlines()]
    notes = {str(path.relative_to(folder)): path.read_text() for path in folder.glob("memory*/**/*.md")}
    return {row["id"]: row["messages"] for row in rows}, notes


def nodes(folder: Path) -> list[dict[str, Any]]:
    with suppress(OSError, ValueError):
        found: list[dict[str, Any]] = json.loads((folder / "run" / "status.json").read_text())["progress"]["nodes"]
        return found
    return []


def test_a_worker_behind_a_cut_network_is_given_up_and_comes_back_in_vain(tmp_path: Path) -> None:
    calm, cut = tmp_path / "calm", tmp_path / "cut"
    write_jobs(calm)
    write_jobs(cut)
    assert batch(calm).wait(200) == 0
    with namespace(), home_of_processes(tmp_path):
        start_node(tmp_path, "--head", f"--node-ip-address={HEAD}", f"--port={PORT}", "--include-dashboard=false")
        start_node(tmp_path, f"--address={HEAD}:{PORT}", f"--node-ip-address={OTHER}", inside=True)
        driver = batch(cut, "--ray", f"{HEAD}:{PORT}", "--workers", "2", "--max-concurrent", "10")
        try:
            wait_until(driver, cut, lambda: len([node for node in nodes(cut) if node["answers"]]) == 2)
            ip("link", "set", OUTSIDE, "down")
            wait_until(driver, cut, lambda: any(node["state"] == "lost" for node in nodes(cut)))
            ip("link", "set", OUTSIDE, "up")
            assert driver.wait(200) == 0, (cut / "out.txt").read_text()[-3000:]
        finally:
            driver.kill()
            driver.wait()
    use = json.loads((cut / "run" / "report.json").read_text())["cluster"]
    assert use["lost"] >= 1
    conversations, notes_then = came(cut)
    expected, notes_calm = came(calm)
    assert conversations == expected
    assert notes_then == notes_calm


def wait_until(driver: subprocess.Popen[bytes], folder: Path, what: Any) -> None:
    for _ in range(2000):
        if what():
            return
        assert driver.poll() is None, (folder / "out.txt").read_text()[-3000:]
        time.sleep(0.05)
    raise AssertionError(nodes(folder))
