"""``trioagent sft generate`` and ``trioagent eval`` on Ray nodes, disturbed, come to what they come to in peace."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from trioagent.testing import ModelServer

from ..sft.people import persona_body
from .drivers import CALM_SECONDS, driver, has_answers, pids, printed, report, run_to_end, wait_for
from .nodes import Nodes

pytestmark = pytest.mark.cluster

PEOPLE, SAMPLES = 24, 40
_OF_THE_CLOCK = ("seconds", "started", "ended")


def sft(folder: Path, server: ModelServer, *more: str) -> list[str]:
    rows = [
        {
            "persona": persona_body(f"Robin {number}", relationships=[]),
            "facts": [f"I live in {city}." for city in ("Porto", "Bern")],
        }
        for number in range(PEOPLE)
    ]
    (folder / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    where = ("--personas", str(folder / "people.jsonl"), "--out", str(folder / "run"))
    return ["sft", "generate", *where, "--flow", "introduce", "--turns", "2", *model(server), *more]


def evaluate(folder: Path, server: ModelServer, *more: str) -> list[str]:
    return ["eval", "md-memory", "--out", str(folder / "run"), "--limit", str(SAMPLES), *model(server), *more]


def model(server: ModelServer) -> list[str]:
    return ["--base-url", server.base_url, "--model", "scripted", "--max-concurrent", "8", "--json-progress"]


def rows(path: Path) -> dict[str, Any]:
    """What was written, but for times."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return {
        row.get("id") or row["persona"]["name_surname"]: {
            name: value for name, value in row.items() if name not in _OF_THE_CLOCK
        }
        for row in found
    }


@pytest.mark.parametrize(
    ("command", "written", "count", "lost"),
    [
        # A conversation under way begins again from its start, with up to four answers.
        (sft, "conversations.jsonl", PEOPLE, 2 * 8 + 8 * 4),
        (evaluate, "samples.jsonl", SAMPLES, 3 * 8),
    ],
)
def test_workers_and_the_driver_are_killed(
    command: Callable[..., list[str]],
    written: str,
    count: int,
    lost: int,
    tmp_path: Path,
    nodes: Nodes,
    server: ModelServer,
) -> None:
    """A worker by SIGKILL, then the driver; the same command goes on, loses another worker, and comes to its end."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    calm.mkdir()
    killed.mkdir()
    before = len(server.requests)
    run_to_end(calm, command(calm, server))
    asked = Counter(json.dumps(request.messages) for request in server.requests[before:])
    before = len(server.requests)
    with driver(killed, command(killed, server, "--ray", nodes.address)) as process:
        kill_one_worker(killed, process, answers=5)
        wait_for(killed, partial(has_answers, 20), process)
        process.kill()
        process.wait()
    (killed / "run" / "status.json").unlink()
    with driver(killed, command(killed, server, "--ray", nodes.address)) as process:
        kill_one_worker(killed, process, answers=2)
        assert process.wait(CALM_SECONDS) == 0, printed(killed)
    expected = rows(calm / "run" / written)
    assert len(expected) == count
    assert rows(killed / "run" / written) == expected
    assert report(killed)["cluster"]["lost"] == 1  # by the second start
    again = Counter(json.dumps(request.messages) for request in server.requests[before:])
    assert again.keys() == asked.keys()
    assert again.total() - asked.total() <= lost, "no more than what was under way at the three kills"


def kill_one_worker(folder: Path, process: Any, *, answers: int) -> None:
    found = wait_for(folder, partial(has_answers, answers), process)
    os.kill(random.choice(pids(found)), signal.SIGKILL)
