"""A real language model for the tests that want one: small, on this machine's processors, and not clever."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from trioagent import ModelConfig, RetryPolicy

PYTHON = "TRIOAGENT_MODEL_PYTHON"
"""The interpreter that has the model and its server; `make test-model` makes it and sets this."""
_SERVER = Path(__file__).with_name("serve_small_model.py")


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The server's, while it runs."""
    python = os.environ.get(PYTHON)
    if not python:
        pytest.skip(f"needs a model of its own: `make test-model` installs one and sets {PYTHON}")
    with subprocess.Popen([python, str(_SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        line = server.stdout.readline().decode().strip()
        assert line.startswith("http://"), "the server did not start; its output is above"
        yield line
        server.stdin.close()


@pytest.fixture
def small(address: str) -> ModelConfig:
    """The model: the same answer to the same question, and not too long."""
    return ModelConfig(
        base_url=f"{address}/v1",
        model="smollm2",
        temperature=0,
        seed=1,
        max_tokens=64,
        retry=RetryPolicy(attempts=2),
    )
