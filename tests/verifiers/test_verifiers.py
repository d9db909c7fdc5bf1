"""A memory taskset through verifiers' own runner, in an environment of its own: ``make test-verifiers``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent.evals import find_suite, load_samples
from trioagent.testing import ModelRequest, ModelServer, serve_model

VERIFIERS = os.environ.get("TRIOAGENT_VERIFIERS_PYTHON")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(VERIFIERS is None, reason="make test-verifiers makes an environment with verifiers"),
]

SAMPLES = load_samples(find_suite("md-memory"), None, limit=4)
LOOK = "<think>I look.</think>\n<python>\nfound = search('a')\n</python>"


async def run(folder: Path, server: ModelServer, *more: str) -> list[dict[str, Any]]:
    """The traces of ``vf-eval`` on four samples of md-memory."""
    assert VERIFIERS is not None
    command = [
        *(str(Path(VERIFIERS).with_name("vf-eval")), "trioagent-memory"),
        *("--env.taskset.suite", "md-memory", "--env.taskset.limit", "4"),
        *(
            "--env.agent.runtime.type",
            "subprocess",
            "--env.agent.harness.id",
            "trioagent-memory",
            "--env.agent.harness.max-tool-turns",
            "3",
        ),
        *("--client.base-url", server.base_url, "--client.api-key-var", "MODEL_KEY", "--model", "scripted"),
        *("--no-push", "--no-rich", "--output-dir", str(folder / "out"), *more),
    ]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "MODEL_KEY": "sk-of-the-model"}
    ended = await trio.run_process(command, env=env, cwd=folder, check=False, capture_stdout=True, capture_stderr=True)
    assert ended.returncode == 0, ended.stderr.decode() + ended.stdout.decode()[-3000:]
    (traces,) = folder.glob("out/*/traces.jsonl")
    episodes = [json.loads(line) for line in traces.read_text().splitlines()]
    return [trace for episode in episodes for trace in episode["traces"]]


async def model(request: ModelRequest) -> str:
    """Looks, and then knows the answers of one category."""
    said = [message["content"] for message in request.body["messages"]]
    if not said[-1].startswith("<result>"):
        return LOOK
    (sample,) = [sample for sample in SAMPLES if sample.messages[-1] in said]
    words = sample.expected if sample.category == "retrieval" else "I do not know."
    return f"<think>I know.</think>\n<python></python>\n<reply>{words}</reply>"


async def test_a_memory_taskset_through_vf_eval(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, model)
        traces = await run(tmp_path, server)
        nursery.cancel_scope.cancel()
    assert len(traces) == len(SAMPLES) == 4
    by_id = {trace["task"]["data"]["id"]: trace for trace in traces}
    for sample in SAMPLES:
        trace = by_id[sample.id]
        assert trace["ok"], trace["errors"]
        assert trace["metrics"] == {"answers": 2, "repairs": 0, "blocks_saved": 0, "replied": 1}
        assert trace["info"]["grade"]
        assert (trace["rewards"]["grade"]["score"] == 1) == (sample.category == "retrieval"), (
            sample.id,
            trace["info"]["grade"],
        )
    # Every answer went through verifiers, with the server's own key and not the rollout's secret.
    assert len(server.requests) == 8
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer sk-of-the-model"}
